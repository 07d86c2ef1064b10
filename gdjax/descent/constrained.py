"""The books of a descent with constraints: which point is the best, when it has converged, what else may end it.

The value that a method minimises there is a merit function, another one after each update. So what is compared is the
loss and the violation, and what is tested are the optimality conditions.
"""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.descent.limits import Limits
from gdjax.descent.progress import Progress, Trip, is_finite
from gdjax.descent.stopping import Status, is_success
from gdjax.methods.base import Kkt, Outcome
from gdjax.methods.parts.merit import row_norms
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

# A loss that is so low at a feasible point, in units of 1 + |f at the start|, has no minimum there.
BOTTOMLESS = 1e15
# Part of the lengths of the gradients of violated constraints up to which their sum is as good as zero, in square roots
# of eps, and at least.
CANCELLED, LEAST = 10.0, 1e-5
VANISHED = 0.1  # part of a violation that its gradient must take away in the parameters' own sizes


def enter(objective: Objective, tol: Scalar, trip: Trip, p: Progress) -> Progress:
    """Enter the scalars of a trip. The best point is the lowest of least violation."""
    _, point, after, outcome = trip
    accepted, kkt = outcome.accepted, known(outcome)
    steps = p.steps + accepted.astype(jnp.int32)
    at_start = accepted & (steps == 0)
    violation = jnp.where(at_start, kkt.violation, point.seen.violation)  # then the sizes of constraints are known
    violation, f = jnp.where(violation <= tol, 0, violation), point.loss
    lower = (violation < p.best_norm) | ((violation == p.best_norm) & (f < p.best_value - objective.noise(f)))
    better = is_finite(point) & lower
    moved_on = better | (accepted & (kkt.stationarity < 0.9 * p.mark_norm))
    norm = after.grad_norm / kkt.weight
    return p._replace(
        evals=p.evals + 1 + outcome.extra_evals,
        steps=steps,
        start_value=jnp.where(at_start, after.loss, p.start_value),
        start_norm=jnp.where(at_start, norm, p.start_norm),
        lowest=jnp.where(better & (violation == 0), f, p.lowest),
        largest_norm=jnp.maximum(p.largest_norm, jnp.where(accepted, norm, 0)),
        best_value=jnp.where(better, f, p.best_value),
        best_norm=jnp.where(better, violation, p.best_norm),
        at_best=jnp.where(better, accepted, p.at_best & ~accepted),
        mark_norm=jnp.where(accepted, jnp.minimum(kkt.stationarity, p.mark_norm), p.mark_norm),
        idle=jnp.where(moved_on, 0, p.idle + 1),
        nonfinite=jnp.where(accepted, 0, p.nonfinite + (~accepted & ~is_finite(point)).astype(jnp.int32)),
        kkt=kkt,
    )


def is_improved(before: Progress, now: Progress) -> jax.Array:
    """Whether a trip showed a better point."""
    return (now.best_norm != before.best_norm) | (now.best_value != before.best_value)


def known(outcome: Outcome) -> Kkt:
    """What a method for constraints says in each of its outcomes."""
    assert outcome.kkt is not None
    return outcome.kkt


def holds(kkt: Kkt, tol: Scalar) -> jax.Array:
    """Whether the optimality conditions hold, all of them."""
    return (kkt.stationarity <= tol) & (kkt.violation <= tol) & (kkt.complementarity <= tol)


def status(objective: Objective, stop: Limits, p: Progress, trip: Trip) -> jax.Array:
    """The status after a trip, an int32: that of the first test that holds, or RUNNING. Nothing but scalars."""
    kkt, f = known(trip.outcome), trip.after.loss
    feasible = kkt.violation <= stop.tol
    bottom = -BOTTOMLESS * (1 + jnp.abs(p.start_value))
    met = feasible & (kkt.complementarity <= stop.tol)
    flat = False if stop.gradient is None else met & (trip.after.grad_norm <= stop.gradient * kkt.weight)
    tests = {
        Status.NONFINITE_START: p.steps < 0,
        Status.UNBOUNDED: feasible & (f < bottom),
        Status.TARGET_REACHED: False if stop.target is None else feasible & (f <= stop.target),
        Status.CONVERGED: holds(kkt, stop.tol) | flat,
        Status.INFEASIBLE: kkt.impossible & ~feasible,
        Status.PRECISION_FLOOR: kkt.exhausted & holds(kkt, stop.floor),
        Status.DEGENERATE: kkt.exhausted & kkt.degenerate & feasible,
        Status.STALLED: kkt.exhausted,
        Status.MAX_STEPS: p.steps >= stop.max_steps,
        Status.MAX_EVALS: p.evals >= stop.max_evals,
    }
    code = jnp.asarray(Status.RUNNING, jnp.int32)
    for reason, met_now in reversed(tests.items()):
        if met_now is not False:
            code = jnp.where(met_now, reason, code)
    return code


def review(objective: Objective, terms: Any, code: jax.Array, point: Point) -> jax.Array:
    """Success is none where no way leads to less violation, though the tolerance would allow what there is of it.

    With r the violations, of the sizes of the constraints, and g = J'r, none does where the rows of J cancel each other
    (or bounds hold what they do not), or where J vanishes: then not even as far as the parameters' own sizes
    would ``g'dx`` take ``r'r`` away. Rounding is no violation: equalities given twice may differ by it.
    """
    limits = objective.constrained
    assert limits is not None
    x = point.x
    c, pull = jax.vjp(limits.values, x)
    off = limits.excess(c) / terms.sizes
    g = pull(off / terms.sizes)[0]
    if objective.composite is not None:
        low, high = objective.composite.ends
        g = jnp.where(((x <= low) & (g > 0)) | ((x >= high) & (g < 0)), 0, g)
    lengths = jnp.sum(jnp.abs(off) * row_norms(limits, x, jnp.ones_like(x)) / terms.sizes)
    cancelled = vector.max_abs(g) <= max(CANCELLED * objective.eps**0.5, LEAST) * lengths
    most = jnp.maximum(jnp.abs(objective.start), vector.max_abs(x))
    own = jnp.maximum(jnp.abs(x), LEAST * jnp.where(most > 0, most, 1))
    vanished = vector.dot(jnp.abs(g), own) <= VANISHED * vector.dot(off, off)
    shown = vector.largest(jnp.abs(off)) > objective.eps ** (2 / 3)
    return jnp.where(is_success(code) & (cancelled | vanished) & shown, Status.INFEASIBLE, code)
