"""On which scale the profile of a parameter is looked at: that of its standard error, or another where it has none."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gdjax.insight.fit import Fit

FOLDS = 40.0  # how many times e goes into the estimate before the scale of its powers becomes one of differences
FAINT = 1e-6  # share of a column that the others leave, below which they explain it


class OwnScale(NamedTuple):
    """The scale of a parameter at an end of its space, of which the profile is by the free number behind it."""

    to: Callable[[Any], np.ndarray]  # of free numbers, increasing
    at: Callable[[Any], np.ndarray]  # the inverse
    slope: float  # at the estimate; it may be lost in underflow


class Ruler(NamedTuple):
    """Distances from an estimate; ``bend`` is 0, or the scale is ``asinh(value / bend)``.

    That is the logarithm of large values, and passes zero: for an estimate that the data do not determine, which may
    have run to 1e14, and whose interval may end anywhere between.
    """

    origin: float  # the estimate, on the scale
    unit: float
    bend: float
    own: OwnScale | None = None

    def to(self, values: Any) -> Any:
        """Values in units from the estimate, with their sign."""
        values = np.asarray(values, float) if self.own is None else self.own.to(values)
        on_scale = np.arcsinh(values / self.bend) if self.bend else values
        return (on_scale - self.origin) / self.unit

    def at(self, distance: Any) -> Any:
        """The values at such distances."""
        on_scale = self.origin + self.unit * np.asarray(distance, float)
        if self.own is not None:
            return self.own.at(on_scale)
        with np.errstate(over="ignore"):
            return self.bend * np.sinh(on_scale) if self.bend else on_scale


def ruler_of(fit: Fit, index: int, quantile: float, jacobian: Any, own: OwnScale | None = None) -> Ruler:
    """That of a flat parameter; on its ``own`` scale where it is at an end of its space.

    Where it is held at a bound or an end the unit is the standard error that it would have, were it free:
    ``jacobian()`` is that of the residuals.

    Raises:
        ValueError: if no residual tells anything of any parameter.
    """
    estimate, error, scale = (float(x) for x in (fit.flat[index], fit.flat_errors[index], fit.scale))
    if not (np.isfinite(scale) and scale > 0):
        why = "is 0" if error == 0 else f"is not known ({fit.why_missing()[index]})"
        raise ValueError(f"the standard error of {fit.names[index]} {why}: there is no unit to profile it in")
    if np.isfinite(error) and error > 0:
        return Ruler(estimate, quantile * error, 0.0)
    if not bool(fit.held[index]) and estimate != 0:
        bend = abs(estimate) * np.exp(-FOLDS)
        return Ruler(float(np.arcsinh(estimate / bend)), 1.0, bend)
    a = np.asarray(jacobian(), float)
    column, others = a[:, index], np.delete(a, index, axis=1)[:, ~np.delete(np.asarray(fit.held), index)]
    if own is not None:
        column, estimate = column / (own.slope or 1.0), float(own.to(estimate))
    left = column - others @ np.linalg.lstsq(others, column)[0]
    left = left if np.linalg.norm(left) > FAINT * np.linalg.norm(column) else column
    length = np.linalg.norm(left)
    unit = quantile * np.sqrt(scale) / length if length > 0 else max(abs(estimate), 1.0)
    return Ruler(estimate, unit, 0.0, own)
