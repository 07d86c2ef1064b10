"""Fits whose parameters ran to infinity, told at the answer, whatever the method.

On the way to infinity a gradient vanishes as it does at a minimum. Where its size ends a descent, the Jacobian has the
last word: `gdjax.methods.parts.runaway`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.descent.stopping import Status, at_rest
from gdjax.jaxtools.varying import cond
from gdjax.methods.parts.linearised import effects_at
from gdjax.methods.parts.runaway import goes_on, has_left
from gdjax.problem.objective import Objective, Point

ENDED = Status.STALLED, Status.STEP_TOO_SMALL, Status.LINE_SEARCH_FAILED  # and those of success at rest


def review(objective: Objective, code: jax.Array, point: Point, squares: Any, state: Any) -> jax.Array:
    """The status of a descent that ended at ``point`` with ``code``.

    Args:
        objective: of the descent.
        code: its status.
        point: the answer.
        squares: what is kept of the residuals there; None of what is no fit.
        state: of the method, which knows the longest that each column has been if it asks for residuals.
    """
    # A free number at infinity may be a parameter at an end of its space; constraints may hold one.
    if squares is None or squares.linear is None or objective.inward is not None or objective.constrained is not None:
        return code
    eps = objective.eps
    known = None if point.residuals is None else state.scale
    start, x, linear, known = jax.lax.stop_gradient((objective.start, point.x, squares.linear, known))
    ended = has_ended(code)
    far = jnp.any(jnp.abs(x) * eps**0.25 > jnp.abs(start))

    def look(x: jax.Array) -> jax.Array:
        scale = jnp.maximum(effects_at(objective, start), linear.effects) if known is None else known
        case = start, x, scale, linear, eps
        return has_left(*case) | goes_on(*case)

    left = cond(ended & far, look, lambda x: jnp.asarray(False), x)
    return jnp.where(left, Status.RUNAWAY, code).astype(code.dtype)


def has_ended(code: jax.Array) -> jax.Array:
    """Whether a status is one of those that a runaway may have come to, shape ()."""
    return at_rest(code) | jnp.any(code == jnp.asarray(ENDED, code.dtype))
