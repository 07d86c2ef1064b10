"""What methods that search along a direction share: the search, its noise, beginning anew when it fails.

A method of this kind says how it learns from a step and what direction follows; nothing else.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import vector
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
        finite, keep = usable(point, state.iterate)
        slope = vector.dot(state.direction, point.grad).astype(objective.dtype)
        value = jnp.where(finite, point.value, jnp.inf)
        noise = max(NOISE, 8 * objective.eps) * jnp.abs(state.iterate.value) + state.rounding + state.noise
        search, verdict = self.line_search.feed(state.search, value, slope, noise)
        alpha, start = state.search.step_size, state.search.start
        state = state._replace(shown=noise_shown(state.iterate.value, start.slope, alpha, value, slope, state.shown))
        noisier = verdict.failed & believable(state.shown, noise, state.largest)
        anew = noisier | (verdict.failed & self.has_learnt(state.memory))
        first = state.iterate.value == jnp.inf
        new = jax.lax.cond(
            (keep & (verdict.accepted | first)) | anew,
            lambda: self.turn(objective, state, vector.where(anew, state.iterate, point), anew, noisier),
            lambda: state._replace(search=search),
        )
        accepted, failed = finite & verdict.accepted, verdict.failed & ~anew
        return new, Outcome(accepted, state.search.step_size, failed, promise(new), noise=noise)

    def turn(
        self, objective: Objective, state: SearchState, point: Point, anew: jax.Array, noisier: jax.Array
    ) -> SearchState:
        """From the new iterate (the old one, to begin anew): learn from the step, then a direction and a search."""
        step_size, start = state.search.step_size, state.search.start
        move = Move(state.iterate, point, state.direction, jnp.where(anew, 0, step_size), start.slope)
        memory = vector.where(anew & ~noisier, self.forget(state.memory), state.memory)
        memory, direction, first = self.learn(memory, move)
        slope = vector.dot(direction, point.grad).astype(objective.dtype)

        # A direction that does not descend, by rounding or overflow, is replaced by the gradient's.
        astray = ~(slope < 0)
        memory = vector.where(astray, self.forget(memory), memory)
        direction = vector.where(astray, vector.negative(point.grad), direction)
        slope = jnp.where(astray, -vector.dot(point.grad, point.grad).astype(objective.dtype), slope)

        # Without a first alpha from the method the step has length 1 at most; where it was accepted, it grows.
        length = jnp.sqrt(vector.dot(direction, direction)).astype(objective.dtype)
        unknown = anew | astray | (state.iterate.value == jnp.inf)
        default = jnp.where(unknown, jnp.minimum(1, 1 / length), GROW * step_size)
        rounding = 8 * objective.eps * vector.abs_dot(point.x, point.grad).astype(objective.dtype)
        lowest = jnp.minimum(start.value, point.value)  # noise that was accepted must not add up
        search = self.line_search.start(
            self.reference(memory, lowest), slope, jnp.where(jnp.isnan(first) | astray, default, first)
        )
        noise = jnp.where(noisier, state.shown, state.noise)
        largest = jnp.maximum(state.largest, jnp.abs(point.value))
        return SearchState(point, direction, search, rounding, noise, jnp.zeros_like(noise), largest, memory)


def promise(state: SearchState) -> Scalar:
    """Decrease -d'g / 2 that a quadratic model promises; 0 if noise or the rounding of x changes the loss by more."""
    decrease = -0.5 * state.search.start.slope
    return jnp.where(decrease <= state.rounding + state.noise, 0, decrease)
