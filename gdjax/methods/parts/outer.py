"""When an augmented Lagrangian is updated, and how: multipliers, penalties, tolerance; and what it has come to.

E. G. Birgin and J. M. Martinez, Practical Augmented Lagrangian Methods for Constrained Optimization, SIAM (2014).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.methods.base import Kkt
from gdjax.methods.parts.merit import Terms, known, largest_penalty, seen
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

FIRST_TOLERANCE = 1.0  # of the first minimisation, for a gradient that is 100 at most
FALL = 0.25  # what may be left of a violation at an update; otherwise its penalty grows
GROW = 10.0  # by this factor
LARGEST_MULTIPLIER = 1e9  # in float64
PATIENCE = 20  # evaluations without progress after which a minimisation has ended
MOST_TRIPS = 1000  # of one minimisation
STUCK = 4  # updates in a row that leave the violation: then it alone is minimised
RESTORATIONS = 5
RESTORED = 0.1  # what may be left of the violation when the loss is taken in again
BESIDE = 1e-3  # of the parameters' own sizes, by which its start is moved
RUNAWAY = 1e8  # fall of the merit function, of its size at first, that only a penalty which is too small explains
AWAY = 5.0  # a lower value with a violation so much larger than it was, or than a constraint: so does that
FRUITLESS = 12  # updates in a row without a smaller residual after which there is no more to be had


class Nearest(NamedTuple):
    """The point seen that violates the constraints least; of feasible ones the lowest."""

    x: Vector
    c: jax.Array
    loss: Scalar


class Schedule(NamedTuple):
    """Where the outer method stands."""

    tolerance: Scalar  # of the minimisation under way
    error: jax.Array  # of each constraint at the last update: violation, or distance to its bound; shape (m,)
    trips: jax.Array  # since the last update
    begun: Scalar  # merit at the start of it
    mark_value: Scalar  # and at its last progress
    mark_norm: Scalar
    idle: jax.Array  # evaluations since then
    least: Scalar  # violation at an update
    stuck: jax.Array  # updates in a row that left it
    residual: Scalar  # the smallest of the optimality conditions at an update
    fruitless: jax.Array  # updates since then
    restorations: jax.Array
    violation: Scalar  # the least of the minimisation under way
    impossible: jax.Array  # whether the iterate is stationary for the violation
    again: jax.Array  # whether the trial is the iterate once more, under another merit function
    nearest: Nearest


def begin(objective: Objective) -> Schedule:
    """Before the first evaluation."""
    dtype, size = objective.dtype, known(objective).size
    inf, count, no = jnp.full((), jnp.inf, dtype), jnp.asarray(0, jnp.int32), jnp.asarray(False)
    return Schedule(
        tolerance=inf,
        error=jnp.full(size, jnp.inf, dtype),
        trips=count,
        begun=inf,
        mark_value=inf,
        mark_norm=inf,
        idle=count,
        least=inf,
        stuck=count,
        residual=inf,
        fruitless=count,
        restorations=count,
        violation=inf,
        impossible=no,
        again=no,
        nearest=Nearest(objective.start, jnp.zeros(size, dtype), inf),
    )


def nearest(objective: Objective, terms: Terms, old: Nearest, point: Point, first: jax.Array) -> Nearest:
    """Whether that is a point just evaluated: by the squares that a restoration makes small, as the scales now are."""
    squares = lambda c: vector.dot(x := terms.scales * known(objective).excess(c), x)
    now = Nearest(point.x, seen(point).c, point.loss)
    left, before = squares(now.c), squares(old.c)
    nearer = (left < before) | ((left == before) & (now.loss < old.loss))
    return vector.where(first | nearer, now, old)


def follow(
    function: Objective, old: Schedule, begins: jax.Array, iterate: Point, violation: Scalar, accepted: jax.Array
) -> Schedule:
    """Whether the inner method makes progress."""
    fell = iterate.value < old.mark_value - function.noise(iterate.value)
    flatter = iterate.grad_norm < 0.9 * old.mark_norm
    moved = begins | (accepted & (fell | flatter))
    return old._replace(
        trips=jnp.where(begins, 0, old.trips + 1),
        begun=jnp.where(begins, iterate.value, old.begun),
        violation=jnp.where(begins, violation, jnp.minimum(violation, old.violation)),
        mark_value=jnp.where(begins | fell, iterate.value, old.mark_value),
        mark_norm=jnp.where(begins | flatter, iterate.grad_norm, old.mark_norm),
        idle=jnp.where(moved, 0, old.idle + 1),
        again=jnp.asarray(False),
        impossible=jnp.asarray(False),
    )


def is_lost(terms: Terms, schedule: Schedule, iterate: Point, violation: Scalar) -> jax.Array:
    """Whether penalties are too small for the merit function to have a minimum near here."""
    bottomless = iterate.value < -RUNAWAY * (1 + jnp.abs(schedule.begun))
    away = (iterate.value < schedule.begun) & (violation > AWAY * jnp.maximum(1, schedule.violation))
    return bottomless | (away & jnp.any(terms.penalty < largest_penalty(terms.penalty.dtype)))


def restoration_start(objective: Objective, terms: Terms, old: Nearest) -> Vector:
    """The point of least violation; a little beside it, if it is not feasible.

    There the violation may be stationary and yet no minimum (that of ``x^2 >= 1`` at 0): a descent goes on from beside.
    """
    x = old.x
    own = jnp.maximum(jnp.abs(x), jnp.abs(objective.start))
    largest = vector.max_abs(own)
    size = jnp.where(own > 0, own, jnp.where(largest > 0, largest, 1))
    away = BESIDE * size * jnp.cos(1 + jnp.arange(x.size).astype(x.dtype))
    off = vector.largest(jnp.abs(known(objective).excess(old.c)) / terms.sizes)
    beside = jnp.where(off > feasible(objective), x + away, x)
    return beside if objective.composite is None else jnp.clip(beside, *objective.composite.ends)


def stays_near(objective: Objective, schedule: Schedule, iterate: Point, point: Point) -> jax.Array:
    """Whether a step of Newton's may be taken: once violations had to be restored, it must not lead back to them."""
    most = AWAY * jnp.maximum(seen(iterate).violation, feasible(objective))
    return (schedule.restorations == 0) | (seen(point).violation <= most)


def next_terms(objective: Objective, terms: Terms, old: Schedule, iterate: Point, kkt: Kkt) -> tuple[Terms, Schedule]:
    """Multipliers, penalties and tolerance after a minimisation."""
    shown = seen(iterate)
    restoring = terms.restoring
    y = shown.multipliers / terms.scales
    error = jnp.abs(y - terms.multipliers) / terms.penalty
    largest = vector.largest(error)
    # A constraint that is violated far less than others can wait (as in alpaqa).
    slow = (error > FALL * old.error) & (error > 0.1 * largest)
    slow &= (kkt.violation > 0) | (kkt.complementarity > 0)
    penalty = jnp.where(slow & ~restoring, GROW * terms.penalty, terms.penalty)
    penalty = jnp.minimum(penalty, largest_penalty(penalty.dtype))
    multipliers = jnp.where(restoring, 0, safe(y))

    fell = (kkt.violation <= 0.5 * old.least) | (kkt.violation <= feasible(objective))
    stuck = jnp.where(fell, 0, old.stuck + 1)
    restore = ~restoring & (stuck >= STUCK) & (old.restorations < RESTORATIONS)
    length = vector.largest(jnp.abs(y))
    impossible = (
        restoring & (iterate.grad_norm <= 100 * feasible(objective) * length) & (kkt.violation > feasible(objective))
    )

    # Where nothing is active the gradient is that of the loss, and never small beside it.
    slope = jnp.minimum(kkt.stationarity, iterate.grad_norm)
    residual = jnp.maximum(jnp.maximum(slope, kkt.violation), kkt.complementarity)
    better = restoring | (residual < 0.9 * old.residual)
    tolerance = jnp.clip(0.1 * largest, 0.01 * old.tolerance, 0.3 * old.tolerance)
    tolerance = jnp.where(restoring, FIRST_TOLERANCE, tolerance)
    schedule = old._replace(
        tolerance=jnp.where(restore, 0, tolerance).astype(tolerance.dtype),
        error=jnp.where(restoring, jnp.inf, error),
        least=jnp.minimum(old.least, kkt.violation),
        stuck=jnp.where(restore | restoring, 0, stuck),
        residual=jnp.minimum(old.residual, residual),
        fruitless=jnp.where(better, 0, old.fruitless + 1),
        restorations=old.restorations + restore.astype(jnp.int32),
        impossible=impossible,
        again=jnp.asarray(True),
    )
    return terms._replace(multipliers=multipliers, penalty=penalty, restoring=restore), schedule


def feasible(objective: Objective) -> float:
    """The violation, of the size of a constraint, that counts as none while the method chooses what to do."""
    return max(1e-7, 0.1 * objective.eps**0.5)


def safe(multipliers: jax.Array) -> jax.Array:
    """The multipliers in a box, which keeps the method from following those that run away."""
    most = jnp.asarray(largest_multiplier(multipliers.dtype), multipliers.dtype)
    return jnp.clip(multipliers, -most, most)


def largest_multiplier(dtype: jnp.dtype) -> float:
    """The size of that box."""
    return min(LARGEST_MULTIPLIER, 0.1 / float(jnp.finfo(dtype).eps))


def returning(schedule: Schedule) -> jax.Array:
    """The penalty with which the loss is taken in again after a restoration, larger each time."""
    return GROW ** (2 * schedule.restorations.astype(schedule.tolerance.dtype))


def raised(terms: Terms, old: Schedule) -> tuple[Terms, Schedule]:
    """Larger penalties, where those that there were could not hold the loss.

    Where none can grow the violation alone is minimised, from where a descent goes on with small ones; in the end
    nothing is left to be tried.
    """
    largest = largest_penalty(terms.penalty.dtype)
    spent = jnp.all(terms.penalty >= largest)
    restore = spent & (old.restorations < RESTORATIONS)
    terms = terms._replace(
        penalty=jnp.minimum(GROW**2 * terms.penalty, largest),
        multipliers=jnp.where(restore, 0, terms.multipliers),
        restoring=restore,
    )
    schedule = old._replace(
        tolerance=jnp.where(restore, 0, old.tolerance),
        stuck=jnp.where(restore, 0, old.stuck),
        restorations=old.restorations + restore.astype(jnp.int32),
        fruitless=jnp.where(spent & ~restore, FRUITLESS, old.fruitless),
    )
    return terms, schedule
