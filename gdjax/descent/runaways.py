"""Fits whose parameters ran to infinity, told at the answer, whatever the method.

On the way to infinity a gradient vanishes as it does at a minimum. Where its size ends a descent, the Jacobian has the
last word: `gdjax.methods.parts.runaway`.
"""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.stopping import Status, at_rest
from gdjax.jaxtools.varying import cond
from gdjax.methods.parts.linearised import effects_at
from gdjax.methods.parts.runaway import goes_on, has_left
from gdjax.problem.objective import Objective
from gdjax.vectors.vector import coarsest, namespace

ENDED = Status.STALLED, Status.STEP_TOO_SMALL, Status.LINE_SEARCH_FAILED  # and those of success at rest


def review(objective: Objective, code: jax.Array, x: jax.Array, squares: Any) -> jax.Array:
    """The status of a descent that ended at ``x`` with ``code``.

    Args:
        objective: of the descent.
        code: its status.
        x: the answer.
        squares: what is kept of the residuals there; None of what is no fit.
    """
    # A free number at infinity may be a parameter at an end of its space; constraints may hold one.
    if squares is None or squares.linear is None or objective.inward is not None or objective.constrained is not None:
        return code
    eps = objective.eps
    start, x, linear, known = jax.lax.stop_gradient((objective.start, x, squares.linear, squares.longest))

    def look(x: jax.Array) -> jax.Array:
        scale = jnp.maximum(effects_at(objective, start), linear.effects) if known is None else known
        case = start, x, scale, linear, eps
        return has_left(*case) | goes_on(*case)

    left = cond(has_ended(code) & is_far(x, start, eps), look, lambda x: jnp.asarray(False), x)
    return jnp.where(left, Status.RUNAWAY, code).astype(code.dtype)


def is_doubtful(result: Any, start: Any) -> bool:
    """Whether `review` may find a runaway in a result that Python can look at, with params like ``start`` at first."""
    if result.squares is None or result.squares.linear is None or not has_ended(np.asarray(result.code)):
        return False
    eps = coarsest((result.params, result.value))
    pairs = zip(*map(jax.tree.leaves, jax.device_get((result.params, start))), strict=True)
    parts = [(part(x), part(s)) for x, s in pairs for part in (np.real, np.imag)]
    return result.blunt or any(is_far(x, s, eps) for x, s in parts)


def is_far(x: jax.Array, start: jax.Array, eps: float) -> jax.Array:
    """Whether a parameter has grown so much since the start that it may be at infinity, shape ()."""
    xp = namespace(x)
    return xp.any(xp.abs(x) * eps**0.25 > xp.abs(start))


def has_ended(code: Any) -> jax.Array:
    """Whether a status is one of those that a runaway may have come to, shape ()."""
    return functools.reduce(operator.or_, [code == status for status in ENDED], at_rest(code))
