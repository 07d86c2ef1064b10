"""What is said about a gradient or Jacobian that was given: that it is wrong, or that it could not be checked."""

from typing import Any

import jax
import numpy as np

from gdjax.descent.given_gradient import EACH
from gdjax.jaxtools.pytrees import named_leaves


def wrong_gradient(result: Any, after: str, falling: str) -> str:
    """The gradient that was given vanished, but that of the loss did not."""
    given, other = (named_leaves("params", tree) for tree in (result.grad, result.automatic))
    by = "jax.grad's is" if result.compared_with == "jax.grad" else "differences of the loss give"
    apart = [np.abs(np.asarray(a) - np.asarray(b)) for (_, a), (_, b) in zip(given, other, strict=True)]
    worst = int(np.argmax([np.max(x, initial=0) for x in apart]))
    at = tuple(int(i) for i in np.unravel_index(np.argmax(apart[worst]), apart[worst].shape))
    ours, theirs = (np.asarray(tree[worst][1])[at] + 0 for tree in (given, other))
    name = given[worst][0] + (f"[{', '.join(map(str, at))}]" if at else "")
    where = f"at {name} it is {ours:.6g}, {by} {theirs:.6g}, and along that one"
    if result.compared_with != "jax.grad" and sum(x.size for x in apart) > EACH:
        where = "differences of the loss show another slope along some directions, and there"
    return (
        f"{after} the gradient given is practically zero, but it is not the gradient of the loss: {where} the loss is "
        f"still {falling}. The value is {float(result.value):.6g}. gdjax.check_gradient, called with the same loss and "
        "options, shows where they differ."
    )


def wrong_jacobian(result: Any, after: str) -> str:
    """The Jacobian that was given is not that of the residuals."""
    entry = result.entry
    where = "differences of the residuals show other slopes along some directions"
    if int(entry.column) >= 0:
        name, row = entry_name(named_leaves("params", result.variables), int(entry.column)), int(entry.row)
        by = "jax's" if result.compared_with == "jax.grad" else "that of differences"
        ours, theirs = float(entry.given), float(entry.other)
        digits = 6 if not abs(ours - theirs) <= 1e-5 * abs(theirs) else 12
        where = f"for residual {row} and {name} it is {ours:.{digits}g}, {by} {theirs:.{digits}g}"
    return (
        f"{after} the Jacobian given is not that of the residuals: {where}. The value is {float(result.value):.6g}. "
        "With check_jac=True it is compared at the start, array by array."
    )


def entry_name(named: list[tuple[str, Any]], place: int) -> str:
    """The name of a ravelled parameter: ``params['w'][0, 1]``."""
    for name, leaf in named:
        for part in (".real", ".imag") if np.iscomplexobj(leaf) else ("",):
            if place < np.size(leaf):
                at = [str(int(i)) for i in np.unravel_index(place, np.shape(leaf))]
                return name + (f"[{', '.join(at)}]" if at else "") + part
            place -= np.size(leaf)
    raise IndexError(place)


def blunt(result: Any) -> str:
    """That what was given is not as precise as the rest, if that is so."""
    if not result.blunt:
        return ""
    given, dtype = "gradient" if result.entry is None else "Jacobian", result.value.dtype
    return (
        f" (The {given} given is less precise than {dtype}, and sets the tolerances. Compute it in {dtype} for more.)"
    )


def unchecked(result: Any) -> str:
    """That the gradient was not compared with anything, if that is so."""
    if result.entry is not None:
        blind = "the residuals are not finite on both sides of this point"
        return f" (The Jacobian given could not be checked: {blind}.)" * bool(np.isnan(result.entry.given))
    if result.compared_with == "nothing":
        return " (The gradient given was not checked: params are sharded over several devices.)"
    if result.compared_with and not all(np.isfinite(x).all() for x in jax.tree.leaves(result.automatic)):
        return " (The gradient given could not be checked: the loss is not finite on both sides of this point.)"
    return ""
