"""The message of a result: which test fired, the two numbers that it compared, and what to do."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gdjax.descent import constrained_words
from gdjax.descent.facts import Facts
from gdjax.descent.given_gradient_words import blunt, unchecked, wrong_gradient, wrong_jacobian
from gdjax.descent.stopping import Status
from gdjax.jaxtools.pytrees import named_leaves


def of_many(result: Any) -> str:
    """How many problems of a batch ended in which way, the most frequent first; the longest; the worst."""
    codes, evals = np.asarray(result.code), np.asarray(result.num_evals)
    if codes.size == 0:
        return "0 problems."
    names, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    ended = ", ".join(f"{counts[i]} {Status(int(names[i])).name}" for i in order)
    longest = ", ".join(map(str, np.unravel_index(np.argmax(evals), codes.shape)))
    text = (
        f"{codes.size} problems: {ended}. Evaluations: {int(np.median(evals))} in the median, {evals.max()} at most "
        f"(result[{longest}])."
    )
    failed = (codes < Status.CONVERGED) | (codes > Status.PRECISION_FLOOR)
    if not failed.any():
        return text
    norms = np.asarray(result.grad_norm, np.float64)
    size = np.where(np.isfinite(norms) & np.isfinite(np.asarray(result.value, np.float64)), norms, np.inf)
    worst = np.unravel_index(np.argmax(np.where(failed, size, -1)), codes.shape)
    lane = jax.tree.map(lambda x: np.asarray(x)[worst], result)
    return f"{text} The worst is result[{', '.join(map(str, worst))}], {of_one(lane)}"


def of_one(result: Any) -> str:
    """How one descent ended."""
    status = Status(int(result.code))
    given = unchecked(result) * bool(result.converged) + blunt(result)
    words = SENTENCES if result.conditions is None else SENTENCES | constrained_words.SENTENCES
    sentence = f"{status.name}: {words[status](Facts(result))}{given}"
    if result.space is not None:
        sentence += result.space.words(result)
    return sentence if result.penalty_value is None else f"{sentence} {of_penalty(result)}"


def of_penalty(result: Any) -> str:
    """The two parts of the value, if there are two; the active set or sparsity; the method."""
    penalty = float(result.penalty_value)
    known = f"the penalty {penalty:.6g}" if penalty == penalty else "the value of the penalty is not known"
    parts = [f"The loss is {float(result.loss_value):.6g}, {known}"] * (penalty != 0)
    describe = getattr(result.penalty, "describe", None)
    parts += [words] if describe and (words := describe(result.variables)) else []
    method = f"method: {result.method}"
    return f"{'; '.join(parts)} ({method})." if parts else f"{method[:1].upper()}{method[1:]}."


def count(number: Any, what: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{int(number)} {what}{'s' * (int(number) != 1)}"


def converged(f: Facts) -> str:
    """The gradient test held."""
    smooth = f.result.penalty_value is None
    if f.grad_norm == 0 and f.value == 0 and f.result.squares is not None:
        return f"{f.after} all residuals are zero."
    if f.grad_norm == 0 and (smooth or f.steps == 0):
        zero = "gradient" if smooth else "prox-gradient step"
        where = "at the start" if f.steps == 0 else f.after
        return (
            f"the {zero} is exactly zero {where}, where the value is {f.value:.6g}: a minimum, a saddle or a "
            "flat region. If that surprises you, gdjax.check_gradient says whether the loss depends on every parameter."
        )
    return f"{f.after} the {f.norm} {f.grad_norm:.3g} is at most {f.threshold:.3g}. The value is {f.value:.6g}."


def floor(f: Facts) -> str:
    """Nothing more can be gained at this precision."""
    rounding = f"is below the rounding error of a value of {f.value:.6g}"
    why = f"the decrease that is still possible, about {f.predicted:.2g}, {rounding}"
    if f.predicted == 0 or f.settled or f.predicted > 1e30:
        why = f"the minimum lies within a few roundings of the parameters. The value is {f.value:.6g}"
    more = "subtract what is constant from the loss" + ("" if f.double else ", or use float64")
    return (
        f"{f.after} no further progress can be measured: {why}. The {f.norm} is {f.grad_norm:.3g} (it counts as "
        f"zero below {f.threshold:.3g}). For more digits, {more}."
    )


def diverged(f: Facts) -> str:
    """The value ran away."""
    ran = f"{f.after} the value had run from {f.start_value:.4g} to {f.highest:.4g}"
    cause, remedy = "the learning rate is too large", ""
    if f.result.penalty_value is not None:
        cause = "the steps are too long"
        remedy = (
            ". If you gave a learning rate, lower it. If the method chose the steps, it took the loss for convex: "
            "use PANOC() or ProximalGradient(Backtracking()), which compare values"
        )
    if f.curvature > 0:
        size = f". The curvature along the steps is about {f.curvature:.3g}: {f.rate} should be stable"
        advice = f"{cause}{size * bool(f.rate)}{remedy}"
    elif f.curvature < 0:
        advice = (
            "the steps do not overshoot, they lead uphill. Check the gradient with gdjax.check_gradient, and the sign "
            "of the updates"
        )
    else:
        advice = f"{cause}, or the gradient is wrong (gdjax.check_gradient){remedy}"
    shown = f"The best point seen is returned, with value {f.value:.6g}"
    if not f.is_best:
        shown = f"The value here is {f.value:.6g}; the best one seen was {f.best:.6g}"
    return f"{ran}: {advice}. {shown}."


def stalled(f: Facts) -> str:
    """No progress."""
    why = (
        "the steps may be too large to settle, the loss may not be smooth, or the gradient may be wrong "
        "(gdjax.check_gradient)"
    )
    why = f.domain or why
    if f.scale:
        why = f.scale
    elif f.curvature > 0 and f.rate:
        why = f"the steps overshoot the valley; {f.rate} should settle"
    return (
        f"{f.after} the last {f.idle} evaluations brought neither a lower value nor a smaller gradient: "
        f"{why}. {f.gradient}"
    )


def step_too_small(f: Facts) -> str:
    """Nothing changes any more."""
    remedy = f.scale or f"raise the learning rate{'' if f.double else ', use float64'} or rescale the loss"
    return (
        f"{f.after} the steps no longer change value and gradient in {f.result.value.dtype} ({f.idle} evaluations "
        f"without progress): {remedy}. {f.gradient}"
    )


def search_failed(f: Facts) -> str:
    """No step is acceptable."""
    if f.saddle and not f.scale and f.grad_norm <= f.threshold:
        return f"{f.after} the gradient vanishes, but {f.saddle}. {f.gradient}"
    why = (
        f"rounding hides what is left (scale parameters of very different sizes{'' if f.double else ', or try float64'}"
        "), the loss is not smooth here, or the gradient is wrong (gdjax.check_gradient)"
    )
    if f.result.penalty_value is not None:
        why += ", or value and prox of the penalty do not belong together (gdjax.check_penalty)"
    return f"{f.after} no step lowers the loss as its gradient promises: {f.scale or f.domain or why}. {f.gradient}"


def nonfinite_start(f: Facts) -> str:
    """Value or gradient is not finite at the start; which of the numbers are not."""
    found = f.result
    slopes = found.grad if found.space is None else found.space.grad
    trees = [(found.variables, "params"), (slopes, "grad")]
    trees += [(found.squares.residuals, "residuals")] if found.squares is not None else []
    trees += [(found.conditions.values, "constraints")] if found.conditions is not None else []
    named = [(name, leaf) for tree, argument in trees for name, leaf in named_leaves(argument, tree)]
    bad = {name: (np.size(leaf) - np.isfinite(leaf).sum(), np.size(leaf)) for name, leaf in named}
    data = {name: tuple(np.asarray(pair).tolist()) for name, pair in (found.nonfinite_data or {}).items()}
    listed = lambda counts: ", ".join(f"{name} has {n} of {size}" for name, (n, size) in counts.items() if n)
    where = f" Entries that are not finite: {listed(bad)}." if listed(bad) else ""
    if found.conditions is not None and not where:
        where = " Not finite is the gradient of a constraint there, as that of sqrt(x) at 0 is: start elsewhere."
    if listed(data):
        remedy = ", or hide it with mask= of gdjax.curve_fit" if found.squares is not None else " of the loss"
        if getattr(found, "by", None) == "curve_fit" and any(data[name][0] for name in data if name.startswith("x")):
            remedy = ", or hide it with mask= (in x, where that has the shape of y)"
        where += f" Among the data {listed(data)}: leave out what is NaN or infinite{remedy}."
    norm = "gradient norm" if found.progress.cosine is not None else f.norm
    return f"the descent cannot begin: at the start the value is {f.value} and the {norm} {found.grad_norm}.{where}"


def given_wrong(f: Facts) -> str:
    """What the user gave, a gradient or a Jacobian, is not what it should be."""
    if f.result.entry is not None and bool(f.result.entry.wrong):
        return wrong_jacobian(f.result, f.after)
    return wrong_gradient(f.result, f.after, f.falling)


def runaway(f: Facts) -> str:
    """Parameters run to infinity, and the value levels off."""
    verb = "runs" if f.running and " and " not in f.running else "run"
    return (
        f"{f.after} {f.running or 'parameters'} {verb} away while the sum of squares hardly falls: along this path "
        "no minimum is in sight. Add bounds (penalty=gdjax.penalties.Box(lower, upper)), use a model with fewer terms, "
        f"or try other starts (gdjax.multistart). {f.gradient}"
    )


SENTENCES: dict[Status, Callable[[Facts], str]] = {
    Status.RUNNING: lambda f: f"{f.after}. {f.gradient}",
    Status.CONVERGED: converged,
    Status.TARGET_REACHED: lambda f: f"{f.after} the value {f.value:.6g} is at or beyond the target {f.target:.6g}.",
    Status.PRECISION_FLOOR: floor,
    Status.SMALL_DECREASE: lambda f: (
        f"{f.after} a step changed the value by no more than {np.asarray(f.stop.decrease):.3g} of itself, as asked. "
        f"That is no sign of a minimum by itself. {f.gradient}"
    ),
    Status.SMALL_STEP: lambda f: (
        f"{f.after} a step changed the parameters by no more than {np.asarray(f.stop.step):.3g} of their largest, as "
        f"asked. That is no sign of a minimum by itself. {f.gradient}"
    ),
    Status.MAX_STEPS: lambda f: f"the limit of {count(f.stop.max_steps, 'step')} came first, {f.after}. {f.advice}",
    Status.MAX_EVALS: lambda f: (
        f"the limit of {count(f.stop.max_evals, 'evaluation')} came first, {f.after}. {f.advice}"
    ),
    Status.STALLED: stalled,
    Status.STEP_TOO_SMALL: step_too_small,
    Status.LINE_SEARCH_FAILED: search_failed,
    Status.DIVERGED: diverged,
    Status.RUNAWAY: runaway,
    Status.UNBOUNDED: lambda f: (
        f"{f.after} the value has run from {f.start_value:.4g} to {f.value:.4g}: the loss has no "
        f"{'maximum' if f.up else 'minimum'} along this path. Add a constraint or a penalty, or check its sign."
    ),
    Status.NONFINITE: lambda f: (
        f"{f.after} the next point had a NaN or infinite value or gradient; the best finite point is returned. The "
        f"step may have left the domain of the loss: take smaller steps, or a method with a search. {f.gradient}"
    ),
    Status.NONFINITE_START: nonfinite_start,
    Status.NO_DATA: lambda f: "the mask leaves no data: nothing is fitted, and the parameters are those of the start.",
    Status.WRONG_GRADIENT: given_wrong,
    Status.AT_EDGE: lambda f: (
        f"{f.after} the gradient vanishes only because a step led to an end of a space or the start is near one, where "
        "the map to the parameters is flat; the loss is lower on the way back inside. Start elsewhere, or take shorter "
        f"steps (a smaller learning rate, another method). The value is {f.value:.6g}."
    ),
    Status.MAX_SECONDS: lambda f: f"time ran out {f.after}{f.time}. {f.trend} {f.gradient}",
    Status.INTERRUPTED: lambda f: f"interrupted from the keyboard {f.after}{f.time}. {f.trend} {f.gradient}",
    Status.RAISED: lambda f: f"{f.raiser} {f.after}{f.time}: {f.error}. {f.gradient}",
    Status.STOPPED_BY_CALLBACK: lambda f: f"the callback asked to stop {f.after}{f.time}. {f.trend} {f.gradient}",
}
