"""What the loop remembers of a descent, in scalars: all that the stopping tests and their sentences need."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.methods.base import Kkt, Outcome
from gdjax.problem.objective import Objective, Point
from gdjax.vectors.vector import Scalar, namespace

# New highest values in a row, without progress, that make a run-away (see `stopping`), and evaluations
# without progress after which the sentence of a limit no longer says that the loss was falling.
PATIENCE = 10
# The curvature along the steps is measured in every eighth trip in a row without a lower value: near the
# floor, where it is needed, and hardly ever before (in every such trip it doubled the cost of slow descents).
MEASURE = 8
# The gradient makes progress when its norm falls by a tenth: at the rounding floor it wanders by a few
# percent, which without this margin counted as progress and kept float32 runs going to their limit.
GRAD_PROGRESS = 0.9


class Trip(NamedTuple):
    """One turn of the loop."""

    before: Point  # the iterate before
    point: Point  # what was evaluated
    after: Point  # the iterate after: `before` or `point`
    outcome: Outcome


class Progress(NamedTuple):
    """Scalars of one descent; values in the minimiser's sign, norms are infinity norms of gradients."""

    evals: jax.Array  # evaluations of the loss
    steps: jax.Array  # accepted points beyond the start; -1 before the start is evaluated
    start_value: Scalar
    start_norm: Scalar
    lowest: Scalar  # lowest value seen, of trials that were refused as well
    largest_norm: Scalar  # largest gradient norm seen at points no higher than the start
    best_value: Scalar  # of the best point: the smallest gradient among values within noise of the lowest
    best_norm: Scalar
    at_best: jax.Array  # whether the iterate is the best point
    mark_value: Scalar  # value and gradient norm at their last progress (beyond noise; by a tenth)
    mark_norm: Scalar
    highest: Scalar  # highest value since the last progress
    first_rise: Scalar  # by how much the value first rose after it
    last_rise: Scalar  # and to the highest from the highest before
    idle: jax.Array  # evaluations since the last progress
    rises: jax.Array  # new highest values since the last progress
    level: jax.Array  # evaluations since the value last fell
    frozen: jax.Array  # accepted points in a row with the same value and gradient norm
    curvature: Scalar  # along the last step, negative unless it overshot, as last measured (see `secants`); 0 before
    stable_rate: Scalar  # step per gradient that this curvature allows, at most half the one measured
    predicted: Scalar  # decrease that is still to be had, as far as is known; inf if it is not
    promise: Scalar  # the same by the method's model, or the last secant, at the iterate; inf if it is not known
    span: Scalar  # change of the value, to first order, if every parameter changed by its own size; 0 if not known
    stiffness: Scalar  # smallest |y| / |s| measured
    settled: jax.Array  # whether the step that would undo the gradient is within the rounding of x, as last measured
    nonfinite: jax.Array  # trials in a row, since the last accepted point, where the loss was not finite
    inward: Scalar  # with spaces, the largest share that is left of a slope back inside; 0 if there are none
    cosine: Scalar | None  # at the iterate, of the angle between the residuals and the columns of their Jacobian
    blind: jax.Array | None = None  # whether the residuals do not see there what they have seen on the way
    kkt: Kkt | None = None  # at the iterate, with constraints


def begin(objective: Objective, least_squares: bool = False) -> Progress:
    """Before the first evaluation."""
    count = jnp.asarray(0, jnp.int32)
    inf, zero = (jnp.asarray(v, objective.dtype) for v in (jnp.inf, 0.0))
    return Progress(
        evals=count,
        steps=count - 1,
        start_value=zero,
        start_norm=zero,
        lowest=inf,
        largest_norm=zero,
        best_value=inf,
        best_norm=inf,
        at_best=jnp.asarray(True),
        mark_value=inf,
        mark_norm=inf,
        highest=-inf,
        first_rise=zero,
        last_rise=zero,
        idle=count,
        rises=count,
        level=count,
        frozen=count,
        curvature=zero,
        stable_rate=zero,
        predicted=inf,
        promise=inf,
        span=zero,
        stiffness=inf,
        settled=jnp.asarray(False),
        nonfinite=count,
        inward=zero,
        cosine=inf if least_squares else None,
        blind=jnp.asarray(False) if least_squares else None,
        kkt=None if objective.constrained is None else Kkt(inf, inf, inf, zero + 1, *3 * (jnp.asarray(False),)),
    )


def finite(p: Progress) -> Progress:
    """As a result holds it: what is not known is the largest number, not infinite (`jax.debug_infs` would object)."""
    most = jnp.finfo(p.predicted.dtype).max
    unknown = dict(predicted=p.predicted, promise=p.promise, stiffness=p.stiffness)
    known: Any = {name: jnp.minimum(x, most) for name, x in unknown.items()}
    if p.kkt is not None:
        p = p._replace(kkt=jax.tree.map(lambda x: x if x.dtype == bool else jnp.minimum(x, most), p.kkt))
    return p._replace(highest=jnp.maximum(p.highest, -most), **known)


def size_of(value: Scalar, start_value: Scalar) -> Scalar:
    """The size of a value, for a gradient to be compared with: ``|f| + min(1, |f at the start|)``.

    (The rule of the field has 1 in place of the second term, and calls a loss in small units converged at its start.)
    """
    xp = namespace(value)
    return xp.abs(value) + xp.minimum(1, xp.abs(start_value))


def gradient_threshold(tol: Scalar, p: Progress, value: Scalar) -> Scalar:
    """The gradient norm that counts as zero."""
    return tol * namespace(value).minimum(size_of(value, p.start_value), p.largest_norm)


class Standing(NamedTuple):
    """What is known of the best point, and of the values that it is compared with."""

    start_value: Scalar
    lowest: Scalar
    best_value: Scalar
    best_norm: Scalar
    at_best: jax.Array
    largest_norm: Scalar


def compare(objective: Objective, trip: Trip, p: Progress, at_start: jax.Array) -> Standing:
    """Whether the iterate, or a trial that was refused, is the best point."""
    point, after, accepted = trip.point, trip.after, trip.outcome.accepted
    f, g, composite = objective.merit(after), after.grad_norm, objective.composite
    noise = objective.noise(f)
    start_value = jnp.where(at_start, f, p.start_value)
    lowest = jnp.where(accepted, jnp.minimum(p.lowest, f), p.lowest)
    best_is_stale = p.best_value > lowest + noise
    better = accepted & (f <= lowest + noise) & (best_is_stale | (g <= p.best_norm))
    # A trial that was refused, because it was not low or not flat enough, may be the lowest point seen all the same.
    # (Not with a constraint that it meets to within rounding alone: that may be why it is lower.)
    exact = composite is None or composite.bounds is not None
    low = exact & was_refused(trip) & is_finite(point) & (point.value < p.best_value - objective.noise(point.value))
    known = composite is None or composite.value_is_known
    not_above = (f <= start_value + noise) | ~jnp.asarray(known)
    return Standing(
        start_value=start_value,
        lowest=jnp.where(low, point.value, lowest),
        best_value=jnp.where(better, f, jnp.where(low, point.value, p.best_value)),
        best_norm=jnp.where(better, g, jnp.where(low, point.grad_norm, p.best_norm)),
        at_best=jnp.where(accepted, better, p.at_best & ~low),
        largest_norm=jnp.where(accepted & not_above, jnp.maximum(p.largest_norm, g), p.largest_norm),
    )


def was_refused(trip: Trip) -> jax.Array:
    """Whether the trip evaluated the loss at a point that was not taken."""
    return ~trip.outcome.accepted & ~jnp.asarray(trip.outcome.product)


def is_finite(point: Point) -> jax.Array:
    """Whether value and gradient are."""
    return jnp.isfinite(point.value) & jnp.isfinite(point.grad_norm)


def enter(objective: Objective, tol: Scalar, trip: Trip, p: Progress) -> tuple[Progress, jax.Array]:
    """Enter the scalars of a trip; also whether to measure (see `secants`). ``tol`` is that of the gradient test."""
    before, point, after, outcome = trip
    accepted, f, g = outcome.accepted, objective.merit(after), after.grad_norm
    product, refused = jnp.asarray(outcome.product), was_refused(trip)
    steps = p.steps + accepted.astype(jnp.int32)
    at_start = accepted & (steps == 0)

    fell = accepted & (f < p.mark_value - objective.noise(f))
    flatter = accepted & (g < GRAD_PROGRESS * p.mark_norm)
    moved_on = fell | flatter
    higher = accepted & (f > p.highest)
    same = accepted & (f == before.value) & (g == before.grad_norm)

    trial = 1 - product.astype(jnp.int32)
    level = jnp.where(fell, 0, p.level + trial)
    rises = jnp.where(moved_on, 0, p.rises + higher.astype(jnp.int32))
    rising = higher & (rises > 0)
    predicted = jnp.where(fell, jnp.inf, p.predicted)
    promise = jnp.full_like(f, jnp.inf) if outcome.predicted is None else outcome.predicted
    silent = objective.composite is not None  # a subgradient of the sum tells of no decrease like g'Hg
    now = p._replace(
        **compare(objective, trip, p, at_start)._asdict(),
        evals=p.evals + 1 + outcome.extra_evals,
        steps=steps,
        start_norm=jnp.where(at_start, g, p.start_norm),
        mark_value=jnp.where(fell, f, p.mark_value),
        mark_norm=jnp.where(flatter, g, p.mark_norm),
        highest=jnp.where(moved_on | higher, f, p.highest),
        first_rise=jnp.where(rising & (rises == 1), f - p.highest, p.first_rise),
        last_rise=jnp.where(rising, f - p.highest, p.last_rise),
        idle=jnp.where(moved_on, 0, p.idle + trial),
        rises=rises,
        level=level,
        frozen=jnp.where(same, p.frozen + 1, jnp.where(accepted, 0, p.frozen)),
        predicted=jnp.minimum(predicted, jnp.where(product, jnp.inf, promise)),
        promise=jnp.full_like(f, jnp.inf) if silent else promise,
        span=p.span if silent or outcome.span is None else jnp.where(accepted, outcome.span, p.span),
        settled=(p.settled & ~moved_on) | (False if outcome.settled is None else outcome.settled),
        nonfinite=jnp.where(accepted, 0, p.nonfinite + (refused & ~is_finite(point)).astype(jnp.int32)),
        cosine=outcome.cosine,
        blind=outcome.blind,
    )
    if outcome.cosine is not None:
        # Of least squares the model is known, so nothing is measured, and values that only fall do not run away.
        same_as_ever = ("highest", "first_rise", "last_rise", "rises", "level")
        return now._replace(**{name: getattr(p, name) for name in same_as_ever}), jnp.asarray(False)
    wanted = jnp.where(rising, rises == 1, ~product & (level % MEASURE == MEASURE - 1))
    if outcome.predicted is None:
        wanted |= refused | (accepted & (g <= gradient_threshold(tol, now, f)))
    if outcome.settled is None:
        wanted |= accepted & (steps <= 2)
    return now, (p.steps >= 0) & wanted  # there is a point before
