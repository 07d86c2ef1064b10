"""Pictures of fits: data and model, and the residuals below."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gdjax.insight.fit import Fit
from gdjax.plot.style import COLOURS, plt, quiet


def fit(
    fit: Fit,
    model: Callable[..., Any],
    x: Any,
    y: Any,
    *,
    sigma: Any = None,
    level: float = 0.95,
    prediction: bool = False,
    points: int = 301,
    ax: Any = None,
) -> Any:
    """Draw data with error bars, the model at the answer with its band, and below what the model leaves of the data.

    Args:
        fit: what `gdjax.least_squares` or `gdjax.curve_fit` returned, of one problem.
        model: ``model(params, x)``, to an array like x.
        x, y: the data, real, with one axis; y that are NaN are left out.
        sigma: standard deviations of y, a number or an array like it: error bars, and units of what is drawn below.
        level: of the bands.
        prediction: whether to draw the band of new data as well; with sigma one that is the same for all.
        points: of the curve.
        ax: two matplotlib axes to draw on, for the data and for the residuals.

    Returns:
        The two axes.

    Raises:
        ValueError: if x and y do not have one axis of the same length, or ax is not two axes; as `gdjax.Fit.band`.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 1 or x.shape != y.shape or np.iscomplexobj(y):
        raise ValueError(f"x and y must be real, with one axis of the same length; got shapes {x.shape} and {y.shape}")
    if prediction and sigma is not None and np.ndim(sigma):
        raise ValueError("prediction=True needs a sigma that is the same for all: elsewhere none is known")
    upper, lower = two_axes(ax)
    grid = np.linspace(x.min(), x.max(), points)
    line, half = (np.asarray(part) for part in fit.band(model, grid, level=level))
    share = f"{100 * level:g}%"
    if prediction:
        wide = np.asarray(fit.band(model, grid, level=level, prediction=True, sigma=sigma)[1])
        upper.fill_between(grid, line - wide, line + wide, color=COLOURS[5], alpha=0.2, linewidth=0)
        for side, label in ((line - wide, f"{share} of new data"), (line + wide, None)):
            upper.plot(grid, side, color=COLOURS[0], linestyle="--", linewidth=1, label=label)
    upper.fill_between(grid, line - half, line + half, color=COLOURS[5], alpha=0.5, linewidth=0, label=f"{share} band")
    upper.plot(grid, line, color=COLOURS[0], linewidth=1.8, label="model")
    bars = None if sigma is None else np.broadcast_to(np.asarray(sigma), y.shape)
    looks: Any = dict(fmt="o", color="black", markersize=4, elinewidth=1, capsize=2)
    upper.errorbar(x, y, yerr=bars, label="data", **looks)
    left = y - np.asarray(fit.band(model, x, level=level)[0])
    unit = 1.0 if bars is None else bars
    lower.errorbar(x, left / unit, yerr=None if bars is None else np.ones_like(y), **looks)
    lower.axhline(0, color=COLOURS[0], linewidth=1.2)
    upper.set_ylabel("y")
    lower.set(xlabel="x", ylabel="y - model" if bars is None else "(y - model) / sigma")
    handles, labels = upper.get_legend_handles_labels()
    upper.legend(handles[::-1], labels[::-1], frameon=False)  # the data first
    quiet(upper)
    quiet(lower)
    return np.array([upper, lower])


def two_axes(ax: Any) -> Any:
    """Those given, or those of a new figure, one above the other."""
    if ax is None:
        shape: Any = dict(sharex=True, height_ratios=(3, 1), figsize=(6.4, 5.4), layout="constrained")
        return plt.subplots(2, 1, **shape)[1]
    if np.size(ax) != 2:
        raise ValueError("ax must be two axes, as of plt.subplots(2, 1, sharex=True)[1]")
    return np.ravel(ax)
