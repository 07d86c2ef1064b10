"""What a Python function refers to, to notice that it has changed; and records that live as long as a function."""

import contextlib
import functools
import types
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any

import jax

CONTAINER = 256  # entries of a closed-over list, tuple or dict that are looked at
RECORDS = 64  # kept for each function


def referents(function: Any) -> Iterator[Any]:
    """What ``function`` can see: closure cells, attributes of objects in these and of ``self``, defaults, globals.

    Functions among these are entered (global ones if they are of the same module), containers are opened; what
    is yielded is compared by identity. Arrays that a pytree holds are traced anyway and not yielded.
    """
    if isinstance(function, jax.tree_util.Partial):
        function = function.func
    elif not is_leaf(function):
        function = type(function).__call__
    module = module_of(function)
    seen: set[int] = set()
    todo = [function]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, types.FunctionType):
            yield thing
            todo.extend(free_variables(thing, module))
        elif isinstance(thing, types.MethodType):
            todo.append(thing.__func__)
            todo.extend(getattr(thing.__self__, "__dict__", {}).values())
        elif isinstance(thing, functools.partial):
            todo += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, list | tuple | dict) and len(thing) <= CONTAINER:
            todo += thing.values() if isinstance(thing, dict) else thing
        elif thing is function:  # an instance with __call__
            todo += [type(thing).__call__, *getattr(thing, "__dict__", {}).values()]
        else:
            yield thing


def module_of(function: Any) -> Any:
    """The globals of a function, seen through partials and methods."""
    while isinstance(function, functools.partial):
        function = function.func
    code = function if isinstance(function, types.FunctionType | types.MethodType) else type(function).__call__
    return getattr(code, "__globals__", None)


def free_variables(function: types.FunctionType, module: Any) -> Iterator[Any]:
    """Values of the variables of a function that are not its own."""
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not assigned yet
            yield cell.cell_contents
            if not isinstance(cell.cell_contents, types.ModuleType | type):  # an object, such as self
                yield from getattr(cell.cell_contents, "__dict__", {}).values()
    yield function.__defaults__
    yield function.__kwdefaults__
    if function.__globals__ is module:
        yield from (module[name] for name in global_names(function.__code__) if name in module)


@functools.lru_cache(maxsize=4096)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """Names that a code object may look up in its module, those of functions within it included."""
    nested = [name for const in code.co_consts if isinstance(const, types.CodeType) for name in global_names(const)]
    return tuple(dict.fromkeys([*code.co_names, *nested]))


def is_leaf(function: Any) -> bool:
    """Whether ``function`` is no pytree of its own."""
    return jax.tree_util.all_leaves([function])


class Snapshot:
    """What a function referred to at one time; keeps no array alive."""

    def __init__(self, function: Any) -> None:
        self.things = [weakly(thing) for thing in referents(function)]

    def still_holds(self, function: Any) -> bool:
        """Whether it refers to the same objects now."""
        now = list(referents(function))
        return len(now) == len(self.things) and all(
            (old() if isinstance(old, weakref.ref) else old) is new for old, new in zip(self.things, now, strict=True)
        )


def weakly(thing: Any) -> Any:
    """A weak reference, or the thing itself if it is of a kind (a number, a string) that has none."""
    try:
        return weakref.ref(thing)
    except TypeError:
        return thing


class Records:
    """Records by function and key, forgotten with the function.

    A function that is a pytree (`jax.tree_util.Partial`, a module) is as a rule made anew for each call and
    known by its structure, which the key contains; these records are forgotten when newer ones come.
    """

    def __init__(self) -> None:
        self.by_owner: dict[int, tuple[Any, OrderedDict[Hashable, Any]]] = {}
        self.shared: OrderedDict[Hashable, Any] = OrderedDict()

    def of(self, function: Any) -> OrderedDict[Hashable, Any]:
        """The records of one function; of nobody if its lifetime cannot be watched."""
        if not is_leaf(function):
            return self.shared
        # A bound method is made anew each time it is looked up.
        owner = function.__self__ if isinstance(function, types.MethodType) else function
        known = self.by_owner.get(id(owner))
        if known is not None and known[0]() is owner:
            return known[1]
        records: OrderedDict[Hashable, Any] = OrderedDict()
        key = id(owner)
        with contextlib.suppress(TypeError):  # of a kind without weak references
            self.by_owner[key] = weakref.ref(owner, lambda _: self.by_owner.pop(key, None)), records
        return records

    @staticmethod
    def keep(records: OrderedDict[Hashable, Any], key: Hashable, record: Any) -> None:
        """Add a record and drop the oldest beyond the limit."""
        records[key] = record
        records.move_to_end(key)
        if len(records) > RECORDS:
            records.popitem(last=False)
