"""What a step of a gradient method tells of the loss, its rise and its curvature; and the first step.

The proximal gradient methods, PANOC and projected L-BFGS share it.
"""

import jax
import jax.numpy as jnp

from gdjax.jaxtools.forward_jacobian import piecewise
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

PROBE = 1e-2  # length of the first trial step in units of 1 + |x|, or |f| / |g|: it only measures the curvature
LEAP = 10.0  # factor on a step so short that the loss shows no curvature
ROUNDED = 0.05  # a change of the gradient by so large a share is no rounding, in half precision neither
BLURRED = 10.0  # noises by which the loss may seem to change in a step too short to change it


def probe(gg: Scalar, xx: Scalar, value: Scalar) -> Scalar:
    """The first step, from the squared norms of gradient and x, and the loss."""
    norm, size = jnp.sqrt(jnp.where(gg > 0, gg, 1)), vector.root(xx)
    reach = jnp.maximum(jnp.abs(value) / norm, size)  # in small units 1 is far away
    return PROBE * jnp.where(reach > 0, jnp.minimum(1 + size, reach), 1) / norm


def change(objective: Objective, before: Point, point: Point) -> tuple[Scalar, Scalar, Scalar]:
    """Rise of the loss over a step, as the slopes imply it where rounding hides it; the slope before; |step|^2.

    Where not even what the slopes imply is above the noise, values say nothing of the step.
    """
    s = vector.subtract(point.x, before.x)
    pairs = (s, before.grad), (s, point.grad), (s, s)
    slope, slope_after, ss = objective.dots(*pairs)
    rounding = objective.rounding(before.x, before.grad)
    noise = objective.search_noise(before.loss) + jnp.minimum(rounding, objective.eps**0.5 * jnp.abs(before.loss))
    noise = jnp.where(jnp.abs(slope) + jnp.abs(slope_after) <= noise, BLURRED * noise, noise)
    rise = point.loss - before.loss
    return jnp.where(jnp.abs(rise) <= noise, 0.5 * (slope + slope_after), rise), slope, ss


def steepness(objective: Objective, before: Point, point: Point) -> Scalar:
    """``|y|^2 / s'y`` between two points (|y| / |s| where the loss is not convex); 0 where y is rounding."""
    s, y = vector.subtract(point.x, before.x), vector.subtract(point.grad, before.grad)
    pairs = (s, s), (s, y), (y, y), (point.grad, point.grad)
    ss, sy, yy, gg = objective.dots(*pairs)
    known = (ss > 0) & (yy > min(100 * objective.eps, ROUNDED) ** 2 * gg)

    def steep(ss: Scalar, sy: Scalar, yy: Scalar, known: jax.Array) -> Scalar:
        return jnp.where(known, jnp.where(sy > 0, yy / sy, jnp.sqrt(yy / ss)), 0)

    return piecewise(steep)(ss, sy, yy, known)


def parabola(slope: Scalar, rise: Scalar, finite: jax.Array) -> Scalar:
    """Where the parabola with this slope and rise over a step is least, as a share of it between 0.1 and 0.5."""
    least = -0.5 * slope / (rise - slope)
    return jnp.where(finite & jnp.isfinite(least), jnp.clip(least, 0.1, 0.5), 0.1)
