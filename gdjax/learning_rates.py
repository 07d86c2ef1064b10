"""Which learning rate? What the curvature allows, and what a sweep of rates does."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.insight.curvature import measure
from gdjax.insight.gradient_report import table
from gdjax.jaxtools.faces import as_table, handed_out, one_line
from gdjax.methods.gradient_descent import GradientDescent
from gdjax.minimize import minimize
from gdjax.problem.hoist import hoist
from gdjax.problem.problem import make_problem
from gdjax.spaces.results import opened_problem

LANCZOS = 30  # Hessian products for a largest eigenvalue: a few percent is enough for a rate
POINTS = 5  # on the way, where the curvature is measured
NEAR = 0.01  # a descent within this share of the best decrease counts as right even before it has converged


@handed_out
@dataclasses.dataclass(frozen=True)
class LearningRates:
    """What each rate did. ``print`` it for a table; `gdjax.plot.learning_rates` draws it."""

    rates: np.ndarray  # that were tried, rising
    verdicts: list[str]  # "too small", "right", "too large", one a rate
    results: Result  # of the descents, a batch with histories
    start_value: float
    sharpness_step: np.ndarray  # steps of the recommended rate at which the curvature was measured
    sharpness: np.ndarray  # largest eigenvalue L of the Hessian there
    stable_limit: float  # the rate above which descent is unstable at the largest of them: 2/L without momentum
    recommended: float

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        return dict(recommended=self.recommended, stable_limit=self.stable_limit, rates=self.rates)

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        rows = [["learning rate", "verdict", "steps", "value", "status"]]
        for i, (rate, verdict) in enumerate(zip(self.rates, self.verdicts, strict=True)):
            one = self.results[i]
            mark = " *" if rate == self.recommended else ""
            rows.append(
                [f"{rate:.3g}{mark}", verdict, str(int(one.num_steps)), f"{float(one.value):.6g}", str(one.status)]
            )
        largest = self.sharpness.max()
        limit = f"the largest curvature met is L = {largest:.4g}: rates are stable below {self.stable_limit:.3g}"
        if not np.isfinite(self.stable_limit):
            limit = "no positive curvature was met, which sets no limit to the rate"
        if self.recommended >= self.stable_limit:
            limit += ". The recommended one is above that: it did well from this start, which may be luck"
        return "\n".join([*table(rows), "", f"* recommended: {self.recommended:.3g}; {limit}"])


def learning_rate_range(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    rates: Any = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    max_steps: int = 500,
    tol: float | None = None,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    value_and_grad: bool = False,
    kwargs: dict[str, Any] | None = None,
    space: Any = None,
) -> LearningRates:
    """Try learning rates of gradient descent, all in one vmapped run, and measure what the curvature allows.

    The descent ``x <- x - rate g`` on a quadratic with largest curvature L is stable for rates below ``2 / L``; with
    momentum b below ``2 (1 + b) / L``, in Nesterov's form below ``2 (1 + b) / ((1 + 2 b) L)``. L is measured by Lanczos
    iterations at the start and along the path of the best rate (if the loss is not quadratic, L changes on the way).

    A rate is *right* if its descent converged within ``max_steps``, or came within a hundredth of the largest
    decrease of any rate; *too small* if the loss was still falling at the limit; *too large* if it diverged, ended
    above its start, or is above the stable limit and did not settle. The recommended rate is the right one that needed
    the fewest steps, if possible one below the stable limit: above it luck is involved.

    Args:
        loss, params, args, grad, has_aux, value_and_grad, kwargs, space: as for `gdjax.minimize`; not inside a trace.
        rates: the rates to try. Default: 13, from a thousandth of the stable limit at the start to ten times that.
        momentum, nesterov: of `gdjax.GradientDescent`.
        max_steps: of each descent.
        tol: of each descent, see `gdjax.Stop`.

    Raises:
        ValueError: if the Hessian is not finite at the start, a rate is not positive, or params is a result that was
            made with a penalty.

    >>> import jax.numpy as jnp
    >>> report = learning_rate_range(lambda x: 0.5 * jnp.sum(jnp.array([1.0, 10.0]) * x**2), jnp.ones(2))
    >>> round(report.stable_limit, 2), 0.02 < report.recommended < 0.2
    (0.2, True)
    """
    if isinstance(params, Result):
        params.require_smooth("learning_rate_range")
    given: dict[str, Any] = dict(grad=grad, value_and_grad=value_and_grad)
    loss, params, args, _ = opened_problem(loss, params, args, space, given)
    grad = given["grad"]
    given |= dict(params=params, args=args, kwargs=kwargs or {}, maximize=False)
    problem = hoist(make_problem(loss, has_aux=has_aux, **given))
    at_start = measure(problem, LANCZOS)
    limit = stable_limit(largest_curvature(at_start), momentum, nesterov)
    if rates is None:
        rates = (limit if np.isfinite(limit) else 1.0) * 10.0 ** np.linspace(-3, 1, 13)
    rates = np.sort(np.atleast_1d(np.asarray(rates, np.float64)))
    if not (rates > 0).all():
        raise ValueError(f"rates must be positive, got {rates}")
    options: Any = dict(grad=grad, has_aux=has_aux, value_and_grad=value_and_grad, kwargs=kwargs, tol=tol)

    def descend(rate: Any, steps: Any, history: bool | int = False) -> Result:
        method = GradientDescent(rate, momentum=momentum, nesterov=nesterov)
        return minimize(loss, params, *args, method=method, max_steps=steps, history=history, **options)

    results = jax.vmap(lambda rate: descend(rate, max_steps, 256))(jnp.asarray(rates))
    verdicts = judge(rates, results, at_start.value, limit)
    best = choose(rates, verdicts, results, limit)
    ends = np.unique(np.linspace(0, int(results.num_steps[best]), POINTS).astype(int))
    on_the_way = jax.vmap(lambda steps: descend(rates[best], steps).params)(jnp.asarray(ends))
    sharpness = [largest_curvature(at_start)]
    for i in range(1, len(ends)):
        there = dataclasses.replace(problem, params=jax.tree.map(lambda x, i=i: x[i], on_the_way))
        sharpness.append(largest_curvature(measure(there, LANCZOS)))
    limit = stable_limit(max(sharpness), momentum, nesterov)
    recommended = float(rates[choose(rates, verdicts, results, limit)])
    return LearningRates(
        rates, verdicts, results, at_start.value, ends, np.asarray(sharpness), limit, recommended,
    )  # fmt: skip


def largest_curvature(found: Any) -> float:
    """The largest eigenvalue, or zero: a hill sets no limit on the rate."""
    return max(found.largest.value, 0.0)


def stable_limit(curvature: float, momentum: float, nesterov: bool) -> float:
    """The rate above which a quadratic of this curvature makes gradient descent unstable."""
    if curvature == 0:
        return np.inf
    return 2 * (1 + momentum) / (curvature * (1 + 2 * momentum if nesterov else 1))


def judge(rates: np.ndarray, results: Result, start: float, limit: float) -> list[str]:
    """Too small, right or too large."""
    values, codes = np.asarray(results.value, np.float64), np.asarray(results.code)
    last = np.asarray([history_end(results, i) for i in range(len(codes))])
    best = np.nanmin(np.where(np.isfinite(last), last, np.inf))
    verdicts = []
    columns = (rates, values, last, codes, np.asarray(results.converged))
    for rate, value, end, code, converged in zip(*columns, strict=True):
        near_best = start - end >= (1 - NEAR) * (start - best) > 0 and value <= end
        jumps = code in (Status.DIVERGED, Status.NONFINITE, Status.STALLED, Status.UNBOUNDED)
        if converged or (near_best and not jumps):
            verdicts.append("right")
        else:
            verdicts.append("too large" if jumps or rate >= limit or not end <= start else "too small")
    return verdicts


def history_end(results: Result, i: int) -> float:
    """The value at which a descent ended, which may be above the best."""
    history = results.history
    return float(history.value[i, int(history.size[i]) - 1]) if history is not None else float(results.value[i])


def choose(rates: np.ndarray, verdicts: list[str], results: Result, limit: float) -> int:
    """The right rate with the fewest steps, then the lowest value, if possible below the limit."""
    right = [i for i, verdict in enumerate(verdicts) if verdict == "right"] or list(range(len(rates)))
    pool = [i for i in right if rates[i] < limit] or right
    values = np.nan_to_num(np.asarray(results.value, np.float64), nan=np.inf)
    return min(pool, key=lambda i: (not bool(results.converged[i]), int(results.num_steps[i]), values[i]))
