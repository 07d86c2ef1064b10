"""What `check_gradient` found, leaf by leaf and direction by direction, and its table."""

import dataclasses
import math
from typing import Any

from gdjax.jaxtools.faces import as_table, one_line

AUTOMATIC = "jax.grad"  # the gradient that finite differences are compared with, where JAX has one


@dataclasses.dataclass(frozen=True)
class LineCheck:
    """A gradient compared with finite differences along one random direction v, t from -1 to 1 times its scale."""

    slope: float  # jax.grad (or the gradient given) along v
    numeric: float  # central finite difference, at the step where it is steadiest
    error: float  # |slope - numeric| relative to the larger of the two
    rounding: float  # how much of that the rounding of the loss may explain
    order: float  # of |f(x + tv) - f(x) - t slope| as t falls: 2 for a right gradient, 1 for a wrong one
    kink: tuple[float, float] | None  # slopes to the left and to the right, where they differ

    def agrees(self, tolerance: float) -> bool:
        """Whether the slopes agree; at a kink, whether jax.grad's lies between those of the two sides."""
        if self.kink:
            low, high = sorted(self.kink)
            margin = tolerance * max(abs(low), abs(high))
            return low - margin <= self.slope <= high + margin
        return self.error <= tolerance + self.rounding

    @property
    def exact(self) -> bool:
        """Whether the remainder never rose above rounding, as for a loss that is linear along v."""
        return math.isnan(self.order)


@dataclasses.dataclass(frozen=True)
class LeafCheck:
    """The check of one leaf of the parameters."""

    path: str  # such as params['w'][0]
    shape: tuple[int, ...]
    grad_norm: float  # largest modulus of an entry of jax.grad
    analytic_error: float  # largest |analytic - jax.grad| of an entry relative to it; NaN if none was given
    worst_index: tuple[int, ...]  # where that is
    worst_pair: tuple[Any, Any]  # analytic and jax.grad there
    line: LineCheck  # along a random direction within this leaf
    verdict: str  # "ok", or in a word what is wrong or peculiar


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """The verdict on a gradient. ``print`` it for a table; ``ok`` is false if there are ``problems``."""

    value: float
    dtype: str  # precision in which it was checked
    leaves: list[LeafCheck]
    directions: list[LineCheck]  # random, through all leaves together
    problems: list[str]  # what is wrong
    notes: list[str]  # what is peculiar but may be meant: kinks, leaves without influence
    by: str = AUTOMATIC  # what differences are compared with: "gradient given" where JAX cannot differentiate the loss

    @property
    def ok(self) -> bool:
        """Whether nothing wrong was found."""
        return not self.problems

    def raise_if_wrong(self) -> None:
        """Raise ValueError with the report unless it is ok."""
        if not self.ok:
            raise ValueError(f"the gradient fails its check\n{self}")

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        return dict(ok=self.ok, problems=len(self.problems), notes=len(self.notes), leaves=len(self.leaves))

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        """Verdict, table of leaves, table of directions, problems and notes."""
        leaves = [["leaf", "shape", "|grad|", "analytic error", "numeric error", "order", "verdict"]]
        leaves += [
            [leaf.path, str(leaf.shape), f"{leaf.grad_norm:.3g}", number(leaf.analytic_error, ".1e"),
             number(leaf.line.error, ".1e"), order(leaf.line), leaf.verdict] for leaf in self.leaves
        ]  # fmt: skip
        directions = [["random direction", self.by, "numeric", "relative error", "order"]]
        directions += [
            [str(i), f"{d.slope:.8g}", f"{d.numeric:.8g}", f"{d.error:.1e}", order(d)]
            for i, d in enumerate(self.directions, start=1)
        ]
        head = f"gradient check in {self.dtype}: {'ok' if self.ok else 'WRONG'} (value {self.value:.6g})"
        remarks = [f"problem: {text}" for text in self.problems] + [f"note: {text}" for text in self.notes]
        return "\n".join([head, "", *table(leaves), "", *table(directions), *remarks])


def number(x: float, form: str) -> str:
    """``x`` in a format, or a dash for NaN."""
    return "-" if math.isnan(x) else format(x, form)


def order(line: LineCheck) -> str:
    """The observed order in words."""
    return "exact" if line.exact else f"{line.order:.2f}"


def table(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines, columns aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
