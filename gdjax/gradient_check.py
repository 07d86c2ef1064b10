"""Is the gradient right? Analytic against automatic, automatic against finite differences.

The Taylor test with a fitted order is that of Boumal et al., Manopt, a Matlab toolbox (JMLR 15, 2014,
`checkgradient`), with steps and the noise level set by the dtype.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import vector
from gdjax.gradient_report import GradientReport, LeafCheck, LineCheck
from gdjax.problem import Problem, call_loss, check_grad, check_params
from gdjax.pytrees import named_leaves

STEPS_A_DECADE, WINDOW = 4, 8  # the remainder's order is fitted over windows of two decades of t
ORDER = 1.75  # accepted as second order; a wrong slope gives 1, a third derivative at large t up to 3


def check_gradient(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    kwargs: dict[str, Any] | None = None,
    directions: int = 3,
    seed: int = 0,
) -> GradientReport:
    """Check ``grad`` (if given) against `jax.grad`, and `jax.grad` against finite differences, at ``params``.

    Analytic and automatic gradients are compared leaf by leaf. Then the loss is sampled along random
    directions v, one within each leaf and some through all of them, as long in each leaf as its largest entry,
    at x + t v with t spread evenly over the decades between sqrt(eps) and 1: central differences give the slope, and
    ``|f(x + t v) - f(x) - t slope|`` must vanish with order 2. Everything is computed in float64 where the
    loss allows it (about 60 evaluations a leaf), otherwise in the dtype given, with tolerances to match.

    Args:
        loss, params, args, grad, has_aux, kwargs: as for `gdjax.minimize`.
        directions: number of directions through all leaves.
        seed: of the random directions.

    Returns:
        A `GradientReport`; ``report.ok`` says whether all is well, ``print(report)`` shows the table. Values
        or gradients that are not finite and slopes that disagree are problems; kinks (left and right
        slopes differ) and leaves with an exactly zero gradient are notes.

    Raises:
        TypeError, ValueError: as `gdjax.minimize`, for arguments that are not what they must be.

    >>> report = check_gradient(lambda w: w[0] * w[1] ** 2, jax.numpy.array([2.0, 3.0]),
    ...                         grad=lambda w: jax.numpy.array([w[1] ** 2, w[0] * w[1]]))  # a 2 is missing
    >>> report.ok, report.leaves[0].worst_index
    (False, (1,))
    """
    problem = Problem(loss, params, args, kwargs or {}, grad, has_aux, False)
    check_params(params)
    try:
        with jax.enable_x64(True):
            return examine(_widen(problem), directions, seed)
    except Exception:  # the loss insists on its own dtypes; if it is the user's error, it is raised again here
        return examine(problem, directions, seed)


def _widen(problem: Problem) -> Problem:
    """The problem with its floating arrays in double precision."""

    def widen(x: Any) -> Any:
        if not (isinstance(x, jax.Array | np.ndarray | np.generic) and jnp.issubdtype(x.dtype, jnp.inexact)):
            return x
        return jnp.asarray(np.asarray(x).astype(np.complex128 if jnp.iscomplexobj(x) else np.float64))

    params, args, kwargs = jax.tree.map(widen, (problem.params, problem.args, problem.kwargs))
    return dataclasses.replace(problem, params=params, args=args, kwargs=kwargs)


def examine(problem: Problem, directions: int, seed: int) -> GradientReport:
    """The check in the dtypes of ``problem``."""
    params = check_params(problem.params)
    loss = lambda p: call_loss(problem, p)[0]
    value, automatic = jax.jit(jax.value_and_grad(loss))(params)
    analytic = None
    if problem.grad is not None:
        analytic = check_grad(problem.grad(params, *problem.args, **problem.kwargs), params)
    eps = max(float(jnp.finfo(x.dtype).eps) for x in [*jax.tree.leaves(params), value])
    tolerance = 2 * eps ** (1 / 3)  # a central difference errs by about eps^(2/3), with room for constants

    along = jax.jit(lambda v, ts: jax.lax.map(lambda t: loss(vector.add_scaled(params, t, v)), ts))

    def check_line(v: Any) -> LineCheck:
        with np.errstate(invalid="ignore"):
            return line_check(along, float(value), automatic, params, v, eps)

    rng = np.random.default_rng(seed)
    leaves: list[LeafCheck] = []
    problems: list[str] = []
    notes: list[str] = []
    if not np.isfinite(float(value)):
        problems.append(f"the value is {float(value)}")
    for i, (path, p) in enumerate(named_leaves("params", params)):
        if p.size == 0:
            continue
        g = jax.tree.leaves(automatic)[i]
        a = g if analytic is None else jax.tree.leaves(analytic)[i]
        # Entries are compared each with itself, but for the rounding of the largest.
        rounding = 100 * eps * max(float(vector.max_abs(g)), 1e-8 * float(vector.max_abs(automatic))) / tolerance
        line = check_line(direction(rng, params, only=i))
        leaf = leaf_check(path, p, np.asarray(a), np.asarray(g), analytic is not None, rounding, line, tolerance)
        leaves.append(leaf)
        judge_leaf(leaf, tolerance, problems, notes)
    lines = [check_line(direction(rng, params)) for _ in range(directions)]
    for i, line in enumerate(lines, start=1):
        if np.isfinite(line.slope) and not line.agrees(tolerance):
            problems.append(
                f"along random direction {i} jax.grad's slope is {line.slope:.6g}, the loss's {line.numeric:.6g}"
            )
        elif not line.kink and not line.exact and line.order < ORDER:
            notes.append(f"along random direction {i} the Taylor remainder has order {line.order:.2f}, not 2")
    return GradientReport(float(value), str(value.dtype), leaves, lines, problems, notes)


def direction(rng: np.random.Generator, params: Any, only: int | None = None) -> Any:
    """A random direction like ``params``, in one leaf or all, as long in each leaf as its largest entry."""
    leaves, treedef = jax.tree.flatten(params)
    v = []
    for i, p in enumerate(leaves):
        x = rng.standard_normal(p.shape) + (1j * rng.standard_normal(p.shape) if jnp.iscomplexobj(p) else 0)
        v.append(x / max(float(np.linalg.norm(x)), 1e-300) * scale_of(p) * (only is None or only == i))
    return jax.tree.unflatten(treedef, [jnp.asarray(x, p.dtype) for x, p in zip(v, leaves, strict=True)])


def scale_of(p: jax.Array) -> float:
    """The length over which a leaf is varied: its largest entry, 1 if all are zero."""
    return float(np.max(np.abs(np.asarray(p, np.complex128)), initial=0.0)) or 1.0


def line_check(along: Callable[..., Any], f0: float, grad: Any, params: Any, v: Any, eps: float) -> LineCheck:
    """`jax.grad` along ``v`` against values of the loss at x + t v and x - t v."""
    slope = float(vector.dot(jax.tree.map(jnp.conj, grad), v))
    decades = -0.5 * np.log10(eps)
    ts = np.logspace(-decades, 0, int(STEPS_A_DECADE * decades))
    dtype = vector.real_dtype(params)
    right, left = (np.asarray(along(v, jnp.asarray(sign * ts, dtype)), np.float64) for sign in (1, -1))
    slope, f0 = (np.float64(x) for x in (slope, f0))
    central = (right - left) / (2 * ts)
    # The steadiest of the central differences: truncation moves them at large t, rounding at small t.
    moves = np.abs(np.diff(central))
    best = int(np.nanargmin(moves)) if np.isfinite(moves).any() else 0
    numeric = central[best]
    noise = 10 * eps * max(abs(f0), abs(right[best]))
    # At a stationary point both slopes are rounding: what they would be 1e-4 away is what they are compared with.
    middle = len(ts) // 2
    nearby = eps ** (1 / 3) * max(abs(right[middle] - f0), abs(left[middle] - f0)) / ts[middle]
    larger = max(abs(slope), abs(numeric), nearby if np.isfinite(nearby) else 0.0) or 1.0
    order = taylor_order(ts, np.abs(right - f0 - ts * slope), noise)
    kink = find_kink(ts, f0, left, right, noise)
    return LineCheck(slope, float(numeric), abs(slope - numeric) / larger, noise / ts[best] / larger, order, kink)


def taylor_order(ts: np.ndarray, remainder: np.ndarray, noise: float) -> float:
    """Order with which the remainder vanishes: the straightest fit of two decades; NaN if it is all rounding."""
    fits = []
    for i in range(len(ts) - WINDOW + 1):
        t, r = ts[i : i + WINDOW], remainder[i : i + WINDOW]
        if np.all(np.isfinite(r)) and np.all(r > noise):
            fit, residual, *_ = np.polyfit(np.log(t), np.log(r), 1, full=True)
            fits.append((float(residual[0]), float(fit[0])))
    return min(fits)[1] if fits else float("nan")


def find_kink(
    ts: np.ndarray, f0: float, left: np.ndarray, right: np.ndarray, noise: float
) -> tuple[float, float] | None:
    """Slopes to the left and right if their difference stays as t shrinks a hundredfold; it is O(t) when smooth."""
    slopes_right, slopes_left = (right - f0) / ts, (f0 - left) / ts
    gap = np.abs(slopes_right - slopes_left)
    seen = np.flatnonzero(np.isfinite(gap) & (gap > 20 * noise / ts))  # beyond what rounding explains
    if len(seen) == 0:
        return None
    small, large = int(seen[0]), int(seen[0]) + 2 * STEPS_A_DECADE
    if large >= len(ts) or not gap[small] > 0.5 * gap[large]:
        return None
    return float(slopes_left[small]), float(slopes_right[small])


def leaf_check(
    path: str,
    p: jax.Array,
    a: np.ndarray,
    g: np.ndarray,
    given: bool,
    rounding: float,
    line: LineCheck,
    tolerance: float,
) -> LeafCheck:
    """Compare one leaf of the analytic gradient ``a`` with that of `jax.grad` ``g``."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - g) / np.maximum(np.maximum(np.abs(a), np.abs(g)) + rounding, np.finfo(float).tiny)
    worst = np.unravel_index(int(np.argmax(difference)), difference.shape)
    index = tuple(int(i) for i in worst)
    error = float(difference[worst])
    if not np.isfinite(difference).all():
        verdict = "not finite"
    elif given and not error <= tolerance:
        verdict = "analytic gradient wrong"
    elif not line.agrees(tolerance):
        verdict = "jax.grad wrong"
    elif line.kink:
        verdict = "kink"
    else:
        verdict = "ok" if np.any(g) else "zero gradient"
    norm = float(np.max(np.abs(g), initial=0.0))
    return LeafCheck(path, p.shape, norm, error if given else np.nan, index, (a[worst], g[worst]), line, verdict)


def judge_leaf(leaf: LeafCheck, tolerance: float, problems: list[str], notes: list[str]) -> None:
    """Put what is wrong or peculiar with a leaf into words."""
    at = f"{leaf.path}[{', '.join(map(str, leaf.worst_index))}]" if leaf.worst_index else leaf.path
    match leaf.verdict:
        case "not finite":
            problems.append(f"the gradient of {leaf.path} has entries that are not finite")
        case "analytic gradient wrong":
            problems.append(
                f"at {at} the analytic gradient is {leaf.worst_pair[0]:.6g}, jax.grad's {leaf.worst_pair[1]:.6g}"
            )
        case "jax.grad wrong":
            problems.append(
                f"within {leaf.path} jax.grad's slope is {leaf.line.slope:.6g}, the loss's {leaf.line.numeric:.6g} "
                "(a custom derivative, stop_gradient or a rounding operation?)"
            )
        case "zero gradient":
            notes.append(f"the gradient of {leaf.path} is exactly zero: the loss may not depend on it")
    if leaf.line.kink:
        left, right = leaf.line.kink
        notes.append(f"the loss has a kink at {leaf.path}: slope {left:.6g} to the left, {right:.6g} to the right")
