"""Newton's step on the optimality conditions of a problem with constraints, for an active set that is guessed.

The guess is that of the primal-dual active set method (M. Hintermueller, K. Ito and K. Kunisch, SIAM J. Optim. 13,
2002): a constraint is active if ``s c + y / rho`` is beyond its bound. With H the Hessian of the Lagrangian and J the
gradients of the active constraints the step is ``(H + J' S J + t I) dx = -g - J' S r``, ``dy = S (J dx + r)`` for a
diagonal S so large that this is the KKT system but for rounding (D. P. Bertsekas, Constrained Optimization and Lagrange
Multiplier Methods, 1982, section 4.4.2). Its matrix is positive definite just where H is along the constraints; t is
raised until it is, so that the step leads to a minimum. Constraints that depend on each other do no harm.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.scalar_kernels import bounded_loop
from gdjax.methods.parts import optimality
from gdjax.methods.parts.merit import Terms, known, seen
from gdjax.methods.parts.pairs import of_rows
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, matmul

MOST = 300  # parameters and constraints up to which the matrix is formed
SHIFTS, FIRST_SHIFT, GROW = 16, 1e-8, 10.0  # values of t that are tried
REFINEMENTS = 2


class Proposal(NamedTuple):
    """Where the step leads."""

    x: jax.Array  # shape (n,)
    multipliers: jax.Array  # of the scaled constraints, shape (m,)


def propose(objective: Objective, terms: Terms, point: Point) -> Proposal:
    """The step from a point, whose gradient is that of the Lagrangian with its multipliers.

    One derivative of gradient and constraints for each parameter.
    """
    constrained, shown, s, x = known(objective), seen(point), terms.scales, point.x
    dtype, y = x.dtype, shown.multipliers / s
    z, lower, upper = s * shown.c + y / terms.penalty, s * constrained.lower, s * constrained.upper
    active = (z > upper) | (z < lower) | (lower == upper)
    bound = jnp.where(z > upper, upper, lower)
    r = jnp.where(active, s * shown.c - bound, 0).astype(dtype)
    y = jnp.where(active, y, 0)

    def first_order(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        c, pull = jax.vjp(constrained.values, x)
        return terms.weight.astype(dtype) * objective.evaluate(x).grad + pull(s * y)[0], (s * c).astype(dtype)

    along = jax.lax.map(lambda v: jax.jvp(first_order, (x,), (v,)), jnp.eye(x.size, dtype=dtype))
    gradient, (hessian, rows) = along[0][0][0], along[1]
    low, high = optimality.ends(objective)
    free = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)) | (low == high))
    hessian = jnp.where(free[:, None] & free[None, :], (hessian + hessian.T) / 2, 0)
    rows = jnp.where(active[:, None] & free[None, :], rows.T, 0)  # J, shape (m, n)
    squares = jnp.sum(rows * rows, axis=1)
    size = vector.largest(jnp.abs(hessian).reshape(-1))
    size = jnp.where(size > 0, size, 1)
    weights = jnp.where(squares > 0, size / jnp.where(squares > 0, squares, 1), 0) / float(jnp.finfo(dtype).eps) ** 0.5
    matrix = (
        hessian
        + of_rows(rows.T * weights[None, :], rows.T)
        + jnp.where(jnp.eye(x.size, dtype=bool), jnp.where(free, 0, size)[None, :], 0)
    )
    inverse = invert_shifted(matrix, jnp.full_like(x, size))

    def solve(g: jax.Array, r: jax.Array) -> tuple[jax.Array, jax.Array]:
        dx = -matmul(inverse, jnp.where(free, g + matmul(rows.T, weights * r), 0))
        return dx, weights * (matmul(rows, dx) + r)

    dx, dy = solve(gradient, r)
    for _ in range(REFINEMENTS):  # S is not so large that nothing is left of r; without them single precision feels it
        left = gradient + matmul(hessian, dx) + matmul(rows.T, dy)
        more, change = solve(left, matmul(rows, dx) + r)
        dx, dy = dx + more, dy + change
    return Proposal(jnp.clip(x + dx, low, high), jnp.where(active, y + dy.astype(y.dtype), 0))


def invert_shifted(
    matrix: jax.Array, metric: jax.Array, fits: Callable[[jax.Array], jax.Array] = lambda _: jnp.asarray(True)
) -> jax.Array:
    """``(A + t D)^-1`` for the least t that was tried with which it is positive definite and fits; NaN if none was.

    Args:
        matrix: A, shape (n, n).
        metric: the diagonal of D, of the size of A; shape (n,).
        fits: whether an inverse does.
    """
    diagonal = jnp.where(jnp.eye(matrix.shape[0], dtype=bool), metric[None, :], 0)

    def attempt(state: tuple[Scalar, jax.Array, jax.Array, jax.Array]) -> Any:
        shift, _, _, count = state
        inverse, definite = invert(matrix + shift * diagonal)
        good = definite & fits(inverse)
        return jnp.where(shift == 0, FIRST_SHIFT, GROW * shift), inverse, good, count + 1

    begun = jnp.zeros_like(metric[0]), jnp.full_like(matrix, jnp.nan), jnp.asarray(False), jnp.asarray(0, jnp.int32)
    _, inverse, definite, _ = bounded_loop(lambda s: ~s[2] & (s[3] < SHIFTS), attempt, begun, SHIFTS)
    return jnp.where(definite, inverse, jnp.nan)


def invert(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inverse by Gauss and Jordan's elimination, and whether the matrix is positive definite beyond rounding.

    Such a matrix needs no pivoting. LAPACK is not asked, see `gdjax.methods.parts.pairs.solve_definite`.
    """
    n, eps = matrix.shape[0], float(jnp.finfo(matrix.dtype).eps)
    unit = jnp.eye(n, dtype=matrix.dtype)
    diagonal = jnp.sum(matrix * unit, axis=0)
    scale = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    full = jnp.concatenate([matrix * scale[:, None] * scale[None, :], unit], axis=1)

    def turn(ab: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        row, column = jax.lax.dynamic_index_in_dim(ab, i, 0, False), jax.lax.dynamic_index_in_dim(ab, i, 1)
        pivot = jax.lax.dynamic_index_in_dim(row, i, 0, False)
        row = row / jnp.where(pivot == 0, 1, pivot)
        here = (jnp.arange(n, dtype=jnp.int32) == i)[:, None]
        return jnp.where(here, row[None, :], ab - column * row[None, :]), pivot

    full, pivots = jax.lax.scan(turn, full, jnp.arange(n, dtype=jnp.int32))
    inverse = full[:, n:] * scale[:, None] * scale[None, :]
    return inverse, jnp.all(diagonal > 0) & jnp.all(pivots > 10 * n * eps)
