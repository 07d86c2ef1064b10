"""A second look at a descent that rounding ended: whether the Hessian has a minimum there, too.

Where the gradient is at its rounding, a descent knows no more than its steps have shown. In a regression on a date and
an intercept they all lead along one direction, the stiff one. Along the other, where the two cancel, the loss may still
fall, and no gradient tells. Elsewhere a line search fails at the exact answer, since nothing tells rounding from a
slope. The Hessian knows both: it is formed at the answer, of one product a parameter, by a program of its own that is
compiled only where there is doubt. (Of 180 regressions on raw columns in float32, 32 were called PRECISION_FLOOR half a
unit of log-likelihood above the minimum or more, one 389; now none by more than 1e-3.)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.derivatives import hessian_solve
from gdjax.descent.explained import is_down, is_explained, squares_are_lost
from gdjax.descent.progress import Progress, size_of
from gdjax.descent.remedies import is_dependent, without_effect
from gdjax.descent.result import Result
from gdjax.descent.stopping import UNTOUCHED, Status
from gdjax.insight.unseen import has_unseen
from gdjax.jaxtools.pytrees import Static, merge
from gdjax.jaxtools.remembered import remembered
from gdjax.methods.parts.linearised import CANCELLED
from gdjax.methods.parts.triangular import norm
from gdjax.problem.objective import trace
from gdjax.problem.scalars import NOISE
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import Scalar, matmul

MOST = 100  # parameters up to which the Hessian is formed
# Rounding errors of the value that a Newton step may still promise. (The gradient's own rounding promises a few.)
LEFT = 30.0
VISIBLE = 1e-3  # share of a value that is no rounding of it
ULPS = 4.0  # by which rounding may move a parameter from its minimum
LEAVES = 8.0  # what is left of a gradient may bend the loss by as much, over the size of the parameters
SHORT = 0.1  # of a parameter, a step outward that does not lead to another one
RAISED = RuntimeError, ValueError  # as what an error of a compiled program comes out
TELLING = ("steps", "start_value", "lowest", "cosine", "settled", "blind")
FAILED = (Status.LINE_SEARCH_FAILED, Status.STALLED)


@remembered(static=1)
def is_minimum(key: Static, arrays: list[Any], params: Any, explained: Any, down: Any, sure: Any) -> jax.Array:
    """Whether the Hessian there is positive definite, and a Newton step promises nothing but rounding.

    Of a sum of squares it may be singular: some changes of the parameters then leave the residuals as they are (two
    equal exponentials share one amplitude), and no parameter of its own size makes a difference along these. Not so on
    a plateau where the residuals have not been ``explained``.

    Args:
        key, arrays: of a request.
        params: the point.
        explained: see `believed`.
        down: see `gdjax.descent.explained.is_down`. If not, a promise that is a share of the value is no rounding,
            however large the terms that cancel each other in it; nor if they do.
        sure: see `is_sure`.
    """
    objective = trace(merge(arrays, key).problem, Flat.of)
    x = objective.layout.ravel(params)
    point = objective.evaluate(x)
    hessian = hessian_solve.matrix(lambda v: objective.product(x, v).grad, x.size, x.dtype)
    noise = LEFT * objective.noise(point.value)
    # What the rounding of x takes away (of a minimum that is 0, say, whose own rounding is nothing).
    noise += 0.5 * (ULPS * objective.eps) ** 2 * objective.dot(jnp.diagonal(hessian), x * x)
    # Entries of the Hessian err as values do.
    rounding = (NOISE + x.size) * float(jnp.finfo(x.dtype).eps)
    if objective.residuals is not None:  # which err by what the rounding of the parameters changes
        reach = norm(jnp.sqrt(jnp.abs(jnp.diagonal(hessian))) * x)
        noise += LEFT * objective.eps * reach * jnp.sqrt(2 * point.value)
        cancelled = objective.dot(x, matmul(hessian, x)) <= (CANCELLED * reach) ** 2
        noise = jnp.where(down & ~cancelled, noise, jnp.minimum(noise, VISIBLE * point.value))
        noise = jnp.where(sure, jnp.inf, noise)
        return is_flat_minimum(hessian, point.grad, x, noise, explained, rounding)
    scales, lower, _ = hessian_solve.cholesky(hessian)
    # A pivot that is no larger tells nothing: CUTEst's DJTL has one of two roundings in float32, on the wall of a
    # valley 5% above the minimum.
    definite = jnp.all(jnp.diagonal(lower) ** 2 > rounding)  # false for NaN
    part = jax.scipy.linalg.solve_triangular(lower, scales * point.grad, lower=True)
    promised = 0.5 * objective.dot(part, part)  # g'H^-1 g / 2
    step = -scales * jax.scipy.linalg.solve_triangular(lower, part, lower=True, trans=1)
    # Success by the gradient needs no definite Hessian, a plateau has one.
    return jnp.where(explained, definite & (promised <= noise), ~definite | stays(x, step))


def stays(x: jax.Array, step: jax.Array) -> jax.Array:
    """Whether Newton's step leads no parameter far out: a time that runs to infinity, by half of itself."""
    return jnp.all(step * jnp.sign(x) <= SHORT * jnp.abs(x))


def is_flat_minimum(
    hessian: jax.Array, grad: jax.Array, x: jax.Array, noise: Scalar, explained: jax.Array, rounding: float
) -> jax.Array:
    """The same of a sum of squares, for a Hessian whose eigenvalues (at a unit diagonal) may be 0, but for rounding.

    Not where the residuals are not ``explained``: there they must be positive, and Newton's step may lead no parameter
    far out: `stays`.
    """
    diagonal = jnp.diagonal(hessian)
    scales = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    # Along parameters that enter as a product the curvature is the gradient that is left, over their size.
    size = norm(x / scales)
    below = jnp.where(explained, rounding + LEAVES * norm(scales * grad) / jnp.where(size > 0, size, 1), -rounding)
    values, vectors = jnp.linalg.eigh(scales[:, None] * hessian * scales[None, :])
    slopes, flat = matmul(scales * grad, vectors), values <= below
    curved = jnp.where(flat, 0, slopes / jnp.where(flat, 1, values))
    promised = jnp.sum(jnp.where(flat, jnp.abs(slopes) * size, 0.5 * slopes * curved))
    inside = explained | stays(x, -scales * matmul(vectors, curved))
    return jnp.all(values >= -below) & (promised <= noise) & inside  # false for NaN


def believed(request: Any, result: Result) -> np.ndarray:
    """Of each problem, whether the answer is no plateau, as far as the residuals or the fall of the value tell.

    A time that starts at 1 in exp(-t / time) for t of 1e-9 may go to 60, where the gradient counts as zero beside what
    it was, and the value is the same.
    """
    code, (p, value) = np.asarray(result.code), told(result)
    noise = NOISE * float(np.finfo(value.dtype).eps) * np.abs(value)
    untouched = (code == Status.CONVERGED) & (p.steps > 0) & (p.start_value - p.lowest <= UNTOUCHED * noise)
    without = idle(request, result)
    blank = np.any(without, axis=-1) & np.all(without, axis=-1) & (value != 0)
    return np.asarray(is_explained(p, value)) & ~(untouched & (value != 0) & (p.cosine is None)) & ~blank


def is_sure(request: Any, result: Result) -> np.ndarray:
    """Of each problem, whether nothing but the sign of the curvature is in doubt."""
    code = np.asarray(result.code)
    rest = (code == Status.CONVERGED) | ((code == Status.PRECISION_FLOOR) & request.method.least_squares)
    return rest & believed(request, result)


def idle(request: Any, result: Result) -> np.ndarray:
    """Of each problem, the parameters without effect to first order, shape (..., n).

    At an end of a space there may be, where the map is flat: `Status.AT_EDGE` is for those.
    """
    return without_effect(result) & (request.problem.inward is None)


def has_fallen(result: Result) -> np.ndarray:
    """Of each problem, whether its value has fallen to nearly nothing."""
    return np.asarray(is_down(*told(result)))


def told(result: Result) -> Any:
    """What of the progress tells of plateaus, and the value: on the host, where each array takes 5 us to get to."""
    others: Any = dict.fromkeys(set(Progress._fields) - set(TELLING))
    return jax.device_get((result.progress._replace(**others), result.value))


def is_gone(result: Result) -> np.ndarray:
    """Of each problem, whether residuals have fallen to the square of a rounding of those at first.

    The minimum of x^4 is reached by ever smaller steps, each of which promises a share of the value, down to underflow.
    """
    p, value = told(result)
    return (result.squares is not None) & (value <= float(np.finfo(value.dtype).eps) ** 4 * p.start_value)


def is_doubtful(request: Any, result: Result) -> np.ndarray:
    """Of each problem, whether it is worth a second look.

    Success by rounding is, where the gradient is not small beside the value; so is the failure of a method that
    searches. A given gradient has a word of its own, `Status.WRONG_GRADIENT`, a penalty no Hessian; of what
    works on residuals, failures alone are looked at.
    """
    code = np.asarray(result.code)
    blind = np.any(idle(request, result), axis=-1) | (is_dependent(result) & (request.problem.inward is None))
    blind &= np.isin(code, (Status.CONVERGED, Status.PRECISION_FLOOR))
    if not (np.isin(code, (Status.PRECISION_FLOOR, *FAILED)) | ~believed(request, result) | blind).any():
        return np.zeros(code.shape, bool)
    p, value, norm = jax.device_get((result.progress, result.value, result.grad_norm))
    noise = NOISE * float(np.finfo(value.dtype).eps) * np.abs(value)
    steep = norm > np.asarray(result.stop.tol) * np.asarray(size_of(value, p.start_value))
    success = (code == Status.PRECISION_FLOOR) & steep & (p.start_value - p.lowest > UNTOUCHED * noise)
    failure = np.isin(code, FAILED) & request.method.searches
    free = request.problem.penalty is None and request.problem.constraints is None and not request.problem.has_gradient
    # Where a column of the Jacobian vanishes with its parameter the cosine stays, however flat the loss; and the model
    # of residuals may round far more than they do (a temperature of 293.15 + p exp(-t)).
    sound = ~np.asarray(squares_are_lost(p, None if result.squares is None else result.squares.residuals))
    success &= not request.method.least_squares
    # A parameter of no effect to first order, such as the root of an amplitude that is 0, may be at a saddle; so may
    # parameters of equal effects, as those of two exponentials that began as one.
    success |= blind
    # What changed the gradient alone may have walked along a plateau.
    success |= (code == Status.CONVERGED) & ~np.asarray(believed(request, result))
    # On a plateau at which it began, Newton's step, as long as the parameters, promises nothing either.
    failure &= np.asarray(is_explained(p, value)) | (p.start_value - p.lowest > UNTOUCHED * noise)
    few = sum(np.size(x) for x in jax.tree.leaves(request.problem.params)) <= MOST
    return (success | failure) & free & few & sound & np.isfinite(value)


def reviewed(key: Static, arrays: list[Any], result: Result) -> Result:
    """The result of a request, with the status that the Hessian gives it where there is doubt."""
    request = merge(arrays, key)
    if not is_doubtful(request, result):
        return result
    known, without = (believed(request, result), has_fallen(result), is_sure(request, result)), idle(request, result)
    try:
        minimum = np.asarray(is_minimum(key, arrays, result.params, *known))
        if minimum and without.any():
            minimum = minimum & ~np.asarray(has_unseen(key, arrays, result.params, without))
        return judged(result, np.asarray(True), minimum | is_gone(result))
    except RAISED:  # there are no Hessian products to be had, or the loss raises
        return result


def reviewed_many(program: Any, own: list[Any], shared: list[Any], result: Result) -> Result:
    """The same for many problems: ``program.arrays(own, shared)`` are those of one, ``own`` along a first axis of all.

    The doubtful ones are looked at together.
    """
    request = merge(program.arrays([x[0] for x in own], shared), program.key)
    where = np.flatnonzero(is_doubtful(request, result))
    if where.size == 0 or any(program.keys):
        return result
    rows = np.resize(where, 2 ** int(np.ceil(np.log2(where.size))))  # so few shapes are compiled
    of_one = lambda own, *of: is_minimum(program.key, program.arrays(own, shared), *of)
    looks = believed(request, result), has_fallen(result), is_sure(request, result)
    known, without = [np.broadcast_to(x, result.code.shape) for x in looks], idle(request, result)
    unseen_of_one = lambda own, *of: has_unseen(program.key, program.arrays(own, shared), *of)
    there = [x[rows] for x in own], jax.tree.map(lambda x: x[rows], result.params)
    try:
        sound = np.asarray(jax.vmap(of_one)(*there, *(x[rows] for x in known)))
        if (sound & without[rows].any(-1)).any():
            sound = sound & ~np.asarray(jax.vmap(unseen_of_one)(*there, without[rows]))
    except (*RAISED, NotImplementedError):  # likewise, or not of many at once
        return result
    doubtful, minimum = np.zeros((2, *result.code.shape), bool)
    doubtful[where], minimum[where] = True, sound[: where.size]
    return judged(result, doubtful, minimum | is_gone(result))


def judged(result: Result, doubtful: np.ndarray, minimum: np.ndarray) -> Result:
    """Success at a minimum, failure elsewhere."""
    was = np.asarray(result.code)
    failure = np.where(np.isin(was, (Status.CONVERGED, Status.PRECISION_FLOOR)), Status.LINE_SEARCH_FAILED, was)
    success = np.where(was == Status.CONVERGED, was, Status.PRECISION_FLOOR)
    code = np.where(doubtful, np.where(minimum, success, failure), was).astype(np.int32)
    settled = np.asarray(result.progress.settled) | (doubtful & minimum)
    put = (lambda x: x) if isinstance(result.code, np.ndarray) else jax.device_put
    return dataclasses.replace(result, code=put(code), progress=result.progress._replace(settled=put(settled)))
