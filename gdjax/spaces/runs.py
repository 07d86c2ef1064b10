"""Which parameters of an answer run to an end of their space, or to infinity, as the loss itself tells.

A gradient that counts as zero does not tell whether the minimum is there or further on: that by the free numbers
vanishes on the way to both. So the slope is taken on: at a half, a tenth and a hundredth of the distance to the end (or
at as many times that, the other way). Where the loss falls at each, no minimum lies between. The size of the start does
not enter, except that only what has come nearer or gone farther by a factor of ten is looked at.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.stopping import at_rest
from gdjax.spaces.at_ends import FlatChart
from gdjax.spaces.base import Edges
from gdjax.spaces.chart import Chart

NEARER = 0.1  # share of the first distance from which on it is looked at
FACTORS = (2.0, 10.0, 100.0)
MOST = 100  # distances


class Runs(NamedTuple):
    """Of each leaf, marks of the shape of `Space.edges`; None if it has no ends."""

    to_end: list[Any]
    to_infinity: list[Any]


def may_run(chart: Chart, free: Any, grad: Any, code: jax.Array) -> jax.Array:
    """Whether there may be any. None are looked for among more than MOST distances."""
    flat = FlatChart(chart, free)
    pulls = flat.by_distance(flat.layout.ravel(grad))
    if not 0 < sum(x.size for x in pulls) <= MOST:
        return jnp.asarray(False)
    return jnp.any(jnp.stack([jnp.any(marks) for marks in candidates(flat, pulls, grad, code)]))


def candidates(flat: FlatChart, pulls: list[jax.Array], grad: Any, code: jax.Array) -> list[jax.Array]:
    """What came so much nearer to its end, or went so much farther, and is drawn on."""
    found = []
    for (i, s, z), pull in zip(flat.ends, pulls, strict=True):
        g, z0 = flat.chart.free_leaves(grad)[i], flat.chart.start[i]
        near, far = (cast(Edges, s.edges(*three)).share < NEARER for three in ((z, g, z0), (z0, g, z)))
        found.append(at_rest(code) & (((pull > 0) & near) | ((pull < 0) & far & s.endless)))
    return found


def runs_of(chart: Chart, free: Any, grad: Any, code: jax.Array, value: Callable[[Any], jax.Array]) -> Runs | None:
    """Which do, of one problem; ``value`` is the loss by the free numbers."""
    flat = FlatChart(chart, free)
    slopes = flat.layout.ravel(grad)
    pulls = flat.by_distance(slopes)
    if not 0 < sum(x.size for x in pulls) <= MOST:
        return None
    every, pull_back = jax.vjp(lambda g: jnp.concatenate([x.ravel() for x in flat.by_distance(g)]), slopes)
    x, logs = flat.layout.ravel(free), jnp.log(jnp.asarray(FACTORS, every.dtype))

    def falls_on(i: jax.Array) -> jax.Array:
        (way,) = pull_back((jnp.arange(every.size) == i).astype(every.dtype))
        way = -jnp.sign(every[i]) * way
        slope = lambda t: jax.jvp(lambda z: value(flat.layout.unravel(z)), (x + t * way,), (way,))[1]
        ahead = jax.lax.map(slope, logs)
        return (ahead[0] < 0) & jnp.all(ahead <= 0)  # false for NaN

    falling = jax.lax.map(falls_on, jnp.arange(every.size))
    cut = jnp.split(falling, np.cumsum([x.size for x in pulls])[:-1])
    marked = candidates(flat, pulls, grad, code)
    runs = [c & f.reshape(c.shape) for c, f in zip(marked, cut, strict=True)]
    to_end = [run & (pull > 0) for run, pull in zip(runs, pulls, strict=True)]
    return Runs(flat.by_leaf(to_end), flat.by_leaf([run & ~end for run, end in zip(runs, to_end, strict=True)]))
