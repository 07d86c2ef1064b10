"""Fits whose parameters run to infinity while the sum of squares levels off.

The two rates of a sum of exponentials grow together while their amplitudes run apart; an exponential becomes a straight
line, with its amplitude and the constant beside it running apart; a peak becomes a spike between two data. There the
columns of the Jacobian grow without end, each in its own units, and the residuals hardly change. The steps, which
follow a valley that bends more and more, are short: without this test such fits took 3000 to 13 000 evaluations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.methods.parts.linearised import Linear
from gdjax.methods.parts.triangular import norm
from gdjax.vectors.vector import Scalar, matmul

# A run is over where the value has fallen by this share of itself. In STEPS steps of one the columns grow by as many
# doublings, all together. (Fits that end in a minimum have no such run: of NIST's 54 none comes near.)
FALL, STEPS, DOUBLINGS = 0.02, 150, 7.0


class Run(NamedTuple):
    """A number of steps in which the value has hardly fallen."""

    value: Scalar  # at its beginning
    stretch: Scalar  # sum of the binary logarithms of the columns' lengths there
    steps: jax.Array


def no_run(value: Scalar) -> Run:
    """Before the first step; ``value`` is infinite."""
    return Run(value, jnp.zeros_like(value), jnp.asarray(0, jnp.int32))


def follow(run: Run, scale: jax.Array, value: Scalar, taken: jax.Array) -> tuple[Run, jax.Array]:
    """The run after a step, if it was ``taken``, and whether the parameters run away in it.

    Args:
        run: before.
        scale: the longest that each column of the Jacobian has been, shape (n,).
        value: of the iterate.
        taken: whether it is a new one.
    """
    stretch = jnp.sum(jnp.log2(jnp.where(scale > 0, scale, 1)))
    over = taken & ~(value >= (1 - FALL) * run.value)
    steps = jnp.where(over, 0, run.steps + taken.astype(jnp.int32))
    run = Run(jnp.where(over, value, run.value), jnp.where(over, stretch, run.stretch), steps)
    return run, (steps >= STEPS) & (stretch - run.stretch >= DOUBLINGS)


def has_left(start: jax.Array, x: jax.Array, scale: jax.Array, linear: Linear, eps: float) -> jax.Array:
    """Whether some parameters are at infinity: to multiply all of these by a number changes nothing any more.

    They have grown by a factor of ``eps^-1/2`` or more since the start, the effect of each on the residuals has fallen
    by as much, and ``|J x|`` of these alone is below ``eps^(2/3)`` of what all parameters contribute, which is where a
    cosine counts as zero. In ``a exp(-t / tau)``, for data that do not decay, it is tau; in ``a t / (b + t)``, for data
    on a straight line or bent upward, a and b. The values that are left are those of the limit, which is no minimum:
    on the other side of infinity, where tau or b is negative, the residuals go on falling.
    """
    grown = jnp.abs(x) * eps**0.5 > jnp.abs(start)
    faint = (linear.effects > 0) & (linear.effects <= eps**0.5 * scale)
    them = jnp.where(grown & faint, linear.columns * x, 0)
    share = norm(matmul(linear.triangle, them))
    return jnp.any(them != 0) & (share <= eps ** (2 / 3) * norm(linear.effects * x))
