"""Functions of which all that they read can be seen, so that one knows whether a trace of them still holds.

`jax.jit` traces a function once, and then keeps what it had read. gdjax traces anew, since a global or an attribute may
have come to mean something else. Most losses, though, read nothing but modules of JAX and NumPy, other such functions,
arrays and numbers; if all these are the same as before, so is the trace.
"""

import builtins
import dis
import functools
import types
import weakref
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.description import Same

LIBRARIES = frozenset(["jax", "jaxlib", "numpy", "math", "operator", "optax"])  # what is in these never changes
PLAIN = (type(None), bool, int, float, complex, str, bytes, np.dtype, type(Ellipsis), slice)
words = lambda text: frozenset(text.split())
# Builtins that act, or read what is not an argument.
ACTIVE = words("""__import__ breakpoint compile delattr dir eval exec globals id input locals next open print setattr
    vars""")
LARGE = 2**16  # bytes of a NumPy array, which may be written to, up to which it is compared with what it was
DEEP = 20  # functions within functions, and lists within lists


class OpaqueError(Exception):
    """Something that may change unseen."""


class Weakly:
    """An object by identity, without keeping it."""

    def __init__(self, thing: Any) -> None:
        self.ref, self.number = weakref.ref(thing), id(thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weakly) and self.number == other.number and self.ref() is other.ref() is not None

    def __hash__(self) -> int:
        return self.number


class Names(NamedTuple):
    """What the code of a function refers to."""

    outer: tuple[str, ...]  # globals and builtins
    is_random: bool  # whether anything in it is called so: NumPy's random numbers are others each time


def reading(thing: Any) -> Hashable | None:
    """All that a function reads, equal if it is the same; None if that cannot be seen."""
    try:
        found = of(thing, ())
        hash(found)
    except (OpaqueError, RecursionError, TypeError):
        return None
    return found


def owner(function: Any) -> Any:
    """The function, or if it is gdjax's own the user's that it closes over."""
    while isinstance(function, types.FunctionType) and root(function) == "gdjax":
        inside = [cell.cell_contents for cell in function.__closure__ or ()]
        users = [x for x in inside if callable(x) and root(x) != "gdjax"]
        if not users:
            break
        function = users[0]
    return function


def root(thing: Any) -> str:
    """The package that something was defined in. (A function may bear the name of another one's, that it wraps.)"""
    if isinstance(thing, types.FunctionType):
        module = thing.__globals__.get("__name__")
    else:
        module = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
    return (module or "").partition(".")[0]


def of(thing: Any, outer: tuple[Any, ...]) -> Hashable:
    """The same; ``outer``: what it is in."""
    if isinstance(thing, PLAIN):
        return type(thing), repr(thing)  # 0.0 is not -0.0
    if isinstance(thing, jax.tree_util.PyTreeDef):
        return thing
    if isinstance(thing, jax.core.Tracer) or len(outer) > DEEP:
        raise OpaqueError
    if isinstance(thing, types.FunctionType):
        return of_function(thing, outer)
    if (
        isinstance(thing, jax.Array) or type(thing).__name__ == "PjitFunction"
    ):  # these keep what they read by themselves
        return Weakly(thing)
    if type(thing) is np.ndarray or isinstance(thing, np.generic):
        return of_array(thing)
    if type(thing) in (tuple, list):
        return type(thing), tuple([of(x, (*outer, thing)) for x in thing])
    if type(thing) is dict:
        return dict, tuple([(of(k, (*outer, thing)), of(x, (*outer, thing))) for k, x in thing.items()])
    if type(thing) is functools.partial:
        return functools.partial, of((thing.func, thing.args, thing.keywords), outer)
    if is_of_library(thing):
        return Same(thing)
    raise OpaqueError


def of_array(array: Any) -> Hashable:
    """An array or number of NumPy's, by its bits."""
    if array.nbytes > LARGE or array.dtype.hasobject:
        raise OpaqueError
    return type(array), array.shape, array.dtype, array.tobytes()


def is_of_library(thing: Any) -> bool:
    """Whether it is a module, a function or a class that nobody changes."""
    if isinstance(thing, types.ModuleType):
        return root(thing) in LIBRARIES and not thing.__name__.startswith("numpy.random")
    if isinstance(thing, types.BuiltinFunctionType):
        # Of others, such as time.time, the answer may be another each time.
        return root(thing) in (*LIBRARIES, "builtins", "_operator") and thing.__name__ not in ACTIVE
    if isinstance(thing, jnp.ufunc):  # others are made of the user's functions
        return getattr(jnp, getattr(thing, "__name__", ""), None) is thing
    if isinstance(thing, types.MethodType) or not hasattr(thing, "__qualname__"):
        return False
    return root(thing) in LIBRARIES or (isinstance(thing, type) and root(thing) == "builtins")


def of_function(function: types.FunctionType, outer: tuple[Any, ...]) -> Hashable:
    """A function: its code, and what that refers to."""
    if any(function is x for x in outer):
        return "itself", [x is function for x in outer].index(True)
    outer = (*outer, function)
    try:
        cells = tuple([of(cell.cell_contents, outer) for cell in function.__closure__ or ()])
    except ValueError:  # a cell that is empty
        raise OpaqueError from None
    own = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items(), *function.__dict__.items()]
    defaults = of(own, outer)
    if root(function) in (*LIBRARIES, "gdjax"):
        return function.__code__, cells, defaults
    names = names_in(function.__code__)
    if names is None:
        raise OpaqueError
    known = []
    for name in names.outer:
        if name in function.__globals__:
            thing = function.__globals__[name]
            if names.is_random and thing is np:
                raise OpaqueError
            known.append(of(thing, outer))
        elif name in ACTIVE or not hasattr(builtins, name):
            raise OpaqueError
    return function.__code__, cells, defaults, tuple(known)


@functools.lru_cache(maxsize=1024)
def names_in(code: types.CodeType) -> Names | None:
    """The names that a function's code refers to; None if it imports or writes any."""
    outer, called = dict[str, None](), set[str]()
    for part in codes_in(code):
        called |= {*part.co_names}
        for instruction in dis.get_instructions(part):
            what = instruction.opname
            if what in ("IMPORT_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"):
                return None
            if what.startswith("LOAD") and what.endswith(("_GLOBAL", "_GLOBALS", "_NAME")):
                outer[instruction.argval] = None
    return Names(tuple(outer), "random" in called)


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """Of a function and those that are made in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_in(constant)
