"""Gradient descent with a fixed rate, a schedule or a step-size rule; momentum and Nesterov's form of it.

B. T. Polyak, Some methods of speeding up the convergence of iteration methods, USSR Comput. Math. 4 (1964).
Y. Nesterov, A method of solving a convex programming problem with convergence rate O(1/k^2) (1983), in the
form of I. Sutskever et al., On the importance of initialization and momentum in deep learning (2013).
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import vector
from gdjax.layout import Flat
from gdjax.line_search.backtracking import Backtracking
from gdjax.methods.base import Outcome, usable
from gdjax.objective import Objective, Point
from gdjax.pytrees import pytree_dataclass, require, static_field
from gdjax.vector import Scalar, Vector


class DescentState(NamedTuple):
    """Gradient descent between two evaluations."""

    iterate: Point  # accepted point
    velocity: Vector | None  # m, the accumulated gradient; None without momentum
    ahead: Scalar | None  # Nesterov's share of m in the coming step; None without
    rate: Scalar  # alpha of the coming step; 0 before the start is evaluated
    points: jax.Array  # accepted, the start included
    search: Any  # state of the step-size rule; None without

    @property
    def uphill(self) -> Vector:
        """Minus the direction of the coming step: g, m, or g + momentum * m."""
        if self.velocity is None:
            return self.iterate.grad
        if self.ahead is None:
            return self.velocity
        return vector.add_scaled(self.iterate.grad, self.ahead, self.velocity)

    @property
    def trial(self) -> Vector:
        """The next point to evaluate."""
        return vector.add_scaled(self.iterate.x, -self.rate, self.uphill)


@pytree_dataclass
class GradientDescent:
    """Step after step downhill: ``m <- momentum * m + g``, ``x <- x - learning_rate * m``.

    With ``nesterov`` the step is along ``g + momentum * m``, the gradient as seen from ahead.

    Args:
        learning_rate: a number (params per unit of gradient); a schedule, which is a function of the step
            number 0, 1, 2, ... (any optax schedule); or a step-size rule such as `gdjax.Backtracking`.
            Numbers are traced: another rate compiles nothing.
        momentum: share of the previous step that is kept, 0 <= momentum < 1.
        nesterov: use Nesterov's form.

    Raises:
        ValueError: if the learning rate is not positive or the momentum outside [0, 1).
        TypeError: if the learning rate is none of the three.

    >>> import gdjax
    >>> result = gdjax.minimize(lambda x: (x - 3.0) ** 2, 0.0, method=GradientDescent(0.25), tol=1e-4)
    >>> result.status.name, round(float(result.params), 3)
    ('CONVERGED', 3.0)
    """

    learning_rate: float | jax.Array | Callable[[jax.Array], Any] | Backtracking
    momentum: float | jax.Array | None = 0.0
    nesterov: bool = static_field(False)

    layout: ClassVar[Any] = Flat

    def __post_init__(self) -> None:
        require("must be positive", self.learning_rate, lambda x: x > 0, "learning_rate")
        require("must be at least 0 and below 1", self.momentum, lambda x: (x >= 0) & (x < 1), "momentum")
        if isinstance(self.learning_rate, str) or self.learning_rate is None:
            raise TypeError(
                "learning_rate must be a number, a schedule or a step-size rule such as gdjax.Backtracking(), "
                f"got {self.learning_rate!r}"
            )
        if isinstance(self.momentum, int | float) and self.momentum == 0:
            object.__setattr__(self, "momentum", None)  # no velocity to carry

    @property
    def searches(self) -> bool:
        """Whether the learning rate is a rule that rejects trials."""
        return isinstance(self.learning_rate, Backtracking)

    @property
    def rule(self) -> Backtracking:
        """The step-size rule."""
        assert isinstance(self.learning_rate, Backtracking)
        return self.learning_rate

    def init(self, objective: Objective) -> DescentState:
        """At the start, with a step of length zero."""
        zero = jnp.asarray(0.0, objective.dtype)
        velocity = None if self.momentum is None else vector.zeros_like(objective.start)
        ahead = zero if self.nesterov and self.momentum is not None else None
        search = self.rule.start(objective.blank.value, zero, zero) if self.searches else None
        return DescentState(objective.blank, velocity, ahead, zero, jnp.asarray(0, jnp.int32), search)

    def step(self, objective: Objective, state: DescentState, point: Point) -> tuple[DescentState, Outcome]:
        """Accept the point and choose the next step; or shorten this one, if a rule says so."""
        finite, keep = usable(point, state.iterate)
        if not self.searches:
            rate = self.learning_rate(state.points) if callable(self.learning_rate) else self.learning_rate
            new = self.accept(objective, state, point)._replace(rate=jnp.asarray(rate).astype(objective.dtype))
            # A method of fixed steps ends at its first non-finite point, so only the iterate must survive it.
            return new._replace(iterate=vector.where(keep, point, state.iterate)), Outcome(finite, state.rate)

        slope = -vector.dot(state.uphill, point.grad).astype(objective.dtype)
        value = jnp.where(finite, point.value, jnp.inf)
        search, verdict = self.rule.feed(state.search, value, slope, objective.noise(value))
        moved = self.accept(objective, state, point)
        slope = -vector.dot(moved.uphill, point.grad).astype(objective.dtype)
        initial = jnp.asarray(self.rule.initial).astype(objective.dtype)
        rate = jnp.where(state.points == 0, initial, self.rule.next_step_size(search))
        # The lowest value, not the last: the noise rule may accept a value above it, which must not add up.
        lowest = jnp.minimum(value, state.search.start.value)
        moved = moved._replace(rate=rate, search=self.rule.start(lowest, slope, rate))
        stayed = state._replace(rate=search.step_size, search=search)
        outcome = Outcome(finite & verdict.accepted, state.rate, verdict.failed)
        return vector.where(keep & verdict.accepted, moved, stayed), outcome

    def accept(self, objective: Objective, state: DescentState, point: Point) -> DescentState:
        """Move to the point and add its gradient to the velocity."""
        new = state._replace(iterate=point, points=state.points + 1)
        if state.velocity is None:
            return new
        momentum = jnp.asarray(self.momentum).astype(objective.dtype)
        velocity = vector.add_scaled(point.grad, momentum, state.velocity)
        if self.searches:  # an uphill velocity cannot be searched along: begin it anew
            velocity = vector.where(vector.dot(velocity, point.grad) > 0, velocity, point.grad)
        return new._replace(velocity=velocity, ahead=None if state.ahead is None else momentum)
