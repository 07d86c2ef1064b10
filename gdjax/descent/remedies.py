"""What a sentence adds if the numbers of a descent show what went wrong."""

from typing import Any

import jax
import numpy as np

from gdjax.descent.explained import squares_are_lost
from gdjax.descent.stopping import Status
from gdjax.jaxtools.pytrees import named_leaves
from gdjax.methods.parts.triangular import DEPENDENT


def fixed(result: Any) -> str:
    """The parameters that the method leaves fixed while it moves others."""
    leaves = [] if result.unmoved is None else named_leaves("params", result.unmoved)
    names = [name for name, unmoved in leaves if unmoved]
    if not names or len(names) == len(leaves):
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f" The method never moved {', '.join(names[:3])}{more}, whose gradient is not zero, so the test cannot hold. "
        "What is to stay fixed is given space=gdjax.spaces.Fixed(), by name in a dict, or made an argument of the loss."
    )


def out_of_range(result: Any) -> str:
    """If the squares of gradients overflow or underflow, that alone is to blame."""
    dtype, largest = result.value.dtype, float(result.progress.largest_norm)
    if not 0 < largest < np.inf:
        return ""
    info, size = np.finfo(dtype), np.log10(largest)  # logarithms: no float need hold the squares
    least = size + np.log10(max(float(result.stop.tol), float(info.eps)))
    over, under = 2 * size + 2 > np.log10(float(info.max)), 2 * least < np.log10(float(info.tiny))
    if not (over or under):
        return ""
    return (
        f"the squares of such gradients (up to {largest:.1g}) {'overflow' if over else 'underflow'} in {dtype}: "
        f"multiply the loss by about 1e{-round(size)}{'' if dtype == np.float64 else ', or use float64'}"
    )


def lost_squares(result: Any) -> str:
    """If the squares of residuals underflow, that alone is to blame."""
    left = None if result.squares is None else result.squares.residuals
    if not bool(squares_are_lost(*jax.device_get((result.progress, left)))):
        return ""
    dtype = result.value.dtype
    return (
        f"the squares of such residuals underflow in {dtype}: multiply the residuals by a large number"
        f"{'' if dtype == np.float64 else ', or use float64'}"
    )


def plateau(result: Any) -> str:
    """If the residuals of a fit do not see there what they saw on the way."""
    if result.progress.blind is None or not bool(result.progress.blind):
        return ""
    return (
        "on the way here the model has lost its grip on the data, which no longer tell its parameters from each other: "
        "a plateau, and no minimum. Start elsewhere (gdjax.multistart), hold parameters by bounds, or let the first "
        "step be shorter (LevenbergMarquardt(factor=0.1))"
    )


def without_effect(result: Any) -> np.ndarray:
    """Which parameters, of a fit whose Jacobian is known, change no residual to first order; shape (..., n)."""
    if result.squares is None or result.squares.linear is None:
        return np.zeros((*np.shape(result.code), 1), bool)
    return np.asarray(jax.device_get(result.squares.linear.effects)) == 0


def is_dependent(result: Any) -> np.ndarray:
    """Whether the Jacobian of a fit, where known, has a column that those before it explain to within rounding; (...).

    Two equal exponentials have. False of fewer residuals than parameters: where these are independent of each other,
    and at right angles to all columns, they are 0.
    """
    if result.squares is None or result.squares.linear is None:
        return np.zeros(np.shape(result.code), bool)
    linear = result.squares.linear
    triangle, columns, r = jax.device_get((linear.triangle, linear.columns, result.squares.residuals))
    pivots = np.abs(np.diagonal(triangle, axis1=-2, axis2=-1))
    if r.shape[-1] < columns.shape[-1]:
        return np.zeros(np.shape(result.code), bool)
    return np.any((pivots <= DEPENDENT * np.finfo(triangle.dtype).eps) & (columns > 0), axis=-1)


def saddle(result: Any) -> str:
    """If parameters without an effect to first order, or with equal effects, end a fit that is no minimum."""
    idle = without_effect(result)
    if int(result.code) != Status.LINE_SEARCH_FAILED:
        return ""
    cosine = result.progress.cosine
    if not idle.any() and cosine is not None and cosine <= result.stop.tol and is_dependent(result):
        return (
            "the residuals cannot tell some parameters from each other here, to first order, and fall if these change "
            "in a certain way: this is a saddle, and no minimum. Start where terms of the model that are alike differ"
        )
    if not idle.any():
        return ""
    if idle.all():
        return (
            "no parameter has any effect on the residuals here, to first order: this is a plateau or a saddle, and no "
            "minimum. Start elsewhere (gdjax.multistart)"
        )
    return (
        "a parameter that has no effect on the residuals here, to first order (the table shows which), has one if it "
        "changes: this is a saddle or a plateau, and no minimum. Start elsewhere, not at a point of symmetry such as "
        "0, nor where a peak or a step lies outside of the data"
    )


def end_of_domain(result: Any) -> str:
    """Whether the domain of the loss ends near here, and the remedy."""
    outside = int(result.progress.nonfinite)
    if not outside:
        return ""
    trials = f"at {outside} of the trials" if outside > 1 else "at a trial"
    remedy = "keep away from there with penalty=gdjax.penalties.Box(lower, upper)"
    if result.penalty_value is not None:
        remedy = "keep the constraint away from there (Box(1e-6, ...), Simplex(lower=1e-6)), use a softmax or exp"
    return (
        f"the loss is not finite {trials} from here: its domain ends nearby, or numbers overflow (then rescale "
        "the loss or the parameters, or use logaddexp for a logarithm of exponentials). If the domain ends, "
        f"{remedy}"
    )
