"""What a fit has to say of its table: why a number is missing, and when the others do not hold."""

from typing import Any

import jax
import numpy as np

from gdjax.descent.stopping import Status
from gdjax.insight.spread import COARSE
from gdjax.spaces.results import at_ends, is_fixed

# Correlation from which two parameters count as hardly told apart: their errors are 7 times what they would be alone.
ALIKE = 0.99
MANY = (
    ("held", "a parameter held at a bound"),
    ("ended", "a parameter held at an end of its space"),
    ("idle", "a parameter of no effect on the residuals, to first order"),
    ("away", "a parameter that runs to infinity"),
    ("lost", "a parameter that the data do not determine"),
    ("full", "no degree of freedom"),
    ("apart", "constraints that no point nearby satisfies"),
    ("empty", "no data"),
    ("nowhere", "residuals that are not finite"),
)
INSTEAD = dict(
    empty="there are no data",
    nowhere="the residuals are not finite",
    apart="no point nearby satisfies the constraints",
    fixed="fixed",
    held="held: at its bound",
    ended="held: at an end of its space",
    idle="not moved: of no effect on the residuals, to first order",
    full="no degree of freedom is left",
    away="not known: the fit runs to infinity",
)


def missing(fit: Any) -> dict[str, Any]:
    """What stands in the way of standard errors, by name as in `MANY`: bools of shape (..., n), of a fit (...)."""
    held, bound = np.asarray(fit.held), at_bound(fit)
    nowhere, empty = ~np.isfinite(np.asarray(fit.chi2)), np.asarray(fit.count) == 0
    full = (np.asarray(fit.freedom) <= 0) & ~empty & (not (fit.absolute_sigma or fit.cov_type))
    apart = (fit.squares.normals is not None) & (np.asarray(fit.code) == Status.INFEASIBLE) & ~nowhere & ~empty
    told = (nowhere | empty | apart)[..., None]
    lost = np.isnan(np.asarray(fit.flat_errors)) & ~held & ~told & ~full[..., None]
    runs = (np.asarray(fit.code) == Status.RUNAWAY)[..., None]
    fixed = np.zeros_like(held) if fit.space is None else np.broadcast_to(is_fixed(fit), held.shape)
    ended = np.zeros_like(held) if fit.space is None else np.asarray(at_ends(fit)) & ~fixed
    idle = held & ~bound & ~fixed & ~ended & ~told
    found = dict(fixed=fixed, held=held & bound & ~ended & ~told, ended=ended & ~told, idle=idle)
    found |= dict(lost=lost & ~runs, away=lost & runs)
    return found | dict(full=full & ~nowhere, empty=empty, apart=apart, nowhere=nowhere & ~empty)


def at_bound(fit: Any) -> np.ndarray:
    """Which flat parameters are at a bound, shape (..., n)."""
    if fit.penalty_value is None or not getattr(fit.penalty, "is_box", False):
        return np.zeros(fit.flat.shape, bool)
    if fit.space is not None:  # what is held there is fixed, or at a bound of the free numbers
        some = np.any(at_bound(fit.by_free), axis=-1, keepdims=True)
        return np.asarray(fit.held) & ~is_fixed(fit) & some
    lower, upper = bounds_of(fit)
    x = np.asarray(fit.flat)
    return (x <= lower) | (x >= upper)


def bounds_of(fit: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of the flat parameters of a fit with a box, shape (..., n) each."""
    layout = fit.layout
    flat = lambda penalty, params: tuple(map(layout.ravel, penalty.bounds(params)))
    return jax.device_get(fit.for_each(flat)(fit.penalty, fit.params))


def why_missing(fit: Any) -> list[str]:
    """What stands in place of each standard error, if it is NaN."""
    found = missing(fit)
    cases = [np.broadcast_to(found[name], fit.flat.shape) for name in INSTEAD]
    return np.select(cases, list(INSTEAD.values()), "not determined by the data").tolist()


def above_table(fit: Any) -> list[str]:
    """Lines above the table, if not all is as it should be."""
    if fit.status is Status.NO_DATA:
        return []
    if not np.isfinite(float(fit.chi2)):
        return ["The sum of squares is not finite, so nothing is known about the estimates."]
    if not fit.converged:
        return ["Standard errors, p-values and intervals are valid only at a minimum, which the fit has not reached:"]
    if not fit.is_known:
        return []
    left, coarse = np.linalg.norm(np.asarray(fit.residuals, np.float64)), np.finfo(fit.value.dtype).eps
    seen = fit.by_free
    reach = np.linalg.norm(np.asarray(seen.known().linear.effects, np.float64) * np.asarray(seen.flat, np.float64))
    if fit.value.dtype == np.float32 and 0 < left < COARSE * coarse * reach:
        return [
            f"The rounding of float32 is {coarse * reach / left:.0%} of the residuals, so "
            "they do not show the errors of the data. Use float64, jax.config.update('jax_enable_x64', True), or "
            "subtract what is constant."
        ]
    return []


def below_table(fit: Any) -> list[str]:
    """A line below the table, if other standard errors take as known what is at a bound, or at an end of its space."""
    if not fit.is_known or fit.status is Status.NO_DATA or not np.isfinite(np.asarray(fit.flat_errors)).any():
        return []
    found = missing(fit)
    there = found["held"] | found["ended"]
    if fit.penalty_value is not None and fit.space is None and there.any():  # between equal bounds it is known
        there &= np.not_equal(*bounds_of(fit))
    known = [name for name, is_there in zip(fit.names, there, strict=True) if is_there]
    if not known:
        return []
    them = ", ".join(known) if len(known) <= 4 else f"the {len(known)} parameters at bounds"
    return [
        f"The standard errors take {them} as known. If the truth may lie inside the bounds, they are too small: use "
        "the intervals of gdjax.profile."
    ]


def advice_on(fit: Any) -> list[str]:
    """What `gdjax.explain` says of a fit: parameters that the data hardly tell apart, and errors that do not match."""
    if not fit.is_known or not fit.converged:
        return []
    found, names, advice = missing(fit), fit.names, []
    lost = [name for name, there in zip(names, found["lost"] | found["idle"], strict=True) if there]
    if lost:
        advice.append(
            f"the data do not determine {', '.join(lost)}: hold some of them (space= with gdjax.spaces.Fixed()), or "
            "leave them out of the model"
        )
    matrix = np.tril(np.nan_to_num(np.asarray(fit.correlation)), -1)
    i, k = np.unravel_index(np.argmax(np.abs(matrix)), matrix.shape)
    if abs(matrix[i, k]) > ALIKE:
        advice.append(
            f"the correlation of {names[k]} and {names[i]} is {matrix[i, k]:.6g}: the data hardly tell them apart, so "
            "their standard errors are large; see gdjax.profile, or write the model otherwise (centre the data)"
        )
    ratio, nu = float(fit.reduced_chi2), int(fit.freedom)
    if fit.absolute_sigma and nu > 0 and abs(ratio - 1) > 4 * (2 / nu) ** 0.5:
        why = "the model does not describe the data, or sigma is too small" if ratio > 1 else "sigma is too large"
        advice.append(f"chi^2 per degree of freedom is {ratio:.3g}: {why}")
    return advice


def require_same(fit: Any, value: float) -> None:
    """Raise ValueError unless ``value`` is that of the fit, whose residuals it was computed with."""
    wanted = float(fit.value)
    if not abs(value - wanted) <= 1e-3 * abs(wanted) + 1e-30:
        raise ValueError(
            f"these residuals have the value {value:.6g} at the fit, which has {wanted:.6g}: give the function, data "
            "and robust= that it was made with"
        )


def of_many(fit: Any) -> str:
    """How many of many fits lack something, in a sentence; empty if none does."""
    counts = {name: int(np.sum(of if of.shape == fit.code.shape else of.any(-1))) for name, of in missing(fit).items()}
    said = [f"{counts[name]} {'has' if counts[name] == 1 else 'have'} {text}" for name, text in MANY if counts[name]]
    return f"Of these fits {', '.join(said)}." if said else ""
