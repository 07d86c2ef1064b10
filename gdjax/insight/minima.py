"""Distinct minima among the results of many starts, and which of them may be one and the same."""

import math
from typing import Any

import jax
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.stopping import at_rest
from gdjax.jaxtools.pytrees import pytree_dataclass

# Values and residuals agree if they do to this power of eps, in units of the decrease and of its root: 5.5e-7 in
# float64, 1.7e-3 in float32, some times what the default tolerances leave.
SAME = 0.4
ROUNDING = 10.0  # roundings of a value, or of residuals
ROWS, ALIKE, NUMBERS = 10, 3, 6  # minima that are printed, of a group, and of their parameters


@pytree_dataclass
class Minima:
    """Distinct minima, the best first; k of them."""

    params: Any  # leaves (k, ...)
    value: np.ndarray  # of the user's function, (k,)
    count: np.ndarray  # starts that led there, (k,)
    lane: np.ndarray  # index of the result that is shown for it, the one with the best value, (k,)
    group: np.ndarray  # from 0 on: minima with the same value (of fits: the same residuals) are in one group, (k,)


def in_minimisers_sign(results: Result) -> np.ndarray:
    """The values in the minimiser's sign; NaN becomes inf."""
    sign = -1.0 if results.maximized else 1.0
    return np.nan_to_num(sign * np.asarray(results.value, np.float64), nan=np.inf)


def find_minima(results: Result, starts: Any, distinct: float) -> tuple[Minima, np.ndarray]:
    """Starting from the best, each result that is not a neighbour of a better minimum is a new one.

    Also the number of the minimum that each start reached, -1 for none.
    """
    value = in_minimisers_sign(results)
    order = np.argsort(value, kind="stable")
    order = order[at_rest(results.code)[order]]
    value = value[order]
    points = scaled(results.params, starts, order)
    falls = np.asarray(results.progress.start_value, np.float64)[order] - value[:1]
    scale = float(np.median(falls)) if order.size else 0.0
    scale = scale if scale > 0 else float(np.abs(value).max(initial=0))
    counts, free, owner = np.zeros(order.size, int), np.ones(order.size, bool), np.zeros(order.size, int)
    for i in range(order.size):
        if free[i]:
            end = np.searchsorted(value, value[i] + distinct * scale, side="right")
            near = free[i:end] & (np.abs(points[i:end] - points[i]).max(axis=1) <= distinct)
            counts[i] = near.sum()
            free[i:end] &= ~near
            owner[i:end][near] = i
    first = np.flatnonzero(counts)
    lane, value = order[first], np.asarray(results.value)[order[first]]
    params = jax.tree.map(lambda x: x[lane], results.params)
    reached = np.full(results.code.size, -1)
    reached[order] = np.searchsorted(first, owner)
    return Minima(params, value, counts[first], lane, groups(results, lane, scale)), reached


def rows_of(minima: Minima, names: tuple[str, ...]) -> list[str]:
    """A table of the minima: value, how many starts reached it, its group if there are fewer of these, parameters.

    Of a group the first ALIKE are shown, so that many that are the same do not hide the others.
    """
    columns = names[:NUMBERS]
    width = max(11, *map(len, columns))
    grouped = len(set(minima.group.tolist())) < minima.group.size
    head = f"{'value':>14}  {'reached':>7}" + f"  {'group':>5}" * grouped
    lines = [head + "".join(f"  {name:>{width}}" for name in columns) + "  ..." * (len(names) > NUMBERS)]
    shown = [i for i, group in enumerate(minima.group) if np.sum(minima.group[:i] == group) < ALIKE]
    for i in shown[:ROWS]:
        numbers = np.concatenate([reals(leaf[i : i + 1])[0] for leaf in jax.tree.leaves(minima.params)])
        line = f"{minima.value[i]:14.8g}  {minima.count[i]:7d}" + f"  {minima.group[i]:5d}" * grouped
        lines.append(line + "".join(f"  {x:{width}.5g}" for x in numbers[:NUMBERS]))
    left = len(minima.group) - len(shown[:ROWS])
    return lines + [f"and {left} more."] * (left > 0)


def groups(results: Result, lanes: np.ndarray, scale: float) -> np.ndarray:
    """The number of each minimum's group: fits that agree in all residuals, or minima that agree in their value.

    Equal residuals are one fit, whatever its parameters: two terms of a sum have swapped their places, or the data do
    not determine all of them. Equal values alone do not prove as much.

    Args:
        results: of all starts.
        lanes: those of the minima, the best first.
        scale: a typical decrease of the value.
    """
    eps = float(np.finfo(results.value.dtype).eps)
    if results.squares is not None:
        rows, near = np.asarray(results.squares.residuals)[lanes], eps**SAME * (2 * scale) ** 0.5
    else:
        rows, near = np.asarray(results.value)[lanes, None], eps**SAME * scale
    rows, found, heads = rows.astype(np.float64), np.zeros(len(lanes), int), list[int]()
    for i, row in enumerate(rows):
        rounding = ROUNDING * eps * np.linalg.norm(row)
        same = [k for k, head in enumerate(heads) if np.linalg.norm(row - rows[head]) <= near + rounding]
        found[i] = same[0] if same else len(heads)
        heads += [] if same else [i]
    return found


def scaled(params: Any, starts: Any, order: np.ndarray) -> np.ndarray:
    """The points as rows of reals, each leaf in units of the spread of its starts."""
    columns = []
    for x, start in zip(jax.tree.leaves(params), jax.tree.leaves(starts), strict=True):
        chosen, begun = reals(x[order]), reals(start)
        begun = begun[np.isfinite(begun).all(axis=1)]
        spread = float(np.ptp(begun, axis=0).max(initial=0)) if len(begun) else 0.0
        size = float(np.abs(chosen).max(initial=0))
        columns.append(chosen / (spread or size or 1.0))
    return np.concatenate(columns, axis=1)


def reals(x: np.ndarray) -> np.ndarray:
    """Rows of reals; a complex entry is two."""
    rows = x.reshape(x.shape[0], math.prod(x.shape[1:]))
    parts = [rows.real, rows.imag] if np.iscomplexobj(x) else [rows]
    return np.concatenate([part.astype(np.float64) for part in parts], axis=1)
