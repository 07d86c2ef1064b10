"""QR factorisations and triangular systems of least squares; small ones without a library.

A. Bjorck, Solving linear least squares problems by Gram-Schmidt orthogonalization, BIT 7 (1967): with the right-hand
side as one more column, the modified form is as accurate as Householder's. LAPACK is not asked for small ones: under
`jax.vmap` the threads of two of its calls may wait for each other for ever, and a call costs more than the work.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from gdjax.vectors.vector import LARGE, dots, largest, matmul, namespace, root

SMALL = 32  # columns up to which LAPACK is not asked
# Columns up to which each is an array of its own, and no loop goes over them: 10 000 problems of 64 residuals and 3
# parameters are factored in 3 ms instead of 14.
FEW = 6
DEPENDENT = 4.0  # roundings of a column's length, below which what is left of it counts as nothing


def factor(a: jax.Array, b: jax.Array, sizes: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """R and Q'b of ``a = Q R``, a of shape (m, n): shapes (n, n) and (n,).

    A column that depends on those before it has a row of zeros.

    Args:
        a: the matrix.
        b: the right-hand side, shape (m,).
        sizes: lengths of the columns of a, if they are known, shape (n,); 0 where none is to count as dependent.
    """
    n = a.shape[1]
    if n > SMALL:
        whole = jnp.linalg.qr(jnp.concatenate([a, b[:, None]], axis=1), mode="r")
        whole = jnp.pad(whole, ((0, max(0, n - whole.shape[0])), (0, 0)))
        return whole[:n, :n], whole[:n, n]
    least = DEPENDENT * float(jnp.finfo(a.dtype).eps) * (lengths(a) if sizes is None else sizes)
    if n <= FEW:
        rows, _, _ = orthogonalise([*columns_of(a), b], [least[j] for j in range(n)])
        zero = jnp.zeros((), a.dtype)
        whole = jnp.stack([x for j, row in enumerate(rows) for x in (*[zero] * j, *row)]).reshape(n, n + 1)
        return whole[:, :n], whole[:, n]
    places = jnp.arange(n + 1, dtype=jnp.int32)

    def turn(rest: jax.Array, column: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        j, least = column
        products = matmul(rest, rest[j])
        length = root(products[j])
        there = length > least
        inverse = jnp.where(there, 1 / jnp.where(there, length, 1), 0)
        row = jnp.where(places > j, products * inverse, 0)
        return rest - row[:, None] * (rest[j] * inverse)[None, :], jnp.where(
            places == j, jnp.where(there, length, 0), row
        )

    both = jnp.concatenate([a, b[:, None]], axis=1)
    whole = jax.lax.scan(turn, both.T, (places[:n], least))[1]
    return whole[:, :n], whole[:, n]


def orthogonalise(
    columns: Sequence[jax.Array], least: Sequence[jax.Array | float], weights: jax.Array | None = None
) -> tuple[list[list[jax.Array]], list[jax.Array], jax.Array]:
    """Gram and Schmidt's process, modified, on all columns but the last, which is the right-hand side.

    The rows of R from the diagonal on, each with its entry of Q'b; the columns of Q; what is left of the last column.

    Args:
        columns: each of shape (m,).
        least: of each but the last, the length up to which what is left of it counts as nothing.
        weights: of the entries in inner products, shape (m,); None for 1.
    """
    rest, rows, units = list(columns), [], []
    for shortest in least:
        column = rest[0] if weights is None else rest[0] * weights
        square, *products = dots(*((column, other) for other in rest))
        length = root(square)
        there = length > shortest
        inverse = jnp.where(there, 1 / jnp.where(there, length, 1), 0)
        unit, parts = rest[0] * inverse, [product * inverse for product in products]
        rest = [other - part * unit for other, part in zip(rest[1:], parts, strict=True)]
        rows.append([jnp.where(there, length, 0), *parts])
        units.append(unit)
    return rows, units, rest[0]


def columns_of(a: jax.Array) -> list[jax.Array]:
    """The columns of a matrix, one by one."""
    return [a[:, j] for j in range(a.shape[1])]


def lengths(a: jax.Array) -> jax.Array:
    """The 2-norms of the columns of a matrix."""
    return jnp.stack(norms(columns_of(a))) if a.shape[1] <= FEW else norm(a, axis=0)


def norms(vectors: Sequence[jax.Array]) -> list[jax.Array]:
    """The `norm` of each of a few vectors of equal size, in two passes over all of them."""
    if vectors[0].size >= LARGE:
        return [norm(x) for x in vectors]
    zeros = [jnp.zeros((), x.dtype) for x in vectors]
    most = lambda a, b: [jnp.maximum(x, y) for x, y in zip(a, b, strict=True)]
    sizes = [jnp.abs(jax.lax.stop_gradient(x)) for x in vectors]
    sizes = [jnp.where(jnp.isnan(x), jnp.inf, x) for x in sizes]  # see `vector.largest`
    tops = jax.lax.reduce(sizes, zeros, most, (0,))
    scaled = [x / jnp.where(top > 0, top, 1) for x, top in zip(vectors, tops, strict=True)]
    totals = [jnp.where(total == 0, 1, total) for total in dots(*((x, x) for x in scaled))]  # as in `norm`
    return [top * jnp.sqrt(total) for top, total in zip(tops, totals, strict=True)]


def product(a: jax.Array, x: jax.Array) -> jax.Array:
    """``a x``, which for few columns is a sum and no call of a library."""
    return matmul(a, x) if a.shape[1] > SMALL else jnp.sum(a * x[None, :], axis=1)


def norm(x: jax.Array, axis: int | None = None) -> jax.Array:
    """The 2-norm, whose squares do not overflow; NaN if an entry is not finite. At 0 its derivative is 0."""
    xp = namespace(x)
    top = largest(xp.abs(x), axis=axis, keepdims=True)
    scaled = x / xp.where(top > 0, top, 1)
    total = xp.sum(scaled * scaled, axis=axis)
    return xp.squeeze(top, axis) * xp.sqrt(xp.where(total == 0, 1, total))


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
    places = jnp.arange(b.size, dtype=jnp.int32)

    def turn(x: jax.Array, row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        i, a_i, b_i = row
        return jnp.where(places == i, (b_i - jnp.sum(a_i * x)) / a_i[i], x), None

    return jax.lax.scan(turn, jnp.zeros_like(b), (places, a, b), reverse=last_first)[0]
