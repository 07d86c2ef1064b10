"""Residuals to first order: Jacobian, gradient, and the QR factorisation that least squares is solved with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.methods.parts.triangular import FEW, columns_of, factor, norm, norms
from gdjax.problem.objective import Objective, Point
from gdjax.vectors.vector import Scalar, dots, matmul

MOST = 1000  # parameters up to which a result keeps the triangle: 8 MB in float64
FLATTEST = 0.05  # least share of a robust loss's curvature that is kept where it bends down


class Linear(NamedTuple):
    """The residuals at the iterate, to first order."""

    triangle: jax.Array  # R of the Jacobian with columns of length 1, shape (n, n)
    q: jax.Array  # Q'r, shape (n,)
    columns: jax.Array  # lengths of the Jacobian's columns, shape (n,); 0 for parameters that are held
    effects: jax.Array  # the same of all, shape (n,)
    cosine: Scalar  # the largest between the residuals and a column
    grad: jax.Array  # J'r


class Squares(NamedTuple):
    """What a least-squares result keeps of its residuals."""

    residuals: jax.Array  # one vector of reals, shape (m,)
    linear: Linear


def linearise(objective: Objective, point: Point) -> Linear:
    """Jacobian, gradient and QR factorisation at a point."""
    x, r = point.x, point.residuals
    a = jacobian(lambda x: objective.residuals(x)[0], x, r)
    if objective.robust is not None:
        r, a = corrected(r, a, objective.robust)
    effects, size, grad = measured(a, r)
    columns = effects
    if objective.composite is not None:  # what a bound holds is not free to move
        lower, upper = objective.composite.ends
        columns = jnp.where(((x <= lower) & (grad > 0)) | ((x >= upper) & (grad < 0)), 0, effects)
    there = (columns > 0) & (size > 0)
    cosines = jnp.where(there, jnp.abs(grad) / jnp.where(there, columns, 1) / jnp.where(size > 0, size, 1), 0)
    triangle, q = factor(a / jnp.where(columns > 0, columns, jnp.inf), r, jnp.ones_like(columns))
    cosine = jnp.where(jnp.all(jnp.isfinite(columns)), jnp.max(cosines), jnp.inf)
    return Linear(triangle, q, columns, effects, cosine.astype(objective.dtype), grad)


def measured(a: jax.Array, r: jax.Array) -> tuple[jax.Array, Scalar, jax.Array]:
    """The lengths of the columns of a, that of r, and ``a'r``."""
    if a.shape[1] > FEW:
        return norm(a, axis=0), norm(r), matmul(r, a)
    columns = columns_of(a)
    *effects, size = norms([*columns, r])
    return jnp.stack(effects), size, jnp.stack(dots(*((column, r) for column in columns)))


def at_answer(objective: Objective, best: Point, state: Any) -> Any:
    """What a result keeps of the residuals at the best point, for covariances; None if there are none, or too many.

    A method that knows them to first order at its iterate, which is the best point or as good, need not be asked twice.
    """
    x = best.x
    if objective.residuals is None or x.size > MOST:
        return None
    if best.residuals is not None:
        return Squares(best.residuals, state.linear)
    r, _ = objective.residuals(x)
    return Squares(r, linearise(objective, objective.blank._replace(x=x, residuals=r)))


def jacobian(residuals: Any, x: jax.Array, r: jax.Array) -> jax.Array:
    """Shape (m, n): one forward derivative a parameter, or one in reverse a residual, whichever are fewer."""
    return jax.jacfwd(residuals)(x) if x.size <= r.size else jax.jacrev(residuals)(x)


def corrected(r: jax.Array, a: jax.Array, robust: Any) -> tuple[jax.Array, jax.Array]:
    """Residuals and Jacobian whose squares have the gradient of a robust loss, and its curvature where that is convex.

    B. Triggs, P. McLauchlan, R. Hartley and A. Fitzgibbon, Bundle adjustment: a modern synthesis (2000), section 4.3.
    """
    first, second = robust.slopes(r)  # rho' and 2 s rho'' at s = r^2 / c^2
    curvature = jnp.maximum(first + second, FLATTEST * first)
    root = jnp.sqrt(jnp.where(curvature > 0, curvature, 1))
    return jnp.where(curvature > 0, first / root * r, 0), jnp.where(curvature > 0, root, 0)[:, None] * a
