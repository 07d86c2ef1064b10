"""L-BFGS in the compact form: two products with the memory a step, no recursion.

R. H. Byrd, J. Nocedal and R. B. Schnabel, Representations of quasi-Newton matrices and their use in limited
memory methods, Math. Program. 63 (1994), theorem 2.4 (the inverse Hessian).
D. C. Liu and J. Nocedal, On the limited memory BFGS method for large scale optimization, Math. Program. 45 (1989).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import vector
from gdjax.layout import Flat
from gdjax.line_search.base import LineSearch
from gdjax.line_search.more_thuente import MoreThuente
from gdjax.methods.base import Outcome, usable
from gdjax.objective import Objective, Point
from gdjax.pytrees import pytree_dataclass, static_field
from gdjax.vector import Scalar, Vector

NOISE = 1e-10  # share of the value that the line search takes for noise: anything from 1e-12 to 1e-6 does as well
GROW = 10.0  # factor on the step where the loss has shown no curvature: an unbounded loss is soon known as such


class Memory(NamedTuple):
    """The last pairs s = x+ - x, y = g+ - g and what their products make; an empty slot is all zeros.

    Slots are filled in turn and never moved. R is the triangle of S'Y with the older pair's row, D its
    diagonal; in slot order R is a permuted triangle, which changes nothing in what follows.
    """

    pairs: jax.Array  # W = [S; Y], shape (2 m, n)
    inverse_r: jax.Array  # R^-1, shape (m, m)
    yy: jax.Array  # Y'Y, shape (m, m)
    d: jax.Array  # D, shape (m,)
    gamma: Scalar  # s'y / y'y of the newest pair: H0 = gamma I
    count: jax.Array  # pairs ever stored since the last reset


class LBFGSState(NamedTuple):
    """L-BFGS between two evaluations."""

    iterate: Point  # accepted point
    direction: Vector  # d = -H g
    search: Any  # along d
    rounding: Scalar  # change of the loss that the rounding of x makes at the iterate
    memory: Memory

    @property
    def trial(self) -> Vector:
        """x + alpha d."""
        return vector.add_scaled(self.iterate.x, self.search.step_size, self.direction)


@pytree_dataclass
class LBFGS:
    """Limited-memory BFGS: ``x <- x - alpha H g``, H built from the last ``memory`` steps, alpha searched for.

    ``H = gamma I + [S, gamma Y] [[R^-T (D + gamma Y'Y) R^-1, -R^-T], [-R^-1, 0]] [S, gamma Y]'``

    A pair enters the memory if ``s'y > eps |s| |y|``, which does not depend on the scale of loss or
    parameters. When the search fails, the memory is dropped (gamma kept) and the descent begins anew along
    the gradient; if that fails too, it ends with LINE_SEARCH_FAILED.

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

    layout: ClassVar[Any] = Flat
    searches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.memory, int) or self.memory < 1:
            raise ValueError(f"memory must be a positive whole number, got {self.memory!r}")

    def init(self, objective: Objective) -> LBFGSState:
        """At the start, with a step of length zero."""
        x, m, dtype = objective.start, self.memory, objective.dtype
        zero = jnp.zeros((), dtype)
        square = jnp.zeros((m, m), dtype)
        pairs = jnp.zeros((2 * m, x.size), x.dtype)
        memory = Memory(pairs, square, square, jnp.zeros(m, dtype), zero + 1, jnp.asarray(0, jnp.int32))
        search = self.line_search.start(objective.blank.value, zero, zero)
        return LBFGSState(objective.blank, jnp.zeros_like(x), search, zero, memory)

    def step(self, objective: Objective, state: LBFGSState, point: Point) -> tuple[LBFGSState, Outcome]:
        """Take the point and choose a new direction; or try another step; or begin anew."""
        finite, keep = usable(point, state.iterate)
        slope = vector.dot(state.direction, point.grad).astype(objective.dtype)
        value = jnp.where(finite, point.value, jnp.inf)
        noise = max(NOISE, 8 * objective.eps) * jnp.abs(state.iterate.value) + state.rounding
        search, verdict = self.line_search.feed(state.search, value, slope, noise)
        restart = verdict.failed & (state.memory.count > 0)
        new = jax.lax.cond(
            (keep & verdict.accepted) | restart,
            lambda: self.turn(objective, state, vector.where(restart, state.iterate, point), restart),
            lambda: state._replace(search=search),
        )
        accepted, failed = finite & verdict.accepted, verdict.failed & ~restart
        return new, Outcome(accepted, state.search.step_size, failed, promise(new))

    def turn(self, objective: Objective, state: LBFGSState, point: Point, restart: jax.Array) -> LBFGSState:
        """From the new iterate (or the old one, to begin anew): remember the step, then a direction and a search."""
        memory = vector.where(restart, forget(state.memory), state.memory)
        s, y = point.x - state.iterate.x, point.grad - state.iterate.grad
        memory, products = remember(memory, s, y, point.grad)
        direction = descend(memory, products, point.grad)
        slope = vector.dot(direction, point.grad).astype(objective.dtype)

        # Without curvature known, the first step has length 1 at most; if steps show none, they grow.
        first = restart | (state.iterate.value == jnp.inf)
        unit = jnp.minimum(1.0, 1 / jnp.sqrt(vector.dot(direction, direction))).astype(objective.dtype)
        growing = jnp.where(first, unit, GROW * state.search.step_size)
        step_size = jnp.where(memory.count == 0, growing, jnp.ones_like(slope))
        rounding = 8 * objective.eps * vector.dot(jnp.abs(point.x), jnp.abs(point.grad)).astype(objective.dtype)
        lowest = jnp.minimum(state.search.start.value, point.value)
        return LBFGSState(
            iterate=point,
            direction=direction,
            search=self.line_search.start(lowest, slope, step_size),
            rounding=rounding,
            memory=memory,
        )


def promise(state: LBFGSState) -> Scalar:
    """Decrease g'Hg / 2 that the model promises; 0 if the rounding of x alone changes the loss by more."""
    decrease = -0.5 * state.search.start.slope
    return jnp.where(decrease <= state.rounding, 0, decrease)


def forget(memory: Memory) -> Memory:
    """No pairs, but the scale that they had found."""
    return jax.tree.map(jnp.zeros_like, memory)._replace(gamma=memory.gamma, pairs=memory.pairs)


def remember(memory: Memory, s: jax.Array, y: jax.Array, g: jax.Array) -> tuple[Memory, jax.Array]:
    """Store a pair in place of the oldest if its curvature is positive; also W g, for the direction."""
    m, dtype = memory.d.size, memory.d.dtype
    ss, sy, yy = (z.astype(dtype) for z in vector.dots((s, s), (s, y), (y, y)))
    good = sy > float(jnp.finfo(s.dtype).eps) * jnp.sqrt(ss) * jnp.sqrt(yy)
    slot = memory.count % m
    rows = jnp.stack([slot, slot + m])
    pairs = memory.pairs.at[rows].set(jnp.where(good, jnp.stack([s, y]), memory.pairs[rows]))
    products = (pairs @ jnp.stack([g, y], axis=1)).astype(dtype)  # W [g, y] in one pass over W

    # The new pair is the youngest: a last column [S'y; s'y] of R, an empty last row but for the corner. The
    # oldest leaves with its row and column of R^-1, since the inverse of a trailing block is the trailing block.
    others = jnp.arange(m, dtype=jnp.int32) != slot
    kept = jnp.where(others[:, None] & others[None, :], memory.inverse_r, 0)
    column = jnp.where(others, -(kept @ products[:m, 1]), 1.0) / sy
    inverse_r = jnp.where(others[None, :], kept, column[:, None])
    gram = memory.yy.at[slot, :].set(products[m:, 1]).at[:, slot].set(products[m:, 1])
    new = Memory(pairs, inverse_r, gram, memory.d.at[slot].set(sy), sy / yy, memory.count + 1)
    return vector.where(good, new, memory), products[:, 0]


def descend(memory: Memory, products: jax.Array, g: jax.Array) -> jax.Array:
    """d = -H g, given W g."""
    m = memory.d.size
    gamma = memory.gamma
    u = memory.inverse_r @ products[:m]
    v = memory.inverse_r.T @ (memory.d * u + gamma * (memory.yy @ u - products[m:]))
    coefficients = jnp.concatenate([-v, gamma * u]).astype(g.dtype)
    return coefficients @ memory.pairs - gamma.astype(g.dtype) * g
