"""Newton's method in a box, for few parameters: what `ProjectedLBFGS` is with the Hessian in place of its pairs.

D. P. Bertsekas, Projected Newton methods for optimization problems with simple constraints, SIAM J. Control Optim. 20
(1982).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.methods.parts.newton_kkt import invert_shifted
from gdjax.methods.parts.pairs import Pairs
from gdjax.methods.projected_lbfgs import Model, ProjectedLBFGS, length_of
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import matmul

# A Hessian says little of far away: a step may be as long as the parameters, or so much longer than the last one.
LONGER = 10.0


@pytree_dataclass
class ProjectedNewton(ProjectedLBFGS):
    """``d_F = -(H_FF + t I)^{-1} g_F``, with the least t of a few that makes the matrix positive definite.

    The inner method of `AugmentedLagrangian` for small problems: the narrow curved valleys that penalties make are
    what a Hessian sees at once, and pairs of gradients only after some steps. Where no t helps, the pairs do.
    """

    name: ClassVar[str] = "Newton's method with bounds"

    def model(self, objective: Objective, pairs: Pairs, units: jax.Array, before: Point, point: Point) -> Model:
        """By one product with the Hessian for each parameter."""
        gradient = lambda x: objective.evaluate(x).grad
        unit = jnp.eye(point.x.size, dtype=point.x.dtype)
        rows = jax.lax.map(lambda v: jax.jvp(gradient, (point.x,), (v,))[1], unit)
        hessian, known = (rows + rows.T) / 2, super().model(objective, pairs, units, before, point)
        last = jnp.where(before.is_blank, 0, length_of(point.x - before.x))
        reach = jnp.maximum(LONGER * last, jnp.maximum(1, length_of(point.x)))

        def direction(g: jax.Array, free: jax.Array) -> jax.Array:
            inner = jnp.where(free[:, None] & free[None, :], hessian, 0)
            size = vector.largest(jnp.abs(inner).reshape(-1))
            size = jnp.where(size > 0, size, 1)
            step = lambda inverse: -matmul(inverse, jnp.where(free, g, 0))
            fits = lambda inverse: length_of(step(inverse)) <= reach
            d = step(invert_shifted(inner + unit * jnp.where(free, 0, size)[None, :], size, fits))
            return jnp.where(jnp.all(jnp.isfinite(d)), d, known(g, free))

        return direction
