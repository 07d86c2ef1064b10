"""Armijo backtracking with quadratic interpolation.

L. Armijo, Minimization of functions having Lipschitz continuous first partial derivatives, Pacific J.
Math. 16 (1966). J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed. (2006), algorithm 3.1 and
eq. 3.58 (the interpolation).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.line_search.base import Trial, Verdict, decreases, rise
from gdjax.vectors.vector import Scalar


class BacktrackingState(NamedTuple):
    """One search along x + alpha d."""

    step_size: Scalar  # alpha of the next trial
    start: Trial  # at alpha = 0
    trials: jax.Array  # rejected so far


@pytree_dataclass
class Backtracking:
    """Line search and step-size rule: shorten the step until the loss falls enough, lengthen it for the next search.

    A step alpha along d is accepted if ``f(x + alpha d) <= f(x) + decrease * alpha * d'g``. Otherwise
    alpha shrinks to the minimum of the parabola through the three known numbers, kept within
    [0.1, 0.5] alpha, or to 0.1 alpha if the loss is not finite. Each search begins at ``grow`` times
    the last accepted step.

    Args:
        initial: the very first alpha to try, in params per unit of gradient.
        decrease: fraction of the linear prediction that must be achieved (Nocedal & Wright: 1e-4).
        grow: factor on the last accepted step for the first trial of the next search; 1 never lengthens.
        max_trials: number of rejected trials after which the search has failed. The default, 60, shortens a step by
            at least 2^60, beyond the resolution of float64.

    Raises:
        ValueError: if ``initial`` is not positive, ``decrease`` is outside (0, 1) or ``grow`` is below 1.

    >>> import gdjax
    >>> print(gdjax.minimize(lambda x: (x - 3.0) ** 2, 0.0, method=gdjax.GradientDescent(Backtracking())).params)
    3.0
    """

    initial: float | jax.Array = 1.0
    decrease: float | jax.Array = 1e-4
    grow: float | jax.Array = 2.0
    max_trials: int | jax.Array = 60

    def __post_init__(self) -> None:
        require("must be positive", self.initial, lambda x: x > 0, "initial")
        require("must lie between 0 and 1", self.decrease, lambda x: (x > 0) & (x < 1), "decrease")
        require("must be at least 1", self.grow, lambda x: x >= 1, "grow")
        require("must be at least 1", self.max_trials, lambda x: x >= 1, "max_trials")

    def start(self, value: Scalar, slope: Scalar, step_size: Scalar) -> BacktrackingState:
        """Open a search."""
        origin = Trial(jnp.zeros_like(value), value, slope)
        return BacktrackingState(step_size, origin, jnp.asarray(0, jnp.int32))

    def satisfied(self, search: BacktrackingState, value: Scalar, slope: Scalar, noise: Scalar) -> jax.Array:
        """Armijo's condition; not for a trial where nothing has changed although the slope promised a decrease."""
        return ~stuck(search, value, slope, noise) & decreases(self.decrease, search, value, slope, noise)

    def feed(
        self, search: BacktrackingState, value: Scalar, slope: Scalar, noise: Scalar
    ) -> tuple[BacktrackingState, Verdict]:
        """Digest one trial."""
        alpha, (_, f0, slope0), trials = search
        change = rise(f0, slope0, alpha, value, slope, noise)
        accepted = self.satisfied(search, value, slope, noise)
        parabola = -0.5 * alpha * (alpha * slope0) / (change - alpha * slope0)
        shorter = jnp.where(jnp.isfinite(change), jnp.clip(parabola, 0.1 * alpha, 0.5 * alpha), 0.1 * alpha)
        failed = stuck(search, value, slope, noise) | (~accepted & (trials + 1 >= self.max_trials))
        new = BacktrackingState(jnp.where(accepted, alpha, shorter), search.start, jnp.where(accepted, 0, trials + 1))
        return new, Verdict(accepted, failed)


def stuck(search: BacktrackingState, value: Scalar, slope: Scalar, noise: Scalar) -> jax.Array:
    """Whether the step was shortened until nothing changes any more."""
    start = search.start
    return (search.trials > 0) & (slope == start.slope) & (jnp.abs(value - start.value) <= noise)
