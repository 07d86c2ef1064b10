"""A method with traced functions in place of the user's: schedules, and what an optax optimiser is made of."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdjax.jaxtools.hoisted import Hoisted, hoist_call
from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.methods.optax import Optax, accepted
from gdjax.problem.problem import Problem, check_params
from gdjax.vectors import vector


def hoist_method(method: Any, problem: Problem) -> Any:
    """The same method; schedules are functions of the user's, and traced in each call.

    Equal optax optimisers, made anew, are then one program, whatever their learning rates. One that evaluates the loss
    itself (`optax.lbfgs`) is left as it is and known by its identity. So is a method of a class of the user's.

    Args:
        method: that of a request.
        problem: a hoisted one.
    """
    if isinstance(method, Optax):
        # In a `jax.shard_map` the types of what varies are known only within the loop.
        return method if jax.sharding.get_abstract_mesh().manual_axes else hoist_optax(method, problem)
    if type(method).__module__.partition(".")[0] != "gdjax" or not dataclasses.is_dataclass(method):
        return method
    fields = {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}
    count = np.zeros((), np.int32)
    schedules = {
        name: hoist_call(lambda rate, count: rate(count), schedule, count)
        for name, schedule in fields.items()
        if callable(schedule) and not isinstance(schedule, type)
    }
    return dataclasses.replace(method, **schedules) if schedules else method  # type: ignore[type-var]


class NeedsLossError(Exception):
    """An optimiser evaluates the loss."""


@pytree_dataclass
class Update:
    """The update of an optax optimiser, traced."""

    traced: Hoisted

    def __call__(self, updates: Any, state: Any, params: Any, *, value: Any) -> Any:
        """As optax's."""
        return self.traced(updates, state, params, value)


def hoist_optax(method: Optax, problem: Problem) -> Optax:
    """The optimiser with its two functions traced."""
    params = check_params(problem.params)
    program = problem.loss.program  # type: ignore[attr-defined]
    value = np.zeros((), vector.real_dtype((params, program.out_avals[0])))

    def needs_loss(params: Any, obj_fn: Any = None, grad_fn: Any = None) -> Any:
        raise NeedsLossError

    def init(method: Optax, params: Any) -> Any:
        return jax.tree.map(jnp.asarray, method.first_state(params))

    def update(method: Optax, grad: Any, state: Any, params: Any, value: Any) -> Any:
        function = method.transformation.update
        functions = dict.fromkeys(("value_fn", "obj_fn", "grad_fn"), needs_loss)
        extra = accepted(function, value=value, grad=grad, **functions)
        return function(grad, state, params, **extra)

    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes, whatever the user has chosen
        try:
            first = hoist_call(init, method, params)
            state = jax.tree.unflatten(first.program.out_tree, first.program.out_avals)
            following = hoist_call(update, method, params, state, params, value)
        except NeedsLossError:
            return method
    return Optax(optax.GradientTransformationExtraArgs(first, Update(following)))
