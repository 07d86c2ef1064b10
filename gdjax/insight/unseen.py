"""Parameters that a fit has never seen: they had no effect where it began and have none where it ended, but elsewhere.

The centre of a peak far outside of the data is one, and so are its height and its width. That the residuals are at
right angles to what the others can change says nothing of them. What a model does not use has no effect anywhere.
"""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.insight.spread import COARSE
from gdjax.jaxtools.pytrees import Static, merge
from gdjax.jaxtools.remembered import remembered
from gdjax.methods.parts.linearised import effects_at
from gdjax.methods.parts.triangular import norm
from gdjax.problem.objective import trace
from gdjax.vectors.layout import Flat

# Of their own size (of 1 where they are 0), the values at which such parameters are tried.
TRIED = 0.0, 1 / 30, -1 / 30, 0.3, -1.0, 3.0, 30.0


@remembered(static=1)
def has_unseen(key: Static, arrays: list[Any], params: Any, idle: jax.Array) -> jax.Array:
    """Whether parameters that did not move, and that neither Jacobian nor Hessian sees, have an effect elsewhere.

    False if the residuals are no more than roundings.

    Args:
        key, arrays: of a request.
        params: the answer.
        idle: which have no effect to first order there, shape (n,).
    """
    objective = trace(merge(arrays, key).problem, Flat.of)
    x = objective.layout.ravel(params)
    still = idle & (x == objective.start)
    direction = jnp.where(still, 2 + jnp.cos(jnp.arange(x.size, dtype=x.dtype)), 0)
    flat = still & (objective.product(x, direction).grad == 0)
    size = jnp.where(x != 0, x, 1)

    def is_seen(share: jax.Array) -> jax.Array:
        effects = effects_at(objective, jnp.where(flat, share * size, x))
        return jnp.any(flat & (effects > 0) & jnp.isfinite(effects))

    left = jnp.sqrt(2 * objective.evaluate(x).value) > COARSE * objective.eps * norm(effects_at(objective, x) * x)
    return left & jnp.any(jax.lax.map(is_seen, jnp.asarray(TRIED, x.dtype)))
