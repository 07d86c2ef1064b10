"""A gradient that was given is compared with that of `jax.grad` where the descent ended.

A wrong one leads every method astray and then vanishes at a point of its own. What is compared is the end of the
descent, by one evaluation there: an error that vanishes with the gradient (a factor) does no harm, the point is
stationary all the same. What rounding does is no error either: two right gradients differ by the rounding of their
sums. A second evaluation, some roundings of x away, shows how much that may be, and the loss has the last word: the
gradient given is called wrong if it differs by more than the tolerance and rounding allow *and* the loss falls along
the other one, as far as that promises and beyond its own rounding.
"""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax import vector
from gdjax.limits import FLOOR_SLOPE, Limits
from gdjax.objective import Objective, Point
from gdjax.progress import Progress, gradient_threshold
from gdjax.stopping import Status
from gdjax.varying import cond, vary
from gdjax.vector import Scalar, Vector

# Roundings of the parameters that a difference of the gradients must be worth. (Of least-squares fits with the gradient
# from the normal equations, begun at their minimum, a fifth were accused without this, in either precision.)
ROUNDINGS = 32.0
TINY = 1e-30  # a step with which a prox projects onto its set, if it has one, and does nothing otherwise
# Steps along the gradient of `jax.grad`, each SHORTER times shorter than the one before, from LONGEST times the size of
# the parameters on: of 60, the last is 1e-34 times as long. A smooth loss falls by at least a quarter of what the slope
# promises in all steps below 3 / (2 L), L the curvature; IN_A_ROW are no chance.
SHORTER, LONGEST, MOST, IN_A_ROW, SHARE = 4.0, 64.0, 60, 3, 0.25


def review(
    objective: Objective, stop: Limits, now: Progress, code: jax.Array, point: Point
) -> tuple[jax.Array, Vector | None]:
    """The status of a descent that ended at ``point`` with ``code``, and the gradient of `jax.grad` there.

    That gradient is zero where it was not looked at: where the given one is not as good as zero. It is None if there
    is none, because none was given or JAX cannot differentiate the loss.
    """
    automatic = objective.automatic
    if automatic is None:
        return code, None
    success = (code == Status.CONVERGED) | (code == Status.PRECISION_FLOOR)
    tol = jnp.where(code == Status.CONVERGED, FLOOR_SLOPE * stop.tol, stop.floor)
    limit = gradient_threshold(tol, now, point.value)
    ended = (code != Status.RUNNING) & (code != Status.TARGET_REACHED) & (now.evals > 0)

    def compare(_: None) -> tuple[jax.Array, Vector]:
        grad = automatic(point.x)
        rounding = vector.max_abs(vector.subtract(automatic(shaken(objective, point.x)), grad))
        differs = vector.max_abs(vector.subtract(grad, point.grad)) > jnp.maximum(limit, rounding)
        wrong = differs & falls(objective, point, grad, differs)
        return jnp.where(wrong, Status.WRONG_GRADIENT, code), grad

    compared = ended & (success | (point.grad_norm <= limit))
    unseen = lambda _: (code, vector.zeros_like(point.grad))
    return jax.lax.stop_gradient(cond(compared, compare, unseen, None))


def shaken(objective: Objective, x: Vector) -> Vector:
    """``x`` with every entry moved by some of its roundings, up or down, as far as a constraint allows."""
    moved = shake(x, objective.eps)
    if objective.composite is None:
        return moved
    return objective.composite.prox(moved, jnp.asarray(TINY, objective.dtype))


def shake(x: Vector, eps: float) -> Vector:
    """``x`` with every entry moved by some of its roundings, up or down."""

    def of_leaf(x: jax.Array) -> jax.Array:
        signs = jnp.cos(jnp.arange(x.size).astype(jnp.finfo(x.dtype).dtype)).reshape(x.shape)
        return x + x * (ROUNDINGS * eps * signs).astype(x.dtype)

    return jax.tree.map(of_leaf, x)


def falls(objective: Objective, point: Point, grad: Vector, wanted: jax.Array) -> jax.Array:
    """Whether the value falls along (prox-)gradient steps with ``grad``, if that is ``wanted``.

    A step of size t from x to z must lower it by a quarter of ``|z - x|^2 / t`` at least, which without a penalty is
    ``t |grad|^2``.
    """
    x, value, composite = point.x, point.value, objective.composite
    size = jnp.maximum(vector.max_abs(x), vector.max_abs(vector.subtract(x, objective.start)))
    longest = LONGEST * jnp.where(size > 0, size, 1) / vector.max_abs(grad)

    def lower(t: Scalar) -> jax.Array:
        z = vector.add_scaled(x, -t, grad)
        if composite is not None:
            z = composite.prox(z, t)
        fall = value - objective.value(z) - (0 if composite is None else composite.value(z))
        move = vector.subtract(z, x)
        promised = vector.dot(move, move).astype(objective.dtype) / t
        return (fall >= SHARE * promised) & (fall > objective.noise(value))

    def unfinished(state: tuple[Any, ...]) -> jax.Array:
        _, count, row = state
        return wanted & (count < MOST) & (row < IN_A_ROW)

    def shorten(state: tuple[Any, ...]) -> tuple[Any, ...]:
        t, count, row = state
        return t / SHORTER, count + 1, jnp.where(lower(t), row + 1, 0)

    zero = jnp.asarray(0, jnp.int32)
    start = vary((longest.astype(objective.dtype), zero, zero), objective.axes)
    return jax.lax.while_loop(unfinished, lambda state: vary(shorten(state), objective.axes), start)[2] >= IN_A_ROW
