"""What a function of Python's means, as far as that cannot change unseen: its code, and the values that it refers to.

A trace of such a function need not be made again. Of any other (one that refers to a list, an object, a module of the
user's, that writes, imports or prints) nothing is known, and it is traced in each call.
"""

import builtins
import dis
import functools
import types
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import numpy as np

from gdjax.jaxtools.description import Same

# Bytes of the arrays that a function refers to: they stay in memory as long as what is known of it, and NumPy's are
# looked at in each call. With more, a trace takes little time beside the work.
BYTES = 2**16

LIBRARIES = ("jax", "jaxlib", "math", "optax")  # without a state that losses depend on
names = lambda text: frozenset(text.split())
STATEFUL = names("random load loadtxt genfromtxt fromfile fromregex memmap seterr testing")  # in NumPy
PURE = names("""abs all any bool complex dict divmod enumerate filter float frozenset int isinstance len list map max
    min pow range reversed round set slice sorted str sum tuple type zip AssertionError TypeError ValueError""")
WRITING = names("""STORE_GLOBAL DELETE_GLOBAL STORE_ATTR DELETE_ATTR STORE_SUBSCR DELETE_SUBSCR STORE_SLICE IMPORT_NAME
    LOAD_BUILD_CLASS""")
FREE = names("STORE_DEREF DELETE_DEREF")  # of a variable of an outer function
JIT_TYPE = type(jax.jit(len))


class UnknownError(Exception):
    """It may change unseen."""


class Meant:
    """A function, equal to any that means the same."""

    def __init__(self, function: Callable[..., Any], meaning: Hashable) -> None:
        self.function, self.meaning = function, meaning

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meant) and other.meaning == self.meaning

    def __hash__(self) -> int:
        return hash(self.meaning)


def meant(function: Any) -> Meant | None:
    """The function, known by what it means; None if that may change unseen."""
    try:
        return Meant(function, Reader().of_function(function, ())) if type(function) is types.FunctionType else None
    except UnknownError:
        return None


class Names(NamedTuple):
    """What the code of a function, and of those in it, refers to."""

    read: tuple[str, ...]  # globals and builtins
    attributes: frozenset[str]
    writes: bool  # whether it changes something outside of it, or may


@functools.lru_cache(maxsize=1024)
def names_in(code: types.CodeType) -> Names:
    """The names in a code object."""
    read, attributes, writes = dict[str, None](), set(code.co_names), False
    for op in dis.get_instructions(code):
        if op.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            read[op.argval] = None
        writes |= op.opname in WRITING or (op.opname in FREE and op.argval in code.co_freevars)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            found = names_in(inner)
            read |= dict.fromkeys(found.read)
            attributes |= found.attributes
            writes |= found.writes
    return Names(tuple(read), frozenset(attributes), writes)


class Reader:
    """Reads one function, and those that it calls."""

    def __init__(self) -> None:
        self.bytes = 0

    def of_function(self, function: types.FunctionType, outer: tuple[Any, ...]) -> Hashable:
        """Its code, the values of its defaults, of the variables around it and of the globals that it reads."""
        if function in outer:
            return outer.index(function)
        names = names_in(function.__code__)
        if names.writes or function.__dict__ or len(outer) > 16:
            raise UnknownError
        outer = (*outer, function)
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items())
        values: list[Any] = [self.of_value(x, names, outer) for x in defaults]
        for cell in function.__closure__ or ():
            try:
                values.append(self.of_value(cell.cell_contents, names, outer))
            except ValueError:  # nothing in it yet
                raise UnknownError from None
        for name in names.read:
            if name in function.__globals__:
                values.append(self.of_value(function.__globals__[name], names, outer))
            elif name not in PURE:
                raise UnknownError
            else:
                values.append(Same(getattr(builtins, name)))
        return function.__code__, tuple(values)

    def of_value(self, x: Any, names: Names, outer: tuple[Any, ...]) -> Hashable:
        """A value that a function refers to."""
        kind = type(x)
        if x is None or kind in (bool, int, str, bytes):
            return kind, x
        if kind in (float, complex):
            return kind, repr(x)  # 0.0 is not -0.0
        if kind is tuple:
            return tuple([self.of_value(part, names, outer) for part in x])
        if isinstance(x, np.generic | np.dtype):
            return (x.dtype, x.tobytes()) if isinstance(x, np.generic) else x
        if isinstance(x, jax.Array) or kind is np.ndarray:
            return self.of_array(x)
        if kind is types.ModuleType:
            return self.of_module(x, names)
        if is_library(x):
            return Same(x)
        if kind is types.FunctionType:
            return self.of_function(x, outer)
        # JAX itself knows what it has compiled by the object.
        if kind is JIT_TYPE and type(getattr(x, "__wrapped__", None)) is types.FunctionType:
            return Same(x), self.of_function(x.__wrapped__, outer)
        raise UnknownError

    def of_array(self, x: Any) -> Hashable:
        """A small array: one of JAX's cannot change, one of NumPy's is known by its numbers."""
        if isinstance(x, jax.core.Tracer) or (isinstance(x, np.ndarray) and x.dtype.hasobject):
            raise UnknownError
        self.bytes += x.size * x.dtype.itemsize
        if self.bytes > BYTES or (isinstance(x, jax.Array) and x.is_deleted()):
            raise UnknownError
        return Same(x) if isinstance(x, jax.Array) else (x.dtype, x.shape, x.tobytes())

    def of_module(self, module: types.ModuleType, names: Names) -> Hashable:
        """A library whose functions do tomorrow what they do today."""
        if module is np and not names.attributes & STATEFUL:
            return Same(module)
        if root(module.__name__) in LIBRARIES and "config" not in names.attributes:
            return Same(module)
        raise UnknownError


def is_library(x: Any) -> bool:
    """Whether it is a function or a class of a library."""
    module, name = getattr(x, "__module__", None), getattr(x, "__qualname__", None)
    if not (isinstance(module, str) and isinstance(name, str)) or "<" in name:
        return False
    if type(x) is types.FunctionType:  # one of the user's may have been given a name of theirs
        module = x.__globals__.get("__name__", "") if root(module) in LIBRARIES else ""
    return root(module) in LIBRARIES or (isinstance(x, type) and module in ("builtins", "numpy"))


def root(module: str) -> str:
    """The package that a module is in."""
    return module.partition(".")[0]
