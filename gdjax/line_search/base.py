"""What a line search is: a scalar state machine fed with (value, slope) along a direction."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from gdjax.vector import Scalar


class Trial(NamedTuple):
    """A step along the direction and what was found there."""

    alpha: Scalar
    value: Scalar
    slope: Scalar


class Verdict(NamedTuple):
    """What a search says of the trial that it was fed."""

    accepted: jax.Array  # take the trial as the new iterate
    failed: jax.Array  # give up: no acceptable step can be found


@runtime_checkable
class LineSearch(Protocol):
    """A frozen dataclass of constants; `start` opens a search from an iterate, `feed` digests one trial.

    Its state is a NamedTuple with at least ``step_size``, the next trial's alpha, and ``start``, the `Trial` at 0.
    """

    def start(self, value: Scalar, slope: Scalar, step_size: Scalar) -> Any:
        """Open a search: value and slope (negative) at alpha = 0, and the first alpha to try."""

    def feed(self, search: Any, value: Scalar, slope: Scalar, noise: Scalar) -> tuple[Any, Verdict]:
        """Digest value and slope at ``search.step_size``; values closer than ``noise`` are taken as equal."""


def denoise(
    start_value: Scalar, start_slope: Scalar, alpha: Scalar, value: Scalar, slope: Scalar, noise: Scalar
) -> Scalar:
    """The value at alpha, or where rounding hides its difference the one that the slopes imply.

    If |f - f0| <= noise, f0 + alpha (slope0 + slope) / 2 (the trapezoid rule). A slope keeps its relative
    accuracy near a minimum, where differences of values have none; Armijo's test on this value is Hager and
    Zhang's approximate Wolfe test (SIAM J. Optim. 16, 2005, eq. 4.1).
    """
    trapezoid = start_value + 0.5 * alpha * (start_slope + slope)
    return jnp.where(jnp.abs(value - start_value) <= noise, trapezoid, value)


def check_line_search(search: Any) -> None:
    """Raise TypeError for text, None and classes, which users may take for a line search."""
    if search is None or isinstance(search, str | type):
        raise TypeError(f"line_search must be a line search such as gdjax.MoreThuente(), got {search!r}")
