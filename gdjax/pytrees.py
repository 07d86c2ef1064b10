"""Pytree plumbing: dataclasses as pytrees, what is traced and what is static, names of leaves."""

import dataclasses
from collections.abc import Hashable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

T = TypeVar("T")


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
    """Whether a leaf becomes an argument of the compiled program: a number or an array, not a Python bool.

    A Python bool is a switch (``training=True``) that losses use in ``if``; it selects a program.
    """
    if isinstance(leaf, jax.Array):
        return True
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind in "biufcV"
    return isinstance(leaf, int | float | complex) and not isinstance(leaf, bool)


@dataclasses.dataclass(frozen=True)
class Static:
    """The hashable half of a pytree: its structure and the leaves that are not traced."""

    treedef: Any
    leaves: tuple[Hashable, ...]  # the leaf, or `_TRACED` where an array goes


_TRACED = type("Traced", (), {"__repr__": lambda self: "*"})()


def split(tree: Any) -> tuple[list[Any], Static]:
    """Split a pytree into the list of its traceable leaves and the hashable rest; `merge` is the inverse.

    Raises:
        TypeError: if a leaf that is not an array or a number cannot be hashed, as a static leaf must be.
    """
    leaves, treedef = jax.tree.flatten(tree)
    traced = [leaf for leaf in leaves if is_traceable(leaf)]
    static = Static(treedef, tuple(_TRACED if is_traceable(leaf) else leaf for leaf in leaves))
    try:
        hash(static)
    except TypeError as error:
        raise TypeError(
            f"what is not an array or a number must be hashable, to be a key of the compiled program: {error}"
        ) from None
    return traced, static


def merge(traced: list[Any], static: Static) -> Any:
    """Rebuild the pytree that `split` took apart, with ``traced`` in the places of its arrays."""
    arrays = iter(traced)
    leaves = [next(arrays) if leaf is _TRACED else leaf for leaf in static.leaves]
    return jax.tree.unflatten(static.treedef, leaves)


def named_leaves(name: str, tree: Any) -> list[tuple[str, Any]]:
    """Leaves with names that a user can find: ``params['layer'][0]``."""
    return [(name + jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


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
    if is_concrete(value) and not np.all(holds(np.asarray(value))):
        raise ValueError(f"{argument} {condition}, got {value}")


def strong(x: Any) -> jax.Array:
    """``x`` as an array without JAX's weak type, so that a loop's carry keeps its type."""
    x = jnp.asarray(x)
    return jax.lax.convert_element_type(x, x.dtype)
