"""The covariance of estimates as a root, ``C = root root'``: no square of a small or large number is formed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.descent.sandwich import Sandwich
from gdjax.descent.stopping import Status
from gdjax.methods.parts.triangular import norm
from gdjax.vectors.vector import matmul

# A number is not determined if a change of which the data tell nothing has this share of it.
SHARE = 1e-4


class Spread(NamedTuple):
    """The covariance ``root root'`` of n flat estimates, and what the data do not tell. Axes of problems in front."""

    root: jax.Array  # shape (n, r); zeros for what is held
    lost: jax.Array  # shape (n, n): rows of length 1, the changes of estimates / lengths that are free; or zeros
    lengths: jax.Array  # shape (n,)
    held: jax.Array  # shape (n,): taken as known


@jax.jit
def spread_of(
    triangle: jax.Array, columns: jax.Array, held: jax.Array, scale: jax.Array, sandwich: Sandwich | None = None
) -> Spread:
    """The root ``D^-1 R^+ K^(1/2)`` of the covariance for ``J = Q R D``, K = scale^2, or of a sandwich.

    A direction along which the residuals do not change, to within rounding, is a singular vector of R with a singular
    value of zero.
    """
    _, sizes, rows = jax.lax.stop_gradient(jnp.linalg.svd(triangle))
    flat = is_flat(sizes)
    lengths = jnp.where(held, 1, columns)
    # Its derivative has a formula of its own; that of singular vectors is NaN where two values are equal.
    root = jnp.linalg.pinv(triangle, rtol=roundings(sizes))
    root = root if sandwich is None else matmul(root, kernel_root(sandwich))
    lost = jnp.where(flat[:, None] & ~held[None, :], rows, 0)
    root = jnp.where(held[:, None], 0, scale * root / lengths[:, None])
    return Spread(root, lost, lengths, held)


@jax.jit
def along(spread: Spread, normals: jax.Array, code: jax.Array) -> Spread:
    """The spread along constraints, whose gradients A are the rows of normals, shape (k, n); NaN if INFEASIBLE.

    ``C - CA' (A C A')^+ A C``, which is ``Z (Z'J'J Z)^-1 Z'`` for Z that spans their tangent space: with
    ``B = root' A'`` the root without its part in the range of B.
    """
    across = matmul(spread.root.T, jnp.where(spread.held[None, :], 0, normals).T)
    size = norm(across, axis=0)
    across = across / jnp.where(size > 0, size, 1)[None, :]
    inverse = jnp.linalg.pinv(across, rtol=roundings(across))
    root = spread.root - matmul(matmul(spread.root, across), inverse)
    return spread._replace(root=jnp.where(code == Status.INFEASIBLE, jnp.nan, root))


@jax.jit
def rank_along(normals: jax.Array, columns: jax.Array) -> jax.Array:
    """How many degrees of freedom constraints take, shape (..., k, n) to (...): one that others imply takes none.

    Args:
        normals: their gradients; some may be 0.
        columns: lengths of those of the Jacobian, shape (..., n); 0 for what is held.
    """
    lengths = columns[..., None, :]
    rows = jax.lax.stop_gradient(jnp.where(lengths > 0, normals / jnp.where(lengths > 0, lengths, 1), 0))
    sizes = norm(rows, axis=-1)[..., None]
    return rank_of(rows / jnp.where(sizes > 0, sizes, 1))


@jax.jit
def rank_of(triangle: jax.Array) -> jax.Array:
    """How many changes of n estimates the data tell, shape (..., n, n) to (...)."""
    return jnp.sum(~is_flat(jnp.linalg.svd(triangle, compute_uv=False)), axis=-1, dtype=jnp.int32)


@jax.jit
def over(total: jax.Array, freedom: jax.Array) -> jax.Array:
    """A sum over degrees of freedom; NaN without any."""
    nu = freedom.astype(total.dtype)
    return jnp.where(nu > 0, total / jnp.where(nu > 0, nu, 1), jnp.nan)


@jax.jit
def rms(residuals: jax.Array, freedom: jax.Array) -> jax.Array:
    """The root of the sum of squares over degrees of freedom, shape (..., m) to (...); squares may underflow."""
    return norm(residuals, axis=-1) * jnp.sqrt(over(jnp.ones_like(residuals[..., 0]), freedom))


def is_flat(sizes: jax.Array) -> jax.Array:
    """Which singular values of a triangle, the largest first, are 0 to within rounding."""
    return sizes <= roundings(sizes) * sizes[..., :1]


def roundings(sizes: jax.Array) -> float:
    """How small a singular value is nothing, relative to the largest."""
    return 8 * sizes.shape[-1] * float(jnp.finfo(sizes.dtype).eps)


def kernel_root(sandwich: Sandwich) -> jax.Array:
    """``B^-1 M^(1/2)``, a root of ``B^-1 M B^-1``."""
    values, vectors = jnp.linalg.eigh(sandwich.meat)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]
    return root if sandwich.bread is None else jnp.linalg.solve(sandwich.bread, root)


@jax.jit
def root_of(spread: Spread, slopes: jax.Array) -> jax.Array:
    """A root of the covariance of linear functions with the given slopes, shapes (k, r) and (k, n).

    A row is NaN if the function depends on what is held, or on what the data do not determine.
    """
    scaled = slopes / spread.lengths[None, :]
    largest = jnp.max(jnp.abs(scaled), axis=1, keepdims=True, initial=0)
    scaled = scaled / jnp.where(largest > 0, largest, 1)
    lost = jnp.sum(matmul(scaled, spread.lost.T) ** 2, axis=1)
    known = lost <= SHARE * jnp.sum(scaled**2, axis=1)
    known &= ~jnp.any(spread.held[None, :] & (slopes != 0), axis=1)
    return jnp.where(known[:, None], matmul(slopes, spread.root), jnp.nan)


@jax.jit
def lengths_of(root: jax.Array) -> jax.Array:
    """The lengths of the rows of a root: standard errors."""
    return norm(root, axis=-1)
