"""Which method goes with a penalty."""

from typing import Any

from gdjax.methods.accelerated_proximal_gradient import AcceleratedProximalGradient
from gdjax.methods.base import Method
from gdjax.methods.lbfgs import LBFGS
from gdjax.methods.panoc import PANOC
from gdjax.methods.projected_lbfgs import ProjectedLBFGS
from gdjax.methods.proximal_gradient import ProximalGradient
from gdjax.penalties.base import has_value

ACCEPTING = (ProximalGradient, AcceleratedProximalGradient, PANOC)


def with_penalty(method: Method | None, penalty: Any) -> Method:
    """The method for a penalty: L-BFGS becomes its projected form in a box; None is the default.

    Raises:
        ValueError: if the method takes no penalty, or none without a value; the message names those that do.
    """
    is_box = getattr(penalty, "is_box", False)
    if method is None:
        return ProjectedLBFGS() if is_box else PANOC() if has_value(penalty) else AcceleratedProximalGradient()
    if isinstance(method, LBFGS) and is_box:
        return ProjectedLBFGS.of(method)
    if method.least_squares and not is_box:
        raise ValueError(f"{method.name} takes bounds (Box, NonNegative), not the penalty {type(penalty).__name__}")
    if not method.accepts_penalty:
        names = ", ".join(m.__name__ for m in ACCEPTING)
        raise ValueError(
            f"{method.name} cannot take the penalty {type(penalty).__name__}: use {names}, "
            "or LBFGS where the penalty is Box or NonNegative"
        )
    if method.needs_value and not has_value(penalty):
        raise ValueError(
            f"{method.name} compares values, and {type(penalty).__name__} has none: give it value(x), or use "
            "AcceleratedProximalGradient() or ProximalGradient()"
        )
    return method
