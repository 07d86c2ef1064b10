"""Pictures of results and reports: histories, comparisons, learning rates, gradient checks."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gdjax.descent.result import Result
from gdjax.insight.gradient_report import GradientReport
from gdjax.learning_rates import LearningRates, history_end
from gdjax.plot.style import COLOURS, axes, quiet, series

AGAINST = {"evaluations": "num_evals", "steps": "step", "seconds": "num_evals"}
UNEVEN = 20  # ratio of the longest descent to the shortest from which x is logarithmic too, but for the beginning
MARKS = 12  # markers a line, at most


def history(
    results: Result | Mapping[str, Result],
    quantity: str = "value",
    against: str = "evaluations",
    ax: Any = None,
) -> Any:
    """Draw the course of descents made with ``history=True``, on a logarithmic scale.

    Args:
        results: one result, or several by label.
        quantity: "value" or "grad_norm". If not all values are positive, their distances from the best are drawn.
        against: "evaluations", "steps" or "seconds" (which needs ``result.timing``: pass ``max_seconds=math.inf``
            to `gdjax.minimize`; time is spread evenly over the evaluations, without compiling).
        ax: matplotlib axes to draw on.

    Returns:
        The axes.

    Raises:
        ValueError: if a result has no history (or no timing), or if quantity or against is none of these.
    """
    if quantity not in ("value", "grad_norm"):
        raise ValueError(f'quantity must be "value" or "grad_norm", got {quantity!r}')
    if against not in AGAINST:
        raise ValueError(f"against must be one of {', '.join(AGAINST)}, got {against!r}")
    several = results if isinstance(results, Mapping) else {"": results}
    columns = {label: records(label, result, against) for label, result in several.items()}
    best = None
    if quantity == "value":
        signs = {label: -1 if result.maximized else 1 for label, result in several.items()}
        lowest = {label: float(np.min(signs[label] * c["value"])) for label, c in columns.items()}
        if min(lowest.values()) <= 0 or -1 in signs.values():
            best = min(lowest.values())
            for label, c in columns.items():
                c["value"] = signs[label] * c["value"] - best
    ax = axes(ax)
    for i, (label, c) in enumerate(columns.items()):
        y = np.where(c[quantity] > 0, c[quantity], np.nan)  # a zero has no logarithm
        ax.plot(c["x"], y, label=label, markevery=max(1, math.ceil(len(y) / MARKS)), **series(i))
    ends = [c["x"][-1] for c in columns.values()]
    if max(ends) > UNEVEN * max(min(ends), 1e-300):
        ax.set_xscale("symlog", linthresh=max(min(ends) / 4, 1e-300))
    ax.set_yscale("log")
    ax.set_xlabel({"evaluations": "evaluations of the loss", "steps": "steps", "seconds": "seconds"}[against])
    distance = "" if best is None else f", distance from the best ({-best if -1 in signs.values() else best:.6g})"
    ax.set_ylabel("gradient norm" if quantity == "grad_norm" else f"value{distance}")
    if isinstance(results, Mapping):
        ax.legend(frameon=False)
    quiet(ax)
    return ax


def records(label: str, result: Result, against: str) -> dict[str, np.ndarray]:
    """The columns of one history, with x among them."""
    name = f"result {label!r}" if label else "the result"
    if result.history is None:
        raise ValueError(f"{name} has no history; make it with history=True")
    columns = result.history.to_dict()
    columns["x"] = columns[AGAINST[against]].astype(float)
    if against == "seconds":
        if result.timing is None:
            raise ValueError(f"{name} has no timing; make it with max_seconds=math.inf")
        running = result.timing.seconds - result.timing.compiling
        columns["x"] *= running / max(int(result.num_evals), 1)
    return columns


def compare(results: Mapping[str, Result], ax: Any = None) -> Any:
    """Draw the cost and the end of descents: a bar of evaluations for each, solid if it converged, else hatched."""
    ax = axes(ax)
    for i, (label, result) in enumerate(results.items()):
        done = bool(result.converged)
        face = COLOURS[0] if done else "white"
        ax.barh(label, int(result.num_evals), color=face, edgecolor=COLOURS[0], hatch="" if done else "///", height=0.6)
        text = f" {int(result.num_evals)}: {result.status.name}, value {float(result.value):.4g}"
        ax.annotate(text, (int(result.num_evals), i), va="center", fontsize=9)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlabel("evaluations of the loss (hatched: not converged)")
    ax.set_xlim(1, max(int(result.num_evals) for result in results.values()) ** 1.8)  # room for the words
    quiet(ax)
    ax.grid(visible=False, axis="y")
    return ax


def learning_rates(report: LearningRates, ax: Any = None) -> Any:
    """Draw where each learning rate led: the value at its last step, with the stable limit and the recommended rate.

    Values that ran away are drawn at the upper edge.
    """
    ax = axes(ax)
    ends = np.array([history_end(report.results, i) for i in range(len(report.rates))])
    shift = 0.0 if ends.min() > 0 else float(np.nanmin(ends))
    heights = np.where(np.isfinite(ends), ends - shift, np.inf)
    tiny = 0.1 * heights[heights > 0].min() if (heights > 0).any() else 1.0
    top = 30 * max(report.start_value - shift, tiny)
    heights = np.clip(heights, tiny, top)
    ax.plot(report.rates, heights, color="0.7", linewidth=1, zorder=1)
    looks = {"too small": ("v", "white"), "right": ("o", COLOURS[0]), "too large": ("^", COLOURS[1])}
    for verdict, (marker, face) in looks.items():
        chosen = np.array([v == verdict for v in report.verdicts])
        ax.plot(report.rates[chosen], heights[chosen], marker, color=COLOURS[0] if face == "white" else face,
                markerfacecolor=face, label=verdict, markersize=8, linestyle="none")  # fmt: skip
    at = list(report.rates).index(report.recommended)
    ax.plot(report.recommended, heights[at], "*", color="black", markersize=15, linestyle="none",
            label=f"recommended: {report.recommended:.2g}", zorder=3)  # fmt: skip
    if np.isfinite(report.stable_limit):
        ax.axvline(report.stable_limit, color="black", linestyle="--", linewidth=1,
                   label=f"stable limit: {report.stable_limit:.2g}")  # fmt: skip
    ax.axhline(report.start_value - shift, color="0.5", linestyle=":", linewidth=1, label="start")
    ax.set(xscale="log", yscale="log", xlabel="learning rate")
    ax.set_ylabel("value at the last step" + (f", distance from {shift:.4g}" if shift else ""))
    ax.legend(frameon=False, fontsize=9)
    quiet(ax)
    return ax


def gradient_check(report: GradientReport, ax: Any = None) -> Any:
    """Draw the errors of a gradient leaf by leaf: analytic against automatic, and automatic against numeric."""
    ax = axes(ax)
    names = [f"{leaf.path}: {leaf.verdict}" for leaf in report.leaves]
    floor = 1e-17
    for offset, label, errors, face in (
        (-0.12, "jax.grad against finite differences", [leaf.line.error for leaf in report.leaves], "white"),
        (0.12, "analytic against jax.grad", [leaf.analytic_error for leaf in report.leaves], COLOURS[1]),
    ):
        known = [(i, max(error, floor)) for i, error in enumerate(errors) if not math.isnan(error)]
        if known:
            rows, values = zip(*known, strict=True)
            places = np.asarray(rows) + offset
            ax.hlines(places, floor, values, color="0.7", linewidth=1)
            ax.plot(values, places, "s" if offset > 0 else "o", color=COLOURS[1] if offset > 0 else COLOURS[0],
                    markerfacecolor=face, label=label, linestyle="none")  # fmt: skip
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set(xscale="log", xlabel=f"relative error, in {report.dtype}", xlim=(floor / 5, 20))
    ax.set_title("gradient check: " + ("ok" if report.ok else "WRONG"))
    ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.4, -0.18), ncols=2)
    quiet(ax)
    return ax
