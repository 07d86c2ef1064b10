"""Whether a gradient that vanishes is that of a minimum: what residuals tell of it."""

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.progress import Progress
from gdjax.vectors.vector import Scalar

# Cosine between residuals and the columns of their Jacobian above which rounding is no success, unless the sum of
# squares fell to this share. (Fits that round as their model does end with 3e-3, plateaus with 0.2 to 1.)
EXPLAINED, BROUGHT_DOWN = 0.1, 1e-4


def squares_are_lost(p: Progress, residuals: jax.Array | None = None) -> jax.Array | np.bool_:
    """Whether the squares of residuals underflow from the start on, so that no sum of them tells one from another.

    A start whose residuals are 0 is an answer; those of a descent may become so small. A method that knows nothing of
    residuals is asked at its end, by those that are left, shape (..., m).
    """
    if p.cosine is None and residuals is None:
        return np.False_
    info = jnp.finfo(p.start_value.dtype)
    some = jnp.any(residuals != 0, axis=-1) if p.cosine is None else (p.cosine > 0) | (p.steps > 0)
    return (p.start_value < float(info.tiny) / float(info.eps)) & some


def is_explained(p: Progress, value: Scalar) -> jax.Array | np.bool_:
    """Whether a method that works on residuals has brought them down, or to right angles to what parameters can change.

    Else a gradient that vanishes is that of a plateau: a time of 1 in exp(-t / time) is one for t of 1e-9. (But where
    the step that is left is within the rounding of the parameters, cosines are those of roundings.) Where the residuals
    have become blind to a change of the parameters, the model may have lost its grip on most data: ``a exp(-b x)`` that
    has become a spike at the first one leaves a gradient of 0, and anything of the others.
    """
    if p.cosine is None:
        return np.True_
    return is_down(p, value) | (((p.cosine <= EXPLAINED) | p.settled) & (True if p.blind is None else ~p.blind))


def is_down(p: Progress, value: Scalar) -> jax.Array:
    """Whether a sum of squares has fallen to nearly nothing."""
    return value <= BROUGHT_DOWN * p.start_value
