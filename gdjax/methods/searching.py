"""What methods that search along a direction share: the search, its noise, beginning anew when it fails.

A method of this kind says how it learns from a step and what direction follows; nothing else.
"""

import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import vector
from gdjax.in_place import one_kernel, update_if
from gdjax.layout import Flat
from gdjax.line_search.base import LineSearch, believable, noise_shown
from gdjax.methods.base import Outcome, usable
from gdjax.objective import Objective, Point
from gdjax.vector import Scalar, Vector

NOISE = 1e-10  # share of the value that a search takes for noise: anything from 1e-12 to 1e-6 does as well
GROW = 10.0  # factor on the step where the loss has shown no curvature: an unbounded loss is soon known as such


class Move(NamedTuple):
    """A step that was taken; of length zero at the start and where a descent begins anew."""

    before: Point
    after: Point
    direction: Vector  # d, along which it went
    step_size: Scalar  # alpha
    slope: Scalar  # d'g before


class SearchState(NamedTuple):
    """A descent with searches between two evaluations."""

    iterate: Point  # accepted point
    direction: Vector  # d
    search: Any  # along d
    rounding: Scalar  # change of the loss that the rounding of x makes at the iterate
    noise: Scalar  # of the loss beyond the rounding of its value, as failed searches have shown it
    shown: Scalar  # and what the present search shows of it
    largest: Scalar  # largest value accepted, without its sign
    memory: Any  # of the method

    @property
    def trial(self) -> Vector:
        """x + alpha d."""
        return vector.add_scaled(self.iterate.x, self.search.step_size, self.direction)


class Measured(NamedTuple):
    """An evaluation in scalars."""

    value: Scalar  # infinite if value or gradient is not finite
    slope: Scalar  # d'g
    noise: Scalar  # differences of values that are to be taken for noise


class Decision(NamedTuple):
    """What becomes of an evaluation."""

    turn: jax.Array  # on to a new direction: the point was accepted, or the descent begins anew
    anew: jax.Array  # from the old iterate, since the search failed
    noisier: jax.Array  # because the loss has more noise than was thought: nothing is forgotten
    accepted: jax.Array
    failed: jax.Array  # the descent has


class Searching:
    """``x <- x + alpha d``: d from `learn`, alpha from ``line_search``.

    When the search fails, the method forgets what it has learnt and begins anew; if it had learnt nothing,
    the descent has failed.
    """

    line_search: LineSearch
    layout: ClassVar[Any] = Flat
    searches: ClassVar[bool] = True

    def empty(self, objective: Objective) -> Any:
        """What is remembered before the first step."""
        raise NotImplementedError

    def learn(self, memory: Any, move: Move) -> tuple[Any, Vector, Scalar]:
        """From a step: the new memory, the new direction, and the first alpha (NaN: nothing is known)."""
        raise NotImplementedError

    def forget(self, memory: Any) -> Any:
        """The memory with which to begin anew."""
        raise NotImplementedError

    def has_learnt(self, memory: Any) -> jax.Array:
        """Whether the direction is another than after `forget`."""
        raise NotImplementedError

    def reference(self, memory: Any, lowest: Scalar) -> Scalar:
        """The value that a search compares with, given the lowest seen: more, to let the loss rise for a while."""
        return lowest

    def init(self, objective: Objective) -> SearchState:
        """At the start, with a step of length zero."""
        zero = jnp.zeros((), objective.dtype)
        search = self.line_search.start(objective.blank.value, zero, zero)
        direction = vector.zeros_like(objective.start)
        return SearchState(objective.blank, direction, search, zero, zero, zero, zero, self.empty(objective))

    def step(self, objective: Objective, state: SearchState, point: Point) -> tuple[SearchState, Outcome]:
        """Take the point and turn; or try another step; or begin anew."""
        slope = vector.dot(state.direction, point.grad).astype(objective.dtype)
        step_size = state.search.step_size
        _, (trial, decision) = one_kernel(lambda _: (None, self.judge(objective, state, point, slope)), None)
        search, shown, decision = update_if(
            ~decision.turn, lambda old: self.refuse(state, trial, *old), (state.search, state.shown, decision)
        )
        new = update_if(
            decision.turn,
            lambda old: self.turn(objective, old, point, decision, step_size),
            state._replace(search=search, shown=shown),
        )
        return new, Outcome(decision.accepted, step_size, decision.failed, promise(new), noise=trial.noise)

    def judge(self, objective: Objective, state: SearchState, point: Point, slope: Scalar) -> tuple[Measured, Decision]:
        """The trial in scalars, and whether it is accepted at once."""
        finite, _ = usable(point, state.iterate)
        value = jnp.where(finite, point.value, jnp.inf)
        noise = max(NOISE, 8 * objective.eps) * jnp.abs(state.iterate.value) + state.rounding + state.noise
        accepted = finite & self.line_search.satisfied(state.search, value, slope, noise)
        first, no = state.iterate.value == jnp.inf, jnp.asarray(False)
        return Measured(value, slope, noise), Decision(accepted | first, no, no, finite & (accepted | first), no)

    def refuse(
        self, state: SearchState, trial: Measured, search: Any, shown: Scalar, decision: Decision
    ) -> tuple[Any, Scalar, Decision]:
        """Another step, or the end of the search."""
        start, alpha = search.start.slope, search.step_size
        search, verdict = self.line_search.feed(search, *trial)

        def decide(old: tuple[Scalar, Decision]) -> tuple[tuple[Scalar, Decision], None]:
            shown = noise_shown(state.iterate.value, start, alpha, trial.value, trial.slope, old[0])
            noisier = verdict.failed & believable(shown, trial.noise, state.largest)
            anew = noisier | (verdict.failed & self.has_learnt(state.memory))
            accepted, failed = verdict.accepted, verdict.failed & ~anew
            return (shown, Decision(accepted | anew, anew, noisier, accepted, failed)), None

        (shown, decision), _ = one_kernel(decide, (shown, decision))
        return search, shown, decision

    def turn(
        self, objective: Objective, state: SearchState, point: Point, decision: Decision, step_size: Scalar
    ) -> SearchState:
        """From the new iterate (the old one, to begin anew): learn from the step, then a direction and a search."""
        before, anew = state.iterate, decision.anew
        point = vector.where(anew, before, point)
        move = Move(before, point, state.direction, jnp.where(anew, 0, step_size), state.search.start.slope)
        memory = vector.where(anew & ~decision.noisier, self.forget(state.memory), state.memory)
        memory, direction, first = self.learn(memory, move)
        g = point.grad
        sizes = (jax.tree.map(jnp.abs, point.x), jax.tree.map(jnp.abs, g))
        products = vector.dots((direction, g), (direction, direction), (g, g), sizes)
        products = [z.astype(objective.dtype) for z in products]
        opened = functools.partial(self.open, objective, memory, move, decision, first, products)
        scalars = (state.search, state.rounding, state.noise, state.shown, state.largest)
        scalars, astray = one_kernel(opened, scalars)
        # A direction that does not descend, by rounding or overflow, is replaced by the gradient's.
        memory = vector.where(astray, self.forget(memory), memory)
        direction = vector.where(astray, vector.negative(g), direction)
        return SearchState(point, direction, *scalars, memory)

    def open(
        self, objective: Objective, memory: Any, move: Move, decision: Decision, first: Scalar, products: list[Scalar],
        scalars: tuple[Any, ...],
    ) -> tuple[tuple[Any, ...], jax.Array]:  # fmt: skip
        """A search along the new direction, and whether that does not descend: nothing but scalars."""
        search, _, noise, shown, largest = scalars
        slope, dd, gg, xg = products
        astray = ~(slope < 0)
        slope, dd = jnp.where(astray, -gg, slope), jnp.where(astray, gg, dd)
        # Without a first alpha from the method the step has length 1 at most; where it was accepted, it grows.
        unknown = decision.anew | astray | (move.before.value == jnp.inf)
        default = jnp.where(unknown, jnp.minimum(1, 1 / jnp.sqrt(dd)), GROW * move.step_size)
        alpha = jnp.where(jnp.isnan(first) | astray, default, first)
        lowest = jnp.minimum(search.start.value, move.after.value)  # noise that was accepted must not add up
        search = self.line_search.start(self.reference(memory, lowest), slope, alpha)
        noise = jnp.where(decision.noisier, shown, noise)
        largest = jnp.maximum(largest, jnp.abs(move.after.value))
        return (search, 8 * objective.eps * xg, noise, jnp.zeros_like(noise), largest), astray


def promise(state: SearchState) -> Scalar:
    """Decrease -d'g / 2 that a quadratic model promises; 0 if noise or the rounding of x changes the loss by more."""
    decrease = -0.5 * state.search.start.slope
    return jnp.where(decrease <= state.rounding + state.noise, 0, decrease)
