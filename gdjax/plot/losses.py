"""Pictures of a loss: along a line, and over a plane."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.jaxtools.pytrees import named_leaves
from gdjax.plot.style import COLOURS, HALO, axes, quiet
from gdjax.problem.problem import check_params
from gdjax.spaces.chart import chart_of
from gdjax.spaces.models import is_plain
from gdjax.vectors.layout import Flat

Direction = int | str | Any  # a weight by number or name, or a pytree like params


def slice(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    along: Direction = 0,
    path: Sequence[Any] = (),
    span: tuple[float, float] | None = None,
    points: int = 201,
    kwargs: dict[str, Any] | None = None,
    ax: Any = None,
) -> Any:
    """Draw the loss while one weight (or a step along one direction) varies and all else stays as in ``params``.

    Args:
        loss, params, args, kwargs: as for `gdjax.minimize`; params may be a result.
        along: which weight, by its number in flat order or by a name such as ``"params['w'][3]"``; or a direction, as
            a pytree like params (in units of its length).
        path: results (as `gdjax.iterate` yields them) or parameters of a descent, drawn as points: each at its own
            value and at its place along the line. If there is only one weight, they lie on the curve.
        span: from where to where; by default around params and the path.
        points: number of points of the curve.
        ax: matplotlib axes to draw on.

    Returns:
        The axes.
    """
    plane = Plane(loss, params, args, kwargs, [along])
    places = np.array([plane.place(state)[0] for state in path])
    low, high = span or around(plane.origin[0], places)
    ts = np.linspace(low, high, points)
    ax = axes(ax)
    ax.plot(ts, plane.values([ts - plane.origin[0]]), color=COLOURS[0], linewidth=1.8, label="loss")
    if len(places):
        ax.plot(places, [plane.value(state) for state in path], color=COLOURS[1], linestyle=":", marker="o",
                markersize=5, markerfacecolor="white", label="descent")  # fmt: skip
    here = float(plane.values([np.zeros(1)])[0])
    ax.plot(plane.origin[0], here, "k*", markersize=12, linestyle="none", label="params")
    ax.set(xlabel=plane.labels[0], ylabel="loss")
    ax.legend(frameon=False)
    quiet(ax)
    return ax


def surface(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    along: tuple[Direction, Direction] | None = None,
    path: Sequence[Any] = (),
    marks: Mapping[str, Any] | None = None,
    span: tuple[tuple[float, float], tuple[float, float]] | None = None,
    points: int = 81,
    levels: int = 18,
    kwargs: dict[str, Any] | None = None,
    ax: Any = None,
) -> Any:
    """Draw contours of the loss over a plane through ``params``, dark where it is low, and a descent on it.

    Args:
        loss, params, args, kwargs: as for `gdjax.minimize`; params may be a result.
        along: two weights or directions, see `slice`. Default: the two weights if there are only two; otherwise
            the two principal directions of the path about params.
        path: results or parameters of a descent, projected onto the plane; the first is drawn as a square.
        marks: parameters to mark by name, such as ``{"saddle": ..., "minimum": ...}``.
        span: from where to where, for both axes.
        points: number of grid points in each direction.
        levels: number of contours; they are closer together where the loss is low.
        ax: matplotlib axes to draw on.

    Returns:
        The axes.

    Raises:
        ValueError: with more than two weights, if neither ``along`` nor a path of at least two points is given.
    """
    plane = Plane(loss, params, args, kwargs, list(along or ()) or None, path)
    places = np.array([plane.place(state) for state in path]).reshape(-1, 2)
    marked = {name: plane.place(state) for name, state in (marks or {}).items()}
    everything = np.array([*places, *marked.values()]).reshape(-1, 2)
    spans = span or [around(plane.origin[i], everything[:, i]) for i in range(2)]
    xs, ys = (np.linspace(*ends, points) for ends in spans)
    grid = [g.ravel() for g in np.meshgrid(xs - plane.origin[0], ys - plane.origin[1])]
    heights = plane.values(grid).reshape(points, points)
    ax = axes(ax)
    # Equal steps of the logarithm of the height above the lowest point: a narrow valley shows as well as the slopes.
    low = np.nanmin(heights)
    scale = np.nanmax(heights[np.isfinite(heights)]) - low or 1.0
    depth = np.log10(np.clip((heights - low) / scale, 1e-4, None))
    filled = ax.contourf(xs, ys, depth, levels=levels, cmap="Blues_r", alpha=0.9)
    ax.contour(xs, ys, depth, levels=levels, colors="0.35", linewidths=0.5, linestyles="solid")
    bar = ax.figure.colorbar(filled, ax=ax, ticks=[0, -1, -2, -3, -4])
    bar.ax.set_yticklabels([f"{low + scale * 10.0**k:.3g}" for k in (0, -1, -2, -3)] + [f"{low:.3g}"])
    bar.set_label("loss")
    if len(places):
        ax.plot(*places.T, color=COLOURS[1], linewidth=1.6, marker="o", markersize=3.5, markerfacecolor="white",
                label="descent", path_effects=HALO)  # fmt: skip
        ax.plot(*places[0], "s", color=COLOURS[1], markeredgecolor="white", markersize=9, linestyle="none",
                label="start")  # fmt: skip
    for marker, (name, place) in zip("XD^vP", marked.items(), strict=False):
        ax.plot(*place, marker, color="white", markeredgecolor="black", markersize=10, linestyle="none", label=name)
    ax.plot(*plane.origin, "*", color="white", markeredgecolor="black", markersize=15, linestyle="none", label="params")
    ax.set(xlabel=plane.labels[0], ylabel=plane.labels[1], xlim=spans[0], ylim=spans[1])
    ax.legend(fontsize=9, frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(0, 1))
    return ax


def around(center: float, places: np.ndarray) -> tuple[float, float]:
    """A range with some room around everything to be seen; one to each side if that is a point."""
    low, high = min([center, *places]), max([center, *places])
    margin = 0.15 * (high - low) or 1.0
    return low - margin, high + margin


class Plane:
    """A line or plane through params: its directions, and the loss on it."""

    def __init__(self, loss: Any, params: Any, args: Any, kwargs: Any, along: Any, path: Sequence[Any] = ()) -> None:
        params = params.params if isinstance(params, Result) else params
        self.chart = None if is_plain(params) else chart_of(None, params)[0]  # of a model
        params = self.numbers(params)
        self.layout = Flat.of(params)
        self.center = np.asarray(self.layout.ravel(params), np.float64)

        def evaluate(x: jax.Array) -> Any:
            there = self.layout.unravel(x)
            out = loss(there if self.chart is None else self.chart.to_user(there), *args, **(kwargs or {}))
            return out[0] if isinstance(out, tuple) else out

        self.evaluate = jax.jit(lambda xs: jax.lax.map(evaluate, xs))
        if along is None and self.center.size != 2 and len(path) < 2:
            raise ValueError("with more than two weights give along=(one, another) or path=[...] of a descent")
        names = weight_names(params)
        if along is not None or self.center.size == 2:
            rows = [self.direction(names, one) for one in (along or (0, 1))]
        else:
            rows = self.principal(path)
        self.axes = np.array([row for row, _, _ in rows])
        self.labels = [label for _, label, _ in rows]
        self.origin = np.array([origin for _, _, origin in rows])

    def direction(self, names: list[str], along: Direction) -> tuple[np.ndarray, str, float]:
        """A unit vector, its label, and what the axis shows at params: the weight itself, or zero."""
        if isinstance(along, str):
            if along not in names:
                raise ValueError(f"there is no weight {along!r}; the first ones are {', '.join(names[:5])}")
            along = names.index(along)
        if isinstance(along, int):
            if not -self.center.size <= along < self.center.size:
                raise ValueError(f"there is no weight number {along} among {self.center.size}")
            unit = np.zeros_like(self.center)
            unit[along] = 1.0
            return unit, names[along], self.center[along]
        vector = np.asarray(self.layout.ravel(self.numbers(along)), np.float64)
        if vector.shape != self.center.shape or not vector.any():
            raise ValueError("a direction must be a pytree like params, and not zero")
        return vector / np.linalg.norm(vector), "distance along the direction", 0.0

    def principal(self, path: Sequence[Any]) -> list[tuple[np.ndarray, str, float]]:
        """The two directions in which a path spreads most about params."""
        spread = np.array([self.flat(state) for state in path]) - self.center
        _, sizes, rows = np.linalg.svd(spread, full_matrices=False)
        shares = sizes**2 / max(np.sum(sizes**2), np.finfo(float).tiny)
        words = "first", "second"
        return [(rows[i], f"{words[i]} principal direction of the path ({shares[i]:.0%})", 0.0) for i in range(2)]

    def flat(self, state: Any) -> np.ndarray:
        """A result or parameters as a vector."""
        state = state.params if isinstance(state, Result) else state
        return np.asarray(self.layout.ravel(self.numbers(state)), np.float64)

    def numbers(self, params: Any) -> Any:
        """The parameters; of a model, those that are fitted."""
        return check_params(params if self.chart is None else self.chart.to_free(params))

    def place(self, state: Any) -> np.ndarray:
        """Where a point lies on the axes."""
        return self.origin + np.linalg.lstsq(self.axes.T, self.flat(state) - self.center, rcond=None)[0]

    def value(self, state: Any) -> float:
        """The loss at a result or parameters."""
        return float(state.value) if isinstance(state, Result) else float(self.losses(self.flat(state)[None])[0])

    def values(self, coordinates: Sequence[np.ndarray]) -> np.ndarray:
        """The loss at points of the plane, in distances from params."""
        return self.losses(self.center + np.stack(coordinates, axis=1) @ self.axes)

    def losses(self, xs: np.ndarray) -> np.ndarray:
        """The loss at rows of vectors."""
        return np.asarray(self.evaluate(jnp.asarray(xs, self.layout.dtype)), np.float64)


def weight_names(params: Any) -> list[str]:
    """A name for each number of the flat vector."""
    names = []
    for name, leaf in named_leaves("params", params):
        parts = (".real", ".imag") if jnp.iscomplexobj(leaf) else ("",)
        places = ["".join(f"[{i}]" for i in index) for index in np.ndindex(jnp.shape(leaf))]
        names += [f"{name}{place}{part}" for part in parts for place in places]
    return names
