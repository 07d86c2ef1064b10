"""Fits with one parameter held, of which a profile is made."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.stopping import Status
from gdjax.insight.fit import Fit
from gdjax.insight.fit_words import require_same
from gdjax.insight.profiles import Trail
from gdjax.insight.profiles_in_spaces import Behind
from gdjax.jaxtools.hoisted import evaluate
from gdjax.least_squares import least_squares_many
from gdjax.penalties.sets import Box
from gdjax.problem.residuals import as_residuals, half_sum


class Refits:
    """Fits with one parameter held."""

    def __init__(
        self, residuals: Any, fit: Fit, args: tuple[Any, ...], index: int, options: Any, behind: Behind | None = None
    ) -> None:
        self.layout, self.index, self.fit, self.behind = fit.layout, index, fit, behind
        self.centre = np.asarray(fit.flat)
        self.origin = float(self.centre[index])
        self.others = np.delete(np.arange(self.centre.size), index)
        self.scale = float(fit.scale)
        self.data = (args, options.pop("kwargs", None) or {})
        self.ends = (np.full_like(self.centre, -np.inf), np.full_like(self.centre, np.inf))
        self.options = options
        if fit.penalty_value is not None:
            lower, upper = fit.penalty.bounds(fit.params)
            self.ends = np.asarray(self.layout.ravel(lower)), np.asarray(self.layout.ravel(upper))
            if self.others.size:
                self.options["penalty"] = Box(*(jnp.asarray(side[self.others]) for side in self.ends))
        if behind is not None and behind.ended:
            self.ends[0 if behind.way > 0 else 1][index] = self.origin
        layout, n = self.layout, self.layout.size
        self.lowest = -np.inf  # a rise below which is no rounding
        self.smallest = 0.0  # a value up to which it is zero

        def held(z: jax.Array, value: jax.Array, index: jax.Array, data: Any) -> Any:
            places = jnp.arange(n - 1, dtype=jnp.int32)
            places = jnp.where(places < index, places, places + 1)
            x = jnp.zeros(n, layout.dtype).at[places].set(z[: n - 1]).at[index].set(value)
            return residuals(layout.unravel(x), *data[0], **data[1])

        self.held = held

    def check(self) -> None:
        """Raise ValueError unless the residuals are those of the fit."""

        def value_of(z: jax.Array, value: jax.Array, index: jax.Array, data: Any) -> jax.Array:
            out = self.held(z, value, index, data)
            return half_sum(as_residuals(out[0] if self.options.get("has_aux") else out), self.options["robust"])

        index, z = np.asarray(self.index, np.int32), self.centre[self.others]
        value = float(evaluate(value_of, z, self.centre[self.index], index, self.data))
        require_same(self.fit, value)

    def jacobian(self) -> Any:
        """Of the residuals at the fit, by all parameters."""

        def flat(x: jax.Array) -> jax.Array:
            index = jnp.asarray(self.index, jnp.int32)
            out = self.held(jnp.delete(x, self.index), x[self.index], index, self.data)
            return as_residuals(out[0] if self.options.get("has_aux") else out)

        return jax.jacfwd(flat)(jnp.asarray(self.centre))

    def at(self, values: np.ndarray, trail: Trail, quantile: float) -> Trail:
        """Refits with the parameter at these values, begun at those next to them, and t over the quantile, squared."""
        values = np.clip(np.resize(values, 16).astype(self.centre.dtype), *(side[self.index] for side in self.ends))
        values = np.where(np.abs(values) <= self.smallest, 0, values)
        starts = np.stack([self.start(value, trail) for value in values])
        if self.behind is not None:
            starts = self.behind.inside(starts)
        free = starts[:, self.others] if self.others.size else np.zeros((16, 1), starts.dtype)
        index = np.asarray(self.index, np.int32)
        axes: Any = (0, 0, None, None)
        found = least_squares_many(self.held, free, values, index, self.data, in_axes=axes, **self.options)
        starts[:, self.others] = np.asarray(found.params)[:, : self.others.size]
        starts[:, self.index] = values
        rise = 2 * (np.asarray(found.value, float) - float(self.fit.value)) / self.scale
        code = np.asarray(found.code)
        if not self.others.size:  # nothing is fitted, and the one number that stands for it has no effect
            code = np.where(code == Status.LINE_SEARCH_FAILED, Status.CONVERGED, code)
        return Trail(values.astype(float), starts, rise / quantile**2, code)

    def start(self, value: float, trail: Trail) -> np.ndarray:
        """Where to begin: along the tangent of the fit at first, then between the refits around."""
        if trail.values.size > 1:
            return trail.start(float(value))
        slopes = np.asarray(self.fit.covariance)[:, self.index]
        slopes = np.nan_to_num(slopes / slopes[self.index])
        return np.clip(self.centre + (value - self.origin) * slopes, *self.ends)
