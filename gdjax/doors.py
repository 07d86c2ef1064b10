"""The front doors that other doors can go through: `minimize`, `least_squares`, `curve_fit`."""

from collections.abc import Callable
from typing import Any

from gdjax.curve_fit import call_curve_fit, curve_fit
from gdjax.least_squares import call_least_squares, least_squares
from gdjax.minimize import minimize
from gdjax.request import Call, call_minimize

DOORS: dict[str, tuple[Any, Callable[..., Call]]] = {
    "minimize": (minimize, call_minimize),
    "least_squares": (least_squares, call_least_squares),
    "curve_fit": (curve_fit, call_curve_fit),
}


def call_by(by: Any) -> Callable[..., Call]:
    """What makes a `Call` of one of them.

    Raises:
        TypeError: if ``by`` is anything else.
    """
    for door, make in DOORS.values():
        if by is door:
            return make
    raise TypeError(f"by must be {', '.join(f'gdjax.{name}' for name in DOORS)}, the function itself; got {by!r}")
