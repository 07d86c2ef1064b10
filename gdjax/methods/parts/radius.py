"""How far a step fell short of what was predicted, and the radius that follows: for sums of squares.

J. J. More, The Levenberg-Marquardt algorithm: implementation and theory, in Numerical Analysis, Lecture Notes in
Mathematics 630 (1978), section 4.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.vectors.vector import Scalar

ACCEPT, POOR, GOOD = 1e-4, 0.25, 0.75  # ratios of actual to predicted decrease: More's


class Verdict(NamedTuple):
    """What the residuals at the trial tell of it."""

    good: jax.Array  # whether it is worth its Jacobian
    finite: jax.Array
    gained: Scalar  # the decrease
    predicted: Scalar  # by the model
    ratio: Scalar  # of the two
    blurred: jax.Array  # whether both are within their rounding
    noise: Scalar  # their rounding
    grain: Scalar  # rounding of the slope along a step p, for each |D p|


def by_slopes(verdict: Verdict, gained: Scalar, length: Scalar) -> tuple[Scalar, Scalar, jax.Array]:
    """The decrease, its ratio to the predicted one, and whether the step went too far though no sum shows it.

    Where sums differ by their rounding the slopes at both ends of a step tell the decrease; where that is their
    rounding, too, the step of the model is taken. (Where residuals bend more than the model knows, as those of a decay
    without height, its steps may lead away from the minimum: 41 of 200 such fits wandered about. If the cosine must
    fall with a step, 44 of NIST's 54 runs are solved in float32, where it is blurred itself, and otherwise 53.)

    Args:
        verdict: what the sums tell.
        gained: what the slopes tell, ``-(g + g+)'p / 2``.
        length: of the step, ``|D p|``.
    """
    seen = verdict.blurred & (verdict.predicted > verdict.grain * length)
    ratio = gained / jnp.where(verdict.predicted > 0, verdict.predicted, 1)
    ratio = jnp.where(seen, ratio, jnp.where(verdict.blurred, 1, verdict.ratio))
    return jnp.where(seen, gained, verdict.gained), ratio, seen & ~(ratio >= ACCEPT)


def next_radius(
    radius: Scalar, length: Scalar, damped: jax.Array, slope: Scalar, gained: Scalar, ratio: Scalar
) -> Scalar:
    """More's rule: shorter by a parabola through values and slope, twice the step, or as it was.

    Args:
        radius: so far.
        length: of the step.
        damped: whether the radius held it back.
        slope: along the step, of half the sum of squares; negative.
        gained: its decrease, infinitely negative where the point is out of the question.
        ratio: of that to the predicted one.
    """
    parabola = jnp.where(gained >= 0, 0.5, 0.5 * slope / (slope + gained))
    parabola = jnp.where(jnp.isfinite(gained), jnp.clip(parabola, 0.1, 0.5), 0.1)
    shorter = parabola * jnp.minimum(radius, 10 * length)
    longer = jnp.where(~damped | (ratio >= GOOD), 2 * length, radius)
    poor = ~jnp.isfinite(gained) | (ratio <= POOR)
    return jnp.where(poor, shorter, longer)
