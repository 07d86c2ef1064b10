"""The profile of one parameter of a fit, and where it crosses a level.

D. M. Bates and D. G. Watts, Nonlinear Regression Analysis and Its Applications (1988), chapter 6.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from gdjax.descent.result import in_counts
from gdjax.descent.stopping import Status
from gdjax.jaxtools.faces import as_frame, as_table, handed_out, one_line


@handed_out
@dataclasses.dataclass(frozen=True)
class Profile:
    """What `gdjax.profile` found; ``print`` it.

    The profile t of a value is ``sign(value - estimate) sqrt((S(value) - S) / s^2)``, S the sum of squares of the fit
    and S(value) the least one with the parameter held there. For a linear model it is a straight line,
    ``(value - estimate) / standard error``: its curvature shows how far standard errors can be trusted.
    """

    name: str  # of the parameter
    estimate: float  # of the fit
    standard_error: float  # of the fit; NaN if it has none
    level: float  # of the interval
    quantile: float  # of the profile t at the ends of the interval
    lower: float  # end of the interval; -inf if it is open, NaN if it is not known
    upper: float
    values: np.ndarray  # at which the parameter was held, increasing, shape (k,)
    t: np.ndarray  # the profile t there, shape (k,); NaN where the refit failed
    params: Any  # of the refits, like params with k rows in front
    codes: np.ndarray  # their statuses as int32, shape (k,)
    notes: tuple[str, ...] = ()  # what went wrong, or is to be known of the ends
    no_error: str = ""  # why there is no standard error
    better: Any = None  # params with a lower sum of squares than the fit's, if a refit found some

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        return self.lower, self.upper

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` of the refits that succeeded, by value: the profile t.

        Raises:
            ImportError: if pandas is not installed.
        """
        known = np.isfinite(self.t)
        return as_frame({self.name: self.values[known], "t": self.t[known]})

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        return dict(name=self.name, estimate=self.estimate, level=self.level, lower=self.lower, upper=self.upper)

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        reach, known = self.quantile * self.standard_error, np.isfinite(self.standard_error)
        straight = f"{self.estimate - reach:.6g} to {self.estimate + reach:.6g}"
        error = f"standard error {self.standard_error:.6g}" if known else self.no_error
        lines = [f"{self.name}: estimate {self.estimate:.6g}, {error}"]
        ends = ("not known" if np.isnan(end) else f"{end:.6g}" for end in self.interval)
        lines.append(f"{100 * self.level:g}% interval {' to '.join(ends)} (of the profile)")
        if known:
            lines.append(f"{'':{len(f'{100 * self.level:g}')}}  interval {straight} (of the standard error)")
        return "\n".join([*lines, *self.notes])


class Trail(NamedTuple):
    """The refits so far, by value."""

    values: np.ndarray  # increasing, shape (k,)
    x: np.ndarray  # all parameters, flat, shape (k, n)
    rise: np.ndarray  # of twice the value over the fit's, over the scale: t^2, shape (k,)
    codes: np.ndarray  # shape (k,)

    @property
    def good(self) -> np.ndarray:
        """Which refits ended in a minimum, or at the values of one at infinity."""
        return np.isin(self.codes, (*SUCCESS, Status.RUNAWAY)) & np.isfinite(self.rise)

    def add(self, other: "Trail") -> "Trail":
        """With more; where the same value comes twice, the lower of those that succeeded."""
        values, x, rise, codes = (np.concatenate(pair) for pair in zip(self, other, strict=True))
        both = Trail(values, x, rise, codes)
        order = np.lexsort([both.rise, ~both.good, values])
        first = np.ones(values.size, bool)
        first[1:] = np.diff(values[order]) > 0
        return Trail(*(column[order][first] for column in both))

    def start(self, value: float) -> np.ndarray:
        """All parameters near a value: between the nearest others on both sides, or those of the nearest."""
        others = self.good & (self.values != value)
        values, x = self.values[others], self.x[others]
        k = int(np.searchsorted(values, value))
        if k in (0, values.size):
            return x[min(k, values.size - 1)]
        share = (value - values[k - 1]) / (values[k] - values[k - 1])
        return (1 - share) * x[k - 1] + share * x[k]

    def in_words(self, name: str) -> tuple[str, ...]:
        """How many refits could not begin or failed, and with which values of the parameter called ``name``."""
        nowhere = self.codes == Status.NONFINITE_START
        failed = ~self.good & ~nowhere
        lines, of = [], f"of {self.codes.size} refits"
        if nowhere.any():
            where = f"the residuals are not finite with {name} {listed(self.values[nowhere])}"
            lines.append(f"{nowhere.sum()} {of} had nowhere to begin: {where}")
        if failed.any():
            counts = in_counts(self.codes[failed])
            lines.append(f"{failed.sum()} {of} failed, with {name} {listed(self.values[failed])}: {counts}")
        return tuple(lines)


def listed(values: np.ndarray) -> str:
    """Increasing values in words: one by one, or if they are many from where to where."""
    if values.size > 4:
        return f"between {values[0]:.6g} and {values[-1]:.6g}"
    return "at " + ", ".join(f"{value:.6g}" for value in values)


SUCCESS = (Status.CONVERGED, Status.TARGET_REACHED, Status.PRECISION_FLOOR)
FAILED = "is not known: refits fail before it"
FIRST = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)  # where a side is tried, in units of where the end would be
TOWARD_ZERO = np.append(1 - 0.5 ** np.arange(1, 8), 1.0)  # and on the way to zero, in units of its distance
FARTHER = (4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)  # and where, if the end is not there


class Side(NamedTuple):
    """One side of the estimate. Distances are those of a `Ruler`: with a standard error, 1 if all were linear."""

    sign: int
    limit: float  # the distance of the parameter's bound
    zero: float  # that of zero; inf if it is on the other side of the estimate, or not before the bound
    precise: float  # to how much of itself the end is wanted
    far: float  # the distance beyond which nothing is looked for
    reach: str  # how far that is, in words
    stop: str  # what the limit is, in words

    def look(self, trail: Trail, distance: np.ndarray) -> tuple[float, np.ndarray, str]:
        """The end (NaN if it is not known yet, inf if there is none), where to try next, and what there is to say."""
        distance = self.sign * distance
        here = np.flatnonzero(distance >= 0)[:: self.sign]
        d, good = distance[here], trail.good[here]
        at_zero = np.isclose(d, self.zero, rtol=1e-6, atol=0)
        t = np.sqrt(np.maximum(trail.rise[here], 0))
        lost = ~good & ~(at_zero & (self.zero < self.limit))  # what fails at zero alone may be 0 / 0
        failed, d, t = d[lost], d[good], t[good]
        over = np.flatnonzero(t >= 1)
        k = int(over[0]) if over.size else d.size
        end, error = crossing(d, t, k) if over.size else (np.nan, np.inf)
        if not at_zero.any() and d[k - 1] < self.zero < (d[k] if over.size else d[-1]):
            return np.nan, self.zero * TOWARD_ZERO, "is not known"
        if error <= self.precise * end:
            back = t[k:].min() < 1 - self.precise
            return end, d[:0], "beyond it the profile comes back: other values are as good" if back else ""
        lost = failed[(failed > d[k - 1]) & (failed < (d[k] if over.size else np.inf))]
        if lost.size and lost[0] - d[k - 1] > 1e-3 * lost[0]:  # once more, from a start that is nearer
            return np.nan, d[k - 1] + (lost[0] - d[k - 1]) * np.linspace(0.125, 1, 8), FAILED
        if over.size == 0:
            return (np.nan, d[:0], FAILED) if lost.size else self.farther(d, t)
        width = d[k] - d[k - 1]
        reach = np.clip(4 * error, 1e-3 * width, 0.5 * width) * np.linspace(-1, 1, 7)
        again = np.append(np.clip(end + reach, d[k - 1], d[k]), d[k])  # which may have ended in another minimum
        return np.nan, again, FAILED if lost.size else "is not known: the profile jumps"

    def farther(self, d: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray, str]:
        """The same where no refit lies beyond the end."""
        if d[-1] == 0 and self.zero < FIRST[0]:
            return np.nan, self.zero * TOWARD_ZERO, "is not known"
        if d[-1] >= (1 - 1e-6) * self.limit:
            return self.limit, d[:0], f"is at {self.stop}"
        if d[-1] >= (1 - 1e-3) * self.far:
            return np.inf, d[:0], f"is open: {self.reach}, t is at most {t.max():.2g} of its quantile"
        steps = FARTHER if d[-1] >= (1 - 1e-3) * FIRST[-1] else FIRST
        return np.nan, np.minimum(steps, min(self.limit, self.far)), "is not known"


def crossing(d: np.ndarray, t: np.ndarray, k: int) -> tuple[float, float]:
    """Where t is 1, between points k - 1 and k, and how exact that is: by inverse interpolation through four points."""
    low, high = d[k - 1], d[k]
    near = np.arange(max(0, k - 2), min(d.size, k + 2))
    if near.size < 4 or not np.all(np.diff(t[near]) > 0):
        return low + (high - low) * (1 - t[k - 1]) / (t[k] - t[k - 1]), high - low
    ends = [lagrange(t[chosen], d[chosen]) for chosen in (near, near[1:], near[:-1])]
    return float(np.clip(ends[0], low, high)), float(min(max(abs(ends[0] - end) for end in ends[1:]), high - low))


def lagrange(t: np.ndarray, d: np.ndarray) -> float:
    """The polynomial d(t) through the points, at t = 1."""
    others = [np.delete(t, i) for i in range(t.size)]
    return float(sum(d[i] * np.prod((1 - o) / (t[i] - o)) for i, o in enumerate(others)))
