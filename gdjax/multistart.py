"""The best of many starts, and the distinct minima that they reached."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status, is_success
from gdjax.jaxtools.faces import as_table, one_line
from gdjax.jaxtools.packing import with_keys, without_keys
from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.minimize_many import minimize_many
from gdjax.request import require_concrete
from gdjax.running.driver import RESTING

ROWS, NUMBERS = 10, 6  # minima that are printed, and of their parameters


@pytree_dataclass
class Minima:
    """Distinct minima, the best first; k of them."""

    params: Any  # leaves (k, ...)
    value: np.ndarray  # of the user's function, (k,)
    count: np.ndarray  # starts that led there, (k,)
    lane: np.ndarray  # index of the result that is shown for it, the one with the best value, (k,)


@pytree_dataclass
class MultiStart:
    """What `multistart` found; a pytree. ``print`` it for the table of minima."""

    best: Result  # the best of those that converged; if none did, the lowest of all that are finite
    minima: Minima
    results: Result  # of all starts, with a leading axis

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        return dict(starts=np.size(self.results.code), minima=len(self.minima.value), best_value=self.best.value)

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        """How many starts came to rest where, and what became of the others."""
        codes, minima = np.asarray(self.results.code), self.minima
        rest, found = ~np.isin(codes, RESTING), len(minima.value)
        names, counts = np.unique(codes[rest], return_counts=True)
        ended = ", ".join(f"{n} {Status(int(code)).name}" for code, n in zip(names, counts, strict=True))
        kind = ("maxim" if self.best.maximized else "minim") + ("um" if found == 1 else "a")
        others = f"; {rest.sum()} did not: {ended}" if ended else ""
        lines = [f"{codes.size} starts: {np.sum(~rest)} came to rest, at {found} distinct {kind}{others}."]
        if found:
            lines.append(f"{'value':>14}  {'reached':>7}  params")
        for i in range(min(found, ROWS)):
            numbers = np.concatenate([np.ravel(leaf[i]) for leaf in jax.tree.leaves(minima.params)])
            shown = ", ".join(f"{x:.5g}" for x in numbers[:NUMBERS]) + ", ..." * (numbers.size > NUMBERS)
            lines.append(f"{minima.value[i]:14.8g}  {minima.count[i]:7d}  {shown}")
        if found > ROWS:
            lines.append(f"and {found - ROWS} more.")
        return "\n".join([*lines, f"The best: {self.best}{self.lower_still()}"])

    def lower_still(self) -> str:
        """The best of those that did not converge, if it beats the best that did."""
        sign = -1.0 if self.best.maximized else 1.0
        value = np.nan_to_num(sign * np.asarray(self.results.value, np.float64), nan=np.inf)
        best = int(np.argmin(value))
        if self.best.converged and value[best] < sign * float(self.best.value):
            name = Status(int(self.results.code[best])).name
            word = "higher" if self.best.maximized else "lower"
            return f" Among those that did not converge results[{best}] is {word}: {sign * value[best]:.6g} ({name})."
        return ""


def multistart(
    loss: Callable[..., Any],
    starts: Any,
    *args: Any,
    num_starts: int | None = None,
    key: Any = 0,
    distinct: float = 1e-3,
    **options: Any,
) -> MultiStart:
    """Minimise ``loss(params, *args)`` from many starts: the best, the distinct minima, how often each was reached.

    Two starts count as having reached the same minimum if no entry of params differs by more than ``distinct`` times
    the spread of the starts in its leaf (largest minus smallest entry over all starts), and the value by no more than
    ``distinct`` times the median decrease from a start to the best value. Both scales move with the problem, so the
    same minima are found in other units. If all starts are equal, or if the loss does not fall, the size of params and
    value is the scale.

    Only a descent that came to rest (CONVERGED or PRECISION_FLOOR) counts as a minimum. The gradient is zero there. It
    is also zero at a saddle, where few starts end (`gdjax.classify_critical_point` tells the two apart).

    Args:
        loss, *args: as in `minimize`; the args are shared by all starts.
        starts: a pytree like the parameters, where each leaf has a leading axis of starts. Or a sampler: a function of
            a JAX random key that returns one start, and is traced.
        num_starts: how many starts to draw from a sampler.
        key: for the sampler: a JAX random key, or a whole number that makes one.
        distinct: fraction of the spread, as above.
        **options: those of `gdjax.minimize_many` except ``in_axes``: method, penalty, tol, batch_size, max_seconds ...

    Returns:
        A `MultiStart`: ``best``, ``minima`` (``params``, ``value``, ``count``, sorted by value) and all ``results``.

    Raises:
        TypeError, ValueError: as `minimize_many`; if a sampler comes without num_starts, or starts with it; inside a
            trace, where the number of minima is not known (use `minimize_many` and argmin there).

    >>> import jax, jax.numpy as jnp
    >>> valleys = lambda x: x**4 - 4 * x**2 + x
    >>> found = multistart(valleys, lambda key: jax.random.uniform(key, minval=-2.0, maxval=2.0), num_starts=50)
    >>> found.best.params.round(3), found.minima.value.round(3), found.minima.count.sum()
    (Array(-1.473, dtype=float32), array([-5.444, -2.619], dtype=float32), np.int64(50))
    """
    require_concrete(
        jax.tree.leaves((starts if not callable(starts) else None, args)),
        "multistart counts distinct minima in Python (minimize_many and argmin work everywhere)",
    )
    if "in_axes" in options:
        raise TypeError("multistart has no in_axes: starts have a leading axis, the args are shared by all of them")
    if not (isinstance(distinct, int | float) and distinct >= 0):
        raise ValueError(f"distinct must be a number, not negative; got {distinct!r}")
    if callable(starts):
        starts = sample(starts, num_starts, key)
    elif num_starts is not None:
        raise ValueError("num_starts is for a sampler; these starts have an axis of their own")
    starts = starts.params if isinstance(starts, Result) else starts
    results = minimize_many(loss, starts, *args, in_axes=(0, *[None] * len(args)), **options)
    known = jax.tree.map(np.asarray, without_keys(results))
    lane = best_lane(known)
    best = with_keys(jax.device_put(jax.tree.map(lambda x: x[lane], known)), results)
    return MultiStart(best, find_minima(known, jax.tree.map(np.asarray, starts), distinct), results)


def sample(sampler: Callable[..., Any], num_starts: int | None, key: Any) -> Any:
    """Starts with a leading axis."""
    if isinstance(num_starts, bool) or not isinstance(num_starts, int | np.integer) or num_starts < 1:
        raise ValueError(f"a sampler needs num_starts, a number of starts; got {num_starts!r}")
    if isinstance(key, int):
        key = jax.random.key(key)
    return jax.vmap(sampler)(jax.random.split(key, int(num_starts)))


def best_lane(results: Result) -> int:
    """The lowest value among those that converged; if there are none, among all."""
    value = in_minimisers_sign(results)
    success = np.asarray(is_success(jnp.asarray(results.code)))
    return int(np.argmin(np.where(success, value, np.inf) if success.any() else value))


def in_minimisers_sign(results: Result) -> np.ndarray:
    """The values in the minimiser's sign; NaN becomes inf."""
    sign = -1.0 if results.maximized else 1.0
    return np.nan_to_num(sign * np.asarray(results.value, np.float64), nan=np.inf)


def find_minima(results: Result, starts: Any, distinct: float) -> Minima:
    """Starting from the best, each result that is not a neighbour of a better minimum is a new one."""
    value = in_minimisers_sign(results)
    order = np.argsort(value, kind="stable")
    order = order[np.isin(results.code, RESTING)[order]]
    value = value[order]
    points = scaled(results.params, starts, order)
    falls = np.asarray(results.progress.start_value, np.float64)[order] - value[:1]
    scale = float(np.median(falls)) if order.size else 0.0
    scale = scale if scale > 0 else float(np.abs(value).max(initial=0))
    counts, free = np.zeros(order.size, int), np.ones(order.size, bool)
    for i in range(order.size):
        if free[i]:
            end = np.searchsorted(value, value[i] + distinct * scale, side="right")
            near = free[i:end] & (np.abs(points[i:end] - points[i]).max(axis=1) <= distinct)
            counts[i] = near.sum()
            free[i:end] &= ~near
    first = np.flatnonzero(counts)
    lane = order[first]
    return Minima(jax.tree.map(lambda x: x[lane], results.params), np.asarray(results.value)[lane], counts[first], lane)


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
