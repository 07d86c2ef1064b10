"""Products with the Hessian at one point: exact, or by differences of the gradient where JAX has no derivative of it.

J. E. Dennis and R. B. Schnabel, Numerical Methods for Unconstrained Optimization and Nonlinear Equations (1996),
section 5.4: central differences with steps of eps^(1/3) err by about eps^(2/3).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from gdjax.linear import DENSE, Product
from gdjax.objective import NO_PRODUCTS, Objective


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
    """The Hessian, symmetric, of central differences of the gradient."""
    size = jnp.maximum(jnp.abs(x), 1e-3 * jnp.max(jnp.abs(x)))
    steps = float(jnp.finfo(x.dtype).eps) ** (1 / 3) * jnp.where(size > 0, size, 1)

    def row(i: jax.Array) -> jax.Array:
        step = jnp.where(jnp.arange(x.size) == i, steps, 0)
        up, down = x + step, x - step
        return (gradient(up) - gradient(down)) / (up[i] - down[i])

    h = jax.lax.map(row, jnp.arange(x.size))
    return (h + h.T) / 2
