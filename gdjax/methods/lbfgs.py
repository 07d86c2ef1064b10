"""L-BFGS in the compact form: two products with the memory a step, no recursion.

R. H. Byrd, J. Nocedal and R. B. Schnabel, Representations of quasi-Newton matrices and their use in limited
memory methods, Math. Program. 63 (1994), theorem 2.4 (the inverse Hessian).
D. C. Liu and J. Nocedal, On the limited memory BFGS method for large scale optimization, Math. Program. 45 (1989).
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import dynamic_update_index_in_dim, slice_in_dim

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.line_search.base import LineSearch, check_line_search
from gdjax.line_search.more_thuente import MoreThuente
from gdjax.methods.base import Secant
from gdjax.methods.searching import Move, Searching
from gdjax.problem.objective import Objective
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector


class Memory(NamedTuple):
    """The last pairs s = x+ - x, y = g+ - g and what their products make.

    Slots are filled in turn and never moved. An empty one is beyond the stored ones, or its row and column of R^-1 are
    zero, which is enough. R is the triangle of S'Y with the older pair's row, D its diagonal; in slot order R is a
    permuted triangle, which changes nothing in what follows.
    """

    pairs: Vector  # W = [S; Y], shape (2 m, n); of leaves that are spread over devices, each (2 m, ...)
    wg: jax.Array  # W g at the iterate, shape (2 m,)
    inverse_r: jax.Array  # R^-1, whose diagonal is that of D^-1, shape (m, m)
    gram: jax.Array  # Y'Y, shape (m, m)
    gamma: Scalar  # s'y / y'y of the newest pair: H0 = gamma I
    stored: jax.Array  # pairs ever stored since the last reset
    slot: jax.Array  # of the next one

    def inverse_times(self, v: Vector) -> Vector:
        """H v."""
        products = vector.products(self.pairs, v).astype(self.wg.dtype)
        return vector.negative(descend(self._replace(wg=products), v))


@pytree_dataclass
class LBFGS(Searching):
    """Limited-memory BFGS: ``x <- x - alpha H g``, H from the last ``memory`` steps, alpha by a line search.

    ``H = gamma I + [S, gamma Y] [[R^-T (D + gamma Y'Y) R^-1, -R^-T], [-R^-1, 0]] [S, gamma Y]'``

    A pair enters the memory if ``s'y > eps |s| |y|``, a test that does not depend on the scale of loss or
    parameters. If the search fails, the memory is dropped (gamma is kept) and the descent starts again along
    the gradient; if the search then fails again, the descent ends with LINE_SEARCH_FAILED.

    Args:
        memory: number of pairs m; the state holds 2 m + 3 vectors. More pairs need fewer evaluations.
        line_search: any of `gdjax.line_search`; its constants are traced.

    >>> import gdjax, jax.numpy as jnp
    >>> rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    >>> gdjax.minimize(rosenbrock, jnp.zeros(10), method=LBFGS(memory=5)).status.name
    'CONVERGED'
    """

    memory: int = static_field(20)
    line_search: LineSearch = MoreThuente()

    models: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.memory, int) or self.memory < 1:
            raise ValueError(f"memory must be a positive whole number, got {self.memory!r}")
        check_line_search(self.line_search)

    def empty(self, objective: Objective) -> Memory:
        """No pairs, and the unit matrix."""
        x, m, dtype = objective.start, self.memory, objective.dtype
        wg, square = (vector.small_zeros(x, shape, dtype) for shape in ((2 * m,), (m, m)))
        count = jnp.asarray(0, jnp.int32)
        return Memory(vector.zero_rows(x, 2 * m), wg, square, square, jnp.ones((), dtype), count, count)

    def learn(self, memory: Memory, move: Move) -> tuple[Memory, Vector, Scalar]:
        """Remember the step; d = -H g, of which alpha = 1 is the length to try."""
        before, after, g = move.before, move.after, move.after.grad
        s, y = vector.subtract(after.x, before.x), vector.subtract(g, before.grad)
        memory = remember(memory, s, y, g, move.secant, move.curved)
        first = jnp.where(memory.stored > 0, 1, jnp.nan).astype(move.slope.dtype)
        return memory, descend(memory, g), first

    def forget(self, memory: Memory) -> Memory:
        """No pairs, but the scale that they had found."""
        none = jnp.zeros_like(memory.stored)
        return memory._replace(stored=none, slot=none)

    def has_learnt(self, memory: Memory) -> jax.Array:
        """Whether there are pairs."""
        return memory.stored > 0


def remember(memory: Memory, s: Vector, y: Vector, g: Vector, secant: Secant, good: jax.Array) -> Memory:
    """Store a pair in place of the oldest, if it is ``good``."""
    m, dtype = memory.gram.shape[0], memory.gram.dtype
    # The slot is written in any case, and left empty unless the pair is good: to choose would read it, and copy W.
    slot = memory.slot
    pairs = vector.with_row(vector.with_row(memory.pairs, slot, s), slot + m, y)
    wg = vector.products(pairs, g).astype(dtype)
    sy, yy = jnp.where(good, secant.sy, 1), jnp.where(good, secant.yy, 1)
    gamma = jnp.where(good, sy / yy, memory.gamma)
    stored, next_slot = memory.stored + good.astype(jnp.int32), jnp.where(good, (slot + 1) % m, slot)
    wy = (wg - memory.wg).reshape(2, m)  # W y, but for the pair's own: another product would read all of W again

    # The new pair is the youngest: a last column [S'y; s'y] of R, an empty last row but for the corner. The
    # oldest leaves with its row and column of R^-1, since the inverse of a trailing block is the trailing block.
    slots = jnp.arange(m, dtype=jnp.int32)
    new, kept = slots == slot, (slots != slot) & (slots < memory.stored)
    column = times(memory.inverse_r, jnp.where(kept, wy[0], 0))
    column = jnp.where(good, jnp.where(new, 1, jnp.where(kept, -column, 0)) / sy, 0)
    products = jnp.where(good, jnp.where(new, yy, wy[1]), 0)
    inverse_r = with_cross(memory.inverse_r, slot, jnp.zeros_like(column), column)
    gram = with_cross(memory.gram, slot, products, products)
    return Memory(pairs, wg, inverse_r, gram, gamma, stored, next_slot)


def descend(memory: Memory, g: Vector) -> Vector:
    """d = -H g."""
    m, gamma, inverse_r = memory.gram.shape[0], memory.gamma, memory.inverse_r
    filled = jnp.arange(m, dtype=jnp.int32) < memory.stored
    sg, yg = jnp.where(filled, memory.wg.reshape(2, m), 0)
    u, diagonal = jnp.where(filled, times(inverse_r, sg), 0), slice_in_dim(inverse_r.reshape(-1), 0, m * m, m + 1)
    du = u / jnp.where(diagonal == 0, 1, diagonal)
    v = jnp.where(filled, times(inverse_r.T, jnp.where(filled, du + gamma * (times(memory.gram, u) - yg), 0)), 0)
    return vector.add_scaled(vector.combine(jnp.concatenate([-v, gamma * u]), memory.pairs), -gamma, g)


def with_cross(matrix: jax.Array, slot: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """A small matrix with another row and then another column, both written in place."""
    return dynamic_update_index_in_dim(vector.with_row(matrix, slot, row), column, slot, 1)


def times(a: jax.Array, b: jax.Array) -> jax.Array:
    """A b for a small matrix, as a sum: XLA's tiled products took a tenth of a second each to compile."""
    return jnp.sum(a * b[None, :], axis=1)
