"""Pictures of fits: data and model, and the residuals below; the profile of a parameter."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gdjax.insight.fit import Fit
from gdjax.insight.profiles import Profile
from gdjax.plot.style import COLOURS, axes, plt, quiet


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
        fit: what `gdjax.least_squares` or `gdjax.curve_fit` returned, of one problem: of many ``fits[i]``.
        model: ``model(params, x)``, to an array like x.
        x, y: the data, real, with one axis; y that are NaN are left out.
        sigma: standard deviations of y, a number or an array like it: error bars, and units of what is drawn below.
        level: of the bands.
        prediction: whether to draw the band of new data as well. Between data whose sigma differ a line is drawn
            through these.
        points: of the curve.
        ax: two matplotlib axes to draw on, for the data and for the residuals.

    Returns:
        The two axes.

    Raises:
        ValueError: if x and y do not have one axis of the same length, ax is not two axes, or the fit is of many; as
            `gdjax.Fit.band`.
    """
    x, y = np.asarray(x), np.asarray(y)
    if fit.axes:
        raise ValueError(f"the fit is of {fit.code.size} problems: draw one, as plot.fit(fits[i], model, x, y[i])")
    if x.ndim != 1 or x.shape != y.shape or np.iscomplexobj(y):
        raise ValueError(f"x and y must be real, with one axis of the same length; got shapes {x.shape} and {y.shape}")
    upper, lower = two_axes(ax)
    grid = np.linspace(x.min(), x.max(), points)
    line, half = (np.asarray(part) for part in fit.band(model, grid, level=level))
    share = f"{100 * level:g}%"
    if prediction:
        here = sigma if sigma is None or np.ndim(sigma) == 0 else between(grid, x, np.broadcast_to(sigma, y.shape))
        wide = np.asarray(fit.band(model, grid, level=level, prediction=True, sigma=here)[1])
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


def between(grid: np.ndarray, x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """The standard deviations along a line through those of the data."""
    order = np.argsort(x, kind="stable")
    return np.interp(grid, x[order], sigma[order])


def profile(found: Profile, *, ax: Any = None) -> Any:
    """Draw the profile t of a parameter, and its interval; a straight line would be that of a linear model.

    Args:
        found: what `gdjax.profile` returned.
        ax: a matplotlib axes.

    Returns:
        The axes.
    """
    ax, known = axes(ax), np.isfinite(found.t)
    ends = [end for end in found.interval if np.isfinite(end)]
    span = [*ends, found.estimate] if ends else found.values[known]
    low, high = min(span), max(span)
    margin = 0.15 * (high - low) or 1.0
    shown = known & (found.values >= low - margin) & (found.values <= high + margin)
    ax.plot(found.values[shown], found.t[shown], color=COLOURS[0], marker="o", markersize=3.5, label="profile t")
    if np.isfinite(found.standard_error):
        straight = (found.values[shown] - found.estimate) / found.standard_error
        looks: Any = dict(color=COLOURS[1], linestyle="--", linewidth=1.2, label="of a linear model")
        ax.plot(found.values[shown], straight, **looks)
    for sign in (-1, 1):
        ax.axhline(sign * found.quantile, color="0.6", linewidth=0.8, linestyle=":")
    if ends:
        inside = max(found.lower, low - margin), min(found.upper, high + margin)
        ax.axvspan(*inside, color=COLOURS[5], alpha=0.25, label=f"{100 * found.level:g}% interval")
    ax.axhline(0, color="0.6", linewidth=0.8)
    ax.set(xlabel=found.name, ylabel="t", ylim=(-2 * found.quantile, 2 * found.quantile))
    ax.legend(frameon=False)
    quiet(ax)
    return ax


def two_axes(ax: Any) -> Any:
    """Those given, or those of a new figure, one above the other."""
    if ax is None:
        shape: Any = dict(sharex=True, height_ratios=(3, 1), figsize=(6.4, 5.4), layout="constrained")
        return plt.subplots(2, 1, **shape)[1]
    if np.size(ax) != 2:
        raise ValueError("ax must be two axes, as of plt.subplots(2, 1, sharex=True)[1]")
    return np.ravel(ax)
