"""What a result says about the problem it came from, and what to try: on demand, from second derivatives."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.certificate import CriticalPoint, Kind
from gdjax.descent.constrained_words import large_multipliers, worst
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.insight.critical_point import classify_critical_point
from gdjax.insight.curvature import along
from gdjax.insight.fit import Fit
from gdjax.insight.fit_words import advice_on
from gdjax.insight.gradient_report import table
from gdjax.insight.names import entry_names
from gdjax.jaxtools.faces import as_table, one_line
from gdjax.jaxtools.pytrees import named_leaves
from gdjax.problem.hoist import hoist
from gdjax.problem.problem import Problem, make_problem
from gdjax.spaces.results import by_free
from gdjax.vectors.layout import Flat

ILL = 1e4  # condition number from which first-order methods crawl: their steps are in proportion to it
UNEVEN = 1e3  # ratio of mean curvatures of two leaves from which rescaling them pays
ENTRIES = 32  # up to so many reals each entry is looked at, not each leaf
PROBES = 4  # random signs a leaf, for its mean curvature


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What was found; ``print`` it."""

    message: str  # of the result
    point: CriticalPoint | None  # None with constraints: no Hessian of the loss alone shows what they hold
    leaves: dict[str, tuple[float, float]]  # by name: largest modulus of the gradient, mean curvature; or by entry
    advice: list[str]

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        point = self.point
        shown = {} if point is None else dict(point=point.kind.value, condition=point.condition)
        return shown | dict(advice=len(self.advice))

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        advice = [f"- {text}" for text in self.advice]
        if self.point is None:
            return "\n".join([self.message, "", *advice])
        rows = [["params", "|grad|", "mean curvature"]]
        rows += [[name, f"{norm:.3g}", f"{mean:.3g}"] for name, (norm, mean) in self.leaves.items()]
        return "\n".join([self.message, f"The point is {self.point}", "", *table(rows), "", *advice]).rstrip()


def explain(
    loss: Callable[..., Any],
    result: Result,
    *args: Any,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    value_and_grad: bool = False,
    kwargs: dict[str, Any] | None = None,
    robust: Any = None,
) -> Explanation:
    """Look at the curvature of the loss around ``result.params`` and say what it means; ``print`` the answer.

    It reports conditioning, saddles and flat directions (`gdjax.classify_critical_point`), entries or leaves (arrays of
    the pytree) whose scale differs from the others, the largest stable learning rate, the floor of float32, and what to
    try. It costs up to a hundred Hessian-vector products, and four more per leaf. With constraints it looks
    at multipliers and violations instead; of a `gdjax.Fit` also at what the data determine.

    Args:
        loss, *args, grad, has_aux, value_and_grad, kwargs: those that the result was made with. Of a fit loss is the
            residuals, for `gdjax.curve_fit` ``model(params, x) - y``, over sigma if there was one.
        result: what `gdjax.minimize` or `gdjax.least_squares` returned.
        robust: of a fit, the robust loss that it was made with.

    Raises:
        ValueError: if the result was made with a penalty, because no Hessian shows kinks and bounds; or if it is a fit
            of other residuals.

    >>> import gdjax, jax.numpy as jnp
    >>> bowl = lambda p: jnp.sum(jnp.array([1.0, 4.0]) * p**2)
    >>> found = explain(bowl, gdjax.minimize(bowl, jnp.ones(2)))
    >>> found.point.kind.name, round(float(found.point.condition), 3)
    ('MINIMUM', 4.0)
    """
    options: dict[str, Any] = dict(
        grad=grad, has_aux=has_aux, value_and_grad=value_and_grad, kwargs=kwargs, robust=robust
    )
    if result.conditions is not None:
        return Explanation(result.message, None, {}, about_constraints(result) or ["nothing stands out"])
    result.require_smooth("explain")
    point = classify_critical_point(loss, result, *args, **options)
    fit = result if isinstance(result, Fit) else None
    given: dict[str, Any] = dict(grad=grad, value_and_grad=value_and_grad, squares=fit is not None, robust=robust)
    loss, seen, args = by_free(loss, result, args, given)
    given |= dict(params=seen.params, args=args, kwargs=kwargs or {}, maximize=False)
    problem = make_problem(loss, has_aux=has_aux, **given)
    few = Flat.of(seen.params).size <= ENTRIES
    leaves = (entry_curvatures if few else leaf_curvatures)(hoist(problem), seen)
    if result.space is not None:
        leaves = in_their_spaces(leaves, result.space.chart)
    # Steps of a fit do not depend on the units of its parameters.
    told = about_leaves(leaves) if fit is None else advice_on(fit)
    advice = [*about_status(result, point), *about_point(result, point), *told]
    return Explanation(result.message, point, leaves, advice or ["nothing stands out"])


def leaf_curvatures(problem: Problem, result: Result) -> dict[str, tuple[float, float]]:
    """The gradient and the mean curvature of each leaf: the trace of its part of the Hessian over its size.

    The trace is estimated by v'Hv with random signs v (M. F. Hutchinson, Commun. Stat. Simul. Comput. 18, 1989).
    """
    layout, found, rng, start = Flat.of(problem.params), {}, np.random.default_rng(0), 0
    named = named_leaves("params", problem.params)
    for (name, leaf), grad in zip(named, jax.tree.leaves(jax.device_get(result.grad)), strict=True):
        reals, traces = leaf.size * (2 if jnp.iscomplexobj(leaf) else 1), []
        for _ in range(PROBES if reals > 1 else 1):
            v = np.zeros(layout.size)
            v[start : start + reals] = rng.choice([-1.0, 1.0], reals)
            traces.append(float(along(problem, v.astype(layout.dtype), [0.0]).curvature[0]))
        found[name] = float(np.max(np.abs(grad), initial=0)), float(np.mean(traces)) / max(reals, 1)
        start += reals
    return found


def entry_curvatures(problem: Problem, result: Result) -> dict[str, tuple[float, float]]:
    """The gradient and the curvature of each entry: the diagonal of the Hessian."""
    layout = Flat.of(problem.params)
    units = np.eye(layout.size, dtype=layout.dtype)
    diagonal = [float(along(problem, v, [0.0]).curvature[0]) for v in units]
    norms = np.abs(layout.ravel(jax.device_get(result.grad)))
    names = entry_names(named_leaves("params", problem.params))
    return {name: (float(g), h) for name, g, h in zip(names, norms, diagonal, strict=True)}


def in_their_spaces(leaves: dict[str, Any], chart: Any) -> dict[str, Any]:
    """The same with the spaces of those that the descent saw by other numbers: their slopes are by these."""
    spaces = {name: space for name, space in zip(chart.names, chart.spaces, strict=True) if space.is_map}
    named = lambda leaf: next((f" in {space!r}" for name, space in spaces.items() if leaf.startswith(name)), "")
    return {name + named(name): found for name, found in leaves.items()}


def about_status(result: Result, point: CriticalPoint) -> list[str]:
    """What the status suggests, given the curvature."""
    largest = max(abs(point.smallest), abs(point.largest))
    rate = f"gradient descent is stable here for rates below {2 / largest:.3g}" if largest > 0 else ""
    single = result.value.dtype == np.float32
    if result.status in (Status.DIVERGED, Status.NONFINITE):
        return [f"the steps were too large: {rate or 'take smaller ones'}; or let a search choose them, as in LBFGS()"]
    if result.status == Status.STALLED and rate:
        return [f"{rate}; with larger ones it cannot settle"]
    if result.status in (Status.PRECISION_FLOOR, Status.STEP_TOO_SMALL) and single:
        more = "for more digits use jax.config.update('jax_enable_x64', True) and float64 data"
        return [f"the floor of float32 is reached: {more}"]
    if result.status in (Status.MAX_STEPS, Status.MAX_EVALS, Status.MAX_SECONDS) and rate:
        return [f"it was not finished: continue with gdjax.resume, or use LBFGS() or TrustRegion(); {rate}"]
    if result.status == Status.LINE_SEARCH_FAILED:
        return ["gdjax.check_gradient tells a wrong gradient from a kink; for a kink, smooth the loss"]
    return []


def about_constraints(result: Result) -> list[str]:
    """What multipliers and violations suggest."""
    advice = [found.strip()] if (found := large_multipliers(result)) else []
    if result.conditions is not None and float(result.conditions.relative) > float(result.stop.tol):
        advice.append(f"constraints do not hold: {worst(result)}; relax them, or start elsewhere")
    if result.status == Status.STALLED:
        advice.append("scale parameters to sizes near 1 (gdjax.minimize(..., scale='start')), or use float64")
    return advice


def about_point(result: Result, point: CriticalPoint) -> list[str]:
    """What the curvature suggests."""
    wanted = Kind.MAXIMUM if result.maximized else Kind.MINIMUM
    if point.kind is Kind.DEGENERATE:
        told = " as far as float32 can tell (float64 tells more)" if result.value.dtype == np.float32 else ""
        return [
            f"one direction is flat{told}: parameters may be redundant or the data may not determine them; a small "
            "penalty such as 1e-6 times the sum of squares makes the answer unique"
        ]
    if point.kind is not Kind.NOT_CRITICAL and point.kind is not wanted:
        return [
            "the gradient is zero but this is not a " + wanted.value + ": start elsewhere, or pass escape_saddles=True"
        ]
    if point.kind is Kind.MINIMUM and point.condition > ILL and not isinstance(result, Fit):
        return [
            f"ill-conditioned: gradient descent needs about {point.condition:.1g} steps a digit; scale parameters or "
            "data to equal curvature, or use BFGS() or TrustRegion()"
        ]
    return []


def about_leaves(leaves: dict[str, tuple[float, float]]) -> list[str]:
    """Whether the leaves have similar scales."""
    curved = {name: mean for name, (_, mean) in leaves.items() if mean > 0}
    if len(curved) < 2:
        return []
    steep, shallow = max(curved, key=curved.__getitem__), min(curved, key=curved.__getitem__)
    ratio = curved[steep] / curved[shallow]
    if ratio < UNEVEN:
        return []
    return [
        f"badly scaled: the curvature along {steep} is {ratio:.1g} times that along {shallow}; divide {steep} by "
        f"{ratio**0.5:.1g} where the loss uses it, standardise the data behind it, or use TrustRegion(), which learns "
        "the scales"
    ]
