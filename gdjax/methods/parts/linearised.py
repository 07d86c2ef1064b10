"""Residuals to first order: Jacobian, gradient, and the QR factorisation that least squares is solved with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.methods.parts.blocks import factor_tall
from gdjax.methods.parts.triangular import DEPENDENT, FEW, columns_of, norm, norms
from gdjax.problem.objective import Objective, Point
from gdjax.vectors.vector import Scalar, dots, largest, matmul

MOST = 1000  # parameters up to which a result keeps the triangle: 8 MB in float64
LARGEST = 2**25  # entries of a Jacobian that is formed without having been asked for: 268 MB in float64
SPIKE = 0.5  # sum of the fourth powers of a column of length 1, which is 1 over the number of entries that are equal
CANCELLED = 0.01  # share that is left of the changes which each parameter's whole size makes, where these cancel
FLATTEST = 0.05  # least share of a robust loss's curvature that is kept where it bends down


class Linear(NamedTuple):
    """The residuals at the iterate, to first order."""

    # R of the Jacobian with columns of length 1, shape (n, n); that Jacobian itself, (m, n), if it has fewer rows
    triangle: jax.Array
    q: jax.Array  # Q'r, shape (n,); or r, shape (m,)
    columns: jax.Array  # lengths of the Jacobian's columns, shape (n,); 0 for parameters that are held
    effects: jax.Array  # the same of all, shape (n,)
    cosine: Scalar  # the largest between the residuals and a column
    grad: jax.Array  # J'r
    hidden: jax.Array  # which columns depend on those before them as they do on a plateau, shape (n,)
    jacobian: Any = None  # J, shape (m, n), for a method that asks for it


class Squares(NamedTuple):
    """What a least-squares result keeps of its residuals."""

    residuals: jax.Array  # one vector of reals, shape (m,)
    linear: Linear | None  # None if there are too many parameters, or the Jacobian is too large
    sandwich: Any = None  # for some covariances, see `gdjax.descent.sandwich`
    longest: Any = None  # that each column has been, shape (n,); None if the method did not see them
    normals: Any = None  # with constraints the gradients of the active ones, shape (k, n); rows of zeros for the others


def linearise(objective: Objective, point: Point, keep: bool = False) -> Linear:
    """Jacobian, gradient and QR factorisation at a point; ``keep`` the Jacobian, too."""
    x, r = point.x, point.residuals
    a = by_jax(objective, x) if objective.jacobian is None else objective.jacobian(x)
    alone = None
    if objective.constrained is not None:
        alone, (r, a) = norm(a, axis=0), with_active(objective, point, r, a)
    if objective.robust is not None:
        r, a = corrected(r, a, objective.robust)
    columns, size, slopes = measured(a, r)
    grad, effects = slopes * size, columns if alone is None else alone
    if objective.composite is not None:  # what a bound holds is not free to move
        lower, upper = objective.composite.ends
        columns = jnp.where(((x <= lower) & (grad > 0)) | ((x >= upper) & (grad < 0)), 0, columns)
    there = (columns > 0) & (size > 0)
    cosines = jnp.where(there, jnp.abs(slopes) / jnp.where(there, columns, 1), 0)
    unit = a / jnp.where(columns > 0, columns, jnp.inf)[None, :]
    triangle, q = factor_tall(unit, r, jnp.ones_like(columns)) if r.size >= x.size else (unit, r)
    cosine = jnp.where(jnp.all(jnp.isfinite(columns)), largest(cosines), jnp.inf)
    kept = jnp.where(columns[None, :] > 0, a, 0) if keep else None
    hidden = hidden_by_others(triangle, unit, columns * x, objective.eps)
    return Linear(triangle, q, columns, effects, cosine.astype(objective.dtype), grad, hidden, kept)


def hidden_by_others(triangle: jax.Array, unit: jax.Array, sizes: jax.Array, eps: float) -> jax.Array:
    """Which columns depend on those before them, and few residuals see them, or large terms cancel each other.

    Args:
        triangle: R of the Jacobian with columns of length 1.
        unit: that Jacobian.
        sizes: what each parameter's whole size changes, shape (n,).
        eps: of their rounding.
    """
    if triangle.shape[0] < triangle.shape[1]:  # they all do
        return jnp.zeros(sizes.shape, bool)
    left = jnp.abs(jnp.sum(triangle * sizes[None, :], axis=1))
    cancel = jnp.max(left) <= CANCELLED * jnp.max(jnp.abs(sizes))
    return (pivots(triangle) <= DEPENDENT * eps) & (cancel | (jnp.sum(unit**4, axis=0) > SPIKE))


def pivots(triangle: jax.Array) -> jax.Array:
    """What is left of each column, of length 1, beside those before it; shape (n,), or (m,) if that is less."""
    # By hand: what `jnp.diagonal` is compiled to depends on the platform, which one function cannot.
    rows, n = triangle.shape
    return jnp.abs(jax.lax.slice_in_dim(triangle.reshape(-1), 0, rows * n, n + 1))


def measured(a: jax.Array, r: jax.Array) -> tuple[jax.Array, Scalar, jax.Array]:
    """The lengths of the columns of a, that of r, and ``a'r / |r|``, whose products do not underflow."""
    if a.shape[1] > FEW:
        size = norm(r)
        return norm(a, axis=0), size, matmul(r / jnp.where(size > 0, size, 1), a)
    columns = columns_of(a)
    *effects, size = norms([*columns, r])
    unit = r / jnp.where(size > 0, size, 1)
    return jnp.stack(effects), size, jnp.stack(dots(*((column, unit) for column in columns)))


def nothing_yet(objective: Objective, count: int, keep: bool = False) -> Linear:
    """Before the first evaluation, of so many residuals."""
    n, dtype = objective.start.size, objective.dtype
    rows, none = min(count, n), jnp.zeros_like(objective.start)
    kept = jnp.zeros((count, n), none.dtype) if keep else None
    triangle, q = jnp.zeros((rows, n), none.dtype), jnp.zeros((rows,), none.dtype)
    return Linear(triangle, q, none, none, jnp.full((), jnp.inf, dtype), none, none != 0, kept)


def effects_at(objective: Objective, x: jax.Array) -> jax.Array:
    """The lengths of the Jacobian's columns, shape (n,)."""
    a = by_jax(objective, x) if objective.jacobian is None else objective.jacobian(x)
    if objective.robust is not None:
        a = corrected(objective.residuals(x)[0], a, objective.robust)[1]
    return norm(a, axis=0)


def at_answer(objective: Objective, best: Point, state: Any) -> Any:
    """What a result keeps of the residuals at the best point; None if the loss is no sum of squares.

    With more than MOST parameters, or a Jacobian that would be too large, the residuals alone. A method that knows them
    to first order at its iterate, which is the best point or as good, need not be asked twice.
    """
    x = best.x
    if objective.residuals is None:
        return None
    known = best.residuals is not None
    r = best.residuals if known else objective.residuals(x)[0]
    if x.size > MOST or not (known or objective.jacobian is not None or r.size * x.size <= LARGEST):
        return Squares(r, None)
    there = objective.blank._replace(x=x, residuals=r, seen=best.seen)
    linear = state.linear if known else linearise(objective, there)
    normals = None if objective.constrained is None else normals_at(objective, best)
    more = max(0, x.size - r.size)  # rows of zeros make a triangle's R'R of what has fewer rows
    return Squares(
        r,
        linear._replace(triangle=jnp.pad(linear.triangle, ((0, more), (0, 0))), jacobian=None),
        longest=getattr(state, "scale", None) if known else None,
        normals=normals,
    )


def normals_at(objective: Objective, point: Point) -> jax.Array:
    """The gradients of constraints that have a multiplier, or are equalities; zeros for the others."""
    limits = objective.constrained
    assert limits is not None
    assert point.seen is not None
    rows = jax.jacrev(limits.values)(point.x) if limits.size < point.x.size else jax.jacfwd(limits.values)(point.x)
    active = (point.seen.multipliers != 0) | (limits.lower == limits.upper)
    return jnp.where(active[:, None], rows, 0).astype(point.x.dtype)


def with_active(objective: Objective, point: Point, r: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Residuals and Jacobian with the active constraints as data of a large weight.

    So J determines what they determine. What is left across them `gdjax.insight.spread.along` takes out. Their
    residuals are the multipliers over the weight w, so that the gradient is that of the Lagrangian.
    """
    rows = normals_at(objective, point)
    lengths = norm(a, axis=0)
    unit = norm(rows / jnp.where(lengths > 0, lengths, 1)[None, :], axis=1)
    active = unit > 0
    weight = jnp.where(active, objective.eps**-0.25 / jnp.where(active, unit, 1), 0).astype(a.dtype)
    pull = point.seen.multipliers / jnp.where(point.seen.weight > 0, point.seen.weight, 1)
    pull = jnp.where(active, pull / jnp.where(active, weight, 1), 0).astype(r.dtype)
    return jnp.concatenate([r, pull]), jnp.concatenate([a, weight[:, None] * rows.astype(a.dtype)])


def by_jax(objective: Objective, x: jax.Array) -> jax.Array:
    """The Jacobian, shape (m, n): a forward derivative a parameter, or one in reverse a residual, whichever are fewer.

    Where JAX has one of the two alone (forward is missing for a `jax.custom_vjp`), that one.
    """
    residuals = lambda x: objective.residuals(x)[0]
    ways = jax.jacfwd(residuals), jax.jacrev(residuals)
    usual, other = ways if x.size <= jax.eval_shape(residuals, x).size else ways[::-1]
    try:
        return usual(x)
    except Exception:
        return other(x)


def corrected(r: jax.Array, a: jax.Array, robust: Any) -> tuple[jax.Array, jax.Array]:
    """Residuals and Jacobian whose squares have the gradient of a robust loss, and its curvature where that is convex.

    B. Triggs, P. McLauchlan, R. Hartley and A. Fitzgibbon, Bundle adjustment: a modern synthesis (2000), section 4.3.
    """
    pull, root = weights(r, robust)
    return pull * r, root[:, None] * a


def weights(r: jax.Array, robust: Any) -> tuple[jax.Array, jax.Array]:
    """What `corrected` multiplies the residuals with, and the rows of their Jacobian; 1 for squares."""
    if robust is None:
        return jnp.ones_like(r), jnp.ones_like(r)
    first, second = robust.slopes(r)  # rho' and 2 s rho'' at s = r^2 / c^2
    curvature = jnp.maximum(first + second, FLATTEST * first)
    root = jnp.sqrt(jnp.where(curvature > 0, curvature, 1))
    return jnp.where(curvature > 0, first / root, 0), jnp.where(curvature > 0, root, 0)
