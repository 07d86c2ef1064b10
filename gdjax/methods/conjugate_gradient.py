"""Nonlinear conjugate gradients: four vectors, for problems too large for any other memory.

W. W. Hager and H. Zhang, A new conjugate gradient method with guaranteed descent and an efficient line search,
SIAM J. Optim. 16 (2005); The limited memory conjugate gradient method, SIAM J. Optim. 23 (2013), for theta and
the lower bound; Y.-H. Dai and C.-X. Kou, SIAM J. Optim. 23 (2013), who found the same theta.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.line_search.base import LineSearch, check_line_search
from gdjax.line_search.more_thuente import MoreThuente
from gdjax.methods.searching import Move, Searching
from gdjax.problem.objective import Objective
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

LOWER_BOUND = 0.4  # eta of beta >= eta d'g / |d|^2 (CG_DESCENT 6: BetaLower)


class Run(NamedTuple):
    """What conjugate gradients remember beside the direction."""

    steps: jax.Array  # steps since the direction was the gradient's


@pytree_dataclass
class ConjugateGradient(Searching):
    """``d <- -g + beta d``, ``beta = (y'g - theta (y'y) (g'd) / d'y) / d'y``, bounded below by ``0.4 d'g_old / |d|^2``.

    The default theta = 1 is that of Dai and Kou, and of Hager and Zhang since 2008. The direction restarts at the
    negative gradient every ``restart * n`` steps, if ``d'y`` is not positive, and if the search fails.

    Args:
        line_search: any of `gdjax.line_search`. Conjugacy needs an accurate one; the default reduces the slope to a
            tenth.
        theta: weight of the second term.
        restart: steps between restarts, in units of the number of parameters (Hager and Zhang: 6).

    >>> import gdjax, jax.numpy as jnp
    >>> rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    >>> gdjax.minimize(rosenbrock, jnp.zeros(10), method=ConjugateGradient()).status.name
    'CONVERGED'
    """

    line_search: LineSearch = MoreThuente(curvature=0.1)
    theta: float | jax.Array = 1.0
    restart: int | jax.Array = 6

    def __post_init__(self) -> None:
        check_line_search(self.line_search)

    def empty(self, objective: Objective) -> Run:
        """No steps."""
        return Run(jnp.asarray(0, jnp.int32))

    def learn(self, memory: Run, move: Move) -> tuple[Run, Vector, Scalar]:
        """The new direction; its first alpha promises the decrease that the last step had promised."""
        g, d, dtype = move.after.grad, move.direction, move.slope.dtype
        y = vector.subtract(g, move.before.grad)
        dy, yg, yy, gd, dd, gg = (z.astype(dtype) for z in vector.dots((d, y), (y, g), (y, y), (g, d), (d, d), (g, g)))
        conjugate = (move.step_size > 0) & (dy > 0) & (memory.steps < self.restart * vector.size(g))
        dy, dd = vector.where(conjugate, (dy, dd), (1, 1))
        beta = (yg - self.theta * (yy / dy) * gd) / dy
        beta = jnp.where(conjugate, jnp.maximum(beta, LOWER_BOUND * move.slope / dd), 0)
        direction = vector.add_scaled(vector.negative(g), beta, d)
        slope = -gg + beta * gd
        known = (move.step_size > 0) & (slope < 0)
        first = jnp.where(known, move.step_size * move.slope / jnp.where(known, slope, 1), jnp.nan)
        return Run(jnp.where(conjugate, memory.steps + 1, 0)), direction, first

    def forget(self, memory: Run) -> Run:
        """No steps."""
        return Run(jnp.zeros_like(memory.steps))

    def has_learnt(self, memory: Run) -> jax.Array:
        """Whether the direction is another than the gradient's."""
        return memory.steps > 0
