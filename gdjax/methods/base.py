"""What a method is: hyperparameters, `init`, `step`. The loop knows nothing else of it."""

from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from gdjax.objective import Objective, Point
from gdjax.vector import Scalar, Vector


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
    """Inner products of a step s from x to x+, and of the change y of the gradient, for what they tell of curvature."""

    ss: Scalar
    slope_before: Scalar  # s'g
    slope_after: Scalar  # s'g+
    yy: Scalar
    gg: Scalar  # g+'g+
    xx: Scalar  # x+'x+
    sy: Scalar  # s'y


class Outcome(NamedTuple):
    """What the loop needs to know of a step."""

    accepted: jax.Array  # whether the point just evaluated is the new iterate
    step_size: Scalar  # multiplier of the direction that led to the point
    failed: jax.Array | bool = False  # no acceptable step can be found from the iterate
    predicted: Scalar | None = None  # decrease that the method's model still promises at the iterate; inf: unknown
    settled: jax.Array | None = None  # whether the step that would undo the gradient is within the rounding of x
    extra_evals: jax.Array | int = 0  # evaluations that the method made by itself
    noise: Scalar | float = 0.0  # differences of the loss that the method took for noise
    secant: Secant | None = None  # of the step, if the method knows it; else the loop keeps vectors to find it
    product: jax.Array | bool = False  # the trip was a Hessian product, not an evaluation


def usable(point: Point, iterate: Point) -> tuple[jax.Array, jax.Array]:
    """Whether a point is finite, and whether it may replace the iterate.

    The first point evaluated replaces the blank iterate even if it is not finite: it is what a descent that
    cannot begin has to show.
    """
    finite = jnp.isfinite(point.value) & jnp.isfinite(point.grad_norm)
    return finite, finite | (iterate.value == jnp.inf)


def is_monotone(method: Any) -> bool:
    """Whether the values of accepted points only fall: a method that searches, unless it says otherwise."""
    return getattr(method, "monotone", method.searches)


def asks_products(method: Any) -> bool:
    """Whether a method may ask for Hessian products."""
    return getattr(method, "second_order", False)


def leaves_fixed(method: Any) -> bool:
    """Whether a method may be told to leave some parameters as they are."""
    return getattr(method, "partial", False)


def name_of(method: Any) -> str:
    """How a result calls a method."""
    return getattr(method, "name", type(method).__name__)


class Method(Protocol):
    """A frozen dataclass of hyperparameters; numbers among them are traced, so changing them compiles nothing.

    A method with an attribute ``settles = False`` has no default patience (see `gdjax.Stop`).

    A method that searches and whose values may rise all the same has an attribute ``monotone = False``. One that
    takes a penalty (``objective.composite``) has ``accepts_penalty = True`` and puts the norm of the prox-gradient
    step into the ``grad_norm`` of its iterates.

    One that is written against `gdjax.vector` alone has ``leafwise = True``: parameters that are spread over devices
    then come as `layout.Apart`, a tuple of leaves.

    One that has a model of the curvature, and says in its outcomes what that promises, has ``models = True``.

    One that may leave some parameters as they are, as optax's masks do, has ``partial = True``.

    A method with a class attribute ``second_order = True`` may ask for Hessian products too: when its state's
    ``wants_product`` is true, the trip is a product with ``tangent`` at the iterate, handed over in ``point.grad``.
    """

    layout: ClassVar[Any]  # layout.Flat or layout.Leaves: how the parameters come as a vector

    @property
    def searches(self) -> bool:
        """Whether a rejected or non-finite trial is answered by a shorter step."""

    def init(self, objective: Objective) -> Any:
        """The state whose trial is the start."""

    def step(self, objective: Objective, state: Any, point: Point) -> tuple[Any, Outcome]:
        """Digest the evaluation of ``state.trial``: the next state, and what the loop must know."""
