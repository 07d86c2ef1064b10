"""The proximal gradient method: with steps that adapt without a search, with backtracking, with a fixed step.

P. Latafat, A. Themelis, L. Stella and P. Patrinos, Adaptive proximal algorithms for convex optimization under local
Lipschitz continuity of the gradient, Math. Program. (2024): adaPGM with (q, r) = (3/2, 3/4).
P. Tseng and S. Yun, A coordinate gradient descent method for nonsmooth separable minimization, Math. Program. 117
(2009): the test of the backtracking.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.forward_jacobian import piecewise
from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.line_search.backtracking import Backtracking
from gdjax.line_search.base import LineSearch
from gdjax.methods.base import Method, Outcome, usable
from gdjax.methods.parts.curvature import LEAP, change, parabola, probe, steepness
from gdjax.methods.parts.rates import adapt
from gdjax.problem.objective import Objective, Point
from gdjax.problem.penalized import stationarity, step_norm
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

SHORTEN = 0.1  # factor on an adaptive step that led to where the loss is not finite


class ProximalState(NamedTuple):
    """The proximal gradient method between two evaluations."""

    iterate: Point  # accepted point
    trial: Vector  # next point to evaluate: prox(x - t g)
    rate: Scalar  # t of the trial; 0 before the start is evaluated
    rate_before: Scalar  # t that led to the iterate
    points: jax.Array  # evaluated, the start included; with backtracking, trials rejected since the iterate


@pytree_dataclass
class ProximalGradient(Method):
    """``x <- prox(x - t g, t)``: a gradient step on the loss, then the prox of the penalty. One evaluation per step.

    (The prox is the proximal operator, see `gdjax.penalties.Penalty`.) By default t follows the curvature
    ``l = s'y / s's, L = |y| / |s|`` of the last step without any search:
    ``t <- t min(sqrt(1/q + t / t_before), sqrt((1 - r/q) / [t^2 L^2 + 2 t l (r - 1) + 1 - 2 r]_+))``, (q, r) =
    (3/2, 3/4). This converges for every convex loss with a locally Lipschitz gradient; values may rise on the way. If
    a step leads to where the loss is not finite, it is made ten times shorter. For losses that are not convex use
    `Backtracking` or `PANOC`.

    Args:
        learning_rate: None for the adaptive step; a number or a schedule (a function of the step number); or
            `gdjax.Backtracking`, which takes a step if the sum of loss and penalty falls by ``decrease`` times
            ``g'd + penalty(x + d) - penalty(x)``, and shortens it otherwise.

    Raises:
        ValueError: if the learning rate is not positive. TypeError: if it is none of these.

    >>> import gdjax
    >>> loss = lambda x: jnp.sum((x - jnp.array([3.0, 0.2])) ** 2)
    >>> result = gdjax.minimize(loss, jnp.zeros(2), penalty=gdjax.penalties.L1(1.0), method=ProximalGradient())
    >>> print(result.params.round(2))
    [2.5 0. ]
    """

    learning_rate: float | jax.Array | Callable[[jax.Array], Any] | Backtracking | None = None

    accepts_penalty: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if isinstance(rate, str | bool | type) or (isinstance(rate, LineSearch) and not self.monotone):
            raise TypeError(f"learning_rate must be None, a number, a schedule or gdjax.Backtracking(), got {rate!r}")
        require("must be positive", rate, lambda x: x > 0, "learning_rate")

    @property
    def searches(self) -> bool:
        """Whether a trial where the loss is not finite, or is too high, is answered by a shorter step."""
        return self.learning_rate is None or self.monotone

    @property
    def monotone(self) -> bool:
        """Whether values only fall."""
        return isinstance(self.learning_rate, Backtracking)

    @property
    def needs_value(self) -> bool:
        """Whether a penalty must have a value, not only a prox."""
        return self.monotone

    @property
    def settles(self) -> bool:
        """Whether the rate stays what it is."""
        return not callable(self.learning_rate)

    def learnt(self, old: ProximalState) -> dict[str, Any]:
        """The steps; a schedule goes on with the one that was next."""
        if self.learning_rate is None:
            return dict(rate=old.rate, rate_before=old.rate_before, points=old.points)
        return dict(points=jnp.maximum(old.points - 1, 0)) if callable(self.learning_rate) and not self.monotone else {}

    def init(self, objective: Objective) -> ProximalState:
        """At the start."""
        zero, count = jnp.zeros((), objective.dtype), jnp.asarray(0, jnp.int32)
        return ProximalState(objective.blank, objective.start, zero, zero, count)

    def step(self, objective: Objective, state: ProximalState, point: Point) -> tuple[ProximalState, Outcome]:
        """Accept the point, or a shorter step to it; choose the next."""
        if isinstance(self.learning_rate, Backtracking):
            return self.search(objective, state, point, self.learning_rate)
        finite, keep = usable(point, state.iterate)
        adaptive = self.learning_rate is None
        rate = self.next_rate(objective, state, point)
        if adaptive:
            rate = jnp.where(keep, rate, SHORTEN * state.rate)
        iterate, trial = ahead(objective, state, vector.where(keep, point, state.iterate), rate, keep)
        # The first adaptive step is a probe, whose ratio to the second says nothing.
        before = jnp.where(state.points <= 1, rate if adaptive else state.rate, state.rate)
        # Until the loss shows its curvature, each step is a probe.
        blind = jnp.asarray(False)
        if adaptive:
            blind = (state.points == 1) & (steepness(objective, state.iterate, point) == 0)
        count = state.points + ((keep & ~blind).astype(jnp.int32) if adaptive else 1)
        new = ProximalState(iterate, trial, rate, jnp.where(keep, before, state.rate_before), count)
        d = vector.subtract(iterate.x, trial)
        left = jnp.where(blind, jnp.inf, 0.5 * objective.dot(d, d) / rate)
        # A second step that moves nothing leads nowhere: at a corner the first has told that the point is stationary.
        again = jnp.all(d == 0) & jnp.all(point.x == state.iterate.x)
        return new, Outcome(finite, state.rate, adaptive & again, left)

    def next_rate(self, objective: Objective, state: ProximalState, point: Point) -> Scalar:
        """The step t from the point."""
        rate = self.learning_rate
        if callable(rate):
            rate = rate(state.points)
        if rate is not None:
            return jnp.asarray(rate).astype(objective.dtype)
        return self.adaptive_rate(objective, state, point)

    def adaptive_rate(self, objective: Objective, state: ProximalState, point: Point) -> Scalar:
        """adaPGM's step; the first is a probe, the second the inverse of the curvature that the probe found."""
        s, y = vector.subtract(point.x, state.iterate.x), vector.subtract(point.grad, state.iterate.grad)
        pairs = (s, s), (s, y), (y, y), (point.grad, point.grad), (point.x, point.x)
        ss, sy, yy, gg, xx = objective.dots(*pairs)
        t, before = state.rate, state.rate_before
        steep = steepness(objective, state.iterate, point)
        after_probe = jnp.where(steep > 0, 1 / jnp.where(steep > 0, steep, 1), LEAP * t)
        growth = jnp.where(before > 0, t / jnp.where(before > 0, before, 1), 1)
        adapted = adapt(t, growth, ss, sy, yy)
        later = jnp.where((state.points == 1) & (ss > 0), after_probe, adapted)
        return jnp.where(state.points == 0, probe(gg, xx, point.loss), later)

    def search(
        self, objective: Objective, state: ProximalState, point: Point, rule: Backtracking
    ) -> tuple[ProximalState, Outcome]:
        """Backtracking: one trial."""
        finite, keep = usable(point, state.iterate)
        before = state.iterate
        first = before.is_blank
        rise, slope, dd = change(objective, before, point)
        penalty = 0 if objective.composite is None else point.penalty - before.penalty
        sure = dd / jnp.where(first, 1, state.rate)
        promised = jnp.minimum(slope + penalty, -sure)  # the prox says so; the difference of two penalties is rounded
        gain = rise + penalty
        # Where the gain is rounding, that the loss bends as little as the step asks for: this knows no penalty.
        blurred = jnp.abs(gain) <= objective.noise(before.value)
        descends = jnp.where(blurred, rise - slope <= 0.5 * sure, gain <= rule.decrease * promised)
        taken = keep & (first | (finite & descends))
        trials = jnp.where(taken, 0, state.points + 1)
        shorter = state.rate * piecewise(parabola)(slope, rise, finite)
        # Where the loss shows no curvature the step is far too short, and what it promises says nothing.
        blind = steepness(objective, before, point) == 0
        longer = jnp.where(blind, jnp.maximum(rule.grow, LEAP), rule.grow) * state.rate
        rate = jnp.where(first, rule.initial, jnp.where(taken, longer, shorter))
        iterate, trial = ahead(objective, state, vector.where(taken, point, before), rate, taken)
        # A step that was shortened until rounding swallowed it has led nowhere.
        failed = (~taken & (trials >= rule.max_trials)) | ((dd == 0) & (state.points > 0))
        left = jnp.where(first | blind, jnp.inf, -0.5 * promised)
        return ProximalState(iterate, trial, rate, state.rate, trials), Outcome(
            taken & finite, state.rate, failed, left
        )


def ahead(
    objective: Objective, state: ProximalState, point: Point, rate: Scalar, new: jax.Array
) -> tuple[Point, Vector]:
    """The iterate, if it is ``new`` with its measure of stationarity, and the next trial."""
    trial = objective.descend(point, rate)
    if objective.composite is None:
        return point, trial
    first = state.iterate.is_blank
    used = jnp.where(state.rate > 0, state.rate, 1)
    start = step_norm(point.x, point.grad, trial, rate)
    norm = jnp.where(first, start, stationarity(state.iterate, point, used))
    return point._replace(grad_norm=jnp.where(new, norm, point.grad_norm)), trial
