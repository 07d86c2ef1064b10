"""A Jacobian that the user gave is compared with JAX's, or with the residuals, where the descent ended.

The cosine test asks whether the residuals are at right angles to the columns of the Jacobian. Columns that differ by a
share e of their length change the cosines by no more than e. So the columns must agree to the tolerance of that test
(ten times, as everywhere at the end of a descent), and to a thousandth in any case, because the covariance is made of
them. Rounding is no error, and JAX's derivative may be the wrong one (a rounding operation, a custom rule). So central
differences of the residuals have the last word: along the column that differs most, or, if JAX cannot differentiate the
residuals (a callback), along every parameter if there are few and along a few directions otherwise. Two lengths of
step show how far the differences can be trusted, be it for curvature, noise, or a bound that is near.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.descent.given_gradient import EACH, POWER, SOME, allowed, sizes
from gdjax.descent.limits import FLOOR_SLOPE, Limits
from gdjax.descent.progress import Progress
from gdjax.descent.stopping import Status
from gdjax.jaxtools.varying import cond
from gdjax.methods.parts.linearised import by_jax
from gdjax.methods.parts.triangular import norm
from gdjax.problem.objective import Objective, Point
from gdjax.vectors.vector import Scalar, matmul

COARSEST = 1e-3  # share of a column's length by which it may differ at any tolerance
LONGER = 16.0  # the longer of the two steps of the differences, in units of the shorter
DOUBT = 2.0  # differences are trusted to so many times what their two lengths differ by
JUDGED = (
    Status.CONVERGED, Status.PRECISION_FLOOR, Status.SMALL_DECREASE, Status.SMALL_STEP, Status.MAX_STEPS,
    Status.MAX_EVALS, Status.STALLED, Status.STEP_TOO_SMALL, Status.LINE_SEARCH_FAILED,
)  # fmt: skip


class Entry(NamedTuple):
    """The entry of the Jacobian that differs most from what it was compared with."""

    row: jax.Array  # which residual, of them as one vector
    column: jax.Array  # and which parameter; -1 if it is not known
    given: Scalar
    other: Scalar
    wrong: jax.Array  # whether it counts


class Seen(NamedTuple):
    """What differences of the residuals show along a direction."""

    slopes: jax.Array  # of the residuals, per unit of the move's largest entry, shape (m,)
    missing: jax.Array  # what the Jacobian does not explain of them, shape (m,)
    excess: Scalar  # |missing| in units of what is allowed: more than 1 is an error


def review(
    objective: Objective, stop: Limits, now: Progress, code: jax.Array, point: Point
) -> tuple[jax.Array, Entry | None]:
    """The status of a descent that ended at ``point`` with ``code``, and the worst entry of the Jacobian given."""
    if objective.jacobian is None:
        return code, None
    x = jax.lax.stop_gradient(point.x)
    share = jnp.clip(FLOOR_SLOPE * stop.tol, objective.eps**0.5, COARSEST)
    judged = jnp.any(code == jnp.asarray(JUDGED, code.dtype)) & (now.evals > 0)
    compare = by_differences if objective.automatic is None else by_columns
    none, zero = jnp.asarray(-1, jnp.int32), jnp.zeros((), objective.dtype)
    unseen = lambda x: Entry(none, none, zero, zero, jnp.asarray(False))
    entry = jax.lax.stop_gradient(cond(judged, lambda x: compare(objective, x, share), unseen, x))
    return jnp.where(entry.wrong, Status.WRONG_GRADIENT, code), entry


def by_columns(objective: Objective, x: jax.Array, share: Scalar) -> Entry:
    """The worst entry of the worst column, by JAX's Jacobian, and then by differences along that column."""
    given, other = objective.jacobian(x), by_jax(objective, x)
    apart, size = norm(given - other, axis=0), norm(other, axis=0)
    shares = jnp.where(apart > 0, apart / jnp.where(size > 0, size, jnp.finfo(x.dtype).tiny), 0)
    j = jnp.argmax(shares)
    i = jnp.argmax(jnp.abs(given - other)[:, j])
    step = jnp.where(jnp.arange(x.size) == j, sizes(objective, x), 0)
    seen = difference(objective, x, given, step, share)
    wrong = (shares[j] > share) & ~(seen.excess <= 1)  # where differences are not finite JAX has the last word
    return Entry(i.astype(jnp.int32), j.astype(jnp.int32), given[i, j], other[i, j], wrong)


def by_differences(objective: Objective, x: jax.Array, share: Scalar) -> Entry:
    """The worst entry by central differences alone."""
    given, each = objective.jacobian(x), x.size <= EACH
    places, own = jnp.arange(x.size, dtype=x.dtype), sizes(objective, x)
    along = lambda k: jnp.where(places == k, own, 0) if each else own * jnp.cos((k + 1) * places)
    look = lambda k: difference(objective, x, given, along(k), share)
    seen = jax.lax.map(look, jnp.arange(x.size if each else SOME, dtype=x.dtype))
    excess = jnp.where(jnp.isnan(seen.excess), -1, seen.excess)
    k = jnp.argmax(excess)
    i = jnp.argmax(jnp.abs(seen.missing[k]))
    blind, other = excess[k] < 0, seen.slopes[k, i]
    found = jnp.where(blind, jnp.nan, other - seen.missing[k, i])
    column = jnp.where(blind, -1, k) if each else jnp.full_like(k, -1)
    return Entry(i.astype(jnp.int32), column.astype(jnp.int32), found, other, excess[k] > 1)


def difference(objective: Objective, x: jax.Array, given: jax.Array, step: jax.Array, share: Scalar) -> Seen:
    """Central differences along ``eps^POWER step``, and along a longer one, beside what the Jacobian says of them."""

    def missing(length: float) -> tuple[jax.Array, jax.Array, jax.Array]:
        up, down = (allowed(objective, z) for z in (x + length * step, x - length * step))
        change = objective.residuals(up)[0] - objective.residuals(down)[0]
        return change, change - matmul(given, up - down), up - down

    short = objective.eps**POWER
    change, left, move = missing(LONGER * short)
    doubt = norm(left - LONGER * missing(short)[1])
    most, off, unit = share * norm(change) + DOUBT * doubt, norm(left), jnp.max(jnp.abs(move))
    unit = jnp.where(unit > 0, unit, 1)
    excess = jnp.where(off > 0, off / jnp.where(most > 0, most, jnp.finfo(x.dtype).tiny), 0)
    return Seen(change / unit, left / unit, excess)
