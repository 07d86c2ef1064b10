"""How the user's parameters become the vector that a method works on, and how it becomes parameters again."""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, reshard

from gdjax.vectors.vector import Vector, explicit_place, gathered, namespace, real_dtype


class Layout(Protocol):
    """Turns a pytree like the parameters into a `Vector` and back."""

    def ravel(self, tree: Any) -> Vector:
        """Parameters (or a gradient of them) as a vector."""

    def unravel(self, vector: Vector) -> Any:
        """The vector as a pytree like the parameters, every leaf in its own shape and dtype."""


@dataclasses.dataclass(frozen=True)
class Flat:
    """One flat real vector; a complex entry is a pair of reals.

    A method on six leaves then compiles and runs like a method on one. Its dtype is the widest of the
    leaves, at least float32, so bfloat16 leaves are optimised through a float32 copy. On a mesh with explicit axes
    the vector is on every device: leaves that are not are gathered, and cut up again.
    """

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    dtype: Any
    places: tuple[NamedSharding | None, ...]  # of leaves in pieces over explicit axes

    @classmethod
    def of(cls, tree: Any) -> "Flat":
        """The layout of a pytree of float or complex arrays."""
        leaves, treedef = jax.tree.flatten(tree)
        shapes, dtypes = tuple(x.shape for x in leaves), tuple(x.dtype for x in leaves)
        return cls(treedef, shapes, dtypes, real_dtype(tree), tuple(map(explicit_place, leaves)))

    @property
    def size(self) -> int:
        """The number of real entries."""
        return sum(
            int(np.prod(shape, dtype=np.int64)) * (2 if jnp.issubdtype(dtype, jnp.complexfloating) else 1)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        )

    def ravel(self, tree: Any) -> jax.Array:
        """Concatenate the leaves: shape (number of reals,)."""
        parts = []
        for x in map(gathered, jax.tree.leaves(tree)):
            reals = (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)
            parts += [part.reshape(-1).astype(self.dtype) for part in reals]
        return parts[0] if len(parts) == 1 else namespace(*parts).concatenate(parts)

    def unravel(self, vector: jax.Array) -> Any:
        """Cut the vector into leaves."""
        leaves, start = [], 0
        for shape, dtype, place in zip(self.shapes, self.dtypes, self.places, strict=True):
            count = int(np.prod(shape, dtype=np.int64))
            is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
            parts = []
            for _ in range(2 if is_complex else 1):
                part = vector if count == vector.size else cut(vector, start, start + count)
                parts.append(part.astype(jnp.finfo(dtype).dtype).reshape(shape))
                start += count
            leaf = complex_of(*parts) if is_complex else parts[0]
            leaves.append(leaf if place is None else reshard(leaf, place))
        return jax.tree.unflatten(self.treedef, leaves)


def cut(x: jax.Array, start: int, stop: int) -> jax.Array:
    """A part of an array."""
    return x[start:stop] if namespace(x) is np else jax.lax.slice(x, (start,), (stop,))


def complex_of(real: jax.Array, imag: jax.Array) -> jax.Array:
    """Complex numbers of their parts."""
    return (
        (real + 1j * imag).astype(np.result_type(real, np.complex64))
        if namespace(real) is np
        else jax.lax.complex(real, imag)
    )


@dataclasses.dataclass(frozen=True)
class Apart:
    """The leaves one by one, each in its shape and in its place: for parameters that are sharded over devices.

    To make one vector of them, most of their entries would have to move to another device. Half precision is
    optimised through a float32 copy, as by `Flat`; complex leaves are left complex.
    """

    treedef: Any
    dtypes: tuple[Any, ...]

    @classmethod
    def of(cls, tree: Any) -> "Apart":
        """The layout of a pytree of float or complex arrays."""
        leaves, treedef = jax.tree.flatten(tree)
        return cls(treedef, tuple(x.dtype for x in leaves))

    def ravel(self, tree: Any) -> tuple[jax.Array, ...]:
        """The leaves in a tuple, half precision widened to single."""
        wide = lambda x: x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
        return tuple(map(wide, jax.tree.leaves(tree)))

    def unravel(self, vector: tuple[jax.Array, ...]) -> Any:
        """The leaves in their place."""
        return jax.tree.unflatten(self.treedef, [x.astype(t) for x, t in zip(vector, self.dtypes, strict=True)])


@dataclasses.dataclass(frozen=True)
class Leaves:
    """The parameters as they are, for methods that look at the leaves (optax)."""

    @classmethod
    def of(cls, tree: Any) -> "Leaves":
        """The layout of any pytree."""
        return cls()

    def ravel(self, tree: Any) -> Any:
        """The pytree itself."""
        return tree

    def unravel(self, vector: Any) -> Any:
        """The pytree itself."""
        return vector
