"""What a result keeps of a least-squares problem for covariances that residuals and triangle do not tell.

See `gdjax.Fit` for the formulas and their sources.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.methods.parts.linearised import at_answer, by_jax
from gdjax.methods.parts.triangular import SMALL, factor, norm, solve_lower
from gdjax.problem.objective import Objective, Point
from gdjax.vectors.vector import Scalar, matmul, namespace

KINDS = ("HC0", "HC1", "HC2", "HC3")
BY_LEVERAGE = KINDS[2:]


class Sandwich(NamedTuple):
    """For the Jacobian ``J = Q R D``, D the lengths of its columns."""

    triangle: jax.Array  # R, shape (n, n)
    columns: jax.Array  # D, shape (n,); 0 for parameters that are held
    sums: jax.Array | None  # with a robust loss: of psi^2, psi' and psi'^2, shape (3,)
    meat: jax.Array | None  # Q'W Q, shape (n, n)
    bread: jax.Array | None  # with a robust loss: Q' psi' Q, shape (n, n)
    basis: jax.Array | None = None  # for HC2 and HC3 instead of the meat: Q, shape (m, n)


def squares_at(objective: Objective, point: Point, state: Any) -> Any:
    """What a result keeps of a least-squares problem at a point; None of a loss that is none.

    And of one with a penalty other than bounds, which draws the estimates away, so that residuals tell nothing of them.
    With a `Sandwich` if it is asked for: by ``cov_type``, or by a robust loss, whose triangle is not that of J.
    """
    if objective.composite is not None and objective.composite.bounds is None:
        return None
    squares = at_answer(objective, point, state)
    plain = objective.cov_type is None and objective.robust is None
    if squares is None or squares.linear is None or plain:
        return squares
    return squares._replace(sandwich=sandwich(objective, point, squares.residuals, squares.linear.columns))


def sandwich(objective: Objective, point: Point, r: jax.Array, lengths: jax.Array) -> Sandwich:
    """At a point with residuals r, where parameters whose columns have length 0 are held."""
    kind, robust = objective.cov_type, objective.robust
    a = by_jax(objective, point.x) if objective.jacobian is None else objective.jacobian(point.x)
    a = jnp.where(lengths[None, :] == 0, 0, a)
    columns = norm(a, axis=0)
    unit = a / jnp.where(columns > 0, columns, 1)[None, :]
    triangle, _ = factor(unit, r)
    psi, slope = r, jnp.ones_like(r)
    if robust is not None:
        first, second = robust.slopes(r)
        psi, slope = first * r, first + second
    sums = None if robust is None else jnp.stack([jnp.sum(psi**2), jnp.sum(slope), jnp.sum(slope**2)])
    if kind is None:
        return Sandwich(triangle, columns, sums, None, None)
    q = basis(unit, triangle)
    if kind in BY_LEVERAGE:
        return Sandwich(triangle, columns, sums, None, None, q)
    meat, bread = matmul(q.T * psi[None, :] ** 2, q), None
    if robust is not None:
        bread = matmul(q.T * slope[None, :], q)
        bread += jnp.diag(jnp.where(jnp.any(q != 0, axis=0), 0, jnp.ones_like(columns)))
    return Sandwich(triangle, columns, sums, meat, bread)


def meat_of(sandwich: Sandwich, kind: str | None, r: jax.Array, rounding: Scalar) -> Sandwich:
    """With the meat of HC2 or HC3, by the leverages of all parameters that are not held, for residuals r.

    It is NaN where one residual alone determines a parameter. To all meat the rounding of the residuals adds.
    """
    q, xp = sandwich.basis, namespace(r)
    more = rounding**2 * xp.eye(sandwich.columns.size, dtype=r.dtype)
    if q is None:
        return sandwich._replace(meat=sandwich.meat + more)
    rest = 1 - xp.sum(q * q, axis=1)
    rest = xp.where(rest > 8 * q.shape[1] * float(jnp.finfo(q.dtype).eps), rest, xp.nan)
    weights = r**2 / (rest if kind == "HC2" else rest**2)
    return sandwich._replace(meat=matmul(q.T * weights[None, :], q) + more, basis=None)


def basis(a: jax.Array, triangle: jax.Array) -> jax.Array:
    """Q of ``a = Q R``, shape (m, n), by substitution; a column of zeros where a depends on columns before."""
    n, diagonal = a.shape[1], jnp.diagonal(triangle)
    there = jnp.abs(diagonal) > 8 * n * float(jnp.finfo(a.dtype).eps)
    whole = jnp.where(there[:, None], triangle, jnp.eye(n, dtype=a.dtype))
    if n > SMALL:
        q = jax.scipy.linalg.solve_triangular(whole, a.T, trans=1).T
    else:
        q = jax.vmap(lambda row: solve_lower(whole, row))(a)
    return jnp.where(there[None, :], q, 0)
