"""Models of data that have gone over to a plateau, from which nothing leads back.

``exp(-b x)`` for a large b has lost all effect on the residuals. ``a exp(-b x)`` may become a spike at the first datum:
a and b change that alone, and its residual is 0. The gradient vanishes, whatever is left of the others. And
``a exp(-b x) + c`` becomes a straight line, a and c running apart, until they cannot be told from each other.
"""

import jax
import jax.numpy as jnp

from gdjax.methods.parts.linearised import Linear

# Roundings of a column's length that must have been left of it beside those before it, for it to be a loss if nothing
# is. (Where two exponentials become one, which is no plateau, an eighth is left with each step.)
LEFT = 100.0


def lost_effect(scale: jax.Array, linear: Linear, eps: float) -> jax.Array:
    """Whether a parameter has no effect any more; ``scale`` is the longest that each column has been, shape (n,)."""
    return jnp.any((scale > 0) & (linear.effects <= eps**2 * scale))


def sees_less(most: jax.Array, linear: Linear, eps: float) -> jax.Array:
    """Whether a column is hidden by those before it of which so much was left once; ``most`` has shape (n,)."""
    if most.shape != linear.hidden.shape:  # fewer residuals than parameters
        return jnp.asarray(False)
    return jnp.any((most > LEFT * eps) & linear.hidden)
