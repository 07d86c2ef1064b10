"""Products with the Hessian at one point: exact, or by differences of the gradient if JAX cannot differentiate it.

J. E. Dennis and R. B. Schnabel, Numerical Methods for Unconstrained Optimization and Nonlinear Equations (1996),
section 5.4: central differences with steps of eps^(1/3) err by about eps^(2/3).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gdjax.derivatives.hessian_solve import DENSE, Product
from gdjax.problem.objective import NO_PRODUCTS, Objective
from gdjax.vectors.vector import max_abs


def products_at(objective: Objective, x: jax.Array) -> tuple[jax.Array, Product]:
    """The gradient at ``x`` (flat) and the product with the Hessian there, linear.

    Where JAX cannot differentiate the gradient (a custom_vjp, a callback), and there are at most DENSE unknowns, the
    Hessian is formed of two gradients an unknown, some digits short of exact.

    Raises:
        ValueError: if it cannot, and there are more.
    """
    gradient = lambda u: objective.evaluate(u).grad
    try:
        return jax.linearize(gradient, x)
    except Exception as error:
        if x.size > DENSE:
            raise ValueError(f"{NO_PRODUCTS}: {error}") from error
    h = by_differences(gradient, x)
    return gradient(x), lambda v: h @ v


def by_differences(gradient: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """The symmetric Hessian, by central differences of the gradient."""
    size = jnp.maximum(jnp.abs(x), 1e-3 * jnp.max(jnp.abs(x)))
    steps = float(jnp.finfo(x.dtype).eps) ** (1 / 3) * jnp.where(size > 0, size, 1)

    def row(i: jax.Array) -> jax.Array:
        step = jnp.where(jnp.arange(x.size) == i, steps, 0)
        up, down = x + step, x - step
        return (gradient(up) - gradient(down)) / (up[i] - down[i])

    h = jax.lax.map(row, jnp.arange(x.size))
    return (h + h.T) / 2


def product_anywhere(objective: Objective) -> tuple[Callable[[jax.Array, jax.Array], jax.Array], float]:
    """The Hessian at x times v (flat), and the error of its entries relative to the largest curvature.

    If JAX cannot differentiate the gradient, by its differences, two evaluations each.
    """
    exact = lambda x, v: objective.product(x, v).grad
    eps, start = objective.eps, objective.start
    try:
        jax.eval_shape(exact, start, start)
        return exact, eps
    except ValueError:
        return lambda x, v: difference(lambda u: objective.evaluate(u).grad, x, v), eps ** (2 / 3)


def difference(gradient: Callable[[jax.Array], jax.Array], x: jax.Array, v: jax.Array) -> jax.Array:
    """The derivative of the gradient along ``v``, central."""
    size, length = max_abs(x), max_abs(v)
    step = float(jnp.finfo(x.dtype).eps) ** (1 / 3) * jnp.where(size > 0, size, 1) / jnp.where(length > 0, length, 1)
    return (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)
