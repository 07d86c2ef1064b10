"""Newton's method in a box, for few parameters: what `ProjectedLBFGS` is with the Hessian in place of its pairs.

D. P. Bertsekas, Projected Newton methods for optimization problems with simple constraints, SIAM J. Control Optim. 20
(1982).
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.jaxtools.scalar_kernels import bounded_loop
from gdjax.methods.parts.merit import seen
from gdjax.methods.parts.newton_kkt import invert_shifted
from gdjax.methods.parts.pairs import Pairs
from gdjax.methods.projected_lbfgs import GROW, Model, ProjectedLBFGS, bounds_of, length_of, units_of
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import matmul

# A Hessian says little of far away: a step may be as long as the parameters, or so much longer than the last one.
LONGER = 10.0
MEETINGS = 5  # steps that are tried until one stays inside
TURNS = 5  # of Ruiz's iteration, each of which halves what is missing, in powers of ten
HELD = 1e4  # of the curvature of a parameter, the most that may hold it
STRAIGHT = 1e-6  # curvature, of the slope, that is as good as none: the largest t leaves a step of its own size
NEAR = 0.01  # of its own size, from which on a bound may hold a parameter


@pytree_dataclass
class ProjectedNewton(ProjectedLBFGS):
    """``d_F = -(H_FF + t D)^{-1} g_F``, with the least t of a few that makes the matrix positive definite.

    D is diagonal, in the units of each variable. A bound holds a variable that is within a hundredth of its size (as
    in Bertsekas' set of active ones), and one that the step would take beyond.

    The inner method of `AugmentedLagrangian` for small problems: the narrow curved valleys that penalties make are
    what a Hessian sees at once, and pairs of gradients only after some steps. Where no t helps, the pairs do.
    """

    name: ClassVar[str] = "Newton's method with bounds"

    def growth(self, point: Point) -> Any:
        """None where violations alone are minimised: a minimum far away is worth no more than a near one."""
        return jnp.where(seen(point).weight > 0, GROW, 0)

    def model(self, objective: Objective, pairs: Pairs, units: jax.Array, before: Point, point: Point) -> Model:
        """By one product with the Hessian for each parameter."""
        x, (lower, upper) = point.x, bounds_of(objective)
        gradient = lambda x: objective.evaluate(x).grad
        unit = jnp.eye(x.size, dtype=x.dtype)
        rows = jax.lax.map(lambda v: jax.jvp(gradient, (x,), (v,))[1], unit)
        hessian, known = (rows + rows.T) / 2, super().model(objective, pairs, units, before, point)
        sizes = units_of(objective, x)
        metric = metric_of(hessian, point.grad, sizes)
        last = jnp.where(before.is_blank, 0, length_of(x - before.x))
        reach = jnp.maximum(LONGER * last, jnp.maximum(1, length_of(x)))

        def value(d: jax.Array) -> jax.Array:
            """Of the model, where d leads in the box; infinite where d is not finite."""
            s = jnp.clip(x + d, lower, upper) - x
            q = vector.dot(s, point.grad + matmul(hessian, s) / 2)
            return jnp.where(jnp.all(jnp.isfinite(d)), q, jnp.inf)

        def direction(g: jax.Array, free: jax.Array) -> jax.Array:
            """The first step or the last one, whichever the model says is lower; if neither is, a shorter one."""

            def turn(state: Any) -> Any:
                """A step of what is left free, while the others move so; what it takes beyond a bound is held there."""
                left, d, first, count = state
                careful = count == MEETINGS  # then all are free again, and t so large that the model falls
                left, d = jnp.where(careful, free, left), jnp.where(careful, 0, d)
                inner = jnp.where(left[:, None] & left[None, :], hessian, jnp.where(unit > 0, metric[None, :], 0))
                pull = jnp.where(left, point.grad + matmul(hessian, jnp.where(left, 0, d)), 0)
                step = lambda inverse: jnp.where(left, -matmul(inverse, pull), d)
                fits = lambda d: (length_of(jnp.where(left, d, 0)) <= reach) & (~careful | (value(d) < 0))
                d = step(invert_shifted(inner, metric, lambda inverse: fits(step(inverse))))
                hit = left & ((x + d < lower) | (x + d > upper))
                met, first = jnp.where(hit, jnp.clip(x + d, lower, upper) - x, d), jnp.where(count == 0, d, first)
                ends = ~jnp.any(hit) | (count + 1 >= MEETINGS)
                best = jnp.where(careful, d, jnp.where(value(met) < value(first), met, first))
                falls = (value(best) < 0) & (vector.dot(jnp.where(free, best, 0), g) <= 0)
                count = jnp.where(ends, jnp.where(careful | falls, MEETINGS + 1, MEETINGS), count + 1)
                return left & ~hit, jnp.where(ends, best, met), first, count

            begun = free, jnp.zeros_like(g), jnp.zeros_like(g), jnp.asarray(0, jnp.int32)
            d = bounded_loop(lambda s: s[3] <= MEETINGS, turn, begun, MEETINGS + 1)[1]
            return jnp.where(jnp.all(jnp.isfinite(d)), d, known.step(g, free))

        near = NEAR * sizes / jnp.where(point.grad == 0, 1, jnp.abs(point.grad))
        return Model(direction, jnp.minimum(1 / metric, near))


def metric_of(hessian: jax.Array, g: jax.Array, sizes: jax.Array) -> jax.Array:
    """D: the largest curvature, by parameters that are each measured in its own size; shape (n,).

    That would hold a parameter that is near zero for ever. So D is not much larger than ``1 / r^2``, the diagonal
    beside which each row of the Hessian is 1 at most, ``|r_i H_ij r_j| = 1`` (D. Ruiz, A scaling algorithm to
    equilibrate both rows and columns norms in matrices, RAL-TR-2001-034). Without curvature the slope gives its size.
    """
    in_units = lambda r: jnp.max(jnp.abs(hessian) * r[:, None] * r[None, :], axis=1)
    largest = jnp.maximum(vector.largest(in_units(sizes)), STRAIGHT * vector.max_abs(g * sizes))
    own = jnp.where(largest > 0, largest, 1) / (sizes * sizes)
    r = sizes
    for _ in range(TURNS):
        rows = in_units(r)
        r = r / jnp.sqrt(jnp.where(rows > 0, rows, 1))
    return jnp.where(rows > 0, jnp.minimum(own, HELD / (r * r)), own)
