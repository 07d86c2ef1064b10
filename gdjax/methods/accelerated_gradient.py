"""Nesterov's accelerated gradient, restarted when it overshoots, with the smoothness estimated as it goes.

Y. Nesterov, A method of solving a convex programming problem with convergence rate O(1/k^2) (1983); A. Beck and
M. Teboulle, FISTA, SIAM J. Imaging Sci. 2 (2009). B. O'Donoghue and E. Candes, Adaptive restart for accelerated
gradient schemes, Found. Comput. Math. 15 (2015), section 3.2 (the gradient scheme). K. Scheinberg, D. Goldfarb and
X. Bai, Fast first-order methods for composite convex optimization with backtracking (2014), for t under rates that
change. T. Li and G. Lan, A simple uniformly optimal method without line search (2023), for the estimate of L.
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.line_search.base import denoise
from gdjax.methods.base import Method, Outcome, usable
from gdjax.methods.parts import nesterov
from gdjax.methods.parts.rates import first_rate
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

CUT = 0.7  # share of 1 / L to which a rate is cut: from 0.9 the next step often meets a larger L
FAR_TOO_SHORT = 0.05  # a rate below this share of 1 / L is made ten times as long at once


class AcceleratedState(NamedTuple):
    """The accelerated gradient method between two evaluations."""

    iterate: Point  # y, the accepted point, where the gradient is known
    x: Vector  # the gradient step that led there
    t: Scalar  # Nesterov's sequence
    momentum: Scalar  # (t - 1) / t+, of the coming step
    rate: Scalar  # gamma of the coming step; 0 before the start is evaluated
    probing: jax.Array  # whether every rate so far was far too short

    @property
    def descended(self) -> Vector:
        """x+ = y - gamma g."""
        return vector.add_scaled(self.iterate.x, -self.rate, self.iterate.grad)

    @property
    def trial(self) -> Vector:
        """y+ = x+ + momentum (x+ - x)."""
        x = self.descended
        return vector.add_scaled(x, self.momentum, vector.subtract(x, self.x))


@pytree_dataclass
class AcceleratedGradient(Method):
    """``x+ = y - rate g(y)``, ``y+ = x+ + (t - 1) / t+ (x+ - x)``, ``t+ = (1 + sqrt(1 + 4 t^2)) / 2``.

    There is no constant to choose. The rate grows a little after every step. If two successive points show a curvature
    L above 1 / rate, ``L = |g+ - g|^2 / 2 (f - f+ - g+'(y - y+))``, the rate is cut to 1 / L and the step is repeated.
    If the momentum points uphill (``g'(x+ - x) > 0``), it is dropped and t restarts at 1. For convex losses; on an
    ill-conditioned one it needs about the square root of the number of evaluations that a fixed rate needs.

    Args:
        initial: first rate to try, in params per unit of gradient; by default a step of length 1 at most.
        grow: factor on the rate after every step.

    Raises:
        ValueError: if ``initial`` is not positive or ``grow`` is below 1.

    >>> import gdjax, jax.numpy as jnp
    >>> loss = lambda x: jnp.sum(jnp.array([1.0, 10.0, 100.0]) * (x - 1) ** 2)
    >>> gdjax.minimize(loss, jnp.zeros(3), method=AcceleratedGradient()).status.name
    'CONVERGED'
    """

    initial: float | jax.Array | None = None
    grow: float | jax.Array = 1.01

    leafwise: ClassVar[bool] = True
    searches: ClassVar[bool] = True
    monotone: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require("must be positive", self.initial, lambda x: x > 0, "initial")
        require("must be at least 1", self.grow, lambda x: x >= 1, "grow")

    def init(self, objective: Objective) -> AcceleratedState:
        """At the start, with a step of length zero."""
        zero, one = jnp.zeros((), objective.dtype), jnp.ones((), objective.dtype)
        return AcceleratedState(objective.blank, objective.start, one, zero, zero, jnp.asarray(True))

    def step(self, objective: Objective, state: AcceleratedState, point: Point) -> tuple[AcceleratedState, Outcome]:
        """Take the point and set the momentum; or make the step shorter."""
        finite, keep = usable(point, state.iterate)
        first = state.iterate.is_blank
        smoothness = lipschitz(objective, state.iterate, point) * state.rate
        accepted = finite & (first | ~(smoothness > 1))
        taken = keep & (accepted | first)
        iterate, x = vector.where(taken, (point, state.descended), (state.iterate, state.x))

        gg = objective.dot(iterate.grad, iterate.grad)
        probing = state.probing & (first | (finite & (smoothness < FAR_TOO_SHORT)))
        longer = jnp.where(probing & ~first, 10, self.grow)
        factor = jnp.where(taken, longer, jnp.where(finite, CUT / jnp.clip(smoothness, CUT, 10 * CUT), 0.1))
        rate = jnp.where(first, first_rate(self.initial, gg), state.rate * factor)

        # The sequence for the coming step; a step made again keeps its momentum.
        t, momentum = nesterov.advance(state.t, state.rate / rate)
        descended = vector.add_scaled(iterate.x, -rate, iterate.grad)
        uphill = vector.dot(iterate.grad, vector.subtract(descended, x)) > 0
        t, momentum = vector.where(first | uphill | probing, (1, 0), (t, momentum))
        t, momentum = vector.where(taken, (t, momentum), (state.t, state.momentum))
        return AcceleratedState(iterate, x, t, momentum, rate, probing), Outcome(accepted, state.rate)


def lipschitz(objective: Objective, before: Point, after: Point) -> Scalar:
    """Curvature L between two points: the co-coercivity of convex losses, |y| / |s| where it says nothing."""
    s, y = vector.subtract(after.x, before.x), vector.subtract(after.grad, before.grad)
    pairs = (s, before.grad), (s, after.grad), (s, s), (y, y)
    slope, slope_after, ss, yy = objective.dots(*pairs)
    noise = objective.blur(before.value)
    value = denoise(before.value, slope, jnp.ones_like(slope), after.value, slope_after, noise)
    bregman = before.value - value + slope_after
    convex, known = bregman > 0, (ss > 0) & (yy > 0)
    ratio = jnp.where(known, yy, 1) / jnp.where(known, ss, 1)
    return jnp.where(convex, 0.5 * yy / jnp.where(convex, bregman, 1), jnp.where(known, jnp.sqrt(ratio), 0))
