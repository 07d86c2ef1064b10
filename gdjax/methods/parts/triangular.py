"""QR factorisations and triangular systems of least squares; small ones without a library.

A. Bjorck, Solving linear least squares problems by Gram-Schmidt orthogonalization, BIT 7 (1967): with the right-hand
side as one more column, the modified form is as accurate as Householder's. LAPACK is not asked for small ones: under
`jax.vmap` the threads of two of its calls may wait for each other for ever, and a call costs more than the work.
"""

import jax
import jax.numpy as jnp

from gdjax.vectors.vector import matmul

SMALL = 32  # columns up to which LAPACK is not asked
DEPENDENT = 4.0  # roundings of a column's length, below which what is left of it counts as nothing


def factor(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """R and Q'b of ``a = Q R``, a of shape (m, n): shapes (n, n) and (n,).

    A column that depends on those before it has a row of zeros.
    """
    n = a.shape[1]
    both = jnp.concatenate([a, b[:, None]], axis=1)
    if n > SMALL:
        whole = jnp.linalg.qr(both, mode="r")
        whole = jnp.pad(whole, ((0, max(0, n - whole.shape[0])), (0, 0)))
        return whole[:n, :n], whole[:n, n]
    sizes, eps = norm(a, axis=0), float(jnp.finfo(a.dtype).eps)
    places = jnp.arange(n + 1, dtype=jnp.int32)

    def turn(rest: jax.Array, column: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        j, size = column
        length = norm(rest[j])
        there = length > DEPENDENT * eps * size
        unit = rest[j] / jnp.where(there, length, jnp.inf)
        row = jnp.where(places > j, matmul(rest, unit), 0)
        return rest - row[:, None] * unit[None, :], jnp.where(places == j, jnp.where(there, length, 0), row)

    whole = jax.lax.scan(turn, both.T, (places[:n], sizes))[1]
    return whole[:, :n], whole[:, n]


def norm(x: jax.Array, axis: int | None = None) -> jax.Array:
    """The 2-norm, whose squares do not overflow; at 0 its derivative is 0."""
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0)
    scaled = x / jnp.where(largest > 0, largest, 1)
    total = jnp.sum(scaled * scaled, axis=axis)
    return jnp.squeeze(largest, axis) * jnp.sqrt(jnp.where(total > 0, total, 1))


def solve_upper(r: jax.Array, b: jax.Array) -> jax.Array:
    """``r^-1 b`` for an upper triangle."""
    if b.size > SMALL:
        return jax.scipy.linalg.solve_triangular(r, b)
    return substitute(r, b, last_first=True)


def solve_lower(r: jax.Array, b: jax.Array) -> jax.Array:
    """``r'^-1 b`` for an upper triangle r."""
    if b.size > SMALL:
        return jax.scipy.linalg.solve_triangular(r, b, trans=1)
    return substitute(r.T, b, last_first=False)


def substitute(a: jax.Array, b: jax.Array, last_first: bool) -> jax.Array:
    """One unknown after the other."""

    def turn(x: jax.Array, row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        i, a_i, b_i = row
        return x.at[i].set((b_i - jnp.sum(a_i * x)) / a_i[i]), None

    rows = jnp.arange(b.size, dtype=jnp.int32), a, b
    return jax.lax.scan(turn, jnp.zeros_like(b), rows, reverse=last_first)[0]
