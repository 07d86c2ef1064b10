"""What a method is: hyperparameters, `init`, `step`. The loop knows nothing else of it."""

import abc
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from gdjax.problem.objective import Objective, Point
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import Scalar, Vector


class State(Protocol):
    """What a method remembers between two evaluations: a pytree of arrays."""

    @property
    def iterate(self) -> Point:
        """The accepted point."""

    @property
    def trial(self) -> Vector:
        """The next point to evaluate; the start, before the first evaluation.

        A property rather than a stored vector where it can be computed (x + alpha d): a vector less to
        carry, which is what a trip costs when the loss is cheap.
        """


class Secant(NamedTuple):
    """Inner products of a step s from x to x+ and of the change y of the gradient: they show the curvature."""

    ss: Scalar
    slope_before: Scalar  # s'g
    slope_after: Scalar  # s'g+
    yy: Scalar
    gg: Scalar  # g+'g+
    xx: Scalar  # x+'x+
    sy: Scalar  # s'y


class Kkt(NamedTuple):
    """How far an iterate is from the optimality conditions of W. Karush, H. W. Kuhn and A. W. Tucker; scalars.

    Those of the problem with its loss and constraints scaled, so that 1 is much and 1e-6 little.
    """

    stationarity: Scalar  # norm of the gradient of the Lagrangian, projected into the bounds of x; inf: not known
    violation: Scalar  # largest, of the size of its constraint
    complementarity: Scalar  # largest min(|multiplier|, distance to its bound)
    weight: Scalar  # scale of the loss
    impossible: jax.Array  # whether the iterate is a stationary point of the violation, which is not zero
    degenerate: jax.Array  # whether multipliers have run away
    exhausted: jax.Array  # whether the method has nothing left to try


class Outcome(NamedTuple):
    """What the loop needs to know about a step."""

    accepted: jax.Array  # whether the point just evaluated is the new iterate
    step_size: Scalar  # multiplier of the direction that led to the point
    failed: jax.Array | bool = False  # no acceptable step can be found from the iterate
    predicted: Scalar | None = None  # decrease that the method's model still promises at the iterate; inf: unknown
    settled: jax.Array | None = None  # whether the step that would undo the gradient is within the rounding of x
    extra_evals: jax.Array | int = 0  # evaluations that the method made by itself
    noise: Scalar | float = 0.0  # differences of the loss that the method took for noise
    secant: Secant | None = None  # of the step, if the method knows it; else the loop keeps vectors to find it
    cosine: Scalar | None = None  # at the new iterate, of the angle between residuals and columns of the Jacobian
    span: Scalar | None = None  # at the new iterate, sum |x_i g_i|: see `gdjax.descent.stopping`
    blind: jax.Array | None = None  # whether the residuals do not see a change that they have seen on the way here
    ran_away: jax.Array | bool = False  # the parameters run to infinity while the value levels off
    product: jax.Array | bool = False  # the trip was a Hessian product, not an evaluation
    kkt: Kkt | None = None  # at the new iterate, if there are constraints


def usable(point: Point, iterate: Point) -> tuple[jax.Array, jax.Array]:
    """Whether a point is finite, and whether it may replace the iterate.

    The first point evaluated replaces the blank iterate even if it is not finite: it is what a descent that
    cannot begin has to show.
    """
    finite = jnp.isfinite(point.value) & jnp.isfinite(point.grad_norm)
    return finite, finite | iterate.is_blank


class Method(abc.ABC):
    """A frozen dataclass of hyperparameters with `init` and `step`; the loop knows nothing else about it.

    Numbers among the hyperparameters are traced, so changing them compiles nothing. The attributes below are defaults
    that a method may override. `gdjax.methods.stepping.Stepping` does the work that methods without a line search
    share, `gdjax.methods.searching.Searching` the work of those with one.
    """

    layout: ClassVar[Any] = Flat  # how the parameters come as a vector: `layout.Flat`, or `layout.Leaves`
    # Written against `gdjax.vectors.vector` alone: parameters that are spread over devices then come as `layout.Apart`.
    leafwise: ClassVar[bool] = False
    partial: ClassVar[bool] = False  # may leave some parameters as they are, as optax's masks do
    # May ask for Hessian products: where its state's ``wants_product`` is true, the trip is a product with ``tangent``
    # at the iterate, handed over in ``point.grad``.
    second_order: ClassVar[bool] = False
    # Works on the residuals of a least-squares problem, not on its gradient alone: see `LevenbergMarquardt`.
    least_squares: ClassVar[bool] = False
    # Takes a penalty (``objective.composite``), and puts the norm of the prox-gradient step into the ``grad_norm`` of
    # its iterates.
    accepts_penalty: ClassVar[bool] = False
    constrained: ClassVar[bool] = False  # Takes constraints (``objective.constrained``), and says where it stands.

    @property
    def searches(self) -> bool:
        """Whether a trial that is rejected, or not finite, is answered by a shorter step."""
        return False

    @property
    def monotone(self) -> bool:
        """Whether the values of accepted points only fall."""
        return self.searches

    @property
    def models(self) -> bool:
        """Whether it has a model of the curvature, and says in its outcomes what that promises."""
        return False

    @property
    def settles(self) -> bool:
        """Whether its steps stay what they are; one whose rate decays has no default patience (see `gdjax.Stop`)."""
        return True

    @property
    def needs_value(self) -> bool:
        """Whether a penalty must have a value, not only a prox."""
        return False

    @property
    def name(self) -> str:
        """How a result calls it."""
        return type(self).__name__

    def ask(self, objective: Objective, state: Any) -> Point:
        """What it wants to know next: the loss at its trial."""
        return objective.evaluate(state.trial)

    @abc.abstractmethod
    def init(self, objective: Objective) -> Any:
        """The state whose trial is the start."""

    @abc.abstractmethod
    def step(self, objective: Objective, state: Any, point: Point) -> tuple[Any, Outcome]:
        """Digest the evaluation of ``state.trial``: the next state, and what the loop must know."""

    def judged(self, objective: Objective, state: Any, point: Point) -> tuple[Objective, Point]:
        """The function whose gradient vanishes at the answer, and the point as one of it; else the objective."""
        return objective, point

    def conditions(self, objective: Objective, state: Any, point: Point) -> Kkt:
        """How far a point of the descent is from the optimality conditions of a problem with constraints."""
        raise NotImplementedError

    def position(self, state: Any) -> Vector:
        """Where a loop of the user's own stands: the iterate, or the next point if every point is accepted."""
        return state.iterate.x if self.searches else state.trial

    def learnt(self, old: Any) -> dict[str, Any]:
        """The fields of an old state that still hold where the loss may be another: never a point or its value."""
        return {}

    def evaluations(self, stop: Any) -> int | None:
        """How many evaluations the limits of a stop come to, as far as they are Python numbers: for ``implicit=False``.

        A method whose every evaluation is a step knows it of the limit on steps, too.
        """
        return stop.max_evals if isinstance(stop.max_evals, int) else None
