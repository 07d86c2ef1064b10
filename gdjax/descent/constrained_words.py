"""The sentences of a result with constraints: which conditions hold, which do not, what stands in the way."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gdjax.descent.facts import Facts
from gdjax.descent.stopping import Status
from gdjax.jaxtools.pytrees import named_leaves

FEW = 3  # constraints that are named
LEVERAGE = 10.0  # beyond which a multiplier is called large: those of a well-posed problem have about 1


def numbers(f: Facts) -> str:
    """The three conditions."""
    c = f.result.conditions
    unknown = np.isnan(float(c.stationarity))
    stationarity = "the stationarity is not known" if unknown else f"stationarity {float(c.stationarity):.2g}"
    return (
        f"{stationarity}, violation {float(c.relative):.2g} ({float(c.violation):.2g} in its own units), "
        f"complementarity {float(c.complementarity):.2g}"
    )


def active(f: Facts) -> str:
    """How many constraints are active."""
    leaves = [np.asarray(leaf) for _, leaf in named_leaves("", f.result.active)]
    return f"{sum(int(x.sum()) for x in leaves)} of {sum(x.size for x in leaves)} constraints are active"


def worst(result: Any) -> str:
    """The constraints that are violated most."""
    found = []
    for name, excess in named_leaves("constraints", result.conditions.excess):
        excess = np.asarray(excess)
        found += [
            (abs(float(excess[i])), f"{name}{list(i) if i else ''} {side(float(excess[i]))}")
            for i in np.ndindex(excess.shape)
            if excess[i] != 0
        ]
    found.sort(key=lambda pair: -pair[0])
    more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
    return ", ".join(words for _, words in found[:FEW]) + more


def side(excess: float) -> str:
    """By how much a value is on the wrong side of its bound."""
    return f"is {abs(excess):.3g} {'above its upper' if excess > 0 else 'below its lower'} bound"


def large_multipliers(result: Any) -> str:
    """The constraints whose multipliers say that the problem is hardly well posed, and what follows from it."""
    found, tol = [], float(result.stop.tol)
    multipliers = named_leaves("constraints", result.conditions.multipliers)
    for (name, leverage), (_, y) in zip(
        named_leaves("constraints", result.conditions.leverage), multipliers, strict=True
    ):
        leverage, y = np.asarray(leverage), np.asarray(y)
        found += [
            (float(leverage[i]), f"{name}{list(i) if i else ''} ({float(y[i]):.3g})")
            for i in np.ndindex(leverage.shape)
            if leverage[i] > LEVERAGE
        ]
    if not found:
        return ""
    found.sort(key=lambda pair: -pair[0])
    more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
    return (
        f" Large multipliers: {', '.join(words for _, words in found[:FEW])}{more}. What the tolerance leaves of these "
        f"constraints changes the value by {found[0][0] * tol:.1g} of its size: they may hardly allow any point, or "
        "their gradients vanish here or depend on each other. Check them, or loosen or drop one."
    )


def standing(f: Facts) -> str:
    """Whether what is returned is feasible, for a descent that ended before the conditions held."""
    feasible = float(f.result.conditions.relative) <= float(f.stop.tol)
    word = "feasible, but not known to be optimal" if feasible else f"not feasible: {worst(f.result)}"
    return f"The point returned is {word}. The value is {f.value:.6g}; {numbers(f)} (wanted: {float(f.stop.tol):.2g})."


def converged(f: Facts) -> str:
    """All conditions hold."""
    tol = f"{float(f.stop.tol):.2g}"
    holds = f"{f.after} the optimality conditions hold to {tol}: {numbers(f)}."
    return f"{holds} The value is {f.value:.6g}; {active(f)}.{large_multipliers(f.result)}"


def infeasible(f: Facts) -> str:
    """A point of least violation."""
    return (
        f"{f.after} no point near here satisfies all constraints: their violation is stationary, and is not zero. "
        f"In the way: {worst(f.result)}. Relax one of these, or start elsewhere, if the problem is not convex."
    )


def degenerate(f: Facts) -> str:
    """No multipliers."""
    return (
        f"{f.after} the multipliers have grown without limit: the gradients of the active constraints may depend on "
        f"each other, or vanish, and then there are no optimality conditions to hold. {standing(f)}"
    )


def floor(f: Facts) -> str:
    """Within ten times the tolerance, and no further."""
    more = large_multipliers(f.result) + ("" if f.double else " For more digits, use float64.")
    return f"{f.after} no further progress can be measured: {numbers(f)}. The value is {f.value:.6g}.{more}"


SENTENCES: dict[Status, Callable[[Facts], str]] = {
    Status.RUNNING: lambda f: f"{f.after}. The value is {f.value:.6g}; {numbers(f)}.",
    Status.CONVERGED: converged,
    Status.PRECISION_FLOOR: floor,
    Status.INFEASIBLE: infeasible,
    Status.DEGENERATE: degenerate,
    Status.STALLED: lambda f: f"{f.after} neither violation nor stationarity fell any more. {standing(f)}",
    Status.MAX_STEPS: lambda f: f"the limit of {int(f.stop.max_steps)} steps came first, {f.after}. {standing(f)}",
    Status.MAX_EVALS: lambda f: (
        f"the limit of {int(f.stop.max_evals)} evaluations came first, {f.after}. {standing(f)}"
    ),
    Status.UNBOUNDED: lambda f: (
        f"{f.after} the value has run from {f.start_value:.4g} to {f.value:.4g} along feasible points: the constraints "
        "do not stop it. Is the sign of one of them wrong?"
    ),
    Status.MAX_SECONDS: lambda f: f"time ran out {f.after}{f.time}. {standing(f)}",
    Status.INTERRUPTED: lambda f: f"interrupted from the keyboard {f.after}{f.time}. {standing(f)}",
    Status.RAISED: lambda f: f"{f.raiser} {f.after}{f.time}: {f.error}. {standing(f)}",
    Status.STOPPED_BY_CALLBACK: lambda f: f"the callback asked to stop {f.after}{f.time}. {standing(f)}",
}
