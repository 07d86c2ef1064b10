"""What a line search is: a scalar state machine fed with (value, slope) along a direction."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from gdjax.vectors.vector import Scalar

UNEXPLAINED = 3.0  # in units of the change that the slope promises; a slope of the wrong sign is off by 2
SAFETY = 10.0  # the noise that one refused trial has shown is a sample: the loss is taken to have so many times as much


class Trial(NamedTuple):
    """A step along the direction and what was found there."""

    alpha: Scalar
    value: Scalar
    slope: Scalar


class Verdict(NamedTuple):
    """What a search says about the trial that it was fed."""

    accepted: jax.Array  # take the trial as the new iterate
    failed: jax.Array  # give up: no acceptable step can be found


@runtime_checkable
class LineSearch(Protocol):
    """Chooses the step alpha along a direction: a frozen dataclass (or a NamedTuple) of constants, with three methods.

    `start` begins a search, `satisfied` says whether a trial can be taken at once, and `feed` takes a trial that
    cannot, and says what to try next. The state of a search is a NamedTuple with at least ``step_size``, the alpha of
    the next trial, and ``start``, the `Trial` at alpha = 0.
    """

    def start(self, value: Scalar, slope: Scalar, step_size: Scalar) -> Any:
        """Open a search: value and slope (negative) at alpha = 0, and the first alpha to try."""

    def satisfied(self, search: Any, value: Scalar, slope: Scalar, noise: Scalar) -> jax.Array:
        """Whether the trial can be taken without a further look, as almost every one can."""

    def feed(self, search: Any, value: Scalar, slope: Scalar, noise: Scalar) -> tuple[Any, Verdict]:
        """Digest value and slope at ``search.step_size``, which are not satisfactory, or not known to be.

        Values closer than ``noise`` are taken as equal.
        """


def denoise(
    start_value: Scalar, start_slope: Scalar, alpha: Scalar, value: Scalar, slope: Scalar, noise: Scalar
) -> Scalar:
    """The value at alpha, or where rounding hides its difference the one that the slopes imply (see `rise`)."""
    hidden = jnp.abs(value - start_value) <= noise
    return jnp.where(hidden, start_value + rise(start_value, start_slope, alpha, value, slope, noise), value)


def rise(
    start_value: Scalar, start_slope: Scalar, alpha: Scalar, value: Scalar, slope: Scalar, noise: Scalar
) -> Scalar:
    """The change of the value, or where rounding hides it the one that the slopes imply.

    If |f - f0| <= noise, alpha (slope0 + slope) / 2 (the trapezoid rule). A slope keeps its relative
    accuracy near a minimum, where differences of values have none; Armijo's test on this value is Hager and
    Zhang's approximate Wolfe test (SIAM J. Optim. 16, 2005, eq. 4.1).
    """
    change = value - start_value
    return jnp.where(jnp.abs(change) <= noise, 0.5 * alpha * (start_slope + slope), change)


def decreases(decrease: Any, search: Any, value: Scalar, slope: Scalar, noise: Scalar) -> jax.Array:
    """Armijo's condition ``f - f0 <= decrease * alpha * slope0``, on the denoised value of a finite trial.

    (Of the difference: added to f0, what the slopes tell would be lost in rounding again, and any step pass.)
    """
    alpha, (_, f0, slope0) = search.step_size, search.start
    finite = jnp.isfinite(value) & jnp.isfinite(slope)
    change = rise(f0, slope0, alpha, value, slope, noise)
    return finite & (change <= jnp.asarray(decrease).astype(alpha.dtype) * alpha * slope0)


def flattens(curvature: Any, search: Any, slope: Scalar) -> jax.Array:
    """The second weak Wolfe condition ``slope >= curvature * slope0``."""
    return slope >= jnp.asarray(curvature).astype(slope.dtype) * search.start.slope


def noise_shown(
    start_value: Scalar, start_slope: Scalar, alpha: Scalar, value: Scalar, slope: Scalar, otherwise: Scalar
) -> Scalar:
    """How far a value lies above the one that the slopes imply, where it rose although the slope hardly changed.

    Values that are small differences of large numbers are known to fewer digits than their size suggests. A
    search that finds no decrease along a slope that promises one has seen this noise in the shortest step
    that it refused. At a kink the slope jumps, so a kink is not taken for noise; nor is what a slope of the
    wrong sign would explain.
    """
    implied = start_value + 0.5 * alpha * (start_slope + slope)
    steady = jnp.abs(slope - start_slope) <= 0.5 * jnp.abs(start_slope)
    unexplained = value - implied > UNEXPLAINED * alpha * jnp.abs(start_slope)
    return jnp.where(steady & (value > start_value) & unexplained, SAFETY * (value - implied), otherwise)


def believable(shown: Scalar, noise: Scalar, largest: Scalar) -> jax.Array:
    """Whether noise that was shown is news, and noise: no more than sqrt(eps) of the largest value seen.

    More than that is no rounding error but a wrong gradient, which searches must not be made blind for.
    """
    return (shown > noise) & (shown <= float(jnp.finfo(shown.dtype).eps) ** 0.5 * largest)


def conclude(
    trial: Scalar, best: Scalar, sufficient: jax.Array, accepted: jax.Array, spent: jax.Array, returning: jax.Array
) -> tuple[Verdict, jax.Array]:
    """The verdict on a trial, and whether the next one is a return to the best alpha, to be taken.

    A search that is spent takes the best point that it has seen, if that is ``sufficient``: the trial itself,
    or one more evaluation at ``best`` (0 if no trial was better than the start).
    """
    last = spent | returning
    accepted = accepted | (sufficient & (returning | (spent & (best == trial))))
    failed = last & ~accepted & (returning | (best == trial) | (best == 0))
    return Verdict(accepted, failed), last & ~accepted & ~failed


def check_line_search(search: Any) -> None:
    """Raise TypeError for text, None and classes, which users may take for a line search."""
    if search is None or isinstance(search, str | type):
        raise TypeError(f"line_search must be a line search such as gdjax.MoreThuente(), got {search!r}")
