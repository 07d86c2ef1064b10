"""Gradient descent with a fixed rate, a schedule or a step-size rule; momentum and Nesterov's form of it.

B. T. Polyak, Some methods of speeding up the convergence of iteration methods, USSR Comput. Math. 4 (1964).
Y. Nesterov, A method of solving a convex programming problem with convergence rate O(1/k^2) (1983), in the
form of I. Sutskever et al., On the importance of initialization and momentum in deep learning (2013).
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require, static_field
from gdjax.line_search.backtracking import Backtracking
from gdjax.line_search.base import LineSearch
from gdjax.methods.barzilai_borwein import BarzilaiBorwein, SecantDescent
from gdjax.methods.base import Method, Outcome, usable
from gdjax.methods.searching import Move, Searching
from gdjax.methods.step_size import AdaptiveStep, PolyakStep, as_rule
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

StepRule = Backtracking | BarzilaiBorwein | AdaptiveStep | PolyakStep


class DescentState(NamedTuple):
    """Gradient descent between two evaluations."""

    iterate: Point  # accepted point
    uphill: Vector | None  # minus the direction of the coming step; None where that is the gradient
    velocity: Vector | None  # m, the accumulated gradient; None without momentum
    rate: Scalar  # alpha of the coming step; 0 before the start is evaluated
    memory: Any  # of the rule for the rate

    @property
    def trial(self) -> Vector:
        """The next point to evaluate."""
        uphill = self.iterate.grad if self.uphill is None else self.uphill
        return vector.add_scaled(self.iterate.x, -self.rate, uphill)


@pytree_dataclass
class GradientDescent(Method):
    """Gradient descent: ``m <- momentum * m + g``, ``x <- x - learning_rate * m``.

    With ``nesterov`` the step is along ``g + momentum * m``, which looks one step ahead.

    Args:
        learning_rate: a number (params per unit of gradient); a schedule, which is a function of the step
            number 0, 1, 2, ... (any optax schedule); or a step-size rule: `gdjax.Backtracking`,
            `gdjax.BarzilaiBorwein`, `gdjax.AdaptiveStep`, `gdjax.PolyakStep`.
            Numbers are traced: another rate compiles nothing.
        momentum: fraction of the previous step that is kept, 0 <= momentum < 1.
        nesterov: use Nesterov's form.

    Raises:
        ValueError: if the learning rate is not positive, if the momentum is outside [0, 1), or if it is not 0 with a
            rule other than Backtracking (the other rules do not support momentum).
        TypeError: if the learning rate is none of the three.

    >>> import gdjax
    >>> result = gdjax.minimize(lambda x: (x - 3.0) ** 2, 0.0, method=GradientDescent(0.25), tol=1e-4)
    >>> result.status.name, round(float(result.params), 3)
    ('CONVERGED', 3.0)
    """

    learning_rate: float | jax.Array | Callable[[jax.Array], Any] | StepRule
    momentum: float | jax.Array | None = 0.0
    nesterov: bool = static_field(False)

    leafwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rate = self.learning_rate
        rule = isinstance(rate, StepRule)
        if rate is None or isinstance(rate, str | bool) or (isinstance(rate, LineSearch) and not rule):
            raise TypeError(
                "learning_rate must be a number, a schedule or a step-size rule such as gdjax.Backtracking(), "
                f"got {rate!r}"
            )
        if not rule:
            require("must be positive", rate, lambda x: x > 0, "learning_rate")
        require("must be at least 0 and below 1", self.momentum, lambda x: (x >= 0) & (x < 1), "momentum")
        if isinstance(self.momentum, int | float) and self.momentum == 0:
            object.__setattr__(self, "momentum", None)  # no velocity to carry
        if self.momentum is not None and rule and not isinstance(rate, Backtracking):
            raise ValueError(f"momentum must be 0 with {type(rate).__name__}, whose steps are for plain gradients")

    @property
    def searches(self) -> bool:
        """Whether the learning rate is a rule that rejects trials."""
        return isinstance(self.learning_rate, Backtracking | BarzilaiBorwein | AdaptiveStep)

    @property
    def monotone(self) -> bool:
        """Whether values only fall."""
        return isinstance(self.learning_rate, Backtracking)

    @property
    def models(self) -> bool:
        """Whether the rule knows how much decrease is left."""
        return isinstance(self.learning_rate, PolyakStep)

    @property
    def settles(self) -> bool:
        """Whether the rate stays what it is."""
        return not callable(self.learning_rate)

    @property
    def searching(self) -> Searching | None:
        """The same as a method with a line search, if the rule is one."""
        rule = self.learning_rate
        if isinstance(rule, BarzilaiBorwein):
            return SecantDescent(rule)
        return SearchingDescent(self, rule) if isinstance(rule, Backtracking) else None

    def learnt(self, old: Any) -> dict[str, Any]:
        """The velocity, and the memory of the rule; a schedule goes on with the rate of the step that was next."""
        if self.searching:
            return self.searching.learnt(old)
        back = lambda x: jnp.maximum(x - 1, 0) if jnp.issubdtype(x.dtype, jnp.integer) else x
        return dict(velocity=old.velocity, memory=jax.tree.map(back, old.memory))

    def evaluations(self, stop: Any) -> int | None:
        """One a step, and the start, if no trial is rejected."""
        if stop.max_evals is None and isinstance(stop.max_steps, int) and not self.searches:
            return stop.max_steps + 1
        return super().evaluations(stop)

    def init(self, objective: Objective) -> Any:
        """At the start, with a step of length zero."""
        if self.searching:
            return self.searching.init(objective)
        zero, memory = jnp.asarray(0.0, objective.dtype), as_rule(self.learning_rate).start(objective)
        velocity = None if self.momentum is None else vector.zeros_like(objective.start)
        return DescentState(objective.blank, velocity, velocity, zero, memory)

    def step(self, objective: Objective, state: Any, point: Point) -> tuple[Any, Outcome]:
        """Accept the point and choose the next step."""
        if self.searching:
            return self.searching.step(objective, state, point)
        finite, keep = usable(point, state.iterate)
        rule = as_rule(self.learning_rate).next(objective, state.memory, state.iterate, point, state.rate)
        uphill, velocity = None, None
        if state.velocity is not None:
            uphill, velocity = self.ahead(state.velocity, point.grad)
        taken = keep & (rule.accepted | state.iterate.is_blank)
        iterate = vector.where(taken, point, state.iterate)
        rate, state = state.rate, DescentState(iterate, uphill, velocity, rule.rate, rule.memory)
        return state, Outcome(finite & taken, rate, predicted=rule.left, settled=rule.settled)

    def ahead(self, velocity: Vector, grad: Vector) -> tuple[Vector, Vector]:
        """The uphill vector of the coming step, and the velocity m."""
        if self.momentum is None:
            return grad, grad
        velocity = vector.add_scaled(grad, self.momentum, velocity)
        return (vector.add_scaled(grad, self.momentum, velocity) if self.nesterov else velocity), velocity


class SearchingDescent(Searching):
    """Gradient descent whose rate is searched for."""

    def __init__(self, method: GradientDescent, rule: Backtracking) -> None:
        self.method, self.line_search, self.rule = method, rule, rule

    def empty(self, objective: Objective) -> tuple[Vector, jax.Array]:
        """No velocity, no steps."""
        return vector.zeros_like(objective.start), jnp.asarray(0, jnp.int32)

    def learn(self, memory: tuple[Vector, jax.Array], move: Move) -> tuple[tuple[Vector, jax.Array], Vector, Scalar]:
        """Add the gradient to the velocity; a velocity that leads uphill is begun anew."""
        velocity, steps = memory
        uphill, velocity = self.method.ahead(velocity, move.after.grad)
        descends = vector.dot(uphill, move.after.grad) > 0
        uphill, velocity = vector.where(descends, (uphill, velocity), (move.after.grad, move.after.grad))
        first = jnp.where(move.step_size > 0, self.rule.grow * move.step_size, self.rule.initial)
        return (velocity, steps + 1), vector.negative(uphill), first

    def forget(self, memory: tuple[Vector, jax.Array]) -> tuple[Vector, jax.Array]:
        """No velocity, no steps."""
        return jax.tree.map(jnp.zeros_like, memory)

    def has_learnt(self, memory: tuple[Vector, jax.Array]) -> jax.Array:
        """Whether the velocity can be another vector than the gradient."""
        return jnp.asarray(False) if self.method.momentum is None else memory[1] > 1
