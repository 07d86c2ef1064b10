"""What all pictures share: axes, and series that do not differ in colour alone.

Colours: M. Okabe and K. Ito, Color universal design (2008), without its yellow, which is too light for lines.
"""

from typing import Any

try:
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import Normal, Stroke
except ImportError as error:
    raise ImportError("gdjax.plot needs matplotlib: pip install 'gdjax[plot]'") from error

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (1, 3)))
HALO = [Stroke(linewidth=4, foreground="white"), Normal()]  # around what is drawn on dark and light ground
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def axes(ax: Any) -> Any:
    """The axes given, or those of a new figure."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(6.4, 4.2), layout="constrained")[1]


def series(i: int) -> dict[str, Any]:
    """Keywords of the i-th line."""
    return dict(color=COLOURS[i % 7], linestyle=LINES[i % 7], marker=MARKERS[i % 7], markersize=4.5, linewidth=1.6)


def quiet(ax: Any) -> None:
    """A light grid, and no box."""
    ax.grid(visible=True, which="major", color="0.88", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
