"""Is the gradient right? Analytic against automatic, automatic against finite differences."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.given_gradient import TINY, shake
from gdjax.insight.gradient_report import AUTOMATIC, GradientReport, LeafCheck, LineCheck
from gdjax.insight.line_check import direction, line_check
from gdjax.jaxtools.pytrees import as_data, named_leaves
from gdjax.problem.constraints import as_constraints, as_sums
from gdjax.problem.objective import trace_gradient
from gdjax.problem.penalized import as_penalty
from gdjax.problem.problem import Problem, call_loss, check_params, make_problem
from gdjax.spaces.penalties import penalty_of_free
from gdjax.spaces.results import opened_problem
from gdjax.vectors import vector

INSIDE = 0.499  # of the way between two points that a constraint allows, to either side of its middle
ORDER = 1.75  # accepted as second order; a wrong slope gives 1, a third derivative at large t up to 3


def check_gradient(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    kwargs: dict[str, Any] | None = None,
    penalty: Any = None,
    constraints: Any = None,
    value_and_grad: bool = False,
    directions: int = 3,
    seed: int = 0,
    space: Any = None,
) -> GradientReport:
    """Check ``grad`` (if given) against `jax.grad`, and `jax.grad` against finite differences, at ``params``.

    Analytic and automatic gradients are compared leaf by leaf (a leaf is one array of the pytree). Then the loss is
    sampled along random directions v: one within each leaf, and some through all leaves. In each leaf, v is as long as
    its largest entry. The samples are at x + t v, with t spread evenly over the decades between sqrt(eps) and 1.
    Central differences give the slope, and ``|f(x + t v) - f(x) - t slope|`` must vanish with order 2. Everything is
    computed in float64 if the loss allows it (about 60 evaluations per leaf), otherwise in the given dtype, with
    matching tolerances. Analytic and automatic gradients must agree up to rounding: in each entry to eps^(2/3), with
    the eps of the given dtype (4e-11 in float64). If JAX cannot differentiate the loss (a callback), your gradient is
    compared with the differences directly, in the given dtype.

    Args:
        loss, params, args, grad, has_aux, kwargs, value_and_grad: as for `gdjax.minimize`.
        penalty: as for `gdjax.minimize`. If it is a constraint set, params are projected and no point outside is
            evaluated. The directions are then followed only half as far, starting from the middle of the part that lies
            inside.
        constraints: as for `gdjax.minimize`. For each, a weighted sum of its entries is checked like the loss.
        directions: number of directions through all leaves.
        seed: of the random directions.
        space: as for `gdjax.minimize`. The slopes are then with respect to the unconstrained numbers.

    Returns:
        A `GradientReport`: ``report.ok`` says whether everything agrees, and ``print(report)`` shows the table. Values
        or gradients that are not finite, and slopes that disagree, are problems. Kinks (left and right slopes differ)
        and leaves with an exactly zero gradient are notes.

    Raises:
        TypeError, ValueError: for invalid arguments, as `gdjax.minimize`.

    >>> report = check_gradient(lambda w: w[0] * w[1] ** 2, jax.numpy.array([2.0, 3.0]),
    ...                         grad=lambda w: jax.numpy.array([w[1] ** 2, w[0] * w[1]]))  # a 2 is missing
    >>> report.ok, report.leaves[0].worst_index
    (False, (1,))
    """
    own: dict[str, Any] = dict(grad=grad, value_and_grad=value_and_grad)
    loss, free, args, chart = opened_problem(loss, params, args, space, own)
    if chart is not None:
        penalty, params, grad = penalty_of_free(penalty, chart, params), free, own["grad"]
    penalty = as_penalty(penalty, params)
    given: dict[str, Any] = dict(params=params, args=as_data("args", args), kwargs=as_data("kwargs", kwargs or {}))
    given |= dict(grad=grad, penalty=penalty)
    problem = make_problem(loss, value_and_grad, has_aux, maximize=False, **given)
    coarse = vector.coarsest(check_params(params))
    try:
        with jax.enable_x64(True):
            report = examine(widen_problem(problem), directions, seed, coarse)
    except Exception:  # the loss insists on its own dtypes; if it is the user's error, it is raised again here
        report = examine(problem, directions, seed, coarse)
    more: Any = dict(kwargs=kwargs, penalty=penalty, directions=directions, seed=seed)
    for name, constraint in as_sums(as_constraints(constraints)):
        found = check_gradient(constraint, params, *args, **more)
        problems, notes = ([f"{name}: {text}" for text in part] for part in (found.problems, found.notes))
        report = dataclasses.replace(report, problems=report.problems + problems, notes=report.notes + notes)
    return report


def widen_problem(problem: Problem) -> Problem:
    """The problem with its floating arrays in double precision."""

    def widen(x: Any) -> Any:
        if not (isinstance(x, jax.Array | np.ndarray | np.generic) and jnp.issubdtype(x.dtype, jnp.inexact)):
            return x
        return jnp.asarray(np.asarray(x).astype(np.complex128 if jnp.iscomplexobj(x) else np.float64))

    names = "params", "args", "kwargs", "penalty"
    return dataclasses.replace(problem, **{name: jax.tree.map(widen, getattr(problem, name)) for name in names})


def examine(problem: Problem, directions: int, seed: int, coarse: float) -> GradientReport:
    """Check in the dtypes of ``problem``; ``coarse`` is the machine epsilon of the dtypes that the user gave."""
    params = within(problem.penalty, check_params(problem.params))
    lines = Lines(problem, params)
    value, automatic, eps = lines.value, lines.grad, lines.eps
    compared = problem.has_gradient and lines.by == AUTOMATIC
    analytic = problem.value_grad_aux(params)[1] if compared else None
    # Two right gradients differ by rounding: of what they sum up, which moving params by some roundings shows.
    shaken = lines.value_and_grad(within(problem.penalty, shake(params, eps)))[1]
    coarse = coarse if analytic is None else max(coarse, vector.coarsest(analytic))
    exact = min(lines.tolerance, coarse ** (2 / 3))
    rng = np.random.default_rng(seed)
    leaves: list[LeafCheck] = []
    problems: list[str] = []
    notes: list[str] = []
    if lines.by != AUTOMATIC:
        notes.append("JAX cannot differentiate the loss: the gradient given is compared with differences only")
    if not np.isfinite(value):
        problems.append(f"the value is {value}")
    for i, (path, p) in enumerate(named_leaves("params", params)):
        if p.size == 0:
            continue
        g, moved = (jax.tree.leaves(tree)[i] for tree in (automatic, shaken))
        a = g if analytic is None else jax.tree.leaves(analytic)[i]
        # Entries are compared each with itself, but for the rounding of the largest.
        rounding = 100 * eps * max(float(vector.max_abs(g)), 1e-8 * float(vector.max_abs(automatic)))
        rounding += float(np.nan_to_num(vector.max_abs(moved - g), posinf=0))
        line = lines.check(direction(rng, params, only=i))
        pair = np.asarray(a), np.asarray(g)
        leaf = leaf_check(path, pair, lines.by, analytic is not None, rounding / exact, line, (exact, lines.tolerance))
        leaves.append(leaf)
        judge_leaf(leaf, lines.by, problems, notes)
    along = [lines.check(direction(rng, params)) for _ in range(directions)]
    judge_lines(along, lines.by, lines.tolerance, problems, notes)
    return GradientReport(value, lines.dtype, leaves, along, problems, notes, lines.by)


def within(penalty: Any, params: Any) -> Any:
    """The nearest params that the constraint allows."""
    return params if penalty is None else penalty.prox(params, jnp.asarray(TINY, vector.real_dtype(params)))


class Lines:
    """The loss along lines through params, or beside them if a constraint allows no line through them."""

    def __init__(self, problem: Problem, params: Any) -> None:
        loss = lambda p: call_loss(problem, p)[0]
        self.penalty, self.params = problem.penalty, params
        self.by, function = AUTOMATIC, jax.value_and_grad(loss)
        if problem.has_gradient and not differentiable(loss, params):
            self.by, function = "gradient given", lambda p: problem.value_grad_aux(p)[:2]
        elif not problem.has_gradient:
            trace_gradient(lambda p: (*jax.value_and_grad(loss)(p), None), problem, params)  # raises if there is none
        self.value_and_grad = jax.jit(function)
        value, self.grad = self.value_and_grad(params)
        self.value, self.dtype = float(value), str(value.dtype)
        self.eps = vector.coarsest((params, value))
        self.tolerance = 2 * self.eps ** (1 / 3)  # a central difference errs by about eps^(2/3), with room
        self.along = jax.jit(lambda p, v, ts: jax.lax.map(lambda t: loss(vector.add_scaled(p, t, v)), ts))

    def check(self, v: Any) -> LineCheck:
        """From params - v to params + v, or from params to the allowed point that is nearest to params + v."""
        start, value, grad = self.params, self.value, self.grad
        if self.penalty is not None:  # a convex set holds the way between two of its points
            end = within(self.penalty, jax.tree.map(operator.add, start, v))
            v = jax.tree.map(lambda z, x: INSIDE * (z - x), end, start)
            start = jax.tree.map(lambda z, x: (z + x) / 2, end, start)
            value, grad = self.value_and_grad(start)
        with np.errstate(invalid="ignore"):
            return line_check(functools.partial(self.along, start), float(value), grad, start, v, self.eps)


def differentiable(loss: Callable[[Any], Any], params: Any) -> bool:
    """Whether JAX knows a gradient of the loss; errors of the loss itself are raised."""
    jax.eval_shape(loss, params)
    try:
        jax.eval_shape(jax.grad(loss), params)
    except Exception:
        return False
    return True


def leaf_check(
    path: str,
    pair: tuple[np.ndarray, np.ndarray],
    by: str,
    given: bool,
    rounding: float,
    line: LineCheck,
    tolerances: tuple[float, float],
) -> LeafCheck:
    """Compare one leaf of the analytic gradient with that of `jax.grad`, and that with the loss along a line.

    ``tolerances`` are for the one and for the other.
    """
    (a, g), (exact, tolerance) = pair, tolerances
    with np.errstate(invalid="ignore"):
        difference = np.abs(a - g) / np.maximum(np.maximum(np.abs(a), np.abs(g)) + rounding, np.finfo(float).tiny)
    worst = np.unravel_index(int(np.argmax(difference)), difference.shape)
    index = tuple(int(i) for i in worst)
    error = float(difference[worst])
    if not np.isfinite(difference).all():
        verdict = "not finite"
    elif given and not error <= exact:
        verdict = "analytic gradient wrong"
    elif not line.agrees(tolerance):
        verdict = f"{by} wrong"
    elif line.kink:
        verdict = "kink"
    else:
        verdict = "ok" if np.any(g) else "zero gradient"
    norm = float(np.max(np.abs(g), initial=0.0))
    return LeafCheck(path, g.shape, norm, error if given else np.nan, index, (a[worst], g[worst]), line, verdict)


def judge_leaf(leaf: LeafCheck, by: str, problems: list[str], notes: list[str]) -> None:
    """Say what is wrong or peculiar with a leaf."""
    at = f"{leaf.path}[{', '.join(map(str, leaf.worst_index))}]" if leaf.worst_index else leaf.path
    digits = 6 if leaf.analytic_error > 1e-5 else 15
    match leaf.verdict:
        case "not finite":
            problems.append(f"the gradient of {leaf.path} has entries that are not finite")
        case "analytic gradient wrong":
            ours, theirs = (f"{x:.{digits}g}" for x in leaf.worst_pair)
            problems.append(f"at {at} the analytic gradient is {ours}, jax.grad's {theirs}")
        case "jax.grad wrong" | "gradient given wrong":
            why = " (a custom derivative, stop_gradient or a rounding operation?)" if by == AUTOMATIC else ""
            slopes = f"{leaf.line.slope:.6g}, the loss's {leaf.line.numeric:.6g}"
            problems.append(f"within {leaf.path} the slope by {by_whom(by)} is {slopes}{why}")
        case "zero gradient":
            notes.append(f"the gradient of {leaf.path} is exactly zero: the loss may not depend on it")
    if leaf.line.kink:
        left, right = leaf.line.kink
        notes.append(f"the loss has a kink at {leaf.path}: slope {left:.6g} to the left, {right:.6g} to the right")


def by_whom(by: str) -> str:
    """What the differences are compared with, with its article."""
    return by if by == AUTOMATIC else f"the {by}"


def judge_lines(lines: list[LineCheck], by: str, tolerance: float, problems: list[str], notes: list[str]) -> None:
    """Say what is wrong or peculiar along directions through all leaves."""
    for i, line in enumerate(lines, start=1):
        if np.isfinite(line.slope) and not line.agrees(tolerance):
            problems.append(
                f"along random direction {i} the slope by {by_whom(by)} is {line.slope:.6g}, "
                f"the loss's {line.numeric:.6g}"
            )
        elif not line.kink and not line.exact and line.order < ORDER:
            notes.append(f"along random direction {i} the Taylor remainder has order {line.order:.2f}, not 2")
