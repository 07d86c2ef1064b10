"""A function of the user's, traced: its code selects the compiled program, what it closes over is data."""

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from gdjax.jaxtools.pytrees import merge, pytree_dataclass, split
from gdjax.jaxtools.traced_program import TracedProgram, intern_program
from gdjax.jaxtools.unchanging import owner, reading


@pytree_dataclass
class Hoisted:
    """A traced function with the data that it closed over, and those it held as a pytree."""

    program: TracedProgram  # a static leaf
    data: list[Any]  # traced
    own: list[Any]  # traced

    def __call__(self, *arrays: Any) -> Any:
        """As the user's function, of pytrees of arrays."""
        return self.program(self.data, [*self.own, *jax.tree.leaves(arrays)])


def hoist_call(call: Callable[..., Any], thing: Any, *arrays: Any, selects: Hashable = None) -> Hoisted:
    """``call(thing, *arrays)`` as a `Hoisted` of pytrees like ``arrays``.

    It is traced each time, since what Python it runs may have come to mean something else; unless all that it reads can
    be seen to be the same as before. What it closes over (arrays, numbers, and values traced by an outer `jit`, `vmap`
    or `grad`) becomes data, so that equal code over other data of the same shapes is the same compiled program.

    Args:
        call: what to trace.
        thing: a function, or what has such; the arrays in it, if it is a pytree, are arguments of the program.
        *arrays: pytrees of arrays, or of shapes and dtypes.
        selects: all that ``call`` reads besides, if a trace of it may be kept.
    """
    own, structure = split(thing)
    function = lambda own, *arrays: call(merge(own, structure), *arrays)
    read = None if selects is None else reading((thing, selects))
    if read is None:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(own, *arrays)
        program, data = intern_program(closed, jax.tree.structure(shapes), own, *arrays)
    else:
        program, data = kept(owner(thing), read)(function, own, *arrays)
    return Hoisted(program, [x if isinstance(x, jax.Array) else np.asarray(x) for x in data], own)


class Trace(threading.local):
    """Functions that compute the same, traced by `jax.jit`, which knows for what arrays and settings it has done so."""

    def __init__(self) -> None:
        self.held = held = list[Any]()  # the function, while it is traced: kept, it would keep its owner, and so itself
        self.traced = jax.jit(lambda *arrays: held[-1](*arrays))
        self.programs: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def __call__(self, function: Callable[..., Any], *arrays: Any) -> tuple[TracedProgram, list[Any]]:
        """The program and its data."""
        self.held.append(function)
        try:
            traced = self.traced.trace(*arrays)
        finally:
            self.held.pop()
        known = self.programs.get(traced.jaxpr)
        if known is None:
            known = intern_program(traced.jaxpr, jax.tree.structure(traced.out_info), *arrays)
            self.programs[traced.jaxpr] = known
        return known


_traces: weakref.WeakKeyDictionary[Any, tuple[Hashable, Trace]] = weakref.WeakKeyDictionary()


def kept(owner: Any, read: Hashable) -> Trace:
    """The last trace of what belongs to ``owner`` if it read the same, or a new one: what others had read is let go."""
    try:
        before, trace = _traces.get(owner, (None, None))
        if trace is None or before != read:
            trace = Trace()
            _traces[owner] = read, trace
    except TypeError:  # of some things in C there are no weak references
        return Trace()
    return trace
