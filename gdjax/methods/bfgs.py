"""BFGS with a dense inverse Hessian, for problems of up to some hundred parameters.

J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed. (2006), section 6.1: algorithm 6.1, eq. 6.17 (the
update) and 6.20 (the scale of the first matrix).
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.line_search.base import LineSearch, check_line_search
from gdjax.line_search.more_thuente import MoreThuente
from gdjax.methods.searching import Move, Searching
from gdjax.objective import Objective
from gdjax.pytrees import pytree_dataclass
from gdjax.vector import Scalar, matmul


class Metric(NamedTuple):
    """What BFGS knows of the curvature."""

    h: jax.Array  # inverse Hessian, shape (n, n)
    updates: jax.Array  # updates since it was a multiple of the unit matrix


@pytree_dataclass
class BFGS(Searching):
    """``x <- x - alpha H g``, ``H <- (I - s y'/s'y) H (I - y s'/s'y) + s s'/s'y``, alpha searched for.

    H begins as ``s'y / y'y`` times the unit matrix, set before the first update. A step changes H only if
    ``s'y > eps |s| |y|``. When the search fails, H begins anew; if that fails too, the descent ends with
    LINE_SEARCH_FAILED. The state holds n^2 + 4 n numbers of the parameters' dtype.

    Args:
        line_search: any of `gdjax.line_search`; its constants are traced.

    >>> import gdjax, jax.numpy as jnp
    >>> rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    >>> gdjax.minimize(rosenbrock, jnp.zeros(10), method=BFGS()).status.name
    'CONVERGED'
    """

    line_search: LineSearch = MoreThuente()

    leafwise: ClassVar[bool] = False
    models: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_line_search(self.line_search)

    def empty(self, objective: Objective) -> Metric:
        """The unit matrix."""
        return Metric(jnp.eye(objective.start.size, dtype=objective.start.dtype), jnp.asarray(0, jnp.int32))

    def learn(self, memory: Metric, move: Move) -> tuple[Metric, jax.Array, Scalar]:
        """Update H; d = -H g, of which alpha = 1 is the length to try."""
        s, y, g = move.after.x - move.before.x, move.after.grad - move.before.grad, move.after.grad
        ss, sy, yy = (z.astype(s.dtype) for z in (move.secant.ss, move.secant.sy, move.secant.yy))
        good = sy > float(jnp.finfo(s.dtype).eps) * jnp.sqrt(ss) * jnp.sqrt(yy)
        updates = memory.updates + good.astype(jnp.int32)
        sy = jnp.where(good, sy, 1)
        scale = sy / jnp.where(good, yy, sy)
        h = jnp.where(memory.updates == 0, scale * jnp.eye(s.size, dtype=s.dtype), memory.h)
        hy = matmul(h, y)
        # The product written out, symmetric: H + (1 + y'Hy / s'y) s s' / s'y - (s (Hy)' + (Hy) s') / s'y.
        cross = jnp.outer(s, hy) + jnp.outer(hy, s)
        update = (1 + matmul(y, hy) / sy) * jnp.outer(s, s) / sy - cross / sy
        h = jnp.where(good, h + update, h)
        return Metric(h, updates), -matmul(h, g), jnp.where(updates > 0, 1, jnp.nan).astype(move.slope.dtype)

    def forget(self, memory: Metric) -> Metric:
        """The unit matrix, which H is set to with the next step."""
        return memory._replace(updates=jnp.zeros_like(memory.updates))

    def has_learnt(self, memory: Metric) -> jax.Array:
        """Whether H was updated."""
        return memory.updates > 0
