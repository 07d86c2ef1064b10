"""The line search of Hager and Zhang: a bracket kept by the sign of slopes, shrunk by secants.

W. W. Hager and H. Zhang, A new conjugate gradient method with guaranteed descent and an efficient line search,
SIAM J. Optim. 16 (2005), section 4; Algorithm 851: CG_DESCENT, ACM Trans. Math. Softw. 32 (2006), whose
constants these are. Their double secant step is taken apart into trials, one a trip.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.line_search.base import Trial, Verdict, conclude, decreases, flattens
from gdjax.vectors.vector import Scalar, where

EXPAND = 5.0  # rho: growth of the step until a bracket is found
SHRINK = 0.66  # gamma: the double secant must shrink the bracket to this share, or it is bisected
RETREAT = 0.1  # share of the way that is kept when the loss is not finite (CG_DESCENT 6: nan_decay)


class HagerZhangState(NamedTuple):
    """One search; the bracket is [low, high] once high is finite."""

    step_size: Scalar  # alpha of the next trial
    start: Trial  # at alpha = 0
    low: Trial  # a: slope < 0 and no higher than the start, up to noise
    high: Trial  # b: slope >= 0; or, while contracting, slope < 0 but higher than the start
    contracting: jax.Array  # whether high is of the second kind
    turn: jax.Array  # 0, 1: the coming trial is the first, the second secant; 2: a bisection
    width: Scalar  # of the bracket when the double secant began
    trials: jax.Array  # rejected so far
    returning: jax.Array  # the next trial is a return to `low`, to be taken


@pytree_dataclass
class HagerZhang:
    """Line search for the Wolfe or approximate Wolfe conditions, made for searches near the rounding floor.

    A step alpha along d is accepted if ``f(x + alpha d) <= f(x) + decrease * alpha * d'g`` and
    ``d'g(x + alpha d) >= curvature * d'g``. If rounding hides the difference of the values, the slopes decide the first
    condition: ``d'g(x + alpha d) <= (2 decrease - 1) d'g``. The bracket is narrowed by slopes only, except where the
    value is above that of the start.

    Args:
        decrease: fraction of the linear prediction that must be achieved, below 1/2 (CG_DESCENT: 0.1).
        curvature: fraction of the slope that may remain (CG_DESCENT: 0.9).
        max_trials: number of rejected trials after which the search ends.

    Raises:
        ValueError: unless 0 < decrease < 1/2, 0 < curvature < 1 and ``max_trials`` is at least 1.

    >>> import gdjax, jax.numpy as jnp
    >>> rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    >>> gdjax.minimize(rosenbrock, jnp.zeros(10), method=gdjax.LBFGS(line_search=HagerZhang())).status.name
    'CONVERGED'
    """

    decrease: float | jax.Array = 0.1
    curvature: float | jax.Array = 0.9
    max_trials: int | jax.Array = 50

    def __post_init__(self) -> None:
        require("must lie between 0 and 1/2", self.decrease, lambda x: (x > 0) & (x < 0.5), "decrease")
        require("must lie between 0 and 1", self.curvature, lambda x: (x > 0) & (x < 1), "curvature")
        require("must be at least 1", self.max_trials, lambda x: x >= 1, "max_trials")

    def start(self, value: Scalar, slope: Scalar, step_size: Scalar) -> HagerZhangState:
        """Open a search."""
        inf, no, count = jnp.full_like(value, jnp.inf), jnp.asarray(False), jnp.asarray(0, jnp.int32)
        origin = Trial(jnp.zeros_like(value), value, slope)
        return HagerZhangState(step_size, origin, origin, Trial(inf, inf, slope), no, count, inf, count, no)

    def satisfied(self, search: HagerZhangState, value: Scalar, slope: Scalar, noise: Scalar) -> jax.Array:
        """The weak Wolfe conditions, on the denoised value."""
        return decreases(self.decrease, search, value, slope, noise) & flattens(self.curvature, search, slope)

    def feed(
        self, search: HagerZhangState, value: Scalar, slope: Scalar, noise: Scalar
    ) -> tuple[HagerZhangState, Verdict]:
        """Digest one trial."""
        alpha, f0 = search.step_size, search.start.value
        finite = jnp.isfinite(value) & jnp.isfinite(slope)
        armijo = decreases(self.decrease, search, value, slope, noise)
        accepted = armijo & flattens(self.curvature, search, slope)
        new = update(search, Trial(alpha, value, slope), f0 + noise, finite)
        width = new.high.alpha - new.low.alpha
        tight = (new.high.alpha < jnp.inf) & (width <= 4 * float(jnp.finfo(alpha.dtype).eps) * new.high.alpha)
        spent = tight | (new.trials >= self.max_trials)
        verdict, returning = conclude(
            alpha, new.low.alpha, armijo & (value < f0 - noise), accepted, spent, search.returning
        )
        return new._replace(step_size=jnp.where(returning, new.low.alpha, new.step_size), returning=returning), verdict


def update(search: HagerZhangState, trial: Trial, limit: Scalar, finite: jax.Array) -> HagerZhangState:
    """Steps U1 to U3 of the paper's update, and the next trial of its secant^2 (S1 to S4) or bisection (L2)."""
    a, b = search.low, search.high
    falls = finite & (trial.slope < 0)
    to_low = falls & (trial.value <= limit)  # U2
    low, high = where(to_low, trial, a), where(to_low, b, trial)  # else U1 (the slope rises), U3 (contract)
    contracting = jnp.where(to_low, search.contracting, falls | ~finite)

    # The second secant goes through the old and the new end on the side that moved: S2, S3.
    proper, was_proper = (high.alpha < jnp.inf) & ~contracting, search.width < jnp.inf
    first, second = secant(low, high), secant(where(to_low, a, b), trial)
    to_second = was_proper & (search.turn == 0) & (second > low.alpha) & (second < high.alpha)
    width = high.alpha - low.alpha
    to_middle = was_proper & (search.turn <= 1) & ~to_second & (width > SHRINK * search.width)
    turn = jnp.where(to_second, 1, jnp.where(to_middle, 2, 0)).astype(search.turn.dtype)

    middle = 0.5 * (low.alpha + high.alpha)
    secants = jnp.where(to_second, second, first)
    usable = proper & ~to_middle & (secants > low.alpha) & (secants < high.alpha)
    alpha = jnp.where(usable, secants, middle)
    alpha = jnp.where(high.alpha == jnp.inf, EXPAND * low.alpha, alpha)
    alpha = jnp.where(finite, alpha, low.alpha + RETREAT * (trial.alpha - low.alpha))
    width = jnp.where(proper, jnp.where(turn == 0, width, search.width), jnp.inf)
    return search._replace(
        step_size=alpha,
        low=low,
        high=high,
        contracting=contracting,
        turn=turn,
        width=width,
        trials=search.trials + 1,
    )


def secant(a: Trial, b: Trial) -> Scalar:
    """Zero of the line through the slopes at a and b."""
    return (a.alpha * b.slope - b.alpha * a.slope) / (b.slope - a.slope)
