"""What methods that search along a direction share: the search, its noise, beginning anew when it fails.

A method of this kind says how it learns from a step and what direction follows; nothing else.
"""

import abc
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.forward_jacobian import piecewise
from gdjax.jaxtools.scalar_kernels import one_kernel, update_if
from gdjax.line_search.base import LineSearch, believable, noise_shown
from gdjax.methods.base import Method, Outcome, Secant, usable
from gdjax.problem.objective import Objective, Point
from gdjax.problem.scalars import NOISE
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

TELLING = 100.0  # roundings of x that a step must be worth to tell of the curvature
GROW = 10.0  # factor on the step where the loss has shown no curvature: an unbounded loss is soon known as such


class Move(NamedTuple):
    """A step that was taken; it has length zero at the start and where a descent starts again."""

    before: Point
    after: Point
    direction: Vector  # d, along which it went
    step_size: Scalar  # alpha
    slope: Scalar  # d'g before
    secant: Secant  # inner products of the step s and of the change of the gradient y
    curved: jax.Array  # whether s'y > eps |s| |y|: the curvature is positive, and no rounding error


class Figures(NamedTuple):
    """The scalars of a descent with searches."""

    search: Any  # along d
    rounding: Scalar  # change of the loss that the rounding of x makes at the iterate
    noise: Scalar  # of the loss beyond the rounding of its value, as failed searches have shown it
    shown: Scalar  # and what the present search shows of it
    largest: Scalar  # largest value accepted, without its sign
    length: Scalar  # d'd
    promised: Scalar  # decrease that a quadratic model promises; 0 if rounding or noise would hide it, inf if unknown
    fresh: jax.Array  # whether the present search began with no idea of a step
    settled: jax.Array  # whether the minimum along d is within the rounding of x, as far as a trial has shown it
    # Where the search failed, or cannot begin, the trial is the iterate once more, from which the descent begins anew:
    noisier: jax.Array  # because the loss has more noise than was thought
    forgets: jax.Array  # otherwise, without what it has learnt

    @property
    def anew(self) -> jax.Array:
        """Whether either holds."""
        return self.noisier | self.forgets


class SearchState(NamedTuple):
    """A descent with searches between two evaluations."""

    iterate: Point  # accepted point
    direction: Vector  # d
    figures: Figures
    memory: Any  # of the method

    @property
    def search(self) -> Any:
        """The state of the search along d."""
        return self.figures.search

    @property
    def trial(self) -> Vector:
        """x + alpha d; x where alpha is 0, even if d is not finite."""
        alpha = self.search.step_size
        return vector.where(alpha == 0, self.iterate.x, vector.add_scaled(self.iterate.x, alpha, self.direction))


class Measured(NamedTuple):
    """An evaluation in scalars."""

    step_size: Scalar  # alpha
    value: Scalar  # infinite if value or gradient is not finite
    slope: Scalar  # d'g
    noise: Scalar  # differences of values that are to be taken for noise
    size: Scalar  # |x|
    rounding: Scalar  # as in `Figures`
    curved: jax.Array  # as in `Move`


class Decision(NamedTuple):
    """What becomes of an evaluation."""

    turn: jax.Array  # on to a new direction: the point was accepted, or the descent begins anew
    accepted: jax.Array
    failed: jax.Array  # the descent has


class Searching(Method):
    """``x <- x + alpha d``: d from `learn`, alpha from ``line_search``.

    A method of this kind says how it learns from a step, and which direction comes next. If the search fails, the
    method forgets what it has learnt and starts again; if it had learnt nothing, the descent has failed.
    """

    line_search: LineSearch
    searches: ClassVar[bool] = True
    leafwise: ClassVar[bool] = True
    models: ClassVar[bool] = False  # whether d = -H g, so that -d'g / 2 is the decrease that a model H promises

    @abc.abstractmethod
    def empty(self, objective: Objective) -> Any:
        """What is remembered before the first step."""

    @abc.abstractmethod
    def learn(self, memory: Any, move: Move) -> tuple[Any, Vector, Scalar]:
        """From a step: the new memory, the new direction, and the first alpha (NaN: nothing is known)."""

    @abc.abstractmethod
    def forget(self, memory: Any) -> Any:
        """The memory with which to begin anew."""

    @abc.abstractmethod
    def has_learnt(self, memory: Any) -> jax.Array:
        """Whether the direction is another than after `forget`."""

    def reference(self, memory: Any, lowest: Scalar) -> Scalar:
        """The value that a search compares with, given the lowest seen: more, to let the loss rise for a while."""
        return lowest

    def learnt(self, old: SearchState) -> dict[str, Any]:
        """The memory."""
        return dict(memory=old.memory)

    def init(self, objective: Objective) -> SearchState:
        """At the start, with a step of length zero."""
        zero = jnp.zeros((), objective.dtype)
        search = self.line_search.start(objective.blank.value, zero, zero)
        direction = vector.zeros_like(objective.start)
        no = jnp.asarray(False)
        inf = objective.blank.value
        figures = Figures(search, zero, zero, zero, zero, zero, inf, no, no, no, no)
        return SearchState(objective.blank, direction, figures, self.empty(objective))

    def step(self, objective: Objective, state: SearchState, point: Point) -> tuple[SearchState, Outcome]:
        """Take the point and turn; or try another step; or begin anew."""
        step_size, d, g = state.search.step_size, state.direction, point.grad
        y = vector.subtract(g, state.iterate.grad)
        products = vector.dots((d, g), (g, g), (y, y), moduli(point), (point.x, point.x))
        products = [z.astype(objective.dtype) for z in products]
        digest = lambda figures: self.digest(objective, state._replace(figures=figures), point, products)
        figures, trial, decision, secant = one_kernel(digest, state.figures)
        turn = lambda rest: self.turn(objective, SearchState(state.iterate, *rest), point, trial, secant)
        direction, figures, memory = update_if(decision.turn, turn, (d, figures, state.memory))
        new = SearchState(vector.where(decision.turn, point, state.iterate), direction, figures, memory)
        outcome = Outcome(
            decision.accepted,
            step_size,
            decision.failed,
            predicted=figures.promised,
            settled=figures.settled,
            noise=trial.noise,
            secant=secant,
            span=figures.rounding / (NOISE * objective.eps),
        )
        return new, outcome

    def digest(
        self, objective: Objective, state: SearchState, point: Point, products: list[Scalar]
    ) -> tuple[Figures, Measured, Decision, Secant]:
        """Take the trial, or refuse it and choose another: nothing but scalars."""
        figures, trial, decision, secant = self.judge(objective, state, point, products)
        refuse = lambda old: self.refuse(state, trial, old[0])
        figures, decision = update_if(~decision.turn, refuse, (figures, decision))
        return figures, trial, decision, secant

    def judge(
        self, objective: Objective, state: SearchState, point: Point, products: list[Scalar]
    ) -> tuple[Figures, Measured, Decision, Secant]:
        """What the trial shows, the trial in scalars, whether it is accepted at once, and the secant to it."""
        slope, square, yy, size, xx = products
        alpha, figures, before = state.search.step_size, state.figures, state.iterate.value
        finite, _ = usable(point, state.iterate)
        value = jnp.where(finite, point.value, jnp.inf)
        noise = objective.search_noise(before) + figures.rounding + figures.noise
        begins = (before == jnp.inf) | figures.anew
        turn = begins | (finite & self.line_search.satisfied(state.search, value, slope, noise))
        start = state.search.start.slope
        # The step to the minimum along d is alpha |start| / |slope - start|; it promises half of that times |start|. A
        # trial tells so much if it is far longer than the rounding of x, and value and slopes are those of a parabola.
        a, d, e, rise = jax.lax.stop_gradient((alpha, start, slope, value - before))
        left = 0.5 * a * jnp.abs(d) * (jnp.abs(d) / jnp.abs(e - d))
        informative = finite & jnp.isfinite(e) & (a * jnp.abs(d) > TELLING * figures.rounding)
        mean = 0.5 * a * (d + e)
        parabola = informative & (jnp.abs(rise - mean) <= 0.1 * jnp.abs(rise) + noise) & (slope != start)
        settled = parabola & (left <= figures.rounding)
        figures = figures._replace(
            promised=jnp.where(parabola & (figures.promised == jnp.inf), jnp.where(settled, 0, left), figures.promised),
            settled=jnp.where(informative, settled, figures.settled),
        )
        ss, sy = alpha * (alpha * figures.length), alpha * (slope - start)  # alpha^2 alone can underflow
        secant = Secant(ss, alpha * start, alpha * slope, yy, square, xx, sy)
        curved = sy > objective.eps * jnp.sqrt(ss) * jnp.sqrt(yy)
        trial = Measured(alpha, value, slope, noise, vector.root(xx), NOISE * objective.eps * size, curved)
        accepted = finite & turn & ~figures.anew
        return figures, trial, Decision(turn, accepted, jnp.asarray(False)), secant

    def refuse(self, state: SearchState, trial: Measured, figures: Figures) -> tuple[Figures, Decision]:
        """Another step, or the end of the search."""
        start, alpha = figures.search.start.slope, figures.search.step_size
        feed = piecewise(lambda rule, *given: rule.feed(*given))
        search, (accepted, failed) = feed(self.line_search, figures.search, trial.value, trial.slope, trial.noise)
        shown = noise_shown(state.iterate.value, start, alpha, trial.value, trial.slope, figures.shown)
        noisier = failed & believable(shown, trial.noise, figures.largest)
        anew = noisier | (failed & (self.has_learnt(state.memory) | ~figures.fresh))
        figures = figures._replace(
            search=search._replace(step_size=jnp.where(anew, 0, search.step_size)),
            shown=shown,
            noisier=noisier,
            forgets=anew & ~noisier,
        )
        return figures, Decision(accepted, accepted, failed & ~anew)

    def turn(
        self, objective: Objective, state: SearchState, point: Point, trial: Measured, secant: Secant
    ) -> tuple[Vector, Figures, Any]:
        """At a new iterate (or at the old one, to begin anew) the rest of the state: learn, a direction, a search."""
        before, figures = state.iterate, state.figures
        memory = vector.where(figures.forgets, self.forget(state.memory), state.memory)
        move = Move(before, point, state.direction, trial.step_size, state.search.start.slope, secant, trial.curved)
        memory, direction, first = self.learn(memory, move)
        products = vector.dots((direction, point.grad), (direction, direction))
        products = [z.astype(objective.dtype) for z in products]
        opened = functools.partial(self.open, memory, move, trial, first, products)
        return direction, one_kernel(opened, figures), memory

    def open(
        self, memory: Any, move: Move, trial: Measured, first: Scalar, products: list[Scalar], old: Figures
    ) -> Figures:
        """A search along the new direction: nothing but scalars."""
        value, rounding, (slope, square) = move.after.value, trial.rounding, products
        # If rounding or overflow makes the direction ascend, drop it together with the memory.
        astray = ~(slope < 0) & self.has_learnt(memory)
        # Without a first alpha from the method the step is the gradient, but of length 1 at most, and not so short that
        # the rounding of x hides the change of the slope; where it was accepted, it grows.
        unknown = old.anew | move.before.is_blank
        norm, eps = vector.root(square), float(jnp.finfo(square.dtype).eps)
        length = jnp.maximum(jnp.minimum(norm, 1), eps**0.5 * trial.size)
        per_norm = 1 / jnp.where(norm > 0, norm, 1)
        default = jnp.where(unknown, length * per_norm, GROW * move.step_size)
        alpha = jnp.where(jnp.isnan(first), default, first)
        alpha = jnp.where(unknown, jnp.maximum(alpha, eps**0.5 * trial.size * per_norm), alpha)
        alpha = jnp.where(astray, 0, alpha)
        lowest = jnp.minimum(old.search.start.value, value)  # noise that was accepted must not add up
        search = self.line_search.start(self.reference(memory, lowest), slope, alpha)
        noise, largest = jnp.where(old.noisier, old.shown, old.noise), jnp.maximum(old.largest, jnp.abs(value))
        # A quadratic model promises half the slope; noise, or the rounding of x, may change the loss by more.
        ss, sy, gg = move.secant.ss, move.secant.sy, move.secant.gg
        promised = -0.5 * slope if self.models else 0.5 * gg * (ss / sy)  # without a model, as the last step tells
        promised = jnp.where(promised <= rounding + noise, 0, promised)
        known = (slope < 0) & ((first > 0) if self.models else (sy > 0))
        promised = jnp.where(known, promised, jnp.inf)
        zero, no = jnp.zeros_like(noise), jnp.zeros_like(astray)
        return Figures(search, rounding, noise, zero, largest, square, promised, unknown, old.settled, no, astray)


def moduli(point: Point) -> tuple[Vector, Vector]:
    """|x| and |g|, whose product tells by how much the rounding of x changes the loss."""
    return jax.tree.map(jnp.abs, point.x), jax.tree.map(jnp.abs, point.grad)
