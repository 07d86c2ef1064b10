"""A gradient that the user gave is compared with `jax.grad`'s, or with the loss, where the descent ended.

A wrong gradient misleads every method, and then vanishes at a point that is not stationary. Only the end of the descent
is compared, by one evaluation there: an error that vanishes with the gradient (a factor) does no harm, because the
point is stationary anyway. Rounding is not an error either: two correct gradients differ by the rounding of their sums.
A second evaluation, a few roundings of x away, shows how large that may be, and the loss has the last word: the
gradient is called wrong if it differs by more than the tolerance and rounding allow *and* the loss falls along the
other one, as far as that one promises and beyond the rounding of the loss.

If JAX cannot differentiate the loss (a callback), central differences of the loss replace `jax.grad`: entry by entry if
there are few, otherwise along a few directions. The first direction goes through the entries whose gradient is exactly
zero, because a forgotten entry is the commonest error. A single wrong entry among hundreds may stay hidden. The steps
are so long that the noise of a simulator does not look like a slope: a fall must continue at 16 times their length. So
an error is seen if it leads away from the minimum by more than about 1e-5 of the size of the parameters in float64, 2%
in float32.
"""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.descent.limits import FLOOR_SLOPE, Limits
from gdjax.descent.progress import Progress, gradient_threshold
from gdjax.descent.stopping import Status
from gdjax.jaxtools.varying import cond, vary
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

# Roundings of the parameters that a difference of the gradients must be worth. (Of least-squares fits with the gradient
# from the normal equations, begun at their minimum, a fifth were accused without this, in either precision.)
ROUNDINGS = 32.0
TINY = 1e-30  # a step with which a prox projects onto its set, if it has one, and does nothing otherwise
# Steps along the gradient of `jax.grad`, each SHORTER times shorter than the one before, from LONGEST times the size of
# the parameters on: of 60, the last is 1e-34 times as long. A smooth loss falls by at least a quarter of what the slope
# promises in all steps below 3 / (2 L), L the curvature; IN_A_ROW are no chance.
SHORTER, LONGEST, MOST, IN_A_ROW, SHARE = 4.0, 64.0, 60, 3, 0.25
# Differences: steps of eps^POWER of the size of each entry, of every entry if there are no more than EACH, along SOME
# directions otherwise. The loss must then fall in some of MOST_SEEN steps, the first of them FARTHER times as long.
POWER, EACH, SOME, FARTHER, MOST_SEEN = 0.4, 8, 3, 256.0, 5


def review(
    objective: Objective, stop: Limits, now: Progress, code: jax.Array, point: Point
) -> tuple[jax.Array, Vector | None]:
    """The status of a descent that ended at ``point`` with ``code``, and the gradient that it was compared with there.

    That gradient is zero where it was not looked at: where the one of the descent is not as good as zero. It is NaN if
    the loss is not finite wherever it was tried beside the point, and None if there is none: JAX derived the gradient.
    """
    automatic = objective.automatic
    if objective.compared_with in (None, "nothing"):
        return code, None
    point = jax.lax.stop_gradient(point)
    success = (code == Status.CONVERGED) | (code == Status.PRECISION_FLOOR)
    tol = jnp.where(code == Status.CONVERGED, FLOOR_SLOPE * stop.tol, stop.floor)
    limit = gradient_threshold(tol, now, point.value)
    ended = (code != Status.RUNNING) & (code != Status.TARGET_REACHED) & (now.evals > 0)

    def compare(_: None) -> tuple[jax.Array, Vector]:
        if automatic is None:
            grad, rounding, most = by_differences(objective, point), jnp.zeros((), point.x.dtype), MOST_SEEN
            longest = FARTHER * objective.eps**POWER / vector.max_abs(grad / sizes(objective, point.x))
        else:
            grad, most = automatic(point.x), MOST
            rounding = vector.max_abs(vector.subtract(automatic(shaken(objective, point.x)), grad))
            longest = LONGEST * size(objective, point.x) / vector.max_abs(grad)
        differs = vector.max_abs(vector.subtract(grad, point.grad)) > jnp.maximum(limit, rounding)
        wrong = differs & falls(objective, point, grad, differs, longest, most)
        return jnp.where(wrong, Status.WRONG_GRADIENT, code), grad

    compared = ended & (success | (point.grad_norm <= limit))
    unseen = lambda _: (code, vector.zeros_like(point.grad))
    return jax.lax.stop_gradient(cond(compared, compare, unseen, None))


def by_differences(objective: Objective, point: Point) -> jax.Array:
    """The gradient of the descent, corrected by what central differences of the loss tell of it; flat.

    A difference ``f(u) - f(d)`` between points to both sides of x (as far as a constraint allows) ought to be g'v with
    v = u - d; what is missing beyond rounding is added along v (S. Kaczmarz, Bull. Acad. Polon. Sci. Lett. A 35, 1937).
    """
    x, noise = point.x, 2 * objective.noise(point.value)
    each, steps, idle = x.size <= EACH, objective.eps**POWER * sizes(objective, x), point.grad == 0
    index, one = jnp.arange(x.size, dtype=x.dtype), jnp.ones((), x.dtype)

    def turn(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        k, grad, seen = state
        among = jnp.where((k == 0) & jnp.any(idle), idle.astype(x.dtype), jnp.cos((k + one) * index))
        step = steps * jnp.where(index == k, one, 0) if each else steps * among
        up, down = (allowed(objective, z) for z in (x + step, x - step))
        rise, v = (objective.value(up) - objective.value(down)).astype(x.dtype), up - down
        missing, length = rise - vector.dot(v, grad), jnp.linalg.norm(v)
        missing = jnp.where((jnp.abs(missing) <= noise.astype(x.dtype)) | (length == 0), 0, missing)
        length = jnp.where(length > 0, length, one)
        finite = jnp.isfinite(missing)
        return k + one, jnp.where(finite, grad + missing / length * (v / length), grad), seen | finite

    begin = vary((0 * one, point.grad, jnp.asarray(False)), objective.axes)
    count = x.size if each else SOME
    _, grad, seen = jax.lax.while_loop(lambda s: s[0] < count, lambda s: vary(turn(s), objective.axes), begin)
    return jnp.where(seen, grad, jnp.nan)


def size(objective: Objective, x: Vector) -> Scalar:
    """The size of the parameters, or of the distance that they have moved."""
    largest = jnp.maximum(vector.max_abs(x), vector.max_abs(vector.subtract(x, objective.start)))
    return jnp.where(largest > 0, largest, 1)


def sizes(objective: Objective, x: jax.Array) -> jax.Array:
    """The size of each entry, or of its move; for entries that are zero and never moved, that of the largest."""
    own = jnp.maximum(jnp.abs(x), jnp.abs(x - objective.start))
    return jnp.where(own > 0, own, size(objective, x))


def shaken(objective: Objective, x: Vector) -> Vector:
    """``x`` with every entry moved up or down by a few of its roundings, as far as a constraint allows."""
    return allowed(objective, shake(x, objective.eps))


def allowed(objective: Objective, x: Vector) -> Vector:
    """The nearest point that the constraint allows."""
    return x if objective.composite is None else objective.composite.prox(x, jnp.asarray(TINY, objective.dtype))


def shake(x: Vector, eps: float) -> Vector:
    """``x`` with every entry moved up or down by a few of its roundings."""

    def of_leaf(x: jax.Array) -> jax.Array:
        signs = jnp.cos(jnp.arange(x.size).astype(jnp.finfo(x.dtype).dtype)).reshape(x.shape)
        return x + x * (ROUNDINGS * eps * signs).astype(x.dtype)

    return jax.tree.map(of_leaf, x)


def falls(objective: Objective, point: Point, grad: Vector, wanted: jax.Array, longest: Scalar, most: int) -> jax.Array:
    """Whether the value falls along (prox-)gradient steps with ``grad``, ``most`` from ``longest`` on, if ``wanted``.

    A step of size t from x to z must lower it by a quarter of ``|z - x|^2 / t`` at least, which without a penalty is
    ``t |grad|^2``.
    """
    x, value, composite = point.x, point.value, objective.composite

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
        return wanted & (count < most) & (row < IN_A_ROW)

    def shorten(state: tuple[Any, ...]) -> tuple[Any, ...]:
        t, count, row = state
        return t / SHORTER, count + 1, jnp.where(lower(t), row + 1, 0)

    zero = jnp.asarray(0, jnp.int32)
    start = vary((longest.astype(objective.dtype), zero, zero), objective.axes)
    return jax.lax.while_loop(unfinished, lambda state: vary(shorten(state), objective.axes), start)[2] >= IN_A_ROW
