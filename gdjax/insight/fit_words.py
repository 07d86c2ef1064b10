"""What a fit has to say of its table: why a number is missing, and when the others do not hold."""

from typing import Any

import jax
import numpy as np

from gdjax.descent.stopping import Status
from gdjax.insight.spread import COARSE
from gdjax.spaces.results import at_ends, is_fixed

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
    layout = fit.layout
    flat = lambda penalty, params: tuple(map(layout.ravel, penalty.bounds(params)))
    lower, upper = jax.device_get(fit.for_each(flat)(fit.penalty, fit.params))
    x = np.asarray(fit.flat)
    return (x <= lower) | (x >= upper)


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


def of_many(fit: Any) -> str:
    """How many of many fits lack something, in a sentence; empty if none does."""
    counts = {name: int(np.sum(of if of.shape == fit.code.shape else of.any(-1))) for name, of in missing(fit).items()}
    said = [f"{counts[name]} {'has' if counts[name] == 1 else 'have'} {text}" for name, text in MANY if counts[name]]
    return f"Of these fits {', '.join(said)}." if said else ""
