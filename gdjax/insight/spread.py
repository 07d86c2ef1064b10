"""The covariance of estimates as a root, ``C = root root'``: no square of a small or large number is formed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.sandwich import Sandwich
from gdjax.descent.stopping import Status
from gdjax.jaxtools.on_host import compiled
from gdjax.methods.parts.triangular import norm
from gdjax.vectors.vector import matmul, namespace

COARSE = 10.0  # roundings that residuals are larger than, else they are made of these
# A number is not determined if a change of which the data tell nothing has this share of it.
SHARE = 1e-4


class Spread(NamedTuple):
    """The covariance ``root root'`` of n flat estimates, and what the data do not tell. Axes of problems in front."""

    root: jax.Array  # shape (n, r); zeros for what is held
    lost: jax.Array  # shape (n, n): rows of length 1, the changes of estimates / lengths that are free; or zeros
    lengths: jax.Array  # shape (n,)
    held: jax.Array  # shape (n,): taken as known


@compiled
def spread_of(
    triangle: jax.Array, columns: jax.Array, held: jax.Array, scale: jax.Array, sandwich: Sandwich | None = None
) -> Spread:
    """The root ``D^-1 R^+ K^(1/2)`` of the covariance for ``J = Q R D``, K = scale^2, or of a sandwich.

    A direction along which the residuals do not change, to within rounding, is a singular vector of R with a singular
    value of zero.
    """
    xp = namespace(triangle)
    _, sizes, rows = xp.linalg.svd(constant(triangle))
    flat = is_flat(sizes)
    lengths = xp.where(held, 1, columns)
    # Its derivative has a formula of its own; that of singular vectors is NaN where two values are equal.
    root = xp.linalg.pinv(triangle, rtol=roundings(sizes))
    root = root if sandwich is None else matmul(root, kernel_root(sandwich))
    lost = xp.where(flat[:, None] & ~held[None, :], rows, 0)
    root = xp.where(held[:, None], 0, scale * root / lengths[:, None])
    return Spread(root, lost, lengths, held)


@compiled
def along(spread: Spread, normals: jax.Array, code: jax.Array) -> Spread:
    """The spread along constraints, whose gradients A are the rows of normals, shape (k, n); NaN if INFEASIBLE.

    ``C - CA' (A C A')^+ A C``, which is ``Z (Z'J'J Z)^-1 Z'`` for Z that spans their tangent space: with
    ``B = root' A'`` the root without its part in the range of B.
    """
    xp = namespace(normals)
    across = matmul(spread.root.T, xp.where(spread.held[None, :], 0, normals).T)
    size = norm(across, axis=0)
    across = across / xp.where(size > 0, size, 1)[None, :]
    inverse = xp.linalg.pinv(across, rtol=roundings(across))
    root = spread.root - matmul(matmul(spread.root, across), inverse)
    return spread._replace(root=xp.where(code == Status.INFEASIBLE, xp.nan, root))


@compiled
def rank_along(normals: jax.Array, columns: jax.Array) -> jax.Array:
    """How many degrees of freedom constraints take, shape (..., k, n) to (...): one that others imply takes none.

    Args:
        normals: their gradients; some may be 0.
        columns: lengths of those of the Jacobian, shape (..., n); 0 for what is held.
    """
    xp = namespace(normals)
    lengths = columns[..., None, :]
    rows = constant(xp.where(lengths > 0, normals / xp.where(lengths > 0, lengths, 1), 0))
    sizes = norm(rows, axis=-1)[..., None]
    return rank_of(rows / xp.where(sizes > 0, sizes, 1))


@compiled
def rank_of(triangle: jax.Array) -> jax.Array:
    """How many changes of n estimates the data tell, shape (..., n, n) to (...)."""
    xp = namespace(triangle)
    return xp.sum(~is_flat(xp.linalg.svd(triangle, compute_uv=False)), axis=-1, dtype=xp.int32)


@compiled
def over(total: jax.Array, freedom: jax.Array) -> jax.Array:
    """A sum over degrees of freedom; NaN without any."""
    xp = namespace(total)
    nu = freedom.astype(total.dtype)
    return xp.where(nu > 0, total / xp.where(nu > 0, nu, 1), xp.nan)


@compiled
def rms(residuals: jax.Array, freedom: jax.Array) -> jax.Array:
    """The root of the sum of squares over degrees of freedom, shape (..., m) to (...); squares may underflow."""
    xp = namespace(residuals)
    return norm(residuals, axis=-1) * xp.sqrt(over(xp.ones(residuals.shape[:-1], residuals.dtype), freedom))


@compiled
def rounding_of(
    residuals: jax.Array, effects: jax.Array, x: jax.Array, longest: jax.Array | None, freedom: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Of residuals that are no more than roundings: the `rms` of these, shape (...), and whose effect is lost in them.

    They show no errors of the data, least of all if they are 0. What is 0 is then known to be, though it has no effect
    of its own size; not what has lost its effect on the way: a time in ``a exp(-t / time) + c`` where a has become 0.
    Of larger residuals 0 and nothing.

    Args:
        residuals: shape (..., m).
        effects: the lengths of the Jacobian's columns, shape (..., n).
        x: the parameters, likewise.
        longest: that the columns have been, likewise; None if nobody knows.
        freedom: degrees of it, shape (...).
    """
    xp, eps = namespace(x), float(jnp.finfo(x.dtype).eps)
    effects, sizes = constant(effects), constant(effects * x)
    rounding = eps * norm(sizes, axis=-1)
    made = norm(constant(residuals), axis=-1) <= COARSE * rounding
    least = xp.where(made, rounding * xp.sqrt(over(xp.ones_like(rounding), freedom)), 0)
    if longest is None:
        return least, xp.zeros(effects.shape, bool)
    small = xp.abs(sizes) <= COARSE * rounding[..., None]
    lost = (effects <= COARSE * eps * longest) | (small & (effects <= eps**0.5 * longest))
    return least, made[..., None] & lost


def constant(x: jax.Array) -> jax.Array:
    """Without a derivative."""
    return x if namespace(x) is np else jax.lax.stop_gradient(x)


@compiled
def psi_of(
    sums: jax.Array, residuals: jax.Array, count: jax.Array, rank: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of a robust loss: ``sum psi^2 / (m - n)``, the mean of psi' and Huber's K; NaN if squares underflow.

    Args:
        sums: of psi^2, psi' and psi'^2, shape (..., 3).
        residuals: shape (..., m).
        count: of residuals that are not masked.
        rank: n.
    """
    xp, dtype = namespace(sums), sums.dtype
    number = xp.asarray(count)
    m = number.astype(dtype)
    masked = residuals.shape[-1] - m  # of residuals 0, where psi' = 1
    lost = (sums[..., 0] == 0) & xp.any(residuals != 0, axis=-1)
    square = xp.where(lost, xp.nan, over(sums[..., 0], number.astype(rank.dtype) - rank))
    mean = (sums[..., 1] - masked) / m
    variance = xp.maximum((sums[..., 2] - masked) / m - mean**2, 0)
    return square, xp.where(mean > 0, mean, xp.nan), 1 + rank.astype(dtype) / m * variance / mean**2


def is_flat(sizes: jax.Array) -> jax.Array:
    """Which singular values of a triangle, the largest first, are 0 to within rounding."""
    return sizes <= roundings(sizes) * sizes[..., :1]


def roundings(sizes: jax.Array) -> float:
    """How small a singular value is nothing, relative to the largest."""
    return 8 * sizes.shape[-1] * float(jnp.finfo(sizes.dtype).eps)


def kernel_root(sandwich: Sandwich) -> jax.Array:
    """``B^-1 M^(1/2)``, a root of ``B^-1 M B^-1``."""
    xp = namespace(sandwich.meat)
    values, vectors = xp.linalg.eigh(sandwich.meat)
    root = vectors * xp.sqrt(xp.maximum(values, 0))[None, :]
    return root if sandwich.bread is None else xp.linalg.solve(sandwich.bread, root)


@compiled
def root_of(spread: Spread, slopes: jax.Array) -> jax.Array:
    """A root of the covariance of linear functions with the given slopes, shapes (k, r) and (k, n).

    A row is NaN if the function depends on what is held, or on what the data do not determine.
    """
    xp = namespace(slopes)
    scaled = slopes / spread.lengths[None, :]
    largest = xp.max(xp.abs(scaled), axis=1, keepdims=True, initial=0)
    scaled = scaled / xp.where(largest > 0, largest, 1)
    lost = xp.sum(matmul(scaled, spread.lost.T) ** 2, axis=1)
    known = lost <= SHARE * xp.sum(scaled**2, axis=1)
    known &= ~xp.any(spread.held[None, :] & (slopes != 0), axis=1)
    return xp.where(known[:, None], matmul(slopes, spread.root), xp.nan)


def roots_of(spread: Spread) -> jax.Array:
    """The same of all estimates, shape (n, r)."""
    return root_of(spread, namespace(spread.root).eye(spread.lengths.size, dtype=spread.root.dtype))


def squared(root: jax.Array) -> jax.Array:
    """``root root'``, shape (..., n, r) to (..., n, n)."""
    return matmul(root, root.swapaxes(-1, -2))


@compiled
def lengths_of(root: jax.Array) -> jax.Array:
    """The lengths of the rows of a root: standard errors."""
    return norm(root, axis=-1)
