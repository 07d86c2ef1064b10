"""Bounds of least squares: steps that end at them."""

import jax
import jax.numpy as jnp

from gdjax.problem.objective import Objective


def within(objective: Objective, x: jax.Array, step: jax.Array) -> jax.Array:
    """The step from x, as far as bounds allow it."""
    if objective.composite is None:
        return step
    return jnp.clip(x + step, *objective.composite.ends) - x


def at_a_bound(objective: Objective, x: jax.Array) -> jax.Array:
    """Whether some parameter is."""
    if objective.composite is None:
        return jnp.asarray(False)
    lower, upper = objective.composite.ends
    return jnp.any((x <= lower) | (x >= upper))
