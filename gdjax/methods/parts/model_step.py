"""The step that minimises the residuals to first order, in a radius and in bounds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.scalar_kernels import branch
from gdjax.methods.parts.bounds import within
from gdjax.methods.parts.damped_step import damped_step
from gdjax.methods.parts.geodesic import accelerated
from gdjax.methods.parts.linearised import Linear
from gdjax.methods.parts.row_space import step_in_row_space
from gdjax.methods.parts.triangular import norm, product
from gdjax.problem.objective import Objective, Point
from gdjax.vectors.vector import Scalar


class Step(NamedTuple):
    """What the model proposes."""

    p: jax.Array
    change: jax.Array  # R D p
    damping: Scalar
    length: Scalar  # |D p|
    promise: Scalar  # the decrease that the model has to offer without a radius


def next_step(
    objective: Objective,
    point: Point,
    linear: Linear,
    scale: jax.Array,
    radius: Scalar,
    damping: Scalar,
    acceleration: bool,
) -> Step:
    """The step from a point in the radius, and in the bounds; bent with ``acceleration``.

    Args:
        objective, point, linear: where it is, and the residuals there to first order.
        scale: D, shape (n,).
        radius: of the step, |D p|.
        damping: a guess of it.
        acceleration: see `LevenbergMarquardt`.
    """
    used = jnp.where(scale > 0, scale, 1)
    r = linear.triangle * (linear.columns / used)[None, :]
    if r.shape[0] < r.shape[1]:
        y, damping, promise = step_in_row_space(r, linear.q, radius, damping)
    else:
        (y, damping), promise = damped_step(r, linear.q, radius, damping), 0.5 * jnp.sum(linear.q**2)
    p = within(objective, point.x, y / used)
    y = y if objective.composite is None else used * p
    bent = p
    if acceleration:  # a step of Gauss and Newton shows that the residuals are straight as far as it goes
        bend = lambda p: accelerated(objective, point, linear, (r, damping), used, p)
        bent = branch(damping > 0, bend, lambda p: p, p)
    change = product(r, y)
    return Step(within(objective, point.x, bent), change, damping, norm(y), promise)
