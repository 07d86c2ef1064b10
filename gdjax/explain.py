"""What a result means for the problem it came from, and what to try: on demand, from second derivatives."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.critical_point import CriticalPoint, Kind, classify_critical_point
from gdjax.gradient_report import table
from gdjax.layout import Flat
from gdjax.problem import Problem, call_loss
from gdjax.pytrees import as_data, named_leaves
from gdjax.stopping import Status
from gdjax.uncertainty import entry_names

if TYPE_CHECKING:
    from gdjax.result import Result

ILL = 1e4  # condition number from which first-order methods crawl: their steps are in proportion to it
UNEVEN = 1e3  # ratio of mean curvatures of two leaves from which rescaling them pays
ENTRIES = 32  # up to so many reals each entry is looked at, not each leaf
PROBES = 4  # random signs a leaf, for its mean curvature


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What was found; ``print`` it."""

    message: str  # of the result
    point: CriticalPoint
    leaves: dict[str, tuple[float, float]]  # by name: largest modulus of the gradient, mean curvature; or by entry
    advice: list[str]

    def __str__(self) -> str:
        """Message, curvature, leaves, advice."""
        rows = [["params", "|grad|", "mean curvature"]]
        rows += [[name, f"{norm:.3g}", f"{mean:.3g}"] for name, (norm, mean) in self.leaves.items()]
        advice = [f"- {text}" for text in self.advice]
        return "\n".join([self.message, f"The point is {self.point}", "", *table(rows), "", *advice]).rstrip()


def explain(
    result: "Result",
    loss: Callable[..., Any],
    args: tuple[Any, ...],
    grad: Callable[..., Any] | None,
    has_aux: bool,
    kwargs: dict[str, Any] | None,
) -> Explanation:
    """Look at the loss around the point returned. See `gdjax.Result.explain`."""
    args, kwargs = as_data("args", args), as_data("kwargs", kwargs or {})
    problem = Problem(loss, result.params, args, kwargs, grad, has_aux, False)
    point = classify_critical_point(loss, result, *args, grad=grad, has_aux=has_aux, kwargs=kwargs)
    few = Flat.of(result.params).size <= ENTRIES
    leaves = (entry_curvatures if few else leaf_curvatures)(problem, result)
    advice = [*about_status(result, point), *about_point(result, point), *about_leaves(leaves)]
    return Explanation(result.message, point, leaves, advice or ["nothing stands out"])


def leaf_curvatures(problem: Problem, result: "Result") -> dict[str, tuple[float, float]]:
    """Of each leaf the gradient, and the mean curvature: the trace of its part of the Hessian over its size.

    The trace is estimated by v'Hv with random signs v (M. F. Hutchinson, Commun. Stat. Simul. Comput. 18, 1989).
    """
    params = problem.params
    gradient = jax.grad(lambda p: call_loss(problem, p)[0])
    product = jax.jit(lambda v: jax.tree.leaves(jax.jvp(gradient, (params,), (v,))[1]))
    found, rng = {}, np.random.default_rng(0)
    flat, treedef = jax.tree.flatten(params)
    for i, (name, leaf) in enumerate(named_leaves("params", params)):
        quadratic = []
        for _ in range(PROBES if leaf.size > 1 else 1):
            sign = jnp.asarray(rng.choice([-1.0, 1.0], leaf.shape)).astype(leaf.dtype)
            v = jax.tree.unflatten(treedef, [sign if k == i else jnp.zeros_like(x) for k, x in enumerate(flat)])
            quadratic.append(float(jnp.sum((sign * product(v)[i]).real)))
        norm = float(jnp.max(jnp.abs(jax.tree.leaves(result.grad)[i]), initial=0))
        found[name] = (norm, float(np.mean(quadratic)) / max(leaf.size, 1))
    return found


def entry_curvatures(problem: Problem, result: "Result") -> dict[str, tuple[float, float]]:
    """Of each entry the gradient and the curvature: the diagonal of the Hessian."""
    layout = Flat.of(problem.params)
    x, gradient = layout.ravel(problem.params), jax.grad(lambda p: call_loss(problem, p)[0])
    slope = lambda u: layout.ravel(jax.tree.map(jnp.conj, gradient(layout.unravel(u))))
    unit = lambda i: (jnp.arange(x.size) == i).astype(x.dtype)
    diagonal = jax.jit(lambda x: jax.lax.map(lambda i: jax.jvp(slope, (x,), (unit(i),))[1][i], jnp.arange(x.size)))(x)
    norms = np.abs(np.asarray(layout.ravel(result.grad)))
    names = entry_names(problem.params)
    return {name: (float(g), float(h)) for name, g, h in zip(names, norms, np.asarray(diagonal), strict=True)}


def about_status(result: "Result", point: CriticalPoint) -> list[str]:
    """What the way it ended suggests, given the curvature."""
    largest = max(abs(point.smallest), abs(point.largest))
    rate = f"gradient descent is stable here for rates below {2 / largest:.3g}" if largest > 0 else ""
    single = result.value.dtype == np.float32
    if result.status in (Status.DIVERGED, Status.NONFINITE):
        return [f"the steps were too large: {rate or 'take smaller ones'}; or let a search choose, as LBFGS() does"]
    if result.status == Status.STALLED and rate:
        return [f"{rate}; with larger ones it cannot settle"]
    if result.status in (Status.PRECISION_FLOOR, Status.STEP_TOO_SMALL) and single:
        return ["the floor of float32 is reached: jax.config.update('jax_enable_x64', True) and float64 data go on"]
    if result.status in (Status.MAX_STEPS, Status.MAX_EVALS, Status.MAX_SECONDS) and rate:
        return [f"it was not done: go on with gdjax.resume, or use LBFGS() or TrustRegion(); {rate}"]
    if result.status == Status.LINE_SEARCH_FAILED:
        return ["gdjax.check_gradient tells a wrong gradient from a kink; for a kink, smooth the loss"]
    return []


def about_point(result: "Result", point: CriticalPoint) -> list[str]:
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
            "the gradient is zero but this is no " + wanted.value + ": start elsewhere, or pass escape_saddles=True"
        ]
    if point.kind is Kind.MINIMUM and point.condition > ILL:
        return [
            f"ill-conditioned: gradient descent needs about {point.condition:.1g} steps a digit; scale parameters or "
            "data to equal curvature, or use BFGS() or TrustRegion()"
        ]
    return []


def about_leaves(leaves: dict[str, tuple[float, float]]) -> list[str]:
    """Whether the leaves are scaled alike."""
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
