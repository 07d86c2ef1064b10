"""What kind of point is it? Minimum, maximum, saddle, degenerate, or none of these: from second derivatives."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gdjax.descent.certificate import CriticalPoint, Kind
from gdjax.descent.progress import gradient_threshold
from gdjax.descent.result import Result
from gdjax.descent.stopping import at_rest
from gdjax.insight.curvature import PRODUCTS, Curvature, Eigenpair, along, measure, unravel
from gdjax.insight.fit import Fit
from gdjax.insight.fit_words import require_same
from gdjax.jaxtools.pytrees import split
from gdjax.problem.hoist import hoist
from gdjax.problem.problem import Problem, make_problem
from gdjax.problem.scalars import NOISE
from gdjax.spaces.results import opened_problem, push_forward

SLACK = 10.0  # a gradient within this factor of the tolerance counts as zero here, as at the precision floor
TRIALS = 17  # points to each side on which the loss is followed, over four decades
TRUST = 0.5  # a curvature that halves within the distance to the critical point does not decide of what kind it is


def classify_critical_point(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    value_and_grad: bool = False,
    kwargs: dict[str, Any] | None = None,
    tol: float | None = None,
    products: int = PRODUCTS,
    seed: int = 0,
    space: Any = None,
    robust: Any = None,
) -> CriticalPoint:
    """Say whether ``params`` is a minimum, a maximum, a saddle, degenerate, or not critical at all.

    The extreme eigenvalues of the Hessian are found by Lanczos iterations on Hessian-vector products, with full
    orthogonalisation: at most ``products`` products and stored vectors, never the matrix. With as many products as
    parameters every eigenvalue is found. With fewer, each of the two is within its stated error of an eigenvalue. It is
    improbable, but not impossible, that a smaller one was missed. A curvature counts as zero if it is within its error,
    or if it halves on the way to where the gradient would vanish (as at x^4); the loss is then followed along it.

    Args:
        loss, params, args, grad, has_aux, value_and_grad, kwargs: as for `gdjax.minimize`; params may be a result. Of
            a `gdjax.Fit` loss is the residuals, as for `gdjax.profile`. (If JAX cannot differentiate the gradient of
            the loss, each product is a difference of two gradients.)
        tol: the gradient counts as zero up to ``10 tol min(1 + |f|, L max(1, |x|))``, with L the largest modulus of an
            eigenvalue, and infinity norms. Default: that of `gdjax.Stop`, and for a result what counted as zero there.
        products: the most Hessian-vector products, and the most vectors held.
        seed: of the random start.
        space: as for `gdjax.minimize`; a result has its own. Curvatures are then those by the free numbers, which are
            what a descent sees; ``direction`` is one of the parameters.
        robust: of a fit, the robust loss that it was made with.

    Raises:
        ValueError: if the Hessian is not finite there, params is a result that was made with a penalty, or a fit of
            other residuals.

    >>> import jax.numpy as jnp
    >>> print(classify_critical_point(lambda p: (p[0] ** 2 - 1) ** 2 + p[1] ** 2, jnp.zeros(2)).kind)
    Kind.SADDLE
    """
    result = params if isinstance(params, Result) else None
    if result is not None:
        result.require_smooth("classify_critical_point")
    given: dict[str, Any] = dict(
        grad=grad, value_and_grad=value_and_grad, squares=isinstance(result, Fit), robust=robust
    )
    loss, params, args, chart = opened_problem(loss, params, args, space, given)
    given |= dict(params=params, args=args, kwargs=kwargs or {}, maximize=False)
    problem = hoist(make_problem(loss, has_aux=has_aux, **given))
    found = measure(problem, products, seed)
    if isinstance(result, Fit):
        require_same(result, found.value)
    largest = max(abs(found.smallest.value), abs(found.largest.value))
    size = max(float(np.max(np.abs(leaf), initial=1.0)) for leaf in jax.tree.leaves(jax.device_get(params)))
    threshold = (max(1e-6, found.eps**0.5) if tol is None else tol) * min(1 + abs(found.value), largest * size)
    if result is not None and tol is None:
        known = result.stop.tol, result.progress, result.value, result.code, result.grad_norm
        limit, progress, value, code, norm = jax.device_get(known)
        zero = gradient_threshold(limit, progress, value)
        threshold = max(threshold, float(norm if at_rest(code) else zero))
    point = classify(problem, found, SLACK * threshold)
    if chart is None or point.direction is None:
        return point
    return dataclasses.replace(point, direction=push_forward(chart, params, point.direction))


def classify(problem: Problem, found: Curvature, threshold: float) -> CriticalPoint:
    """The verdict, given the curvature and the gradient norm that counts as zero."""
    low, high = found.smallest, found.largest
    critical = found.grad_norm <= threshold
    flat = [counts_as_zero(problem, found, pair, critical) for pair in (low, high)]
    falls = low.value < 0 and not flat[0]
    rises = high.value > 0 and not flat[1]
    if not critical:
        kind = Kind.NOT_CRITICAL
    elif falls and rises:
        kind = Kind.SADDLE
    elif any(flat):
        kind = Kind.DEGENERATE
    else:
        kind = Kind.MINIMUM if low.value > 0 else Kind.MAXIMUM
    arrays, static = split(problem)
    words = None
    if kind is Kind.DEGENERATE:
        words = "along another the loss falls" if falls else follow(problem, found, low if flat[0] else high)[0]
    return CriticalPoint(
        kind=kind,
        value=found.value,
        grad_norm=found.grad_norm,
        threshold=threshold,
        smallest=low.value,
        smallest_error=low.error,
        largest=high.value,
        largest_error=high.error,
        direction=unravel(static, arrays, low.vector) if falls else None,
        flat=words,
        products=found.products,
        exact=found.exact,
    )


def counts_as_zero(problem: Problem, found: Curvature, pair: Eigenpair, critical: bool) -> bool:
    """Whether a curvature is within its error, or changes a lot on the way to where the gradient would vanish."""
    if abs(pair.value) <= pair.error:
        return True
    way = 2 * abs(float(pair.vector @ found.grad) / pair.value)  # twice Newton's step along the direction
    if not critical or way == 0:
        return False
    there = along(problem, pair.vector, [-way, way]).curvature
    return bool(np.any(there * np.sign(pair.value) < TRUST * abs(pair.value)))


def follow(problem: Problem, found: Curvature, pair: Eigenpair) -> tuple[str, float | None, float]:
    """What the loss does on both sides of a direction, as soon as rounding does not hide it, in words.

    Also t, positive or negative, of the lowest point x + t v that was met, if it is below x by more than rounding, and
    a lower bound of the infinity norm of the gradient on the way there.
    """
    size = max(float(np.linalg.norm([np.linalg.norm(x) for x in jax.tree.leaves(problem.params)])), 1.0)
    ts = size * 10.0 ** np.linspace(-4, 0, TRIALS)
    largest = max(abs(found.smallest.value), abs(found.largest.value))
    # Rounding of the value, of x, of the direction; and the slope that is left at a point that is nearly critical.
    floor = (
        largest * (100 * found.eps * size) ** 2
        + 0.5 * pair.error * ts**2
        + 2 * abs(float(pair.vector @ found.grad)) * ts
    )
    signs, lowest, where, steepest = [], found.value, None, 0.0
    for side in (-1, 1):
        line = along(problem, pair.vector, side * ts)
        values = line.value
        change = values - found.value
        beyond = np.abs(change) > NOISE * found.eps * np.maximum(np.abs(values), abs(found.value)) + floor
        signs.append(int(np.sign(change[beyond][0])) if beyond.any() else 0)
        for i in np.flatnonzero(beyond & (values < lowest)):
            if values[i] < lowest:
                lowest, where = values[i], side * ts[i]
                steepest = float(np.max(np.abs(line.slope[: i + 1]))) / pair.vector.size**0.5
    words = {
        (1, 1): "along it the loss rises to both sides: a minimum, of higher order",
        (-1, -1): "along it the loss falls to both sides",
        (0, 0): "along it the loss does not change measurably: the point is one of many",
        (-1, 1): "along it the loss falls to one side only: a shoulder, not a minimum",
        (0, 1): "along it the loss rises to one side and stays the same to the other",
        (-1, 0): "along it the loss falls to one side and stays the same to the other",
    }
    return words[min(signs), max(signs)], where, steepest
