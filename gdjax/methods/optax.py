"""Any optax optimiser as a method: its updates, our loop, tests and result.

DeepMind et al., The DeepMind JAX Ecosystem (2020); optax documentation, "GradientTransformation".
"""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ScheduleFreeState, schedule_free_eval_params

from gdjax.jaxtools.pytrees import strong
from gdjax.methods.base import Method, Outcome, usable
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.layout import Leaves
from gdjax.vectors.vector import Vector

SEARCHING = "num_linesearch_steps"  # in the state of an optimiser that searches
LOOKAHEAD = (
    "optax.lookahead works on pairs of parameters (optax.LookaheadParams), of which one is evaluated and the other is "
    "the answer; minimise with its fast optimiser alone, or average the iterates with optax.contrib.schedule_free"
)


class OptaxState(NamedTuple):
    """An optax optimiser between two evaluations."""

    iterate: Point  # accepted point
    trial: Vector  # next point to evaluate
    optimizer: Any  # optax's own state
    training: Vector | None  # schedule-free: the training parameters, while the trial is the evaluation point
    probing: jax.Array  # schedule-free: whether the trial is the evaluation point; true for all others


@jax.tree_util.register_pytree_node_class
class Optax(Method):
    """An optax optimiser with its hyperparameters traced: another learning rate compiles nothing.

    ``minimize(..., method=optax.adam(1e-2))`` works as well and is short for ``Optax(optax.adam(1e-2))``;
    there the rate is a number that the optimiser closes over. Its two functions are traced in each call, so an equal
    optimiser made again uses the same program. Only an optimiser that evaluates the loss itself (`optax.lbfgs`) is
    recognised by its identity.

    Args:
        optimizer: an ``optax.GradientTransformation``, or a function that makes one.
        **hyperparameters: arguments of that function; numbers and arrays are traced and may be vmapped.

    The optimiser sees your own pytree, so masks, partitions and factored states work on its leaves (its arrays).
    Its update function gets value, grad, value_fn (for line searches), obj_fn (for Sophia) and grad_fn (for SAM in
    opaque mode). Evaluations with obj_fn and grad_fn are not counted. Schedule-free optimisers are reported at their
    evaluation parameters, so each step costs two evaluations, one to train and one at the reported point.

    Raises:
        TypeError: if ``optimizer`` is neither of the two, if the function does not make a GradientTransformation, or
            for optax.lookahead, whose parameters are pairs.

    >>> import gdjax, optax
    >>> loss = lambda x: (x - 3.0) ** 2
    >>> gdjax.minimize(loss, 0.0, method=Optax(optax.adam, learning_rate=0.3)).status.name
    'CONVERGED'
    """

    layout: ClassVar[Any] = Leaves
    partial: ClassVar[bool] = True
    settles: ClassVar[bool] = False

    def __init__(self, optimizer: Any, **hyperparameters: Any) -> None:
        if isinstance(optimizer, optax.MultiSteps):
            optimizer = optimizer.gradient_transformation()
        is_transformation = isinstance(optimizer, optax.GradientTransformation)
        if not callable(optimizer) and not is_transformation:
            raise TypeError(f"Optax needs an optax optimiser or a function that makes one, got {optimizer!r}")
        if is_transformation and hyperparameters:
            raise TypeError("hyperparameters go with a function such as optax.adam, not with a made optimiser")
        self.optimizer, self.hyperparameters = optimizer, hyperparameters
        self.on_batches = False  # see `for_batches`

    def tree_flatten(self) -> tuple[tuple[Any, Any], bool]:
        """Children: the optimiser (static, being made of functions) and its hyperparameters."""
        return (self.optimizer, self.hyperparameters), self.on_batches

    @classmethod
    def tree_unflatten(cls, on_batches: bool, children: tuple[Any, Any]) -> "Optax":
        """Inverse of `tree_flatten`."""
        new = object.__new__(cls)
        (new.optimizer, new.hyperparameters), new.on_batches = children, on_batches
        return new

    def for_batches(self) -> "Optax":
        """The same, every evaluation being one to train: each is of another batch, and not to be compared."""
        return self.tree_unflatten(True, (self.optimizer, self.hyperparameters))

    def __repr__(self) -> str:
        """The call that makes it."""
        name = getattr(self.optimizer, "__name__", "optimizer")
        return f"Optax({', '.join([name, *(f'{k}={v}' for k, v in self.hyperparameters.items())])})"

    def position(self, state: OptaxState) -> Vector:
        """The next point; schedule-free: the last evaluation point, never the training parameters."""
        if state.training is not None:
            return vector.where(state.probing, state.trial, state.iterate.x)
        free = schedule_free_state(state.optimizer)
        return state.trial if free is None else schedule_free_eval_params(free, state.trial)

    def learnt(self, old: Any) -> dict[str, Any]:
        """Optax's own state."""
        return dict(optimizer=old.optimizer)

    def evaluations(self, stop: Any) -> int | None:
        """One a step, and the start."""
        if stop.max_evals is None and isinstance(stop.max_steps, int):
            return stop.max_steps + 1
        return super().evaluations(stop)

    @property
    def transformation(self) -> optax.GradientTransformationExtraArgs:
        """The optimiser, built from its hyperparameters where it is given as a function."""
        made = self.optimizer
        if not isinstance(made, optax.GradientTransformation):
            made = self.optimizer(**self.hyperparameters)
        if not isinstance(made, optax.GradientTransformation):
            raise TypeError(f"{self.optimizer!r} made {made!r}, which is no optax.GradientTransformation")
        return optax.with_extra_args_support(made)

    def first_state(self, params: Any) -> Any:
        """Of the optimiser."""
        state = self.transformation.init(params)
        if part_of(state, optax.LookaheadState) is not None:
            raise TypeError(LOOKAHEAD)
        return state

    def compares_values(self, params: Any) -> bool:
        """Whether it searches by itself, as `optax.lbfgs` does."""
        return bool(optax.tree.get_all_with_path(jax.eval_shape(self.first_state, params), SEARCHING))

    def init(self, objective: Objective) -> OptaxState:
        """At the start."""
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes, whatever the user has chosen
            optimizer = jax.tree.map(jnp.asarray, self.first_state(objective.start))
        two_points = schedule_free_state(optimizer) is not None and not self.on_batches
        return OptaxState(
            iterate=objective.blank,
            trial=objective.start,
            optimizer=optimizer,
            training=objective.start if two_points else None,
            probing=jnp.asarray(True),
        )

    def step(self, objective: Objective, state: OptaxState, point: Point) -> tuple[OptaxState, Outcome]:
        """Accept the point and apply one update of the optimiser."""
        finite, keep = usable(point, state.iterate)
        if state.training is not None:
            return self.two_point_step(objective, state, point)
        trial, optimizer = self.update(objective, state.optimizer, point)
        iterate = vector.where(keep, point, state.iterate)
        if self.on_batches:  # where it was is of no use: not to carry it around saves two copies of the parameters
            iterate = iterate._replace(x=state.iterate.x, grad=state.iterate.grad)
        extra = line_search_evaluations(optimizer)
        return OptaxState(iterate, trial, optimizer, None, state.probing), Outcome(
            finite, effective_rate(state), extra_evals=extra
        )

    def two_point_step(self, objective: Objective, state: OptaxState, point: Point) -> tuple[OptaxState, Outcome]:
        """Schedule-free: evaluate in turns where it reports (and may stop) and where it trains."""
        finite, keep = usable(point, state.iterate)
        iterate = vector.where(state.probing & keep, point, state.iterate)
        after_probe = state._replace(iterate=iterate, trial=state.training, probing=jnp.asarray(False))
        training, optimizer = self.update(objective, state.optimizer, point)
        report = schedule_free_eval_params(schedule_free_state(optimizer), training)
        after_update = OptaxState(iterate, report, optimizer, training, jnp.asarray(True))
        return vector.where(state.probing, after_probe, after_update), Outcome(
            state.probing & finite, effective_rate(state)
        )

    def update(self, objective: Objective, optimizer: Any, point: Point) -> tuple[Vector, Any]:
        """One optax update from an evaluated point: the next parameters and optimiser state."""

        def loss(params: Any, obj_fn: Any = None, grad_fn: Any = None) -> Any:  # optax hands on all extra arguments
            return objective.value(params)

        def gradient(params: Any, _: Any = None) -> Any:
            return objective.evaluate(params).grad

        transformation = self.transformation
        functions = dict(value_fn=loss, obj_fn=loss, grad_fn=gradient)
        extra = accepted(transformation.update, value=point.value, grad=point.grad, **functions)
        with jax.numpy_dtype_promotion("standard"):
            updates, new = transformation.update(point.grad, optimizer, point.x, **extra)
        # Some optimisers let a count or a rate change its dtype in the first update; a loop's carry cannot.
        new = jax.tree.map(lambda a, like: a if a is like else jnp.asarray(a, like.dtype), new, optimizer)
        return jax.tree.map(strong, optax.apply_updates(point.x, updates)), new


def accepted(function: Callable[..., Any], **extra: Any) -> dict[str, Any]:
    """Those of the extra arguments that a function's signature takes."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return extra
    return {name: value for name, value in extra.items() if name in parameters}


def effective_rate(state: OptaxState) -> vector.Scalar:
    """Length of the coming step in units of the gradient: the rate of plain descent with the same length."""
    step = vector.subtract(state.trial, state.iterate.x)
    return jnp.sqrt(vector.dot(step, step) / vector.dot(state.iterate.grad, state.iterate.grad))


def schedule_free_state(optimizer: Any) -> ScheduleFreeState | None:
    """The schedule-free part of an optax state, if it has one."""
    return part_of(optimizer, ScheduleFreeState)


def part_of(optimizer: Any, kind: type) -> Any:
    """The part of an optax state that is of some kind; None if there is none."""
    parts = jax.tree.leaves(optimizer, is_leaf=lambda part: isinstance(part, kind))
    return next((part for part in parts if isinstance(part, kind)), None)


def line_search_evaluations(optimizer: Any) -> jax.Array | int:
    """Evaluations that optax's own line search, if there is one, made in the last update."""
    counts = optax.tree.get_all_with_path(optimizer, SEARCHING)
    return sum((count.astype(jnp.int32) for _, count in counts), 0)
