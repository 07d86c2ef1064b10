"""Estimates in rows of text, and of pandas."""

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from gdjax.insight.names import checked
from gdjax.jaxtools.faces import as_frame

MOST = 40  # rows
FEW, WIDEST = 6, 110  # estimates up to which their correlations are shown, and characters of such a line


class Tabled(abc.ABC):
    """Estimates that can be shown as a table."""

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of the n flat estimates."""

    @abc.abstractmethod
    def columns(self, level: float = 0.95) -> dict[str, Any]:
        """Estimate, standard error, t, p-value, lower and upper end, by name; each of shape (n,)."""

    @property
    @abc.abstractmethod
    def correlation(self) -> Any:
        """Shape (n, n)."""

    @property
    @abc.abstractmethod
    def is_held(self) -> Any:
        """Which are taken as known, shape (n,)."""

    @property
    @abc.abstractmethod
    def is_normal(self) -> bool:
        """Whether t is normal, and called z."""

    def to_pandas(self, level: float = 0.95, names: Sequence[str] | None = None) -> Any:
        """A `pandas.DataFrame` with a row for each number: estimate, std_error, t, p_value, lower, upper.

        The column t is called z where the scale was known, as in the table. For many problems the index has two levels:
        the number of the problem, and the name.

        Args:
            level: of the intervals.
            names: other names than the parameters' own.

        Raises:
            ImportError: if pandas is not installed; TypeError, ValueError: if names or level is not what it must be.
        """
        columns = {"z" if name == "t" and self.is_normal else name: x for name, x in self.columns(level).items()}
        return frame(columns, self.chosen_names(names))

    def chosen_names(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Those given, or the parameters' own."""
        return self.names if names is None else checked(names, len(self.names))

    def table(self, level: float = 0.95, names: Sequence[str] | None = None) -> str:
        """Estimate, standard error, t, p-value and confidence interval of each number; correlations if they are few.

        Args:
            level: of the intervals.
            names: other names than the parameters' own.

        Raises:
            TypeError, ValueError: if names or level is not what it must be; or for many problems at once.
        """
        numbers = np.stack([np.asarray(column) for column in self.columns(level).values()], axis=-1)
        if numbers.ndim > 2:
            raise ValueError("a table is of one problem: take one, as fits[i], or all with to_pandas()")
        words = self.why_missing() if np.isnan(numbers[:, 1]).any() else [""] * len(numbers)
        chosen = self.chosen_names(names)
        lines = rows(chosen, numbers, words, level, self.is_normal)
        return "\n".join(lines + correlations(chosen, np.asarray(self.correlation)))

    def why_missing(self) -> list[str]:
        """What stands in place of each standard error, if it is NaN."""
        return ["held: at its bound" if held else "not determined by the data" for held in self.is_held.tolist()]


def rows(names: tuple[str, ...], numbers: np.ndarray, words: list[str], level: float, normal: bool) -> list[str]:
    """A line for each estimate.

    Args:
        names: of the k estimates.
        numbers: estimate, standard error, t, p-value, lower and upper end of the interval, shape (k, 6).
        words: instead of a standard error that is NaN.
        level: of the intervals.
        normal: whether t is normal, and called z.
    """
    width, t = max(map(len, names[:MOST])), "z" if normal else "t"
    lines = [f"{'':{width}}  {'estimate':>12} {'std. error':>12} {t:>9} {f'P>|{t}|':>9}   {100 * level:g}% interval"]
    for name, (x, error, ratio, p, low, high), instead in list(zip(names, numbers, words, strict=True))[:MOST]:
        known = f"{error:12.6g} {ratio:9.4g} {p:9.3g}   {low:.6g} to {high:.6g}"
        lines.append(f"{name:{width}}  {x:12.6g} {instead if np.isnan(error) else known}")
    return lines + [f"and {len(names) - MOST} more"] * (len(names) > MOST)


def unknown(names: tuple[str, ...], estimates: list[float]) -> str:
    """The estimates alone."""
    width = max(map(len, names[:MOST]))
    lines = [f"{'':{width}}  {'estimate':>12} no covariance is known of so many"]
    lines += [f"{name:{width}}  {x:12.6g}" for name, x in list(zip(names, estimates, strict=True))[:MOST]]
    return "\n".join(lines + [f"and {len(names) - MOST} more"] * (len(names) > MOST))


def correlations(names: tuple[str, ...], matrix: np.ndarray) -> list[str]:
    """The lower triangle of the correlations of what has any; nothing if that is one, or too many."""
    known = np.flatnonzero(np.isfinite(np.diagonal(matrix)))
    first, width = max(map(len, (*names, "correlation"))), max([7, *(len(names[i]) + 2 for i in known)])
    if not 2 <= known.size <= FEW or first + width * (known.size - 1) > WIDEST:
        return []
    lines = [f"{'correlation':{first}}" + "".join(f"{names[i]:>{width}}" for i in known[:-1])]
    for k, i in enumerate(known[1:], 1):
        lines.append(f"{names[i]:{first}}" + "".join(f"{matrix[i, j]:{width}.3f}" for j in known[:k]))
    return lines


def frame(columns: dict[str, Any], names: tuple[str, ...]) -> Any:
    """A `pandas.DataFrame` of columns of shape (..., k) for k names; with axes in front the problem is in the index.

    Raises:
        ImportError: if pandas is not installed.
    """
    flat, index = {name: np.asarray(column).reshape(-1) for name, column in columns.items()}, list(names)
    if np.ndim(columns["estimate"]) == 1:
        return as_frame(flat, index)
    problems = range(flat["estimate"].size // len(names))
    return as_frame(flat, lambda pd: pd.MultiIndex.from_product([problems, index], names=["problem", "name"]))
