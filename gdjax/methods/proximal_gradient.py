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
from gdjax.problem.objective import Objective, Point
from gdjax.problem.penalized import stationarity, step_norm
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

Q, R = 1.5, 0.75  # the authors' recommendation: steps never shorter than Malitsky and Mishchenko's
PROBE = 1e-2  # length of the first trial step in units of 1 + |x|, or |f| / |g|: it only measures the curvature
LEAP = 10.0  # factor on a step so short that the loss shows no curvature
ROUNDED = 0.05  # a change of the gradient by so large a share is no rounding, in half precision neither
BLURRED = 10.0  # noises by which the loss may seem to change in a step too short to change it
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
    """``x <- prox(x - t g, t)``: a gradient step on the loss, then the prox of the penalty. One evaluation a step.

    By default t follows the curvature ``l = s'y / s's, L = |y| / |s|`` of the last step without any search:
    ``t <- t min(sqrt(1/q + t / t_before), sqrt((1 - r/q) / [t^2 L^2 + 2 t l (r - 1) + 1 - 2 r]_+))``, (q, r) =
    (3/2, 3/4). It converges for every convex loss with a locally Lipschitz gradient; values may rise on the way. A
    step to where the loss is not finite is shortened tenfold. For losses that are not convex use `Backtracking`, or
    `PANOC`.

    Args:
        learning_rate: None for the adaptive step; a number or a schedule (function of the step number); or
            `gdjax.Backtracking`, which takes a step if the sum of loss and penalty falls by ``decrease`` of
            ``g'd + penalty(x + d) - penalty(x)``, else shortens it.

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
        return adapt(objective, state, point)

    def search(
        self, objective: Objective, state: ProximalState, point: Point, rule: Backtracking
    ) -> tuple[ProximalState, Outcome]:
        """Backtracking: one trial."""
        finite, keep = usable(point, state.iterate)
        before = state.iterate
        first = before.is_blank
        rise, slope, dd = change(objective, before, point)
        penalty = parts(before, point)[2]
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


def probe(gg: Scalar, xx: Scalar, value: Scalar) -> Scalar:
    """The first step, from the squared norms of gradient and x, and the loss."""
    norm, size = jnp.sqrt(jnp.where(gg > 0, gg, 1)), vector.root(xx)
    reach = jnp.maximum(jnp.abs(value) / norm, size)  # in small units 1 is far away
    return PROBE * jnp.where(reach > 0, jnp.minimum(1 + size, reach), 1) / norm


def parabola(slope: Scalar, rise: Scalar, finite: jax.Array) -> Scalar:
    """Where the parabola with this slope and rise over a step is least, as a share of it between 0.1 and 0.5."""
    least = -0.5 * slope / (rise - slope)
    return jnp.where(finite & jnp.isfinite(least), jnp.clip(least, 0.1, 0.5), 0.1)


def parts(before: Point, point: Point) -> tuple[Scalar, Scalar, Scalar]:
    """Values of the loss alone at both, and the change of the penalty."""
    if point.smooth is None:
        return before.value, point.value, jnp.zeros_like(point.value)
    return before.smooth, point.smooth, point.penalty - before.penalty


def change(objective: Objective, before: Point, point: Point) -> tuple[Scalar, Scalar, Scalar]:
    """Rise of the loss over a step, as the slopes imply it where rounding hides it; the slope before; |step|^2.

    Where not even what the slopes imply is above the noise, values say nothing of the step.
    """
    s = vector.subtract(point.x, before.x)
    pairs = (s, before.grad), (s, point.grad), (s, s)
    slope, slope_after, ss = objective.dots(*pairs)
    old, new, _ = parts(before, point)
    rounding = objective.rounding(before.x, before.grad)
    noise = objective.search_noise(old) + jnp.minimum(rounding, objective.eps**0.5 * jnp.abs(old))
    noise = jnp.where(jnp.abs(slope) + jnp.abs(slope_after) <= noise, BLURRED * noise, noise)
    rise = new - old
    return jnp.where(jnp.abs(rise) <= noise, 0.5 * (slope + slope_after), rise), slope, ss


def ahead(
    objective: Objective, state: ProximalState, point: Point, rate: Scalar, new: jax.Array
) -> tuple[Point, Vector]:
    """The iterate, if it is ``new`` with its measure of stationarity, and the next trial."""
    if objective.composite is None:
        return point, vector.add_scaled(point.x, -rate, point.grad)
    trial = objective.composite.descend(point.x, point.grad, rate)
    first = state.iterate.is_blank
    used = jnp.where(state.rate > 0, state.rate, 1)
    start = step_norm(point.x, point.grad, trial, rate)
    norm = jnp.where(first, start, stationarity(state.iterate, point, used))
    return point._replace(grad_norm=jnp.where(new, norm, point.grad_norm)), trial


def adapt(objective: Objective, state: ProximalState, point: Point) -> Scalar:
    """adaPGM's step; the first is a probe, the second the inverse of the curvature that the probe found."""
    s, y = vector.subtract(point.x, state.iterate.x), vector.subtract(point.grad, state.iterate.grad)
    pairs = (s, s), (s, y), (y, y), (point.grad, point.grad), (point.x, point.x)
    ss, sy, yy, gg, xx = objective.dots(*pairs)
    t, before = state.rate, state.rate_before
    moved = ss > 0
    ss = jnp.where(moved, ss, 1)
    curvature, squared = t * (sy / ss), (t * (vector.root(yy) / jnp.sqrt(ss))) ** 2  # t^2 may overflow
    grown = t * jnp.sqrt(1 / Q + t / jnp.where(before > 0, before, t))
    bracket = squared + 2 * (R - 1) * curvature + 1 - 2 * R
    bounded = t * jnp.sqrt((1 - R / Q) / jnp.where(bracket > 0, bracket, 1))
    adapted = jnp.where(bracket > 0, jnp.minimum(grown, bounded), grown)
    steep = steepness(objective, state.iterate, point)
    after_probe = jnp.where(steep > 0, 1 / jnp.where(steep > 0, steep, 1), LEAP * t)
    rate = jnp.where(
        state.points == 0, probe(gg, xx, parts(point, point)[0]), jnp.where(state.points == 1, after_probe, adapted)
    )
    return jnp.where(moved | (state.points == 0), rate, t)


def steepness(objective: Objective, before: Point, point: Point) -> Scalar:
    """``|y|^2 / s'y`` between two points (|y| / |s| where the loss is not convex); 0 where y is rounding."""
    s, y = vector.subtract(point.x, before.x), vector.subtract(point.grad, before.grad)
    pairs = (s, s), (s, y), (y, y), (point.grad, point.grad)
    ss, sy, yy, gg = objective.dots(*pairs)
    known = (ss > 0) & (yy > min(100 * objective.eps, ROUNDED) ** 2 * gg)

    def steep(ss: Scalar, sy: Scalar, yy: Scalar, known: jax.Array) -> Scalar:
        return jnp.where(known, jnp.where(sy > 0, yy / sy, jnp.sqrt(yy / ss)), 0)

    return piecewise(steep)(ss, sy, yy, known)
