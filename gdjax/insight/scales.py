"""A unit for each parameter from the curvature at the start: what ``scale="auto"`` is.

With the free numbers in units of ``1 / sqrt|H_ii|`` the Hessian at the start has a unit diagonal (Jacobi's scaling).
In Poisson, logistic and linear regressions on raw columns (income, age, a flag, a rate of 1e-3) in float32 L-BFGS needs
14, 14 and 11 evaluations with it, 84, 89 and 157 without, and ends within 3e-5 of the lowest log-likelihood instead of
up to 9.6 above it; conjugate gradients, accelerated and plain gradient descent converge, which they do not without.
"""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.derivatives.hessian import products_at
from gdjax.jaxtools.pytrees import Static, merge, split
from gdjax.jaxtools.remembered import remembered
from gdjax.problem.hoist import hoist
from gdjax.problem.objective import trace
from gdjax.problem.problem import Problem
from gdjax.vectors.layout import Flat

MOST = 1000  # parameters: one Hessian product each


def units(problem: Problem) -> Any:
    """The units, a pytree like the params of a problem; 1 where the curvature is 0 or not finite.

    Raises:
        ValueError: if there are too many.
    """
    size = Flat.of(jax.tree.map(jnp.asarray, problem.params)).size
    if size > MOST:
        raise ValueError(
            f"scale='auto' measures the curvature of each parameter, for up to {MOST}; there are {size}: give their "
            "units by space=gdjax.spaces.Scaled(...)"
        )
    arrays, static = split(hoist(problem))
    return _units(static, arrays)


@remembered(static=1)
def _units(static: Static, arrays: list[Any]) -> Any:
    """The same of a hoisted problem."""
    objective = trace(merge(arrays, static), Flat.of)
    x = objective.start
    product = products_at(objective, x)[1]
    unit = lambda i: (jnp.arange(x.size) == i).astype(x.dtype)
    diagonal = jnp.abs(jax.lax.map(lambda i: jnp.vdot(unit(i), product(unit(i))), jnp.arange(x.size)))
    whole = jax.tree.map(jnp.abs, objective.layout.unravel(diagonal))
    one = lambda d: jnp.where(jnp.isfinite(d) & (d > 0), jax.lax.rsqrt(jnp.where(d > 0, d, 1)), 1)
    return jax.tree.map(one, whole)
