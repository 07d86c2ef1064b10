"""When a descent stops: tolerances, a target, limits."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.problem.objective import Objective
from gdjax.vectors.vector import Scalar

# Floor: the gradient must be within a factor of ten of the tolerance (of its default, if a smaller one was
# given), and satisfy the rule of the field, |g| <= tol (1 + |f|), with that. A promise alone is not enough: at a kink,
# shrinking steps look like enormous curvature, and a quasi-Newton matrix that does not know a flat direction promises
# nothing along it. Without this, 50 of 50 descents of a mean absolute error and 10 of 84 CUTEst problems in float32
# were called finished far above the minimum; with the factor of ten alone still 4 of 96.
FLOOR_SLOPE = 10.0
# Evaluations without progress after which a method of fixed steps has stalled; one whose rate is given by a
# schedule, and any optax optimiser, may still settle when the rate decays, so these are given no limit.
PATIENCE_OF_STEPS = 1000
# Share of the largest slope back inside a space that may be left where the gradient by free numbers counts as zero.
INWARD = 0.02
MOST = np.iinfo(np.int32).max  # a limit of so many is none


@pytree_dataclass
class Stop:
    """When to stop. All numbers are traced, so changing them compiles nothing. None means off (or the default).

    Args:
        tol: gradient test, ``|g| <= tol * min(|f| + min(1, |f_0|), G)`` with the infinity norm, f_0 the value at the
            start, G the largest gradient norm seen at points no higher than the start. Two more conditions must hold.
            If a model or the last step knows the curvature, the decrease that is still promised, ``g'Hg / 2``, must be
            at most a tenth of ``tol max(|f|, tol min(1, f_0 - f))``. And for methods with a line search or a trust
            region, the relative gradient ``sum |x_i g_i|``, which does not depend on the units of the n parameters,
            must be at most ``3 sqrt(n) tol (|f| + min(1, |f_0|))``. With a penalty, f is the sum and |g| is the norm
            of a subgradient of the sum, made from the last prox-gradient step
            (`gdjax.problem.penalized.stationarity`): the gradient itself where the penalty is 0, and
            (x - clip(x - t g)) / t in a box. Default: max(1e-6, sqrt(eps)) with eps of the coarsest dtype among
            parameters, value and a gradient given: 1e-6 in float64, 3.5e-4 in float32, 0.09 in bfloat16.
        decrease: stop when the value changes by no more than this fraction of itself in one step (SMALL_DECREASE).
        step: stop when the parameters change by no more than this fraction of their largest entry (SMALL_STEP).
        target: stop as soon as the value is at or beyond this (TARGET_REACHED). The gradient test stays on
            and may come first; with ``tol=0`` only the target counts.
        max_steps: limit on accepted steps, default 10 000.
        max_evals: limit on evaluations of the loss, default none. (A limit of 2^31 - 1 or more is as good as none.)
        patience: evaluations without progress before STALLED. Default: 1000 for gradient descent at a fixed rate (which
            may oscillate for a long time), 100 + sqrt(n) for methods whose values only fall, and no limit for schedules
            and optax optimisers, which may settle when their rate decays.
        gradient: stop when the gradient norm is at most this, in the units of the loss (CONVERGED), as in jaxopt and
            SciPy. The test on ``tol`` stays on and may come first; with ``tol=0`` only this one counts.
        gradient_at_most: CONVERGED then also requires the gradient norm to be at most this, in the units of the loss.

    Raises:
        ValueError: if a tolerance is negative or NaN, a limit is negative, or patience is below 1.

    >>> Stop(tol=1e-8, max_steps=100).max_steps
    100
    """

    tol: float | jax.Array | None = None
    decrease: float | jax.Array | None = None
    step: float | jax.Array | None = None
    target: float | jax.Array | None = None
    max_steps: int | jax.Array | None = None
    max_evals: int | jax.Array | None = None
    patience: int | jax.Array | None = None
    gradient: float | jax.Array | None = None
    gradient_at_most: float | jax.Array | None = None

    def __post_init__(self) -> None:
        for name in ("max_steps", "max_evals", "patience"):
            require("must be a whole number", getattr(self, name), lambda x: x == np.round(x), name)
        for name in ("tol", "decrease", "step", "max_steps", "max_evals", "gradient", "gradient_at_most"):
            require("must not be negative", getattr(self, name), lambda x: x >= 0, name)
        require("must be at least 1", self.patience, lambda x: x >= 1, "patience")
        require("must not be NaN", self.target, lambda x: ~np.isnan(x), "target")
        for name in ("max_steps", "max_evals", "patience"):
            object.__setattr__(self, name, clipped(getattr(self, name)))

    def resolve(self, objective: Objective, monotone: bool, settles: bool, least_squares: bool = False) -> "Limits":
        """The same with defaults filled in, in the dtypes of the loop."""
        real = lambda x: None if x is None else jnp.asarray(x).astype(objective.dtype)
        count = lambda x, default: as_count(default if x is None else x)
        n = sum(leaf.size for leaf in jax.tree.leaves(objective.start))
        usual = objective.eps ** (2 / 3) if least_squares else max(1e-6, objective.eps**0.5)
        default = jnp.asarray(usual, objective.dtype)
        tol = default if self.tol is None else jnp.asarray(self.tol).astype(objective.dtype)
        return Limits(
            tol=tol,
            floor=FLOOR_SLOPE * jnp.maximum(tol, default),
            decrease=real(self.decrease),
            step=real(self.step),
            gradient=real(self.gradient),
            gradient_at_most=real(self.gradient_at_most),
            target=None if self.target is None else objective.sign * jnp.asarray(self.target).astype(objective.dtype),
            max_steps=count(self.max_steps, 10_000),
            max_evals=count(self.max_evals, MOST),
            patience=count(self.patience, 100 + int(n**0.5) if monotone else PATIENCE_OF_STEPS if settles else MOST),
        )


def clipped(count: Any) -> Any:
    """A limit that a program can be given: what its 32 bits cannot hold is as good as none."""
    if isinstance(count, int | float | np.number):
        return MOST if count >= MOST else count
    return np.where(count >= MOST, MOST, count) if isinstance(count, np.ndarray) else count


def as_count(x: Any) -> jax.Array:
    """A limit, maybe traced, as an int32."""
    x = jnp.asarray(x)
    return jnp.where(x >= MOST, MOST, jnp.where(x >= MOST, 0, x).astype(jnp.int32))


class Limits(NamedTuple):
    """A `Stop` with its defaults filled in, in the minimiser's sign and the dtypes of the loop."""

    tol: Scalar
    floor: Scalar  # like tol, for the precision floor
    decrease: Scalar | None
    step: Scalar | None
    target: Scalar | None
    gradient: Scalar | None
    gradient_at_most: Scalar | None
    max_steps: jax.Array
    max_evals: jax.Array
    patience: jax.Array
