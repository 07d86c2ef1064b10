"""The profile of a parameter that lives in a space: that of the free number behind it, on the parameter's own scale.

A likelihood does not depend on how a parameter is written: the profile t is the same, and an interval ends where the
map takes its ends.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.insight.covariance import slopes_at
from gdjax.insight.fit import Fit
from gdjax.insight.profiles import Trail
from gdjax.insight.rulers import OwnScale
from gdjax.spaces.at_ends import FlatChart
from gdjax.spaces.base import Space
from gdjax.spaces.ends import NEAR
from gdjax.spaces.results import at_ends, mapped, numbers
from gdjax.vectors.layout import Flat


def free_number(fit: Fit, index: int) -> int:
    """The place among the free numbers of a flat parameter.

    Raises:
        ValueError: if it is fixed, or no single free number stands behind it.
    """
    name, (places,) = fit.names[index], np.nonzero(np.asarray(slopes_at(fit, [index])[0]))
    if places.size == 0:
        raise ValueError(f"{name} is fixed: there is nothing to profile")
    if places.size > 1:
        raise ValueError(
            f"{name} depends on {places.size} free numbers, of which none can be held for it: write the model with it "
            "as a parameter of its own, and profile that"
        )
    return int(places[0])


class Behind:
    """The free numbers behind a fit's parameters, and the one behind a parameter that is profiled.

    Where a parameter is at an end of its space, its free number has run off, and nothing leads back from there: the
    gradient by it vanishes. So refits begin inside. And how far it ran means nothing: where that parameter is the
    profiled one, its distance from the end is measured on its own scale.
    """

    def __init__(self, fit: Fit, index: int) -> None:
        self.place, self.chart, self.fit, self.index = free_number(fit, index), fit.space.chart, fit, index
        self.layout = Flat.of(fit.space.params)
        flat = FlatChart(self.chart, fit.space.params)
        self.centre = self.layout.ravel(fit.space.params)
        self.ended = bool(np.asarray(at_ends(fit))[index])
        self.user = numbers(fit.params)
        self.inner = self.moved(fit.space.params, self.chart.start, fit.space.ends or [None] * len(self.chart.spaces))
        unit = (jnp.arange(self.layout.size) == self.place).astype(self.layout.dtype)
        self.way = float(np.sign(sum(float(jnp.sum(x)) for x in flat.by_distance(unit))))  # inward
        self.sign = float(np.sign(jax.grad(self.value)(self.inner[self.place])))  # of its slope by the free number

    def moved(self, free: Any, start: list[Any], where: list[Any]) -> jax.Array:
        """Free numbers, flat, with what is marked moved inside."""
        leaves = zip(self.chart.spaces, self.chart.free_leaves(free), start, where, strict=True)
        found = [z if marks is None else s.inside(z, z0, marks) for s, z, z0, marks in leaves]
        return self.layout.ravel(self.chart.free_tree(found))

    def inside(self, starts: np.ndarray) -> np.ndarray:
        """Starts of refits, with what is much nearer to an end than the fit inside; but for what is held."""
        inner = self.chart.free_leaves(self.layout.unravel(self.inner))
        parts = list(zip(self.chart.spaces, inner, strict=True))
        usual = [share_of(s, z0, z0) for s, z0 in parts]

        def of_one(x: jax.Array) -> jax.Array:
            free = self.layout.unravel(x)
            found = [share_of(s, z, z0) for (s, z0), z in zip(parts, self.chart.free_leaves(free), strict=True)]
            near = [
                None if d is None or most is None else d < NEAR * most for d, most in zip(found, usual, strict=True)
            ]
            return self.moved(free, inner, near).at[self.place].set(x[self.place])

        return np.array(jax.vmap(of_one)(jnp.asarray(starts)))

    def value(self, z: jax.Array) -> jax.Array:
        """The parameter, of its free number."""
        seen = numbers(self.chart.to_user(self.layout.unravel(self.centre.at[self.place].set(z))))
        return Flat.of(seen).ravel(seen)[self.index]

    def values(self, z: Any) -> np.ndarray:
        """The same of many."""
        z = jnp.asarray(z, self.centre.dtype)
        return np.asarray(jax.vmap(self.value)(z.ravel()), float).reshape(z.shape)

    def params(self, free: Any) -> Any:
        """The parameters of many sets of free numbers."""
        count = len(jax.tree.leaves(free)[0])
        return mapped(self.chart.spread([True] * len(self.chart.spaces), (count,)), free, free, 1)[0]

    def shown(
        self, trail: Trail, params: Any, ends: tuple[float, float], words: list[str]
    ) -> tuple[Trail, Any, tuple[float, float], list[str]]:
        """Refits, ends of the interval and words by the free number as those by the parameter, the other way round if
        it falls with the free number.
        """  # fmt: skip
        trail = trail._replace(values=self.values(trail.values))
        lower, upper = np.where(np.isnan(ends), np.nan, self.values(ends)).tolist()
        if self.sign > 0:
            return trail, params, (lower, upper), words
        turned, params = jax.tree.map(lambda x: x[::-1], (trail, params))
        return turned, params, (upper, lower), words[::-1]

    @property
    def own(self) -> OwnScale:
        """The scale of the parameter, with the sign with which it grows with its free number."""
        seen, dtype = Flat.of(self.user), self.centre.dtype
        flat, last = seen.ravel(self.user), 0.9 * self.way * float(np.log(float(jnp.finfo(dtype).max)))
        sign = self.sign

        def free(u: jax.Array) -> jax.Array:
            found = self.chart.to_free(seen.unravel(flat.at[self.index].set(u)))
            z = self.layout.ravel(found)[self.place]
            return jnp.where(jnp.isnan(z), last, z)  # the other end, or beyond

        def at(u: Any) -> np.ndarray:
            u = jnp.asarray(sign * np.asarray(u), dtype)
            return np.asarray(jax.vmap(free)(u.ravel()), float).reshape(u.shape)

        slope = sign * float(jax.grad(self.value)(self.centre[self.place]))
        return OwnScale(lambda z: sign * self.values(z), at, slope)


def share_of(space: Space, free: Any, start: Any) -> jax.Array | None:
    """How near a leaf is to an end, see `gdjax.spaces.base.Edges`; None if it has none, or is held."""
    edges = None if free is None else space.edges(free, jnp.zeros_like(free), start)
    return None if edges is None else edges.share
