"""Pytree plumbing: dataclasses as pytrees, what is traced and what is static, names of leaves."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")
FEW = 8  # numbers of an array that an error shows whole


@dataclass_transform(frozen_default=True)
def pytree_dataclass(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass and a pytree; fields are children unless made by `static_field`.

    Numbers and arrays in the children are therefore traced; what cannot be traced (functions, strings) is
    told apart by `split` at the door. The class is part of the structure: JAX's own registration of dataclasses
    (0.10) takes two classes with as many fields for the same, so that one would run the other's compiled program.
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    names: dict[bool, list[str]] = {True: [], False: []}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        names[bool(field.metadata.get("static"))].append(field.name)
    keys = [jax.tree_util.GetAttrKey(name) for name in names[False]]

    def static(x: Any) -> tuple[Any, ...]:
        return cls, *(getattr(x, name) for name in names[True])

    def flatten(x: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(x, name) for name in names[False]], static(x)

    def flatten_with_keys(x: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [(key, getattr(x, key.name)) for key in keys], static(x)

    def unflatten(static: tuple[Any, ...], children: Any) -> Any:
        x = object.__new__(cls)
        for name, value in zip(names[True] + names[False], [*static[1:], *children], strict=True):
            object.__setattr__(x, name, value)
        return x

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def static_field(default: Any) -> Any:
    """A field that selects a program (a switch, a memory length) rather than being one of its numbers."""
    return dataclasses.field(default=default, metadata={"static": True})


def is_traceable(leaf: Any) -> bool:
    """Whether a leaf becomes an argument of the compiled program: a number or an array, not a single bool.

    A bool of Python's or NumPy's is a switch (``training=True``) that losses use in ``if``; it selects a program.
    """
    if isinstance(leaf, jax.Array):
        return True
    if isinstance(leaf, np.bool_):
        return False
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind in "biufcV"
    return isinstance(leaf, int | float | complex) and not isinstance(leaf, bool)


def as_data(name: str, tree: Any) -> Any:
    """The tree with an array for each leaf that can be made one: a pandas column, whatever has ``__array__``.

    Raises:
        TypeError: naming the leaf, for an array that is not of numbers.
    """

    def convert(leaf_name: str, leaf: Any) -> Any:
        given = isinstance(leaf, type | np.generic) or hasattr(leaf, "__jax_array__") or is_traceable(leaf)
        if given or not hasattr(leaf, "__array__"):
            return leaf
        array = np.asarray(leaf)
        if not is_traceable(array):
            what = type(leaf).__name__ if not isinstance(leaf, np.ndarray) else "array"
            raise TypeError(
                f"{leaf_name} is a {what} of dtype {array.dtype}, which is not of numbers: convert it, as with "
                ".astype(float), or let the loss close over what is not data"
            )
        return array

    if all(map(is_traceable, jax.tree.leaves(tree))):
        return tree
    return jax.tree.unflatten(jax.tree.structure(tree), [convert(*named) for named in named_leaves(name, tree)])


@dataclasses.dataclass(frozen=True)
class Static:
    """The half of a pytree that selects a program: its structure and the leaves that are not traced."""

    treedef: Any
    leaves: tuple[Any, ...]  # the leaf, or `_TRACED` where an array goes

    def __hash__(self) -> int:
        """As a key of compiled programs.

        Raises:
            TypeError: if a leaf that is not an array or a number cannot be hashed.
        """
        try:
            return hash((self.treedef, self.leaves))
        except TypeError as error:
            raise TypeError(
                f"what is not an array or a number must be hashable, to be a key of the compiled program: {error}"
            ) from None


_TRACED = type("Traced", (), {"__repr__": lambda self: "*"})()


def split(tree: Any) -> tuple[list[Any], Static]:
    """Split a pytree into the list of its traceable leaves and the rest; `merge` is the inverse."""
    leaves, treedef = jax.tree.flatten(tree)
    traceable = [is_traceable(leaf) for leaf in leaves]
    traced = [leaf for leaf, goes in zip(leaves, traceable, strict=True) if goes]
    return traced, Static(treedef, tuple(_TRACED if goes else x for x, goes in zip(leaves, traceable, strict=True)))


def merge(traced: list[Any], static: Static) -> Any:
    """Rebuild the pytree that `split` took apart, with ``traced`` in the places of its arrays."""
    arrays = iter(traced)
    leaves = [next(arrays) if leaf is _TRACED else leaf for leaf in static.leaves]
    return jax.tree.unflatten(static.treedef, leaves)


def places(static: Static, part: Callable[[Any], Any]) -> list[int]:
    """Where the arrays of a part of a tree stand in the list that `split` made of the whole."""
    count = sum(leaf is _TRACED for leaf in static.leaves)
    return [place for place in jax.tree.leaves(part(merge(list(range(count)), static))) if type(place) is int]


def named_leaves(name: str, tree: Any) -> list[tuple[str, Any]]:
    """Leaves with names that a user can find: ``params['layer'][0]``."""
    return [(name + jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def in_words(tree: Any) -> str:
    """The structure of a pytree, with a star for each leaf: ``(*, *)``."""
    return str(jax.tree.structure(tree)).removeprefix("PyTreeDef(")[:-1]


def is_concrete(value: Any) -> bool:
    """Whether the numbers in ``value`` can be looked at now (they are not traced by a transformation)."""
    return is_traceable(value) and not isinstance(value, jax.core.Tracer)


def require(condition: str, value: Any, holds: Any, argument: str) -> None:
    """Raise ValueError unless every number in a concrete ``value`` meets ``holds``; traced values and None pass.

    Raises TypeError for what is no real number: text, switches, complex numbers.

    Args:
        condition: the requirement in words, for the message ("must be positive").
        value: a number, an array, or anything else (which passes).
        holds: function of a NumPy array to a boolean array.
        argument: the name under which the user gave the value.
    """
    if value is None:
        return
    if isinstance(value, str | bytes | bool) or jnp.iscomplexobj(value if is_traceable(value) else 0):
        raise TypeError(f"{argument} must be a real number, got {value!r}")
    if is_concrete(value) and not np.all(good := holds(np.asarray(value))):
        raise ValueError(f"{argument} {condition}, got {one_of(value, ~np.asarray(good))}")


def one_of(value: Any, wrong: np.ndarray) -> str:
    """An array in an error message: whole if it is small, otherwise an entry that is ``wrong``, and its place."""
    if np.size(value) <= FEW:
        return str(value)
    place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    return f"{np.asarray(value)[place]} at [{', '.join(map(str, place))}]"


def strong(x: Any) -> jax.Array:
    """``x`` as an array without JAX's weak type, so that a loop's carry keeps its type."""
    x = jnp.asarray(x)
    return jax.lax.convert_element_type(x, x.dtype)


def typed(x: Any) -> Any:
    """``x``; a Python number, or an array made of one, as the array that comes back: both select the same program."""
    if type(x) in (float, complex):
        return np.asarray(x, jnp.result_type(type(x)))
    return strong(x) if getattr(x, "weak_type", False) else x


def widened(x: jax.Array) -> jax.Array:
    """``x``, or in single precision if it is in half."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
