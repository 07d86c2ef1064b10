"""Bars and lines with a colour a library and a style a method."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import matplotlib.ticker

# A colour a library, from Okabe and Ito's, which the colour-blind tell apart; a line style a method.
COLOURS = {
    "gdjax": "#000000", "optax": "#D55E00", "jaxopt": "#0072B2", "optimistix": "#009E73", "scipy": "#CC79A7",
    "hand-written": "#999999", "value_and_grad": "#56B4E9", "products with W, memory 10": "#E69F00",
}  # fmt: skip
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
WIDTH = 8.5  # inches: in the README's column text then has about its own size


def library(solver: str) -> str:
    """Whose it is."""
    return solver.split(".")[0]


def styles(solvers: Any) -> dict[str, dict[str, Any]]:
    """Colour, line style and width of each."""
    methods: dict[str, int] = {}
    found = {}
    for solver in solvers:
        of = library(solver)
        style = LINES[methods.setdefault(of, 0) % len(LINES)]
        methods[of] += 1
        found[solver] = dict(color=COLOURS[of], linestyle=style, linewidth=2.5 if of == "gdjax" else 1.5)
    return found


def bars(panels: dict[str, dict[str, float | None]], path: Path, note: str, scale: str = "linear") -> None:
    """A panel each of horizontal bars, with their numbers; None is what did not get there."""
    rows = [len(lengths) for lengths in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(WIDTH, 0.3 + sum(0.7 + 0.27 * n for n in rows)), dpi=150, layout="constrained",
        squeeze=False, height_ratios=[2 + n for n in rows],
    )  # fmt: skip
    for panel, (heading, lengths) in zip(axes[:, 0], panels.items(), strict=True):
        names = list(lengths)[::-1]
        widths = [lengths[name] or 0 for name in names]
        drawn = panel.barh(names, widths, color=[COLOURS[library(name)] for name in names])
        labels = [number(lengths[name]) for name in names]
        panel.bar_label(drawn, labels, padding=3, fontsize=8)
        panel.set_title(heading, fontsize=10)
        panel.set_xscale(scale)
        if scale == "log":
            readable(panel.xaxis, widths)
            panel.set_xlim(min(width for width in widths if width) / 2, 5 * max(widths))
        else:
            panel.margins(x=0.15)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    finish(figure, path, note)


def number(length: float | None) -> str:
    """Three digits at least."""
    return "not reached" if length is None else f"{length:,.0f}" if length >= 1000 else f"{length:.3g}"


def lines(
    panels: dict[str, dict[str, Any]], path: Path, along: str | list[str], up: str, note: str, yscale: str = "log"
) -> None:
    """A panel each of lines (x, y) over a logarithmic axis, with one legend; ``along`` is for all or one for each."""
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    across = min(len(panels), 2)
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(
        down,
        across,
        figsize=(WIDTH, 3.4 * down + 0.11 * len(names) + 0.4),
        dpi=150,
        layout="constrained",
        squeeze=False,
    )
    for empty in axes.flat[len(panels) :]:
        empty.set_axis_off()
    style = styles(names)
    below = [along] * len(panels) if isinstance(along, str) else along
    shown: dict[str, Any] = {}
    for panel, (heading, curves), xlabel in zip(axes.flat, panels.items(), below, strict=False):
        for solver, (x, y) in curves.items():
            shown[solver] = panel.plot(x, y, marker="o", markersize=3, **style[solver])[0]
        panel.set(xscale="log", yscale=yscale, xlabel=xlabel, title=heading)
        readable(panel.xaxis, [value for x, _ in curves.values() for value in x])
        if yscale == "log":
            readable(panel.yaxis, [value for _, y in curves.values() for value in y])
        panel.grid(alpha=0.3)
    for row in axes:
        row[0].set_ylabel(up)
    figure.legend(shown.values(), shown, fontsize=8, loc="outside upper center", handlelength=4, ncols=2)
    finish(figure, path, note)


def readable(axis: Any, values: list[float]) -> None:
    """Plain numbers along a logarithmic axis, enough of them."""
    positive = [value for value in values if value > 0]
    if max(positive) < 100 * min(positive):
        axis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def finish(figure: Any, path: Path, note: str) -> None:
    """With a line on where it was measured, to the file."""
    figure.supxlabel(note, fontsize=7, color="#555555")
    figure.savefig(path)
    plt.close(figure)
    print(f"picture: {path}")
