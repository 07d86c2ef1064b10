"""How the solution of a problem with constraints follows the data: the optimality conditions, differentiated.

With the multipliers y of the active constraints, and for parameters off their bounds, ``g + J'y = 0`` and ``c = b``.
Their derivatives are a linear system with the symmetric matrix ``[[H, J'], [J, 0]]``, H the Hessian of the Lagrangian
(A. V. Fiacco, Introduction to Sensitivity and Stability Analysis in Nonlinear Programming, 1983). A constraint or bound
that is not active has no part; at the point where it becomes so the derivative does not exist, and one of the one-sided
ones is returned.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.derivatives.hessian_solve import ROUNDING
from gdjax.descent.result import Result
from gdjax.problem.objective import Objective

# Parameters and constraints up to which the matrix is formed.
MOST = 1000


def follow_constrained(
    at: Callable[[Any], Objective], result: Result, theta: Any, changes: Any, trusted: jax.Array
) -> tuple[jax.Array, dict[str, Any]]:
    """The change of the vector of parameters, and what else of the result changes, by name.

    NaN where the point is not ``trusted``, or is no strict minimum of second order along the active constraints. Where
    their gradients depend on each other, the change of the multipliers is the least one; NaN if the constraints do not
    change together, so that they soon allow no point.
    """
    frame = at(theta)
    constrained, conditions = frame.constrained, result.conditions
    assert constrained is not None
    assert conditions is not None
    x, sign = frame.layout.ravel(result.params), jnp.asarray(-frame.sign, frame.dtype)
    y = sign * constrained.layout.ravel(conditions.multipliers)
    active = (y != 0) | (constrained.lower == constrained.upper)
    n, m = x.size, y.size
    if n + m > MOST:
        raise ValueError(
            f"derivatives of a solution with constraints need n + m <= {MOST} for n parameters and m constraints; "
            f"here n + m = {n + m}"
        )

    def conditions_of(theta: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        objective = at(theta)
        limits = objective.constrained
        assert limits is not None
        c, pull = jax.vjp(limits.values, x)
        return objective.evaluate(x).grad + pull(y)[0], c - jnp.where(y > 0, limits.upper, limits.lower)

    def bounds_of(theta: Any) -> tuple[jax.Array, jax.Array]:
        composite = at(theta).composite
        return (jnp.full_like(x, -jnp.inf), jnp.full_like(x, jnp.inf)) if composite is None else composite.ends

    (low, high), (low_moves, high_moves) = jax.jvp(bounds_of, (theta,), (changes,))
    free = (x > low) & (x < high)
    moves = jnp.where(free, 0, jnp.where(x <= low, low_moves, high_moves))
    _, pushed = jax.jvp(lambda t: conditions_of(t, x, y), (theta,), (changes,))
    _, by_x = jax.linearize(lambda x: conditions_of(theta, x, y), x)
    pull = jax.linear_transpose(lambda dx: by_x(dx)[1], x)

    def product(v: jax.Array) -> jax.Array:
        dx, dy = jnp.where(free, v[:n], 0), jnp.where(active, v[n:].astype(y.dtype), 0)
        along, across = by_x(dx)
        top = jnp.where(free, along + pull(dy)[0], v[:n])
        return jnp.concatenate([top, jnp.where(active, across.astype(x.dtype), -v[n:])])

    hidden = by_x(moves)
    top = jnp.where(free, -(pushed[0] + hidden[0]), moves)
    bottom = jnp.where(active, -(pushed[1] + hidden[1]), 0).astype(x.dtype)
    solved = jax.lax.custom_linear_solve(
        product, jnp.concatenate([top, bottom]), lambda _, b: dense(product, b, n, trusted), symmetric=True
    )
    dx, dy = solved[:n], solved[n:].astype(y.dtype)
    user = jax.jvp(lambda t, u: at(t).to_user(at(t).evaluate(u)), (theta, x), (changes, dx))[1]
    names = ("value", "grad", "aux", "loss_value", "penalty_value", "penalty")
    changed = {name: user[name] for name in names if name in user}
    values = jax.jvp(lambda t, u: values_of(at(t), u), (theta, x), (changes, dx))[1]
    return dx, changed | dict(
        multipliers=constrained.layout.unravel(sign * dy), values=constrained.layout.unravel(values)
    )


def values_of(objective: Objective, x: jax.Array) -> jax.Array:
    """Those of the constraints."""
    assert objective.constrained is not None
    return objective.constrained.values(x)


def dense(product: Callable[[jax.Array], jax.Array], b: jax.Array, positive: int, trusted: jax.Array) -> jax.Array:
    """The least solution with a symmetric matrix that has so many positive eigenvalues; NaN if there is none.

    ``[[H, J'], [J, 0]]`` has as many as H has rows just where H is positive along the constraints; its eigenvalues that
    are zero are those of constraints that depend on others.
    """
    rows = jax.lax.map(product, jnp.eye(b.size, dtype=b.dtype))
    rows = (rows + rows.T) / 2
    size = jnp.sqrt(jnp.max(jnp.abs(rows), axis=1))
    scale = 1 / jnp.where(size > 0, size, 1)
    values, vectors = jnp.linalg.eigh(rows * scale[:, None] * scale[None, :], symmetrize_input=False)
    least = ROUNDING * b.size * float(jnp.finfo(b.dtype).eps) * jnp.max(jnp.abs(values))
    parts, zero = vectors.T @ (scale * b), jnp.abs(values) <= least
    missed = jnp.max(jnp.where(zero, jnp.abs(parts), 0)) > float(jnp.finfo(b.dtype).eps) ** 0.5 * jnp.max(
        jnp.abs(parts)
    )
    sound = (jnp.sum(values > least) == positive) & ~missed & trusted
    x = scale * (vectors @ jnp.where(zero, 0, parts / jnp.where(zero, 1, values)))
    return jnp.where(jnp.all(b == 0), 0, jnp.where(sound, x, jnp.nan))


def with_conditions(zeros: Result, changed: dict[str, Any]) -> dict[str, Any]:
    """The changes, with those of the conditions in their place."""
    moving = {name: changed.pop(name) for name in ("multipliers", "values")}
    assert zeros.conditions is not None
    return changed | dict(conditions=dataclasses.replace(zeros.conditions, **moving))
