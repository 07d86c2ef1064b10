"""What a step tells of the curvature along it, and of the decrease that is left: measured now and then."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.descent.progress import Progress, Trip
from gdjax.methods.base import Secant
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

# A minimum is found to within the rounding of the parameters when the Newton step is at most this many of
# their roundings: a fixed step of a fiftieth of Newton's freezes at 25, half an ulp over a fiftieth.
SLACK = 32.0


class Known(NamedTuple):
    """Fields of the progress that are measured now and then."""

    curvature: Scalar
    stable_rate: Scalar
    predicted: Scalar
    promise: Scalar
    stiffness: Scalar
    settled: jax.Array


def known(p: Progress) -> Known:
    """What was measured last."""
    return Known(p.curvature, p.stable_rate, p.predicted, p.promise, p.stiffness, p.settled)


def measure(objective: Objective, trip: Trip, products: Secant, old: Known) -> Known:
    """Curvature along the last step s, the rate that it allows, and the Newton decrease that it promises, if any.

    Measured near the floor (see MEASURE), where the value first rises (a run-away; later it is so far out that its
    curvature says nothing of the start), and where the gradient test holds, if the method has no model to ask.

    The curvature is |y| / |s|, y = g(after) - g(before): of the two common secants the one nearer to the
    largest curvature. It is given a minus sign unless the step went downhill and overshot the valley
    (s'g(before) < 0 < s'g(after)). The decrease is g'g s's / 2 s'y; it is known if s'y is positive and more
    than the rounding error of the two gradients. The descent has settled where a change of x by SLACK roundings changes
    the gradient by its own size, ``|g| |s| <= SLACK eps |x| |y|``, and value and slopes are those of a parabola (at a
    kink they are not): then nothing is left.
    """
    outcome = trip.outcome
    ss, slope_before, slope_after, yy, gg, xx, sy = products
    curvature = jnp.sqrt(yy / jnp.where(ss > 0, ss, jnp.inf))  # 0 if the step changed nothing
    # (At a kink the curvature of short steps is enormous; that of longer ones before is not.)
    stiffness = jnp.where(ss > 0, jnp.fmin(old.stiffness, curvature), old.stiffness)
    settled = (ss > 0) & (gg > 0) & (jnp.sqrt(gg) <= SLACK * objective.eps * jnp.sqrt(xx) * stiffness)
    rise, mean = trip.point.value - trip.before.value, 0.5 * (slope_before + slope_after)
    settled &= jnp.abs(rise - mean) <= 0.1 * jnp.abs(rise) + objective.noise(trip.before.value)
    settled &= outcome.settled is None and objective.composite is None
    trusted = settled | (sy > 100 * float(jnp.finfo(sy.dtype).eps) * jnp.sqrt(ss) * jnp.sqrt(gg))
    decrease = jnp.where(settled, 0, 0.5 * gg * (ss / sy))
    overshot = (slope_before < 0) & (slope_after > 0)
    predicted = jnp.where(trusted, jnp.minimum(decrease, old.predicted), old.predicted)
    turned = outcome.accepted & (ss > 0)
    asked = outcome.predicted is None and objective.composite is None
    promise = jnp.where(trusted, decrease, jnp.inf) if asked else old.promise
    return Known(
        curvature=jnp.where(turned, jnp.where(overshot, curvature, -curvature), old.curvature),
        stable_rate=jnp.where(turned, jnp.minimum(1 / curvature, 0.5 * outcome.step_size), old.stable_rate),
        predicted=predicted,
        promise=promise,
        stiffness=stiffness,
        settled=old.settled | settled,
    )


def secant(before: Point, after: Point) -> Secant:
    """The inner products of the step from one point to another."""
    s, y = vector.subtract(after.x, before.x), vector.subtract(after.grad, before.grad)
    pairs = (s, s), (s, before.grad), (s, after.grad), (y, y), (after.grad, after.grad), (after.x, after.x)
    ss, slope_before, slope_after, yy, gg, xx = (z.astype(before.value.dtype) for z in vector.dots(*pairs))
    return Secant(ss, slope_before, slope_after, yy, gg, xx, slope_after - slope_before)
