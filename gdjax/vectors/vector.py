"""The vector algebra: a vector is a pytree of float arrays, real or complex; a flat vector is one array.

Methods are written against these few functions, so that the same lines serve one flat vector (the
default), the user's own pytree (optax) and sharded leaves, whose devices exchange only scalar sums.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, reshard

# Entries from which several inner products are faster one by one, each a vectorised kernel, than in one that is not:
# of four, a million entries each, 0.44 ms against 1.6 (2 cores); below, the 18 ms that each kernel takes to compile.
LARGE = 2**18

Vector = Any  # a pytree of float or complex arrays
Scalar = jax.Array  # a real scalar array, shape ()


def namespace(*arrays: Any) -> Any:
    """``jax.numpy``, or ``numpy`` if none of the arrays is one of JAX's."""
    return jnp if any(isinstance(x, jax.Array) for x in arrays) else np


def matmul(a: Any, b: Any) -> Any:
    """The product of matrices.

    On a GPU float32 is multiplied with ten bits of mantissa (TF32) unless more is asked for: enough for the layers of a
    network, not for a slope or the memory of a method.
    """
    return np.matmul(a, b) if namespace(a, b) is np else jnp.matmul(a, b, precision="highest")


def real_dtype(tree: Any) -> jnp.dtype:
    """The dtype of scalars that go with ``tree``: float64 if a leaf has double precision, else float32.

    Sums over bfloat16 leaves are taken in float32: 8 bits of mantissa cannot hold an inner product.
    """
    double = any(jnp.finfo(leaf.dtype).bits > 32 for leaf in jax.tree.leaves(tree))
    return jnp.dtype("float64" if double else "float32")


def coarsest(tree: Any) -> float:
    """The machine epsilon of the coarsest dtype among the leaves, which may be shapes."""
    return max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(tree))


def like(tree: Any, other: Any) -> Any:
    """The leaves in the dtypes of those of another."""
    return jax.tree.map(lambda x, y: x.astype(y.dtype), tree, other)


def gathered(x: Any) -> jax.Array:
    """An array in pieces over explicit axes of a mesh as a whole one on every device; any other as it is."""
    place = explicit_place(x)
    return x if place is None else reshard(x, NamedSharding(place.mesh, PartitionSpec()))


def size(tree: Vector) -> int:
    """Number of entries."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def zeros_like(tree: Vector) -> Vector:
    """A vector of zeros."""
    return jax.tree.map(jnp.zeros_like, tree)


def dot(a: Vector, b: Vector) -> Scalar:
    """Inner product of ``a`` and ``b`` as real vectors: the real part of sum(conj(a) * b)."""
    if is_flat(a) and not is_spread(a):
        dtype = real_dtype(a)
        a, b = (x.astype(dtype) if jnp.finfo(x.dtype).bits < 32 else x for x in (a, b))
        return jnp.vdot(a, b, precision="highest").real.astype(dtype)
    return dots((a, b))[0]


def abs_dot(a: Vector, b: Vector) -> Scalar:
    """Inner product of the moduli: sum(|a| |b|)."""
    return dot(jax.tree.map(jnp.abs, a), jax.tree.map(jnp.abs, b))


def is_flat(a: Vector) -> bool:
    """Whether a vector is one array with one axis."""
    return isinstance(a, jax.Array) and a.ndim == 1


def is_spread(tree: Any) -> bool:
    """Whether some array of a pytree is known to be sharded over several devices.

    It is of arrays; of what a `jax.jit` around traces only on a mesh with explicit axes, whose types tell.
    """

    arrays = [x for x in jax.tree.leaves(tree) if isinstance(x, jax.Array)]
    traced = lambda x: isinstance(x, jax.core.Tracer)
    return any(explicit_place(x) if traced(x) else not x.sharding.is_fully_replicated for x in arrays)


def explicit_place(x: jax.Array) -> NamedSharding | None:
    """The sharding that the type of an array shows, if it is sharded over explicit axes of a mesh."""
    sharding = jax.typeof(x).sharding
    return sharding if any(axis is not None for axis in sharding.spec) else None


@jax.custom_jvp
def sums(arrays: list[jax.Array]) -> list[jax.Array]:
    """The sums of some 1-D arrays of equal size, as one reduction."""
    zeros = [jnp.zeros((), a.dtype) for a in arrays]
    return list(jax.lax.reduce(arrays, zeros, lambda x, y: [a + b for a, b in zip(x, y, strict=True)], (0,)))


@sums.defjvp
def _sums_jvp(primals: Any, tangents: Any) -> Any:
    """Sums are linear (JAX has no rule for a reduction of several operands, and cannot transpose one)."""
    return sums(*primals), [jnp.sum(t) for t in tangents[0]]


def dots(*pairs: tuple[Vector, Vector]) -> list[Scalar]:
    """The inner products of some pairs.

    Of a flat vector as one reduction, a single kernel; otherwise, and from LARGE on, where single sums run faster, one
    by one. Over several devices each is a sum of partial sums, and XLA exchanges all of them at once.
    """
    dtype = real_dtype(pairs)
    at_once = all(is_flat(v) and v.size < LARGE and not is_spread(v) for pair in pairs for v in pair)

    def leaf_products(*leaves: jax.Array) -> list[jax.Array]:
        wide = [x.astype(dtype) if jnp.finfo(x.dtype).bits < 32 else x for x in leaves]
        products = [(a.conj() * b).real for a, b in zip(wide[::2], wide[1::2], strict=True)]
        return [s.astype(dtype) for s in (sums(products) if at_once else map(jnp.sum, products))]

    flat = [jax.tree.leaves(v) for pair in pairs for v in pair]
    per_leaf = [leaf_products(*leaves) for leaves in zip(*flat, strict=True)]
    return [functools.reduce(operator.add, parts) for parts in zip(*per_leaf, strict=True)]


def zero_rows(a: Vector, count: int) -> Vector:
    """A memory for so many vectors like ``a``: each leaf gets a new first axis, and keeps its sharding."""
    return jax.tree.map(lambda x: jnp.broadcast_to(jnp.zeros_like(x), (count, *x.shape)), a)


def small_zeros(a: Vector, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """A small array of zeros, where the inner products of ``a`` are: on every device of its mesh."""
    place = next((place for leaf in jax.tree.leaves(a) if (place := explicit_place(leaf))), None)
    return jnp.zeros(shape, dtype, device=None if place is None else NamedSharding(place.mesh, PartitionSpec()))


def with_row(memory: Vector, row: jax.Array, a: Vector) -> Vector:
    """The memory with ``a`` in one row."""
    return jax.tree.map(lambda rows, x: jax.lax.dynamic_update_index_in_dim(rows, x, row, 0), memory, a)


def products(memory: Vector, a: Vector) -> jax.Array:
    """Inner products of the rows of a memory with a vector: shape (rows,)."""
    dtype = real_dtype(a)

    def leaf_products(rows: jax.Array, x: jax.Array) -> jax.Array:
        place = explicit_place(x)
        out = None if place is None else NamedSharding(place.mesh, PartitionSpec())
        product = jnp.tensordot(rows.conj(), x, x.ndim, precision="highest", out_sharding=out)
        return product.real.astype(dtype)

    return functools.reduce(operator.add, jax.tree.leaves(jax.tree.map(leaf_products, memory, a)))


def combine(coefficients: jax.Array, memory: Vector) -> Vector:
    """The sum of the rows of a memory, each with its coefficient."""
    times = lambda rows: jnp.tensordot(coefficients.astype(rows.dtype), rows, 1, precision="highest")
    return jax.tree.map(times, memory)


def root(square: Scalar) -> Scalar:
    """The square root, with derivative 0 at 0."""
    return jnp.where(square == 0, 0, jnp.sqrt(jnp.where(square == 0, 1, square)))


def largest(x: jax.Array, axis: int | None = None, keepdims: bool = False) -> jax.Array:
    """The largest of numbers that are not negative, 0 if there are none; infinite if one is NaN.

    On a CPU XLA's own maximum loses NaN among 4096 numbers or more (jaxlib 0.10.2), and a NaN gradient had norm 0.
    """
    xp = namespace(x)
    return xp.max(xp.where(xp.isnan(x), xp.inf, x), axis=axis, keepdims=keepdims, initial=0)


def max_abs(a: Vector) -> Scalar:
    """Largest modulus of an entry (the infinity norm); infinite if any entry is NaN."""
    dtype = real_dtype(a)
    norms = [largest(jnp.abs(leaf)).astype(dtype) for leaf in jax.tree.leaves(a)]
    return functools.reduce(jnp.maximum, norms)


def add_scaled(a: Vector, scale: Scalar | float, b: Vector) -> Vector:
    """``a + scale * b``, each leaf in its own dtype."""
    return jax.tree.map(lambda x, y: x + jnp.asarray(scale, x.dtype) * y, a, b)


def add(a: Vector, b: Vector) -> Vector:
    """``a + b``."""
    return jax.tree.map(operator.add, a, b)


def scale(scale: Scalar | float, a: Vector) -> Vector:
    """``scale * a``, each leaf in its own dtype."""
    return jax.tree.map(lambda x: jnp.asarray(scale, x.dtype) * x, a)


def apply(function: Callable[..., jax.Array], *vectors: Vector) -> Vector:
    """A function of arrays, entry by entry: ``apply(jnp.sqrt, a)``."""
    return jax.tree.map(function, *vectors)


def multiply(a: Vector, b: Vector) -> Vector:
    """Entry by entry."""
    return jax.tree.map(operator.mul, a, b)


def divide(a: Vector, b: Vector) -> Vector:
    """Entry by entry."""
    return jax.tree.map(operator.truediv, a, b)


def subtract(a: Vector, b: Vector) -> Vector:
    """``a - b``."""
    return jax.tree.map(operator.sub, a, b)


def negative(a: Vector) -> Vector:
    """``-a``."""
    return jax.tree.map(operator.neg, a)


def where(condition: jax.Array, a: Any, b: Any) -> Any:
    """``a`` if ``condition`` (a scalar) else ``b``, for any pytrees of equal structure."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
