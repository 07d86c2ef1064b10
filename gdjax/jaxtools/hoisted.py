"""A function of the user's, traced: its code selects the compiled program, what it closes over is data."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gdjax.jaxtools.pytrees import merge, pytree_dataclass, split
from gdjax.jaxtools.remembered import remembered
from gdjax.jaxtools.traced_program import TracedProgram, intern_program


@pytree_dataclass
class Hoisted:
    """A traced function with the data that it closed over, and those it held as a pytree."""

    program: TracedProgram  # a static leaf
    data: list[Any]  # traced
    own: list[Any]  # traced

    def __call__(self, *arrays: Any) -> Any:
        """As the user's function, of pytrees of arrays."""
        return self.program(self.data, [*self.own, *jax.tree.leaves(arrays)])

    def zeros(self) -> Any:
        """A pytree like what it returns."""
        return jax.tree.unflatten(self.program.out_tree, [np.zeros(a.shape, a.dtype) for a in self.program.out_avals])


def hoist_call(call: Callable[..., Any], thing: Any, *arrays: Any) -> Hoisted:
    """``call(thing, *arrays)`` as a `Hoisted` of pytrees like ``arrays``.

    It is traced each time, since what Python it runs may have come to mean something else. (To keep the traces of
    functions whose code and values are the same was tried twice. It saves a millisecond. But a kept trace reads arrays
    that are changed in place, of which JAX itself keeps old copies while a trace of them lives.) What it closes over
    (arrays, numbers, and values traced by an outer `jit`, `vmap` or `grad`) becomes data, so that equal code over other
    data of the same shapes is the same compiled program.

    Args:
        call: what to trace.
        thing: a function, or what has such; the arrays in it, if it is a pytree, are arguments of the program.
        *arrays: pytrees of arrays, or of shapes and dtypes.
    """
    own, structure = split(thing)
    function = lambda own, *arrays: call(merge(own, structure), *arrays)
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(own, *arrays)
    program, data = intern_program(closed, jax.tree.structure(shapes), own, *arrays)
    return Hoisted(program, [x if isinstance(x, jax.Array) else np.asarray(x) for x in data], own)


def evaluate(function: Callable[..., Any], *arrays: Any) -> Any:
    """``function(*arrays)`` as one compiled program, which equal code over other data of the same shapes shares."""
    traced, program = split(hoist_call(lambda f, *arrays: f(*arrays), function, *arrays))
    return _evaluate(program, traced, arrays)


@remembered(static=1)
def _evaluate(program: Any, traced: list[Any], arrays: tuple[Any, ...]) -> Any:
    return merge(traced, program)(*arrays)
