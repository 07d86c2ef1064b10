"""The profile of a parameter that lives in a space: that of the free number behind it, on the parameter's own scale.

A likelihood does not depend on how a parameter is written: the profile t is the same, and an interval ends where the
map takes its ends.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.insight.covariance import slopes_at
from gdjax.insight.fit import Fit
from gdjax.insight.profiles import Profile
from gdjax.spaces.chart import Chart
from gdjax.spaces.results import mapped, numbers
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


def on_its_scale(found: Profile, fit: Fit, index: int) -> Profile:
    """The profile of that free number as one of the parameter."""
    place, chart, layout = free_number(fit, index), fit.space.chart, Flat.of(fit.space.params)
    centre = layout.ravel(fit.space.params)

    def value(z: jax.Array) -> jax.Array:
        seen = numbers(chart.to_user(layout.unravel(centre.at[place].set(z))))
        return Flat.of(seen).ravel(seen)[index]

    at = lambda z: np.asarray(jax.vmap(value)(jnp.asarray(z, centre.dtype)), float)
    ends = np.where(np.isnan([found.lower, found.upper]), np.nan, at([found.lower, found.upper]))
    values, sign = at(found.values), 1 if ends[1] >= ends[0] or np.isnan(ends).any() else -1
    better = None if found.better is None else chart.to_user(found.better)
    return dataclasses.replace(
        found,
        name=fit.names[index],
        estimate=float(fit.flat[index]),
        standard_error=float(fit.flat_errors[index]),
        lower=float(ends[::sign][0]),
        upper=float(ends[::sign][1]),
        values=values[::sign],
        t=sign * found.t[::sign],
        codes=found.codes[::sign],
        params=rows(chart, jax.tree.map(lambda x: x[::sign], found.params)),
        better=better,
    )


def rows(chart: Chart, free: Any) -> Any:
    """The parameters of many sets of free numbers."""
    count = len(jax.tree.leaves(free)[0])
    return mapped(chart.spread([True] * len(chart.spaces), (count,)), free, free, 1)[0]
