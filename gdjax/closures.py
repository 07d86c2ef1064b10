"""What a loss closes over becomes data of the compiled program, which is known by the loss's traced code."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.problem import Problem, call_loss, check_grad, check_params
from gdjax.program import Program, intern_program
from gdjax.pytrees import is_traceable, merge, pytree_dataclass, split
from gdjax.references import Records, Snapshot, is_leaf


@pytree_dataclass
class Hoisted:
    """A traced function of (params, *arrays) with the arrays that it closed over and those it held as a pytree."""

    program: Program  # a static leaf: it selects the compiled program
    consts: list[Any]  # traced
    own: list[Any]  # traced

    def __call__(self, params: Any, *arrays: Any) -> Any:
        """As the user's function."""
        return self.program(self.consts, [*self.own, *jax.tree.leaves(params), *arrays])


class Record(NamedTuple):
    """What is remembered of a function for arguments of some shapes."""

    program: Program
    consts: list[Any]
    snapshot: Snapshot


_records = Records()
_context = jax.jit(lambda: None)


def hoist(problem: Problem) -> Problem:
    """The same problem with traced functions in place of the user's and nothing but arrays in ``args``.

    A function is traced when it is new, its arguments have new shapes, or what it refers to has been rebound
    since; otherwise the record of the last time serves and no Python of the user's runs. What it closes over
    (arrays, and values traced by an outer `jit`, `vmap` or `grad`) becomes an argument of the program, so that
    equal code over other arrays of the same shapes is the same compiled program.

    Raises:
        TypeError, ValueError: as `gdjax.objective.trace`, for a loss, grad or params that are not what they must be.
    """
    data, static = split((problem.args, problem.kwargs))

    def as_given(function: Any, arrays: list[Any]) -> dict[str, Any]:
        args, kwargs = merge(arrays, static)
        return dict(loss=function, args=args, kwargs=kwargs)

    def value(function: Any, params: Any, arrays: list[Any]) -> Any:
        out, aux = call_loss(dataclasses.replace(problem, **as_given(function, arrays)), check_params(params))
        return (out, aux) if problem.has_aux else out

    def gradient(function: Any, params: Any, arrays: list[Any]) -> Any:
        params, given = check_params(params), as_given(function, arrays)
        return check_grad(function(params, *given["args"], **given["kwargs"]), params)

    kind = ("value", problem.has_aux, static)
    loss = hoist_function(problem.loss, value, kind, problem.params, data)
    grad = problem.grad
    if grad is not None:
        grad = hoist_function(grad, gradient, ("gradient", static), problem.params, data)
    return dataclasses.replace(problem, loss=loss, grad=grad, args=tuple(data), kwargs={})


def hoist_function(
    function: Any, call: Callable[..., Any], kind: Hashable, params: Any, data: list[Any]
) -> Callable[..., Any]:
    """``call(function, params, data)`` as a `Hoisted` of (params, *data)."""
    own, structure = ([], None) if is_leaf(function) else split(function)
    leaves, treedef = jax.tree.flatten(params)
    types = tuple(jax.typeof(x) if is_traceable(x) else (type(x), id(x)) for x in (*leaves, *own, *data))
    records = _records.of(function)
    # A bound method's records are its object's; `_context` is traced anew for each setting of JAX's that matters.
    key = (getattr(function, "__func__", None), kind, structure, treedef, types, _context.trace().jaxpr)
    record = records.get(key)
    if record is None or not record.snapshot.still_holds(function):

        def flat(own: list[Any], params: Any, data: list[Any]) -> Any:
            return call(function if structure is None else merge(own, structure), params, data)

        check_params(params)
        program, consts = intern_program(flat, own, params, data)
        consts = [c if isinstance(c, jax.Array) else jnp.asarray(c) for c in consts]
        record = Record(program, consts, Snapshot(function))
        if not any(isinstance(c, jax.core.Tracer) for c in consts):
            _records.keep(records, key, record)
    return Hoisted(record.program, record.consts, own)
