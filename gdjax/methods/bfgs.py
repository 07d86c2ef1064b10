"""BFGS with a factor of the dense inverse Hessian, for problems of up to some hundred parameters.

J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed. (2006), section 6.1: algorithm 6.1, eq. 6.17 (the
update) and 6.20 (the scale of the first matrix).
K. W. Brodlie, A. R. Gourlay and J. Greenstadt, Rank-one and rank-two corrections to positive definite matrices
expressed in product form, J. Inst. Maths Applics 11 (1973), for the update of a factor.
S. S. Oren and D. G. Luenberger, Self-scaling variable metric (SSVM) algorithms I, Management Science 20 (1974); J. F.
Urban, P. Stefanou and J. A. Pons, Unveiling the optimization process of physics informed neural networks, J. Comput.
Phys. 523 (2025) 113656, for the factor ``max(1, s'B s / s'y)``, which is bounded here.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.line_search.base import LineSearch, check_line_search
from gdjax.line_search.more_thuente import MoreThuente
from gdjax.methods.searching import Move, Searching
from gdjax.problem.objective import Objective
from gdjax.vectors.vector import Scalar, matmul

# Without a bound the minimum of CUTEst's MGH17LS is not found. Of its 56 development problems of up to 99 variables
# (but DMN15103LS, which ends nowhere) as many are solved, with 67 evaluations in the geometric mean; by plain BFGS 78.
GROWTH = 2.0


class Metric(NamedTuple):
    """What BFGS knows of the curvature."""

    j: jax.Array  # factor of the inverse Hessian H = J J', shape (n, n)
    jg: jax.Array  # J'g at the iterate, shape (n,)
    updates: jax.Array  # updates since it was the unit matrix

    def inverse_times(self, v: jax.Array) -> jax.Array:
        """H v."""
        return matmul(self.j, matmul(v, self.j))


@pytree_dataclass
class BFGS(Searching):
    """``x <- x - alpha H g``, ``H <- (I - s y'/s'y) H (I - y s'/s'y) + s s'/s'y``, alpha by a line search.

    H starts as ``s'y / y'y`` times the unit matrix, set before the first update. A step changes H only if
    ``s'y > eps |s| |y|``. If the search fails, H is reset to a multiple of diag(x^2); if the search then fails again,
    the descent ends with LINE_SEARCH_FAILED. H is stored as a factor, H = J J'. So H is positive definite in spite of
    rounding, and the condition number of J is the square root of that of H: parameters in very different units do not
    need float64. The state holds n^2 + 5 n numbers of the parameters' dtype.

    Args:
        line_search: any of `gdjax.line_search`; its constants are traced.
        self_scaled: whether H is multiplied by ``s'B s / s'y``, B = H^-1, but by no less than 1 and no more than 2,
            before each update: where the curvature along the step was less than H thought, other directions are taken
            for flatter, too. For long descents of networks to high precision, such as physics-informed ones.

    >>> import gdjax, jax.numpy as jnp
    >>> rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    >>> gdjax.minimize(rosenbrock, jnp.zeros(10), method=BFGS()).status.name
    'CONVERGED'
    """

    line_search: LineSearch = MoreThuente()
    self_scaled: bool = static_field(False)

    leafwise: ClassVar[bool] = False
    models: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_line_search(self.line_search)

    def empty(self, objective: Objective) -> Metric:
        """The unit matrix."""
        x = objective.start
        return Metric(jnp.eye(x.size, dtype=x.dtype), jnp.zeros_like(x), jnp.asarray(0, jnp.int32))

    def learn(self, memory: Metric, move: Move) -> tuple[Metric, jax.Array, Scalar]:
        """Update J; d = -J J'g, of which alpha = 1 is the length to try.

        ``J <- (I - s w') J`` with ``w = y / s'y + B s / sqrt(s'y s'B s)``, B = H^-1, is the update of H as a product.
        Since s is a multiple of -J J'g, ``J'w = J'y / s'y - J^-1 s / (|J^-1 s| sqrt(s'y))`` needs no inverse.
        """
        s, g, secant, updates = move.after.x - move.before.x, move.after.grad, move.secant, memory.updates
        sy, sg = secant.sy.astype(s.dtype), secant.slope_after.astype(s.dtype)
        good = move.curved
        sy = jnp.where(good, sy, 1)
        anew = (updates == 0) & (move.step_size == 0) & (move.before.value < jnp.inf)
        j, old = jnp.where(anew, sizes(move.after.x), memory.j), memory.jg
        new = matmul(g, j)
        yhy = jnp.sum((new - old) ** 2)
        scale = jnp.where(good & (updates == 0), jnp.sqrt(sy / jnp.where(good, yhy, 1)), self.grown(move, sy, good))
        j, old, new = scale * j, scale * old, scale * new
        size = scale * jnp.where(good, jnp.sqrt(jnp.maximum(-move.slope, 0)), 1).astype(s.dtype)  # |J'g|^2 = -d'g
        jw = jnp.where(good, (new - old) / sy + old / (size * jnp.sqrt(sy)), 0)
        j, new, updates = j - jnp.outer(s, jw), new - sg * jw, updates + good.astype(jnp.int32)
        return Metric(j, new, updates), -matmul(j, new), jnp.where(updates > 0, 1, jnp.nan).astype(move.slope.dtype)

    def grown(self, move: Move, sy: jax.Array, good: jax.Array) -> Any:
        """By what J grows before an update, if it is self-scaled: the root of ``s'B s / s'y``, from 1 to GROWTH."""
        if not self.self_scaled:
            return 1
        sbs = (-move.step_size * move.secant.slope_before).astype(sy.dtype)  # B s = -alpha g
        return jnp.where(good, jnp.sqrt(jnp.clip(sbs / sy, 1, GROWTH)), 1)

    def forget(self, memory: Metric) -> Metric:
        """No updates."""
        return memory._replace(updates=jnp.zeros_like(memory.updates))

    def has_learnt(self, memory: Metric) -> jax.Array:
        """Whether J was updated."""
        return memory.updates > 0


def sizes(x: jax.Array) -> jax.Array:
    """The diagonal matrix of |x|, 1 where that is 0: the units of the parameters, as far as they show."""
    return jnp.diag(jnp.where(x == 0, 1, jnp.abs(x)))
