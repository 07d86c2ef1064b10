"""The problem with the user's functions traced: what they close over becomes data of the compiled program."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.hoisted import Hoisted, hoist_call
from gdjax.jaxtools.pytrees import (
    Static,
    as_data,
    merge,
    named_leaves,
    pytree_dataclass,
    split,
    static_field,
    typed,
    widened,
)
from gdjax.jaxtools.traced_program import TracedProgram
from gdjax.penalties.base import has_value
from gdjax.penalties.by_leaf import ByLeaf
from gdjax.problem.constraints import call_constraint, is_constraint
from gdjax.problem.problem import Problem, call_function, check_grad, check_params, require_params
from gdjax.vectors import vector


def hoist(problem: Problem) -> Problem:
    """The same problem with traced functions and nothing but arrays in ``args``.

    Loss, gradient and a penalty of the user's own are traced in each call: see `gdjax.jaxtools.hoisted.hoist_call`.

    Raises:
        TypeError, ValueError: as `gdjax.problem.objective.trace`, for a loss, grad or params that are not what they
            must be; if there are arrays among the args that are not of numbers.
    """
    if isinstance(problem.loss, Hoisted):
        return problem
    require_params(problem.params)
    problem = dataclasses.replace(problem, params=jax.tree.map(typed, problem.params))
    data, static = split((as_data("args", problem.args), as_data("kwargs", problem.kwargs)))

    def as_given(function: Any, data: list[Any]) -> dict[str, Any]:
        args, kwargs = merge(data, static)
        return dict(loss=function, args=args, kwargs=kwargs)

    def value(function: Any, params: Any, data: list[Any]) -> Any:
        out, aux = call_function(dataclasses.replace(problem, **as_given(function, data)), check_params(params))
        return (out, aux) if problem.has_aux else out

    def gradient(function: Any, params: Any, data: list[Any]) -> Any:
        params, given = check_params(params), as_given(function, data)
        return check_grad(function(params, *given["args"], **given["kwargs"]), params)

    def jacobian(function: Any, params: Any, data: list[Any]) -> Any:
        given = as_given(function, data)
        return function(check_params(params), *given["args"], **given["kwargs"])

    def of_constraint(function: Any, params: Any, data: list[Any]) -> Any:
        given = as_given(function, data)
        return call_constraint(function, check_params(params), given["args"], given["kwargs"])

    def inward(function: Any, points: Any, data: list[Any]) -> Any:
        return function(points, *as_given(function, data)["args"])

    try:
        loss = hoist_call(value, problem.loss, problem.params, data)
        grad = None if problem.grad is None else hoist_call(gradient, problem.grad, problem.params, data)
        jac = None if problem.jac is None else hoist_call(jacobian, problem.jac, problem.params, data)
        points = () if problem.inward is None else (check_params(problem.params),) * 3
        spaces = None if problem.inward is None else hoist_call(inward, problem.inward, points, data)
        constraints = jax.tree.map(
            lambda x: dataclasses.replace(x, c=hoist_call(of_constraint, x.c, problem.params, data)),
            problem.constraints,
            is_leaf=is_constraint,
        )
    except Exception as error:
        if isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.NonConcreteBooleanIndexError):
            note_numbers(error, problem)
        if isinstance(error, jax.errors.TracerArrayConversionError):
            error.add_note("gdjax: NumPy cannot compute with what JAX traces: write the function with jax.numpy as jnp")
        note_tables(error, problem)
        raise
    penalty = None if problem.penalty is None else hoist_penalty(problem.penalty, check_params(problem.params))
    hoisted: Any = dict(loss=loss, grad=grad, jac=jac, penalty=penalty, constraints=constraints, inward=spaces)
    if constraints is not None and problem.multipliers is None:  # the same program as with those of a result
        hoisted["multipliers"] = jax.tree.map(lambda x: x.c.zeros(), constraints, is_leaf=is_constraint)
    return dataclasses.replace(problem, args=tuple(data), kwargs={}, **hoisted)


def note_numbers(error: Exception, problem: Problem) -> None:
    """Say which arguments JAX may mean when it complains that a number has to be known."""
    named = named_leaves("args", problem.args) + named_leaves("kwargs", problem.kwargs)
    numbers = [f"{name} = {x!r}" for name, x in named if isinstance(x, int | float | np.number)]
    if numbers:
        error.add_note(
            f"gdjax: numbers among the arguments are data, and traced: {', '.join(numbers)}. What is a size or "
            "an axis, or decides an `if`, must be closed over instead: lambda p, x: loss(p, x, size)"
        )


def note_tables(error: Exception, problem: Problem) -> None:
    """Say that a data frame comes as a matrix, in case that the loss asks for its columns."""
    named = named_leaves("args", problem.args) + named_leaves("kwargs", problem.kwargs)
    tables = [name for name, x in named if hasattr(x, "columns") and hasattr(x, "__array__")]
    if tables:
        error.add_note(
            f"gdjax: {tables[0]} is a table, which the loss gets as the matrix of its values. For its columns by name "
            'pass dict(table), of which the loss takes table["x"]'
        )


@pytree_dataclass
class HoistedPenalty:
    """A penalty of the user's, traced."""

    programs: dict[str, TracedProgram]  # of prox, value and bounds, as far as it has them
    data: dict[str, list[Any]]  # of each; traced
    own: list[Any]  # the arrays of a penalty that is a pytree; traced
    structure: Static | None = static_field(None)  # the rest of one all of whose leaves are arrays
    name: str = static_field("")

    def call(self, part: str, *arrays: Any) -> Any:
        """Call one of the functions of the penalty."""
        return self.programs[part](self.data[part], [*self.own, *jax.tree.leaves(arrays)])

    def value(self, x: Any) -> Any:
        """The same as that of the user's penalty."""
        return self.call("value", x)

    def prox(self, x: Any, step: Any) -> Any:
        """The same as that of the user's penalty."""
        return self.call("prox", x, jnp.asarray(step).astype(vector.real_dtype(x)))

    def bounds(self, x: Any) -> Any:
        """The same as that of the user's penalty."""
        return self.call("bounds", x)

    @property
    def value_is_known(self) -> bool:
        """Whether it has a value, not only a prox."""
        return "value" in self.programs

    @property
    def is_box(self) -> bool:
        """Whether it has bounds and is nothing but these."""
        return "bounds" in self.programs

    @property
    def as_given(self) -> Any:
        """The user's own, if it is a pytree of arrays."""
        return self if self.structure is None else merge(self.own, self.structure)

    def __repr__(self) -> str:
        return self.name


def hoist_penalty(penalty: Any, params: Any) -> Any:
    """The penalty, traced if its code is not gdjax's; of a `ByLeaf` each part by itself."""
    if isinstance(penalty, ByLeaf):
        pairs, treedef = penalty.split(params)
        return ByLeaf(jax.tree.unflatten(treedef, [hoist_penalty(part, branch) for part, branch in pairs]))
    if penalty is None or type(penalty).__module__.partition(".")[0] == "gdjax":
        return penalty
    x = jax.tree.map(widened, params)
    step = np.zeros((), vector.real_dtype(x))
    parts = {"prox": hoist_call(lambda penalty, x, step: penalty.prox(x, step), penalty, x, step)}
    if has_value(penalty):
        parts["value"] = hoist_call(lambda penalty, x: penalty.value(x), penalty, x)
    if getattr(penalty, "is_box", False):
        parts["bounds"] = hoist_call(lambda penalty, x: penalty.bounds(x), penalty, x)
    own, structure = split(penalty)
    return HoistedPenalty(
        programs={name: part.program for name, part in parts.items()},
        data={name: part.data for name, part in parts.items()},
        own=own,
        structure=structure if len(own) == len(structure.leaves) else None,
        name=type(penalty).__name__,
    )
