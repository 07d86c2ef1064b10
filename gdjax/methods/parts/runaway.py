"""Fits whose parameters run to infinity while the sum of squares levels off, or creeps.

The two rates of a sum of exponentials grow together while their amplitudes run apart; an exponential becomes a straight
line, with its amplitude and the constant beside it running apart; a peak becomes a spike between two data. There the
columns of the Jacobian grow without end, each in its own units, and the residuals hardly change. The steps, which
follow a valley that bends more and more, are short: without this test such fits took 3000 to 13 000 evaluations.

Far from the top of a peak, or where a saturating curve is a power, the columns shrink instead. Where a logarithm
becomes a straight line they stay as they are, and what grows is the terms that cancel each other. And without noise the
sum of squares falls as a power of the number of steps, and never levels off. Valleys from which a fit comes back look
the same for some hundred steps. So these are given a thousand.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.methods.parts.linearised import Linear, pivots
from gdjax.methods.parts.triangular import DEPENDENT, norm, product, solve_upper
from gdjax.vectors.vector import Scalar

# A run is over where the value has fallen by this share of itself. In STEPS steps of one the columns grow by as many
# doublings, all together. (Fits that end in a minimum have no such run: of NIST's 54 none comes near.)
FALL, STEPS, DOUBLINGS = 0.02, 150, 7.0
# The second kind of run is over where the value falls by more decades than one, and one more in STEPS steps. In LONG
# steps of one the columns change by OCTAVES doublings, all together, or what the parameters contribute grows by as
# many. (Of NIST's fits MGH17 has one of 570 steps with 11 of these, MGH09 one of 340 with 38, and Bennett5 one of 950
# with 2.)
LONG, OCTAVES = 1000, 3.0
# Share of its own size by which Newton's step leads a parameter on that is far out already. At a minimum it is nothing,
# half of the way to one twice as far out, 1/k where the best is at infinity itself and residuals fall with the power k,
# and more than 1 where that is on the other side of infinity. (There fits had steps of 1e5 of their sizes and more.)
ONWARD = 0.4


class Run(NamedTuple):
    """A number of steps in which the value has hardly fallen."""

    value: Scalar  # at its beginning
    stretch: Scalar  # sum of the binary logarithms of the columns' lengths there
    steps: jax.Array
    mark: Scalar  # value at the beginning of the second kind
    effect: Scalar  # and there the sum of the binary logarithms of the columns' lengths, as they are
    reach: Scalar  # and of what the parameters contribute
    slow: jax.Array  # and steps since


def no_run(value: Scalar) -> Run:
    """Before the first step; ``value`` is infinite."""
    zero, none = jnp.zeros_like(value), jnp.asarray(0, jnp.int32)
    return Run(value, zero, none, value, zero, zero, none)


def follow(
    run: Run, scale: jax.Array, columns: jax.Array, reach: Scalar, value: Scalar, taken: jax.Array
) -> tuple[Run, jax.Array]:
    """The run after a step, if it was ``taken``, and whether the parameters run away in it.

    Args:
        run: before.
        scale: the longest that each column of the Jacobian has been, shape (n,).
        columns: their lengths at the iterate.
        reach: that of all parameters' contributions there, ``|D x|`` with the columns D.
        value: of the iterate.
        taken: whether it is a new one.
    """
    doublings = lambda lengths: jnp.sum(jnp.log2(jnp.where(lengths > 0, lengths, 1)))
    stretch, effect, step = doublings(scale), doublings(columns), taken.astype(jnp.int32)
    reach = doublings(reach)
    over = taken & ~(value >= (1 - FALL) * run.value)
    steps, slow = jnp.where(over, 0, run.steps + step), run.slow + step
    quick = taken & ~(value >= run.mark * 0.1 ** (1 + slow.astype(value.dtype) / STEPS))
    slow = jnp.where(quick, 0, slow)
    pick = lambda over, new, old: jnp.where(over, new, old)
    run = Run(
        pick(over, value, run.value),
        pick(over, stretch, run.stretch),
        steps,
        pick(quick, value, run.mark),
        pick(quick, effect, run.effect),
        pick(quick, reach, run.reach),
        slow,
    )
    level = (steps >= STEPS) & (stretch - run.stretch >= DOUBLINGS)
    change = jnp.maximum(jnp.abs(effect - run.effect), reach - run.reach)
    return run, level | ((slow >= LONG) & (change >= OCTAVES))


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
    share = norm(product(linear.triangle, them))
    return jnp.any(them != 0) & (share <= eps ** (2 / 3) * norm(linear.effects * x))


def goes_on(start: jax.Array, x: jax.Array, scale: jax.Array, linear: Linear, eps: float) -> jax.Array:
    """The same of an answer, where the size of a gradient, which falls on the way to infinity, ended a descent early.

    There some parameters have grown by a factor of ``eps^-1/4`` or more since the start, the effect of each has fallen
    by as much, and ``|J x|`` of these alone is no more than ``eps^(1/4)`` of what all contribute. And the step of Gauss
    and Newton leads them on by a share of their own size. At a minimum far out, however large its parameters and small
    their effects, no step is left.
    """
    if linear.q.shape != x.shape:  # fewer residuals than parameters
        return jnp.asarray(False)
    far, step = eps**0.25, step_left(linear, eps)
    away = (jnp.abs(x) * far > jnp.abs(start)) & (linear.columns > 0) & (linear.effects <= far * scale)
    them = away & (step * jnp.sign(x) >= ONWARD * jnp.abs(x))
    share = norm(product(linear.triangle, jnp.where(them, linear.columns * x, 0)))
    return jnp.any(them) & (share <= far * norm(linear.effects * x))


def step_left(linear: Linear, eps: float) -> jax.Array:
    """That of Gauss and Newton, shape (n,): 0 for what is held, or depends on parameters before it."""
    sound, there = pivots(linear.triangle) > DEPENDENT * eps, linear.columns > 0
    triangle = jnp.where(sound[:, None], linear.triangle, jnp.eye(linear.q.size, dtype=linear.q.dtype))
    step = -solve_upper(triangle, jnp.where(sound, linear.q, 0))
    return jnp.where(there, step / jnp.where(there, linear.columns, 1), 0)
