"""The bisection search for the weak Wolfe conditions: no interpolation, so kinks do not mislead it.

A. S. Lewis and M. L. Overton, Nonsmooth optimization via quasi-Newton methods, Math. Program. 141 (2013),
algorithm 2.6; J. V. Burke, A. S. Lewis and M. L. Overton, Line search for almost differentiable functions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.line_search.base import Trial, Verdict, conclude, decreases, flattens
from gdjax.vectors.vector import Scalar


class WeakWolfeState(NamedTuple):
    """One search."""

    step_size: Scalar  # alpha of the next trial
    start: Trial  # at alpha = 0
    low: Scalar  # longest alpha with a sufficient decrease, and a slope still too steep; 0 before
    high: Scalar  # shortest alpha without a sufficient decrease; infinite before
    trials: jax.Array  # rejected so far
    returning: jax.Array  # the next trial is a return to `low`, to be taken


@pytree_dataclass
class WeakWolfe:
    """Line search for nonsmooth losses: bisect between too short and too long; double until a step is too long.

    A step alpha along d is too long unless ``f(x + alpha d) <= f(x) + decrease * alpha * d'g``. Otherwise it is too
    short unless ``d'g(x + alpha d) >= curvature * d'g``. Otherwise it is accepted. No smoothness is needed: with
    `gdjax.BFGS` it minimises losses with kinks (absolute errors, maxima). There the curvature pairs of steps
    across a kink teach BFGS the shape of the valley. The gradient does not vanish at a kink, so
    such a descent ends at a target, or as STALLED or LINE_SEARCH_FAILED at the resolution of the loss.

    Args:
        decrease: fraction of the linear prediction that must be achieved (Lewis & Overton: 0 suffices; 1e-4).
        curvature: fraction of the slope that may remain, 0.5 (Lewis & Overton, section 4).
        max_trials: number of rejected trials after which the search ends.

    Raises:
        ValueError: unless 0 < decrease < curvature < 1 and ``max_trials`` is at least 1.

    >>> import gdjax, jax.numpy as jnp
    >>> kinked = lambda x: jnp.abs(x[0] - 2 * x[1]) + 0.25 * jnp.abs(x[1] - 1)
    >>> method, stop = gdjax.BFGS(line_search=WeakWolfe()), gdjax.Stop(target=1e-5)
    >>> gdjax.minimize(kinked, jnp.array([5.0, 3.0]), method=method, stop=stop).status.name
    'TARGET_REACHED'
    """

    decrease: float | jax.Array = 1e-4
    curvature: float | jax.Array = 0.5
    max_trials: int | jax.Array = 60  # 2^-60 is beyond the resolution of float64

    def __post_init__(self) -> None:
        for name in ("decrease", "curvature"):
            require("must lie between 0 and 1", getattr(self, name), lambda x: (x > 0) & (x < 1), name)
        require("must be at least 1", self.max_trials, lambda x: x >= 1, "max_trials")

    def start(self, value: Scalar, slope: Scalar, step_size: Scalar) -> WeakWolfeState:
        """Open a search."""
        zero, inf = jnp.zeros_like(value), jnp.full_like(value, jnp.inf)
        return WeakWolfeState(
            step_size, Trial(zero, value, slope), zero, inf, jnp.asarray(0, jnp.int32), jnp.asarray(False)
        )

    def satisfied(self, search: WeakWolfeState, value: Scalar, slope: Scalar, noise: Scalar) -> jax.Array:
        """The weak Wolfe conditions, on the denoised value."""
        return decreases(self.decrease, search, value, slope, noise) & flattens(self.curvature, search, slope)

    def feed(
        self, search: WeakWolfeState, value: Scalar, slope: Scalar, noise: Scalar
    ) -> tuple[WeakWolfeState, Verdict]:
        """Digest one trial."""
        alpha, f0 = search.step_size, search.start.value
        armijo = decreases(self.decrease, search, value, slope, noise)
        accepted = armijo & flattens(self.curvature, search, slope)
        low, high = jnp.where(armijo, alpha, search.low), jnp.where(armijo, search.high, alpha)
        middle = jnp.where(high == jnp.inf, 2 * low, 0.5 * (low + high))
        trials = search.trials + 1
        spent = (trials >= self.max_trials) | (middle == low) | (middle == high)
        verdict, returning = conclude(alpha, low, armijo & (value < f0 - noise), accepted, spent, search.returning)
        step_size = jnp.where(returning, low, middle)
        return WeakWolfeState(step_size, search.start, low, high, trials, returning), verdict
