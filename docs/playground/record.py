"""Record what gdjax does in each lesson: every point of every descent, and its words at the end."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from contourpy import FillType, contour_generator

import gdjax
from docs.playground.lessons import METHODS, Lesson

GRID = 91  # points of a surface in each direction
LEVELS = np.linspace(-3.5, 0.0, 15)  # log10 of the height above the lowest point, as in `gdjax.plot.surface`
ESCAPE_RATE = 0.1


def lesson(one: Lesson) -> dict[str, Any]:
    """All that the page needs of one lesson."""
    title, formula, text = one.title, one.formula, one.text
    words = dict(key=one.key, title=title, formula=formula, text=text, names=one.names, span=one.span, goal=one.goal)
    picture = {"curve": curve(one)} if len(one.names) == 1 else {"surface": surface(one)}
    data = {"data": [numbers(column) for column in one.args]} if one.args else {}
    return words | picture | data | {"presets": presets(one), "methods": [method(one, key) for key in METHODS]
                                     + ([escape(one)] if one.escapes else [])}  # fmt: skip


def presets(one: Lesson) -> list[tuple[str, int]]:
    """Which rates of the grid of gradient descent are nearest to the presets."""
    grid = np.log(one.rates["descent"])
    nearest = [int(np.argmin(np.abs(grid - np.log(rate)))) for rate in one.presets]
    return list(zip(one.preset_names, nearest, strict=True))


def method(one: Lesson, key: str) -> dict[str, Any]:
    """One method, at all its rates, or alone if it has none."""
    name, make = METHODS[key]
    if key not in one.rates:
        return {"key": key, "name": name, "runs": [run(one, make())]}
    runs = [run(one, make(rate), with_slopes=key == "descent" and len(one.names) == 1) for rate in one.rates[key]]
    return {"key": key, "name": name, "rates": one.rates[key], "runs": runs} | verdicts(one, key)


def verdicts(one: Lesson, key: str) -> dict[str, Any]:
    """What `gdjax.learning_rate_range` says of the rates: too small, right or too large."""
    if key == "adam":
        return {}
    momentum = 0.9 if key == "momentum" else 0.0
    options = dict(rates=one.rates[key], momentum=momentum, max_steps=one.max_steps)
    report = gdjax.learning_rate_range(one.loss, one.start, *one.args, **options)
    lucky = f"right, by luck: above the stable limit {report.stable_limit:.2g}"
    above = report.rates >= report.stable_limit
    pairs = zip(report.verdicts, above, strict=True)
    return {"verdicts": [lucky if verdict == "right" and high else verdict for verdict, high in pairs]}


def run(one: Lesson, how: Any, with_slopes: bool = False) -> dict[str, Any]:
    """The points of a descent as `gdjax.iterate` yields them, and the words of `gdjax.minimize` about the whole."""
    options = dict(method=how, max_steps=one.max_steps)
    # A descent can end on a trip that makes no step; then the last state shows the point of the one before.
    states = {int(state.num_steps): state for state in gdjax.iterate(one.loss, one.start, *one.args, **options)}
    return story(one, list(states.values()), gdjax.minimize(one.loss, one.start, *one.args, **options), with_slopes)


def escape(one: Lesson) -> dict[str, Any]:
    """Gradient descent that leaves saddles."""
    states: list[Any] = []
    how = gdjax.GradientDescent(ESCAPE_RATE)
    options: Any = dict(method=how, max_steps=one.max_steps, escape_saddles=True, callback=states.append)
    result = gdjax.minimize(one.loss, one.start, *one.args, **options)
    return {"key": "escape", "name": f"Gradient descent {ESCAPE_RATE:g}, escape_saddles=True",
            "runs": [story(one, states, result, False)]}  # fmt: skip


def story(one: Lesson, states: list[Any], result: Any, with_slopes: bool) -> dict[str, Any]:
    """Points (flat), values, evaluations if not one a step, slopes if asked for, status and words."""
    points = np.array([flat(state.params) for state in states])
    evals = [int(state.num_evals) for state in states]
    kept = {
        "x": numbers(points.ravel(), 6 if len(one.names) == 1 else 5),
        "f": numbers([state.value for state in states], 4),
    }
    if evals != list(range(1, len(states) + 1)):
        kept["e"] = evals
    if with_slopes:
        kept["g"] = numbers([state.grad for state in states])
    words = str(result).partition(": ")[2]
    if one.escapes and result.converged:
        words += f" gdjax.classify_critical_point: {gdjax.classify_critical_point(one.loss, result, *one.args)}"
    return kept | {"status": result.status.name, "words": words}


def flat(params: Any) -> np.ndarray:
    """Parameters as a vector, in the order of their names."""
    return np.array([float(x) for leaf in jax.tree.leaves(params) for x in jnp.ravel(leaf)])


def numbers(values: Any, digits: int = 5) -> list[float]:
    """Rounded, for a page that stays small."""
    rounded = [float(f"{float(value):.{digits}g}") for value in values]
    return [int(x) if x == int(x) and abs(x) < 1e15 else x for x in rounded]


def curve(one: Lesson) -> list[list[float]]:
    """The curve as x and f(x)."""
    low, high = one.span[0]
    xs = np.linspace(low, high, 241)
    return [numbers(xs), numbers(jax.vmap(one.loss)(xs))]


def surface(one: Lesson) -> list[str]:
    """Regions below each level, widest first, as SVG paths in a square of 1000 x 1000 with y downwards."""
    (left, right), (low, high) = one.span
    xs, ys = np.meshgrid(np.linspace(left, right, GRID), np.linspace(low, high, GRID))
    treedef = jax.tree.structure(one.start)
    place = lambda x, y: jnp.stack([x, y]) if treedef.num_leaves == 1 else jax.tree.unflatten(treedef, [x, y])
    heights = jax.vmap(lambda x, y: one.loss(place(x, y), *one.args))(xs.ravel(), ys.ravel()).reshape(GRID, GRID)
    above = np.asarray(heights) - float(heights.min())
    depth = np.log10(np.clip(above / above.max(), 1e-5, None))
    square = np.linspace(0, 1000, GRID)
    regions = contour_generator(square, 1000 - square, depth, fill_type=FillType.OuterOffset)
    return [path(regions.filled(-10.0, level)) for level in LEVELS[::-1][1:]]


def path(filled: Any) -> str:
    """Polygons with holes as one path."""
    pieces = []
    for points, offsets in zip(*filled, strict=True):
        for begin, end in itertools.pairwise(offsets):
            ring = [f"{x:.0f} {y:.0f}" for x, y in points[begin : end - 1]]
            pieces.append("M" + "L".join(ring) + "Z")
    return "".join(pieces)
