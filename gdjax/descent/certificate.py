"""What is known about a critical point. Only data; `gdjax.insight.critical_point` computes it."""

import enum
from typing import Any

import numpy as np

from gdjax.jaxtools.faces import as_table, handed_out, one_line
from gdjax.jaxtools.pytrees import pytree_dataclass, static_field


class Kind(enum.Enum):
    """The kind of a point, judged by the extreme eigenvalues of the Hessian."""

    MINIMUM = "minimum"  # all eigenvalues positive
    MAXIMUM = "maximum"  # all negative
    SADDLE = "saddle"  # some negative, some positive
    DEGENERATE = "degenerate"  # one that is zero as far as can be told, and no two of opposite signs
    NOT_CRITICAL = "not critical"  # the gradient is not zero


@handed_out
@pytree_dataclass
class CriticalPoint:
    """What kind of point it is; ``print`` it. Eigenvalues are those of the Hessian of the loss."""

    value: float
    grad_norm: float  # infinity norm
    threshold: float  # the gradient norm that counts as zero
    smallest: float  # eigenvalue
    smallest_error: float
    largest: float
    largest_error: float
    direction: Any  # like params, of unit length: along it the curvature is negative; None if there is none such
    products: int  # Hessian products spent
    exact: bool = static_field(False)  # whether they were enough to find every eigenvalue
    kind: Kind = static_field(Kind.NOT_CRITICAL)
    flat: str | None = static_field(None)  # what the loss does along a direction whose curvature counts as zero

    @property
    def condition(self) -> float:
        """Largest eigenvalue over smallest, at a minimum; infinite elsewhere."""
        return self.largest / self.smallest if self.kind is Kind.MINIMUM else np.inf

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        shown = dict(kind=self.kind.value, value=self.value, grad_norm=self.grad_norm)
        return shown | dict(smallest=self.smallest, largest=self.largest)

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        ends = (self.smallest, self.smallest_error), (self.largest, self.largest_error)
        span = "between " + " and ".join(f"{value:.4g} (+- {error:.1g})" for value, error in ends)
        text = {
            Kind.MINIMUM: f"a minimum: all curvatures are positive, {span}; condition number {self.condition:.3g}",
            Kind.MAXIMUM: f"a maximum: all curvatures are negative, {span}",
            Kind.SADDLE: f"a saddle: curvatures lie {span}",
            Kind.DEGENERATE: f"degenerate: curvatures lie {span}, and one counts as zero; {self.flat}",
            Kind.NOT_CRITICAL: f"not critical: the gradient norm {self.grad_norm:.3g} is above {self.threshold:.3g}; "
            f"curvatures lie {span}",
        }[self.kind]
        return f"{text}. The value is {self.value:.6g}."
