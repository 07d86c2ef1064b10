"""The line search of Moré and Thuente, with values that rounding hides replaced by what the slopes imply.

J. J. Moré and D. J. Thuente, Line search algorithms with guaranteed sufficient decrease, ACM Trans. Math.
Softw. 20 (1994), sections 2 to 4, as a state machine fed one trial at a time (as MINPACK-2's dcsrch is).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.line_search.base import Trial, Verdict, conclude, denoise
from gdjax.vectors.vector import Scalar, where

EXTRAPOLATE = 4.0  # the longest step of one extrapolation, in units of the last (MINPACK-2: xtrapu)
EXTRAPOLATE_LEAST = 1.1  # and the shortest (xtrapl)
# Where the slope has hardly changed the parabola's minimiser is thousands of steps away, and a thousandth of the way is
# safe: what begins with a step that is far too short, for want of any scale, gets there in a few trials. (A tenth of
# the way was not: BOXBODLS went past its minimum, to a plateau.)
FAR, FARTHEST = 1e-3, 1000.0
SHRINK = 0.66  # two trials must shrink the bracket at least so much, or it is bisected (Moré & Thuente, sec. 4)


class MoreThuenteState(NamedTuple):
    """One search."""

    step_size: Scalar  # alpha of the next trial
    start: Trial  # at alpha = 0
    best: Trial  # x of the paper: the endpoint with the lower value
    other: Trial  # y of the paper: the other end of the interval
    bracketed: jax.Array  # whether a minimiser lies between the two
    shifted: jax.Array  # first stage: work on psi = f - decrease * alpha * slope0
    width: Scalar  # of the interval
    width_before: Scalar  # and one trial earlier
    barrier: Scalar  # shortest alpha at which the loss was not finite
    trials: jax.Array  # rejected so far
    returning: jax.Array  # the next trial is a return to `best`, to be taken


@pytree_dataclass
class MoreThuente:
    """Line search for the strong Wolfe conditions by safeguarded cubic and quadratic interpolation.

    A step alpha along d is accepted if ``f(x + alpha d) <= f(x) + decrease * alpha * d'g`` and
    ``|d'g(x + alpha d)| <= curvature * |d'g|``. If two values differ by no more than their noise, the value
    that the slopes imply is used instead (`gdjax.line_search.base.denoise`); near a minimum the search needs this to
    succeed. If a trial is not finite, the step becomes ten times shorter, and the trial is a bound from then on.
    When the interval can shrink no further, or when the trials are used up, the search returns to the lowest point
    found (one more trial) and takes it if it satisfies the first condition. Otherwise the search has failed.

    Args:
        decrease: fraction of the linear prediction that must be achieved (Nocedal & Wright: 1e-4).
        curvature: fraction of the slope that may remain: 0.9 for quasi-Newton methods, 0.1 for others.
        max_trials: number of rejected trials after which the search ends.

    Raises:
        ValueError: unless 0 < decrease < curvature < 1 and ``max_trials`` is at least 1.
    """

    decrease: float | jax.Array = 1e-4
    curvature: float | jax.Array = 0.9
    max_trials: int | jax.Array = 20

    def __post_init__(self) -> None:
        for name in ("decrease", "curvature"):
            require("must lie between 0 and 1", getattr(self, name), lambda x: (x > 0) & (x < 1), name)
        require("must be at least 1", self.max_trials, lambda x: x >= 1, "max_trials")

    def start(self, value: Scalar, slope: Scalar, step_size: Scalar) -> MoreThuenteState:
        """Open a search."""
        inf, no = jnp.full_like(value, jnp.inf), jnp.asarray(False)
        origin = Trial(jnp.zeros_like(value), value, slope)
        return MoreThuenteState(
            step_size, origin, origin, origin, no, jnp.asarray(True), inf, inf, inf, jnp.asarray(0, jnp.int32), no
        )

    def satisfied(self, search: MoreThuenteState, value: Scalar, slope: Scalar, noise: Scalar) -> jax.Array:
        """The strong Wolfe conditions, on the denoised value."""
        curvature = jnp.asarray(self.curvature).astype(slope.dtype)
        return self.look(search, value, slope, noise)[2] & (jnp.abs(slope) <= curvature * jnp.abs(search.start.slope))

    def look(
        self, search: MoreThuenteState, value: Scalar, slope: Scalar, noise: Scalar
    ) -> tuple[Trial, Scalar, jax.Array]:
        """The trial with its value denoised, the decrease promised per step, and whether so much was achieved."""
        start, alpha = search.start, search.step_size
        trial = Trial(alpha, denoise(start.value, start.slope, alpha, value, slope, noise), slope)
        promised = jnp.asarray(self.decrease).astype(alpha.dtype) * start.slope
        finite = jnp.isfinite(value) & jnp.isfinite(slope)
        return trial, promised, finite & (trial.value <= start.value + alpha * promised)

    def feed(
        self, search: MoreThuenteState, value: Scalar, slope: Scalar, noise: Scalar
    ) -> tuple[MoreThuenteState, Verdict]:
        """Digest one trial."""
        alpha, finite = search.step_size, jnp.isfinite(value) & jnp.isfinite(slope)
        trial, promised, armijo = self.look(search, value, slope, noise)
        new = where(finite, narrow(search, trial, armijo, promised), retreat(search))
        new = new._replace(trials=search.trials + 1)

        eps = float(jnp.finfo(alpha.dtype).eps)
        tight = new.bracketed & (new.width <= 4 * eps * jnp.maximum(new.best.alpha, new.other.alpha))
        spent = tight | (new.trials >= self.max_trials)
        sufficient = armijo & (value < search.start.value - noise)
        accepted = self.satisfied(search, value, slope, noise)
        verdict, back = conclude(alpha, new.best.alpha, sufficient, accepted, spent, search.returning)
        return new._replace(step_size=jnp.where(back, new.best.alpha, new.step_size), returning=back), verdict


def retreat(search: MoreThuenteState) -> MoreThuenteState:
    """Back from a point where the loss is not finite, to a tenth of the way from the best one."""
    shorter = search.best.alpha + 0.1 * (search.step_size - search.best.alpha)
    return search._replace(step_size=shorter, barrier=search.step_size)


def narrow(search: MoreThuenteState, trial: Trial, armijo: jax.Array, promised: Scalar) -> MoreThuenteState:
    """The updating algorithm and the next trial (Moré & Thuente, section 3)."""
    shifted = search.shifted & ~(armijo & (trial.slope >= 0))
    use_psi = shifted & ~armijo & (trial.value <= search.best.value)
    m = jnp.where(use_psi, promised, 0)
    x, y, p = (Trial(t.alpha, t.value - t.alpha * m, t.slope - m) for t in (search.best, search.other, trial))
    alpha = trial_value(x, y, p, search.bracketed)

    higher, crossed = p.value > x.value, p.slope * x.slope < 0
    bracketed = search.bracketed | higher | crossed
    best = where(higher, search.best, trial)
    other = where(higher, trial, where(crossed, search.best, search.other))
    # A bracket that does not shrink by a third in two trials is bisected.
    width = jnp.abs(other.alpha - best.alpha)
    bisect = bracketed & (width >= SHRINK * search.width_before)
    alpha = jnp.where(bisect, best.alpha + 0.5 * (other.alpha - best.alpha), alpha)
    alpha = jnp.where(alpha >= search.barrier, 0.5 * (best.alpha + search.barrier), alpha)
    return search._replace(
        step_size=alpha,
        best=best,
        other=other,
        bracketed=bracketed,
        shifted=shifted,
        width=jnp.where(bracketed, width, search.width),
        width_before=jnp.where(bracketed, search.width, search.width_before),
    )


def trial_value(x: Trial, y: Trial, p: Trial, bracketed: jax.Array) -> Scalar:
    """The next alpha from the endpoints x (best), y and the trial p: the four cases of section 4."""
    low = jnp.where(bracketed, jnp.minimum(x.alpha, y.alpha), p.alpha + EXTRAPOLATE_LEAST * (p.alpha - x.alpha))
    far = jnp.clip(FAR * jnp.abs(x.slope) / jnp.abs(p.slope - x.slope), EXTRAPOLATE, FARTHEST)
    high = jnp.where(bracketed, jnp.maximum(x.alpha, y.alpha), p.alpha + far * (p.alpha - x.alpha))
    cubic, exists = cubic_minimizer(x, p)
    secant = p.alpha + p.slope / (p.slope - x.slope) * (x.alpha - p.alpha)
    step = p.alpha - x.alpha
    parabola = x.alpha + 0.5 * step * (x.slope * step / (x.value - p.value + x.slope * step))

    # 1: the value rose. The cubic's minimiser if it is nearer to x than the parabola's, else their mean.
    near = jnp.abs(cubic - x.alpha) < jnp.abs(parabola - x.alpha)
    case1 = jnp.where(near, cubic, cubic + 0.5 * (parabola - cubic))
    # 2: it fell and the slope changed sign. The one farther from p of the cubic's and the secant's.
    case2 = jnp.where(jnp.abs(cubic - p.alpha) > jnp.abs(secant - p.alpha), cubic, secant)
    # 3: the slope became flatter. The cubic's minimiser only if it lies beyond p.
    beyond = exists & ((cubic - p.alpha) * (p.alpha - x.alpha) > 0)
    outer = jnp.where(p.alpha > x.alpha, high, low)
    cubic3 = jnp.where(beyond, cubic, outer)
    nearer = jnp.abs(cubic3 - p.alpha) < jnp.abs(secant - p.alpha)
    inside = jnp.where(nearer, cubic3, secant)
    limit = p.alpha + SHRINK * (y.alpha - p.alpha)
    inside = jnp.where(p.alpha > x.alpha, jnp.minimum(limit, inside), jnp.maximum(limit, inside))
    case3 = jnp.where(bracketed, inside, jnp.clip(jnp.where(nearer, secant, cubic3), low, high))
    # 4: the slope did not become flatter. The cubic through p and y, or as far as allowed.
    case4 = jnp.where(bracketed, cubic_minimizer(y, p)[0], outer)

    flatter = jnp.abs(p.slope) < jnp.abs(x.slope)
    falling = jnp.where(p.slope * x.slope < 0, case2, jnp.where(flatter, case3, case4))
    alpha = jnp.where(p.value > x.value, case1, falling)
    middle = 0.5 * (x.alpha + jnp.where(bracketed, y.alpha, p.alpha))
    return jnp.where(jnp.isfinite(alpha), alpha, middle)


def cubic_minimizer(a: Trial, b: Trial) -> tuple[Scalar, jax.Array]:
    """Minimiser of the cubic through values and slopes at a and b (Nocedal & Wright, eq. 3.59), and if it has one."""
    step = b.alpha - a.alpha  # with the slopes in its units nothing overflows, however short it is
    slope_a, slope_b = step * a.slope, step * b.slope
    d1 = slope_a + slope_b + 3 * (a.value - b.value)
    scale = jnp.maximum(jnp.maximum(jnp.abs(d1), jnp.abs(slope_a)), jnp.abs(slope_b))
    discriminant = (d1 / scale) ** 2 - (slope_a / scale) * (slope_b / scale)
    d2 = scale * jnp.sqrt(jnp.maximum(discriminant, 0))
    # From a, the better end: d2 + d1 written as (d2^2 - d1^2) / (d2 - d1) where it cancels. From b, as in the book, a
    # minimiser that is 1e-8 of the way from a was lost in rounding.
    cancels = (d1 < 0) & (discriminant > 0)
    rest = jnp.where(cancels, -slope_a * (slope_b / jnp.where(cancels, d2 - d1, 1)), d2 + d1)
    alpha = a.alpha + step * (rest - slope_a) / (slope_b - slope_a + 2 * d2)
    return alpha, discriminant > 0
