"""The loss along a line through a point, and what it says about a gradient there.

The Taylor test with a fitted order is that of Boumal et al., Manopt, a Matlab toolbox (JMLR 15, 2014,
`checkgradient`), with steps and the noise level set by the dtype.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.insight.gradient_report import LineCheck
from gdjax.vectors import vector

STEPS_A_DECADE, WINDOW = 4, 8  # the remainder's order is fitted over windows of two decades of t


def direction(rng: np.random.Generator, params: Any, only: int | None = None) -> Any:
    """A random direction like ``params``, in one leaf or all, as long in each leaf as its largest entry."""
    leaves, treedef = jax.tree.flatten(params)
    v = []
    for i, p in enumerate(leaves):
        x = rng.standard_normal(p.shape) + (1j * rng.standard_normal(p.shape) if jnp.iscomplexobj(p) else 0)
        v.append(x / max(float(np.linalg.norm(x)), 1e-300) * scale_of(p) * (only is None or only == i))
    return jax.tree.unflatten(treedef, [jnp.asarray(x, p.dtype) for x, p in zip(v, leaves, strict=True)])


def scale_of(p: jax.Array) -> float:
    """The length over which a leaf is varied: its largest entry, 1 if all are zero."""
    return float(np.max(np.abs(np.asarray(p, np.complex128)), initial=0.0)) or 1.0


def line_check(along: Callable[..., Any], f0: float, grad: Any, params: Any, v: Any, eps: float) -> LineCheck:
    """Compare `jax.grad` along ``v`` with values of the loss at x + t v and x - t v."""
    slope = float(vector.dot(jax.tree.map(jnp.conj, grad), v))
    decades = -0.5 * np.log10(eps)
    ts = np.logspace(-decades, 0, int(STEPS_A_DECADE * decades))
    dtype = vector.real_dtype(params)
    right, left = (np.asarray(along(v, jnp.asarray(sign * ts, dtype)), np.float64) for sign in (1, -1))
    slope, f0 = (np.float64(x) for x in (slope, f0))
    central = (right - left) / (2 * ts)
    # The steadiest of the central differences: truncation moves them at large t, rounding at small t.
    moves = np.abs(np.diff(central))
    best = int(np.nanargmin(moves)) if np.isfinite(moves).any() else 0
    numeric = central[best]
    noise = 10 * eps * max(abs(f0), abs(right[best]))
    # At a stationary point both slopes are rounding: what they would be 1e-4 away is what they are compared with.
    middle = len(ts) // 2
    nearby = eps ** (1 / 3) * max(abs(right[middle] - f0), abs(left[middle] - f0)) / ts[middle]
    larger = max(abs(slope), abs(numeric), nearby if np.isfinite(nearby) else 0.0) or 1.0
    order = taylor_order(ts, np.abs(right - f0 - ts * slope), noise)
    kink = find_kink(ts, f0, left, right, noise)
    return LineCheck(slope, float(numeric), abs(slope - numeric) / larger, noise / ts[best] / larger, order, kink)


def taylor_order(ts: np.ndarray, remainder: np.ndarray, noise: float) -> float:
    """Order with which the remainder vanishes: the straightest fit of two decades; NaN if it is all rounding."""
    fits = []
    for i in range(len(ts) - WINDOW + 1):
        t, r = ts[i : i + WINDOW], remainder[i : i + WINDOW]
        if np.all(np.isfinite(r)) and np.all(r > noise):
            fit, residual, *_ = np.polyfit(np.log(t), np.log(r), 1, full=True)
            fits.append((float(residual[0]), float(fit[0])))
    return min(fits)[1] if fits else float("nan")


def find_kink(
    ts: np.ndarray, f0: float, left: np.ndarray, right: np.ndarray, noise: float
) -> tuple[float, float] | None:
    """Slopes to the left and right if their difference stays as t shrinks a hundredfold; it is O(t) when smooth."""
    slopes_right, slopes_left = (right - f0) / ts, (f0 - left) / ts
    gap = np.abs(slopes_right - slopes_left)
    seen = np.flatnonzero(np.isfinite(gap) & (gap > 20 * noise / ts))  # beyond what rounding explains
    if len(seen) == 0:
        return None
    small, large = int(seen[0]), int(seen[0]) + 2 * STEPS_A_DECADE
    if large >= len(ts) or not gap[small] > 0.5 * gap[large]:
        return None
    return float(slopes_left[small]), float(slopes_right[small])
