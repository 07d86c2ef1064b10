"""The vector algebra: a vector is a pytree of float arrays, real or complex; a flat vector is one leaf.

Methods are written against these few functions, so that the same lines serve one flat vector (the
default), the user's own pytree (optax) and leaves that are sharded over devices.
"""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp

Vector = Any  # a pytree of float or complex arrays
Scalar = jax.Array  # a real scalar array, shape ()


def real_dtype(tree: Any) -> jnp.dtype:
    """The dtype of scalars that go with ``tree``: float64 if a leaf has double precision, else float32.

    Sums over bfloat16 leaves are taken in float32: 8 bits of mantissa cannot hold an inner product.
    """
    double = any(jnp.finfo(leaf.dtype).bits > 32 for leaf in jax.tree.leaves(tree))
    return jnp.dtype("float64" if double else "float32")


def size(tree: Vector) -> int:
    """Number of entries."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def zeros_like(tree: Vector) -> Vector:
    """A vector of zeros."""
    return jax.tree.map(jnp.zeros_like, tree)


def dot(a: Vector, b: Vector) -> Scalar:
    """Inner product of ``a`` and ``b`` as real vectors: the real part of sum(conj(a) * b)."""
    dtype = real_dtype(a)

    def leaf_dot(x: jax.Array, y: jax.Array) -> jax.Array:
        if jnp.finfo(x.dtype).bits < 32:
            x, y = x.astype(dtype), y.astype(dtype)
        return jnp.vdot(x, y).real.astype(dtype)

    return functools.reduce(operator.add, jax.tree.leaves(jax.tree.map(leaf_dot, a, b)))


def abs_dot(a: Vector, b: Vector) -> Scalar:
    """Inner product of the moduli: sum(|a| |b|)."""
    return dot(jax.tree.map(jnp.abs, a), jax.tree.map(jnp.abs, b))


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
    """The inner products of some pairs in one pass (a single kernel for a flat vector, no temporaries)."""
    dtype = real_dtype(pairs)

    def leaf_products(*leaves: jax.Array) -> list[jax.Array]:
        wide = [x.astype(dtype) if jnp.finfo(x.dtype).bits < 32 else x for x in leaves]
        products = [(a.conj() * b).real.reshape(-1) for a, b in zip(wide[::2], wide[1::2], strict=True)]
        return [s.astype(dtype) for s in sums(products)]

    flat = [jax.tree.leaves(v) for pair in pairs for v in pair]
    per_leaf = [leaf_products(*leaves) for leaves in zip(*flat, strict=True)]
    return [functools.reduce(operator.add, parts) for parts in zip(*per_leaf, strict=True)]


def max_abs(a: Vector) -> Scalar:
    """Largest modulus of an entry (the infinity norm); NaN if any entry is NaN."""
    dtype = real_dtype(a)
    norms = [jnp.max(jnp.abs(leaf), initial=0).astype(dtype) for leaf in jax.tree.leaves(a)]
    return functools.reduce(jnp.maximum, norms)


def add_scaled(a: Vector, scale: Scalar, b: Vector) -> Vector:
    """``a + scale * b``, each leaf in its own dtype."""
    return jax.tree.map(lambda x, y: x + scale.astype(x.dtype) * y, a, b)


def subtract(a: Vector, b: Vector) -> Vector:
    """``a - b``."""
    return jax.tree.map(operator.sub, a, b)


def negative(a: Vector) -> Vector:
    """``-a``."""
    return jax.tree.map(operator.neg, a)


def where(condition: jax.Array, a: Any, b: Any) -> Any:
    """``a`` if ``condition`` (a scalar) else ``b``, for any pytrees of equal structure."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
