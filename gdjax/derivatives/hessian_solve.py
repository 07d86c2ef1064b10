"""Solve with a Hessian of which only products are known, also with a penalty; NaN if it is not positive definite.

M. R. Hestenes and E. Stiefel, Methods of conjugate gradients for solving linear systems, J. Res. Natl. Bur. Stand. 49
(1952). J. L. Rigal and J. Gaches, On the compatibility of a given solution with the data of a linear system, J. ACM
14 (1967) (the backward error that the last test bounds).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Up to this size the matrix is formed, one product a column, and factorised: products are as many as conjugate
# gradients need in practice, bad scaling costs nothing, and every singular or indefinite matrix is noticed.
DENSE = 64
# Below so many roundings are nothing: a pivot of the matrix scaled to a unit diagonal (times the size of the
# matrix), and a curvature relative to the largest.
ROUNDING = 10.0
MOST_PRODUCTS = 10_000

Product = Callable[[jax.Array], jax.Array]


def tolerance(dtype: jnp.dtype) -> float:
    """Residual at which conjugate gradients stop, relative to the right-hand side: eps^(3/4).

    That is 2e-12 in float64 and 6e-6 in float32, a hundredth to a millionth of what the error of the
    minimiser itself does to a derivative at the default tolerances.
    """
    return float(jnp.finfo(dtype).eps) ** 0.75


def solve(product: Product, b: jax.Array, trusted: jax.Array | bool = True) -> jax.Array:
    """The x with H x = b, given the product with a symmetric H; linear in b and differentiable in both directions.

    NaN in every entry where ``trusted`` is false or H is not positive definite beyond rounding, as far as that is
    seen: always up to DENSE unknowns; beyond, where conjugate gradients meet a direction without positive curvature
    (they only see those that b excites), or do not converge in min(10 n + 100, MOST_PRODUCTS) products.

    The reverse mode knows what is asked for, and there, and there alone, two more things have an answer. b = 0 gives 0
    in any case, so that an unused output does not turn the whole gradient into NaN. And a flat minimum, where H is
    singular, gives the x of least norm if b has no part along the flat directions: what is asked for does not depend on
    them.
    """

    def checked(matvec: Product, b: jax.Array) -> jax.Array:
        scale = jnp.max(jnp.abs(b))
        scale = jnp.where(scale > 0, scale, 1)
        x, sound = (factorise if b.size <= DENSE else conjugate_gradients)(matvec, b / scale)
        return jnp.where(sound & trusted, scale * x, jnp.nan)

    def asked(matvec: Product, b: jax.Array) -> jax.Array:
        if b.size > DENSE:
            return jnp.where(jnp.all(b == 0), 0, checked(matvec, b))
        x, sound = least_norm(matvec, b)
        return jnp.where(jnp.all(b == 0), 0, jnp.where(sound & trusted, x, jnp.nan))

    return jax.lax.custom_linear_solve(product, b, checked, transpose_solve=asked, symmetric=True)


def solve_proximal(
    product: Product,
    projection: Product,
    step: jax.Array,
    moved: jax.Array,
    pushed: jax.Array,
    trusted: jax.Array | bool = True,
) -> jax.Array:
    """The x with ``x = P u + moved, u = (I - t H) x + pushed``: how a prox-gradient fixed point follows changes.

    H is the Hessian of the loss, P the derivative of the prox (``projection``), t its ``step``; ``moved`` is the change
    of the prox at a fixed argument u, ``pushed`` that of its argument at a fixed x. In (u, x) the system is symmetric,
    so that its transpose needs no transpose of P, which a prox with a loop would not have. P and H are symmetric, P a
    gradient's derivative by Moreau, and its eigenvalues are not negative, so that with R = P^(1/2)
    ``[I - P (I - t H)]^-1 = I + R K^-1 R (I - t H), K = I - P + t R H R``. K is positive definite just where the point
    is a strict minimum of second order: H plus the curvature of the penalty, along what P lets through.
    NaN otherwise, as in `solve`: K is formed and factorised up to DENSE unknowns; beyond, conjugate gradients solve
    ``R K R = P (I - P + t H P)`` within the range of P. NaN also where x does not satisfy the equations.
    """

    def system(ux: jax.Array) -> jax.Array:
        u, x = ux
        return jnp.stack([x - projection(u), u - x + step * product(x)])

    def inner(d: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``R K^-1 R d``, and whether it can be trusted."""
        if d.size <= DENSE:
            h, p = matrix(product, d.size, d.dtype), matrix(projection, d.size, d.dtype)
            values, vectors = jnp.linalg.eigh(p, symmetrize_input=False)
            root = (vectors * jnp.sqrt(jnp.maximum(values, 0))) @ vectors.T
            k = jnp.eye(d.size, dtype=d.dtype) - p + step * root @ h @ root
            s, lower, definite = cholesky((k + k.T) / 2)
            return root @ (s * jax.scipy.linalg.cho_solve((lower, True), s * (root @ d))), definite

        def within(v: jax.Array) -> jax.Array:
            pv = projection(v)
            return projection(v - pv + step * product(pv))

        pd = projection(d)
        nothing = jnp.linalg.norm(pd) <= ROUNDING * float(jnp.finfo(d.dtype).eps) * jnp.linalg.norm(d)
        u, sound = conjugate_gradients(within, jnp.where(nothing, 0, pd))
        return projection(u), sound

    def checked(_: Product, changes: jax.Array) -> jax.Array:
        moved, pushed = changes
        b = moved + projection(pushed)
        y, sound = inner(b - step * product(b))
        x = b + y
        u = x - step * product(x) + pushed
        wrong = jnp.linalg.norm(x - projection(u) - moved)
        allowed = float(jnp.finfo(b.dtype).eps) ** 0.5 * (jnp.linalg.norm(b) + jnp.linalg.norm(x))
        sound &= trusted & (wrong <= allowed)
        return jnp.where(sound, jnp.stack([u, x]), jnp.nan)

    def asked(matvec: Product, changes: jax.Array) -> jax.Array:
        return jnp.where(jnp.all(changes == 0), 0, checked(matvec, changes))

    changes = jnp.stack([moved, pushed])
    return jax.lax.custom_linear_solve(system, changes, checked, transpose_solve=asked, symmetric=True)[1]


def matrix(product: Product, size: int, dtype: jnp.dtype) -> jax.Array:
    """H, by one product per column, made symmetric."""
    columns = jax.lax.map(product, jnp.eye(size, dtype=dtype))
    return (columns + columns.T) / 2


def cholesky(h: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """S and L with S H S = L L', S diagonal so that this has a unit diagonal; and whether H is positive definite.

    A squared pivot is 1 - R^2 of the regression of its unknown on those before: it is zero where these determine it.
    """
    diagonal = jnp.diagonal(h)
    s = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    lower = jnp.linalg.cholesky(h * s[:, None] * s[None, :], symmetrize_input=False)
    pivots = jnp.diagonal(lower) ** 2
    least = ROUNDING * h.shape[0] * float(jnp.finfo(h.dtype).eps)
    return s, lower, jnp.all(diagonal > 0) & jnp.all(pivots > least)  # false for NaN


def factorise(product: Product, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The solution by a Cholesky factorisation, and whether it can be trusted."""
    s, lower, definite = cholesky(matrix(product, b.size, b.dtype))
    return s * jax.scipy.linalg.cho_solve((lower, True), s * b), definite


def least_norm(product: Product, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The solution, or that of least norm (in the scaled unknowns) if H is singular; and whether it is sound.

    It is not if H is indefinite, or b has a part along the directions in which H is zero.
    """
    h, eps = matrix(product, b.size, b.dtype), float(jnp.finfo(b.dtype).eps)
    s, lower, definite = cholesky(h)

    def regular(_: None) -> tuple[jax.Array, jax.Array]:
        return s * jax.scipy.linalg.cho_solve((lower, True), s * b), definite

    def singular(_: None) -> tuple[jax.Array, jax.Array]:
        values, vectors = jnp.linalg.eigh(h * s[:, None] * s[None, :], symmetrize_input=False)
        least = ROUNDING * b.size * eps
        flat, parts = values <= least, (s * b) @ vectors
        inside = jnp.linalg.norm(jnp.where(flat, parts, 0)) <= eps**0.5 * jnp.linalg.norm(parts)
        x = s * (vectors @ jnp.where(flat, 0, parts / jnp.where(flat, 1, values)))
        return x, jnp.all(values >= -least) & inside

    return jax.lax.cond(definite, regular, singular, None)


def conjugate_gradients(product: Product, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The solution by conjugate gradients, and whether it can be trusted."""
    eps = float(jnp.finfo(b.dtype).eps)
    limit = min(10 * b.size + 100, MOST_PRODUCTS)
    bb = jnp.vdot(b, b)

    def unfinished(state: Any) -> jax.Array:
        _, _, _, rr, _, definite, count = state
        return (rr > tolerance(b.dtype) ** 2 * bb) & definite & (count < limit)

    def step(state: Any) -> Any:
        x, r, p, rr, largest, _, count = state
        hp = product(p)
        php, pp = jnp.vdot(p, hp), jnp.vdot(p, p)
        largest = jnp.maximum(largest, jnp.abs(php / pp))
        alpha = rr / php
        x, r = x + alpha * p, r - alpha * hp
        new = jnp.vdot(r, r)
        definite = php > ROUNDING * eps * largest * pp
        return x, r, r + (new / rr) * p, new, largest, definite, count + 1

    zero = jnp.zeros_like(bb)
    start = (jnp.zeros_like(b), b, b, bb, zero, jnp.asarray(True), jnp.asarray(0, jnp.int32))
    x, _, _, rr, largest, definite, _ = jax.lax.while_loop(unfinished, step, start)
    residual = jnp.linalg.norm(b - product(x))
    attainable = eps**0.5 * (jnp.sqrt(bb) + largest * jnp.linalg.norm(x))
    return x, definite & (rr <= tolerance(b.dtype) ** 2 * bb) & (residual <= attainable)
