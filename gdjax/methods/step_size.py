"""Rules for the learning rate that do not search: a number, a schedule, the adaptive step, Polyak's.

Y. Malitsky and K. Mishchenko, Adaptive gradient descent without descent, ICML (2020); P. Latafat, A. Themelis,
L. Stella and P. Patrinos, Adaptive proximal algorithms for convex optimization under local Lipschitz continuity
of the gradient, Math. Program. (2024), for q = 3/2, r = 3/4.
B. T. Polyak, Introduction to Optimization (1987), section 5.3.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.methods.parts.rates import adapt, first_rate, smoothness
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

PROBES = 20  # first steps that AdaptiveStep may try: tenfold each, more than any scale needs


class Next(NamedTuple):
    """What a rule without a search says of an evaluated point."""

    memory: Any
    accepted: jax.Array  # whether the point is the new iterate
    rate: Scalar  # of the coming step
    left: Scalar | None = None  # decrease that is left, if it is known
    settled: jax.Array | None = None  # whether that is within the rounding of the value


class Growth(NamedTuple):
    """What AdaptiveStep remembers."""

    before: Scalar  # the rate before the last one; 0 while the first is being found
    probes: jax.Array  # first steps tried


@pytree_dataclass
class AdaptiveStep:
    """Step-size rule without a search: it follows the curvature along the last step.

    ``rate+ = rate * min(sqrt(2/3 + rate / rate-), 1 / sqrt([2 (rate L)^2 - rate l - 1]+))`` with
    ``L = |y| / |s|``, ``l = s'y / s's``: adaPGM with q = 3/2, r = 3/4, whose steps are never shorter than those
    of Malitsky and Mishchenko. Every point is accepted, so the loss may rise for a while. For convex losses the rule
    converges without knowing the curvature. The first step is repeated, up to ten times longer or shorter, until it is
    of the order of 1 / L. If a step leads to a point that is not finite, it is made ten times shorter.

    Args:
        initial: first rate to try, in params per unit of gradient; by default a step of length 1 at most.

    Raises:
        ValueError: if ``initial`` is not positive.

    >>> import gdjax, jax.numpy as jnp
    >>> loss = lambda x: jnp.sum(jnp.array([1.0, 10.0, 100.0]) * (x - 1) ** 2)
    >>> gdjax.minimize(loss, jnp.zeros(3), method=gdjax.GradientDescent(AdaptiveStep())).status.name
    'CONVERGED'
    """

    initial: float | jax.Array | None = None

    searches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require("must be positive", self.initial, lambda x: x > 0, "initial")

    def start(self, objective: Objective) -> Growth:
        """Before the first step."""
        return Growth(jnp.zeros((), objective.dtype), jnp.asarray(0, jnp.int32))

    def next(self, objective: Objective, memory: Growth, before: Point, point: Point, rate: Scalar) -> Next:
        """The rate after a step of ``rate`` from ``before`` to ``point``."""
        s, y = vector.subtract(point.x, before.x), vector.subtract(point.grad, before.grad)
        ss, sy, yy, gg = objective.dots((s, s), (s, y), (y, y), (point.grad, point.grad))
        finite = jnp.isfinite(point.value) & jnp.isfinite(yy)
        at_start, probing = before.is_blank, memory.before == 0
        lipschitz = smoothness(rate, ss, yy)
        fits = (lipschitz >= 0.01) & (lipschitz <= 4) | (memory.probes >= PROBES)
        accepted = finite & (fits | ~probing)
        growth = jnp.where(probing, 1 / 3, rate / jnp.where(probing, 1, memory.before))  # 1 / 3: M. & M.
        new = adapt(rate, growth, ss, sy, yy)
        retry = rate * jnp.where(finite, jax.lax.rsqrt(jnp.clip(lipschitz, 0.01, 100)), 0.1)
        new = jnp.where(at_start, first_rate(self.initial, gg), jnp.where(accepted, new, retry))
        probes = jnp.where(at_start, 0, memory.probes + 1)
        last = jnp.where(at_start, 0, jnp.where(accepted, rate, memory.before))
        return Next(Growth(last, probes), finite & (at_start | accepted), new)


@pytree_dataclass
class PolyakStep:
    """Step-size rule for a known minimum: ``rate = (f - target) / g'g``.

    It also converges for convex losses with kinks (a mean absolute error that can be 0). There the gradient does not
    vanish, so stop at a value: ``stop=gdjax.Stop(target=...)`` with the value that is good enough for you. If the
    target is below the true minimum, the descent does not settle. If it is above, the descent stops where the target is
    reached. If the value is within its rounding of the target, nothing more can be gained: PRECISION_FLOOR.

    Args:
        target: the smallest value that the loss can have (the largest, if maximised).

    Raises:
        ValueError: if ``target`` is NaN.

    >>> import gdjax, jax.numpy as jnp
    >>> loss = lambda x: jnp.abs(x[0] - 1) + 2 * jnp.abs(x[1] + 1)
    >>> method, stop = gdjax.GradientDescent(PolyakStep(0.0)), gdjax.Stop(target=1e-5)
    >>> gdjax.minimize(loss, jnp.zeros(2), method=method, stop=stop).status.name
    'TARGET_REACHED'
    """

    target: float | jax.Array

    searches: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require("must not be NaN", self.target, lambda x: x == x, "target")

    def start(self, objective: Objective) -> None:
        """Nothing to remember."""

    def next(self, objective: Objective, memory: None, before: Point, point: Point, rate: Scalar) -> Next:
        """The rate at ``point``; 0 at the target and where the gradient is zero."""
        gg = objective.dot(point.grad, point.grad)
        left = jnp.maximum(point.value - objective.sign * self.target, 0)
        settled = left <= objective.noise(point.value)
        return Next(None, jnp.isfinite(point.value), jnp.where(gg > 0, left / gg, 0), left, settled)


@pytree_dataclass
class Constant:
    """The same rate always."""

    rate: float | jax.Array

    searches: ClassVar[bool] = False

    def start(self, objective: Objective) -> None:
        """Nothing to remember."""

    def next(self, objective: Objective, memory: None, before: Point, point: Point, rate: Scalar) -> Next:
        """The rate."""
        return Next(None, jnp.asarray(True), jnp.asarray(self.rate))


@pytree_dataclass
class Schedule:
    """A function of the step number."""

    rate: Callable[[jax.Array], Any]

    searches: ClassVar[bool] = False

    def start(self, objective: Objective) -> jax.Array:
        """The number of points accepted."""
        return jnp.asarray(0, jnp.int32)

    def next(self, objective: Objective, memory: jax.Array, before: Point, point: Point, rate: Scalar) -> Next:
        """The rate of this step."""
        return Next(memory + 1, jnp.asarray(True), jnp.asarray(self.rate(memory)).astype(rate.dtype))


def as_rule(rate: Any) -> Any:
    """A number as `Constant`, a function as `Schedule`, a rule as it is."""
    if isinstance(rate, AdaptiveStep | PolyakStep):
        return rate
    return Schedule(rate) if callable(rate) else Constant(rate)
