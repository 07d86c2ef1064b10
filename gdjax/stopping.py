"""When to stop, and what to call it: every way out has a name, two numbers and a sentence."""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import vector
from gdjax.in_place import one_kernel
from gdjax.objective import Objective
from gdjax.progress import PATIENCE, Progress, Trip
from gdjax.pytrees import pytree_dataclass, require
from gdjax.vector import Scalar


class Status(enum.IntEnum):
    """How a descent ended. The first three are successes: ``result.converged`` is true for them alone."""

    CONVERGED = 1  # gradient norm <= tol * min(1 + |f|, largest gradient norm seen)
    TARGET_REACHED = 2  # value <= target
    PRECISION_FLOOR = 3  # no progress, and the decrease still to be had is below the rounding error of the loss
    SMALL_DECREASE = 4  # opt-in: |change of value| <= decrease * max(|f|, |f before|)
    SMALL_STEP = 5  # opt-in: |change of params| <= step * |params|, infinity norms
    MAX_STEPS = 6
    MAX_EVALS = 7
    STALLED = 8  # `patience` evaluations without a lower value or a smaller gradient
    STEP_TOO_SMALL = 9  # stalled because steps no longer change value and gradient at this precision
    LINE_SEARCH_FAILED = 10  # no step along the direction is acceptable
    DIVERGED = 11  # the loss ran away upwards
    UNBOUNDED = 12  # the loss runs away downwards
    NONFINITE = 13  # a NaN or infinity was met; the last finite point is kept
    NONFINITE_START = 14  # value or gradient is not finite at the start
    MAX_SECONDS = 15
    INTERRUPTED = 16  # by Ctrl-C
    STOPPED_BY_CALLBACK = 17
    RAISED = 18  # the loss raised an error while it ran, in a function of Python's that it calls
    WRONG_GRADIENT = 19  # grad= vanishes at params, jax.grad's gradient does not, and the loss falls along it
    RUNNING = 0  # not ended yet: seen while stepping with `iterate`

    def __str__(self) -> str:
        """The name."""
        return self.name


def is_success(code: jax.Array) -> jax.Array:
    """Whether a status code is CONVERGED, TARGET_REACHED or PRECISION_FLOOR."""
    return (code >= Status.CONVERGED) & (code <= Status.PRECISION_FLOOR)


# Floor: ten evaluations without progress can be chance in a search, twenty (two bracketing searches) are not.
FLOOR_PATIENCE = 20
# Floor: the gradient must be within a factor of ten of the tolerance (of its default, if a smaller one was
# given), and satisfy the rule of the field, |g| <= tol (1 + |f|), with that. A promise alone is not enough: at a kink,
# shrinking steps look like enormous curvature, and a quasi-Newton matrix that does not know a flat direction promises
# nothing along it. Without this, 50 of 50 descents of a mean absolute error and 10 of 84 CUTEst problems in float32
# were called finished far above the minimum; with the factor of ten alone still 4 of 96.
FLOOR_SLOPE = 10.0
# Divergence: ten new highest values without one new low (a momentum method that overshoots makes two or
# three), and a rise that no start explains: 100 times the size of the start's value, or 1000 times its slope.
DIVERGED_RISE, DIVERGED_SLOPE = 100.0, 1000.0
# and growth to 10 000 times the first rise, which only steps that themselves grow attain: those of Adam or Lion,
# whose length is bounded by the rate, leave a good start for a while and come back.
DIVERGED_GROWTH = 1e4
# Evaluations without progress after which a method of fixed steps has stalled; one whose rate is given by a
# schedule, and any optax optimiser, may still settle when the rate decays, so these are given no limit.
PATIENCE_OF_STEPS = 1000
MOST = np.iinfo(np.int32).max  # a limit of so many is none


@pytree_dataclass
class Stop:
    """When to stop. All numbers are traced: changing them compiles nothing; None is off (or the default).

    Args:
        tol: gradient test, ``|g| <= tol * min(1 + |f|, G)`` with the infinity norm, G the largest gradient
            norm seen. With a penalty |g| is the norm of a subgradient of the sum, made of the last prox-gradient
            step (`gdjax.composite.stationarity`), which is the gradient where the penalty is 0; in a box that
            of (x - clip(x - t g)) / t; f is the sum. Default: max(1e-6, sqrt(eps)) with eps of the coarsest dtype
            among parameters and value: 1e-6 in float64, 3.5e-4 in float32, 0.09 in bfloat16. Invariant under f -> a f.
        decrease: stop when the value changes by no more than this share of itself in one step (SMALL_DECREASE).
        step: stop when the parameters change by no more than this share of their largest entry (SMALL_STEP).
        target: stop as soon as the value is at or beyond this (TARGET_REACHED). The gradient test stays on
            and may come first; ``tol=0`` leaves the target alone.
        max_steps: accepted steps, default 10 000.
        max_evals: evaluations of the loss, default unlimited. (Limits from 2^31 - 1 on are as good as none.)
        patience: evaluations without progress before STALLED. Default 1000 for gradient descent at a fixed
            rate (which may oscillate for long), 100 + sqrt(n) for methods whose values only fall, and none for
            schedules and optax optimisers, which may settle when their rate decays.

    Raises:
        ValueError: if a tolerance is negative or NaN, a limit negative, patience below 1.

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

    def __post_init__(self) -> None:
        for name in ("max_steps", "max_evals", "patience"):
            require("must be a whole number", getattr(self, name), lambda x: x == np.round(x), name)
        for name in ("tol", "decrease", "step", "max_steps", "max_evals"):
            require("must not be negative", getattr(self, name), lambda x: x >= 0, name)
        require("must be at least 1", self.patience, lambda x: x >= 1, "patience")
        require("must not be NaN", self.target, lambda x: ~np.isnan(x), "target")
        for name in ("max_steps", "max_evals", "patience"):
            object.__setattr__(self, name, clipped(getattr(self, name)))

    def resolve(self, objective: Objective, monotone: bool, settles: bool) -> "Limits":
        """The same with defaults filled in, in the dtypes of the loop."""
        real = lambda x: None if x is None else jnp.asarray(x).astype(objective.dtype)
        count = lambda x, default: as_count(default if x is None else x)
        n = sum(leaf.size for leaf in jax.tree.leaves(objective.start))
        default = jnp.asarray(max(1e-6, objective.eps**0.5), objective.dtype)
        tol = default if self.tol is None else jnp.asarray(self.tol).astype(objective.dtype)
        return Limits(
            tol=tol,
            floor=FLOOR_SLOPE * jnp.maximum(tol, default),
            decrease=real(self.decrease),
            step=real(self.step),
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
    max_steps: jax.Array
    max_evals: jax.Array
    patience: jax.Array


def gradient_threshold(stop: Limits, value: Scalar, largest_norm: Scalar) -> Scalar:
    """The gradient norm that counts as zero."""
    return stop.tol * jnp.minimum(1 + jnp.abs(value), largest_norm)


def test(objective: Objective, stop: Limits, searches: bool, p: Progress, trip: Trip) -> tuple[Progress, jax.Array]:
    """The status after a trip, an int32: that of the first test that holds, or RUNNING.

    An iterate that satisfies a test of success is the answer, and the best point up to rounding: so says the progress.
    """

    small = small_step(stop, trip)

    def decide(p: Progress) -> tuple[Progress, jax.Array]:
        code = status(objective, stop, searches, p, trip, small)
        return p._replace(at_best=p.at_best | is_success(code)), code

    return one_kernel(decide, p)


def status(
    objective: Objective, stop: Limits, searches: bool, p: Progress, trip: Trip, small: jax.Array | None
) -> jax.Array:
    """The status, from the scalars of a trip and the answer of the test on the change of parameters, if any."""
    after, outcome = trip.after, trip.outcome
    f, noise = after.value, objective.noise(after.value)
    # A stationary point above a value already seen is not an answer.
    at_bottom = objective.merit(after) <= p.lowest + jnp.maximum(noise, outcome.noise)
    stationary = after.grad_norm <= gradient_threshold(stop, f, p.largest_norm)
    exhausted = (p.idle >= FLOOR_PATIENCE) | outcome.failed
    flat = after.grad_norm <= stop.floor * jnp.minimum((1 + jnp.abs(f)) / FLOOR_SLOPE, p.largest_norm)
    frozen = p.frozen >= jnp.minimum(stop.patience, PATIENCE_OF_STEPS)
    stalled = frozen | (p.idle >= stop.patience)
    cycles = p.curvature > 0  # the same value and gradient norm, but on two sides of a valley
    lost, ran_away = escapes(p, trip, objective.merit(after), searches)
    tests = {
        Status.NONFINITE_START: p.steps < 0,
        Status.UNBOUNDED: unbounded(p, trip),
        Status.TARGET_REACHED: False if stop.target is None else f <= stop.target,
        Status.CONVERGED: stationary & at_bottom,
        Status.PRECISION_FLOOR: exhausted & flat & (p.predicted <= noise) & at_bottom,
        Status.DIVERGED: ran_away,
        Status.NONFINITE: lost,
        Status.LINE_SEARCH_FAILED: outcome.failed,
        Status.SMALL_DECREASE: small_decrease(stop, trip),
        Status.SMALL_STEP: False if small is None else small,
        Status.STEP_TOO_SMALL: frozen & ~stationary & ~cycles,
        Status.STALLED: stalled,
        Status.MAX_STEPS: p.steps >= stop.max_steps,
        Status.MAX_EVALS: p.evals >= stop.max_evals,
    }
    code = jnp.asarray(Status.RUNNING, jnp.int32)
    for reason, holds in reversed(tests.items()):
        if holds is not False:
            code = jnp.where(holds, reason, code)
    return code


def escapes(p: Progress, trip: Trip, f: Scalar, searches: bool) -> tuple[jax.Array | bool, jax.Array]:
    """Whether a method without a search met a non-finite point, and whether the value ran away upwards."""
    g, point = trip.after.grad_norm, trip.point
    rise = f - p.start_value
    size = jnp.maximum(jnp.abs(p.start_value), p.start_value - p.lowest)
    far = (rise > DIVERGED_RISE * size) | (g > DIVERGED_SLOPE * p.start_norm)
    ran_away = (p.rises >= PATIENCE) & far & (rise > DIVERGED_GROWTH * p.first_rise)
    if searches:
        return False, ran_away
    lost = ~(jnp.isfinite(point.value) & jnp.isfinite(point.grad_norm))
    return lost, ran_away | (lost & ((point.value == jnp.inf) | (p.rises > 0)))


def unbounded(p: Progress, trip: Trip) -> jax.Array:
    """Whether the value is -inf, or so low that the start's value is lost twice over in its rounding."""
    eps = float(jnp.finfo(trip.point.value.dtype).eps)
    return (trip.point.value == -jnp.inf) | (trip.after.value < -(1 + jnp.abs(p.start_value)) / eps**2)


def small_decrease(stop: Limits, trip: Trip) -> jax.Array | bool:
    """The opt-in test on the change of value."""
    if stop.decrease is None:
        return False
    old, new = trip.before.value, trip.after.value
    change = jnp.abs(new - old) <= stop.decrease * jnp.maximum(jnp.abs(old), jnp.abs(new))
    return trip.outcome.accepted & (old < jnp.inf) & change


def small_step(stop: Limits, trip: Trip) -> jax.Array | None:
    """The opt-in test on the change of parameters."""
    if stop.step is None:
        return None
    change = vector.max_abs(vector.subtract(trip.after.x, trip.before.x))
    small = change <= stop.step.astype(change.dtype) * vector.max_abs(trip.after.x)
    return trip.outcome.accepted & (trip.before.value < jnp.inf) & small
