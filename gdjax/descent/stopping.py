"""When to stop, and what to call it: every way out has a name, two numbers and a sentence."""

import enum

import jax
import jax.numpy as jnp

from gdjax.descent.explained import is_down, is_explained, squares_are_lost
from gdjax.descent.limits import FLOOR_SLOPE, INWARD, PATIENCE_OF_STEPS, Limits
from gdjax.descent.progress import PATIENCE, Progress, Trip, gradient_threshold, size_of
from gdjax.methods.base import Method
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar


class Status(enum.IntEnum):
    """How a run ended. The first three are successes: ``result.converged`` is true only for them."""

    CONVERGED = 1  # the gradient is practically zero (see `Stop`), and no significant decrease is predicted
    TARGET_REACHED = 2  # value <= target
    PRECISION_FLOOR = 3  # no progress, and any decrease left is below the rounding error of the loss
    SMALL_DECREASE = 4  # opt-in: |change of value| <= decrease * max(|f|, |f before|)
    SMALL_STEP = 5  # opt-in: |change of params| <= step * |params|, infinity norms
    MAX_STEPS = 6
    MAX_EVALS = 7
    STALLED = 8  # `patience` evaluations without a lower value or a smaller gradient
    STEP_TOO_SMALL = 9  # stalled because steps no longer change value and gradient at this precision
    LINE_SEARCH_FAILED = 10  # no step along the direction is acceptable
    DIVERGED = 11  # the loss grew without bound
    UNBOUNDED = 12  # the loss falls without bound
    NONFINITE = 13  # a NaN or infinity appeared; the last finite point is returned
    NONFINITE_START = 14  # value or gradient is not finite at the start
    MAX_SECONDS = 15
    INTERRUPTED = 16  # by Ctrl-C
    STOPPED_BY_CALLBACK = 17
    RAISED = 18  # the loss raised an error while it ran (in a Python callback), or a callback's answer was unclear
    WRONG_GRADIENT = 19  # grad= vanishes at params, jax.grad's does not and the loss falls along it; or jac= is wrong
    INFEASIBLE = 20  # with constraints: a point of least violation among its neighbours, which is not feasible
    DEGENERATE = 21  # with constraints: feasible, but multipliers grow without bound; optimality conditions cannot hold
    RUNAWAY = 22  # in least squares: parameters run to infinity while the value levels off; no minimum is in sight
    AT_EDGE = 23  # with space=: the gradient vanishes at an end of a parameter's space, but the loss falls back inside
    EPOCHS_DONE = 24  # from `gdjax.train`: all requested epochs are done, or the data are used up
    EARLY_STOPPED = 25  # from `gdjax.train`: `patience` epochs without a better validation
    NO_DATA = 26  # from `gdjax.curve_fit`: the mask leaves no data, so nothing was fitted
    RUNNING = 0  # not finished: seen while stepping with `iterate`

    def __str__(self) -> str:
        """The name."""
        return self.name


def is_success(code: jax.Array) -> jax.Array:
    """Whether a status code is CONVERGED, TARGET_REACHED or PRECISION_FLOOR."""
    return (code >= Status.CONVERGED) & (code <= Status.PRECISION_FLOOR)


def at_rest(code: jax.Array) -> jax.Array:
    """Whether a status code says that the gradient is as good as zero: CONVERGED or PRECISION_FLOOR."""
    return (code == Status.CONVERGED) | (code == Status.PRECISION_FLOOR)


# Floor: ten evaluations without progress can be chance in a search, twenty (two bracketing searches) are not.
FLOOR_PATIENCE = 20
# What the model may promise, in units of tol |f| and of tol^2, which is what is left of a quadratic when its gradient
# has fallen to tol. A quasi-Newton model promises too little where it has not been, so less than 1. (It costs 4% of the
# evaluations of the development problems that converge, and finds 3 of 7 that were called so above their minimum.)
PROMISED = 0.1
# Tolerances by which the value may change, to first order, if one parameter changes by its own size. (Without it, raw
# regressions on scikit-learn's diabetes and wine data ended 5 and 3 standard errors off in float32; with it 0.01.)
SPAN = 3.0
# Share of each entry of the gradient at first, in units of the floor's tolerance, that may be left where rounding ends
# a descent. (Of 24 Poisson regressions on raw columns in float32, 17 froze at 7 to 10 standard errors with a share of
# 1.5e-3 to 2.2e-3, the others at the answer with 1e-7 to 5e-6; the floor's tolerance is 3.5e-3 there.)
SHARE_LEFT = 0.01
# Roundings of the value (in units of its noise) that no descent has brought. (Sums of squares of residuals of 1% err
# by ten.)
UNTOUCHED = 30.0
# Divergence: ten new highest values without one new low (a momentum method that overshoots makes two or
# three), and a rise that no start explains: 100 times the size of the start's value, or 1000 times its slope.
DIVERGED_RISE, DIVERGED_SLOPE = 100.0, 1000.0
# The slope of a start at the minimum is no scale: the rise must be a thousandth of the value, too.
DIVERGED_SHARE = 1e-3
# and growth to 10 000 times the first rise, which only steps that themselves grow attain: those of Adam or Lion,
# whose length is bounded by the rate, leave a good start for a while and come back.
DIVERGED_GROWTH = 1e4
# and faster than the fourth power of the number of rises: steps of bounded length make the value grow as its square.
DIVERGED_POWER = 4.0


def with_answer(p: Progress, code: jax.Array) -> Progress:
    """An iterate that satisfies a test of success is the answer, and the best point up to rounding."""
    answer = (code == Status.CONVERGED) | (code == Status.TARGET_REACHED)
    if p.kkt is not None:  # elsewhere the best point may be lower because it violates more
        answer |= (code == Status.PRECISION_FLOOR) | (code == Status.INFEASIBLE)
    return p._replace(at_best=p.at_best | answer)


def status(
    objective: Objective,
    stop: Limits,
    method: Method,
    p: Progress,
    trip: Trip,
    small: jax.Array | None,
    left: Scalar | None,
) -> jax.Array:
    """The status after a trip, an int32: that of the first test that holds, or RUNNING. Nothing but scalars.

    Of vectors it is given `small_step`, if asked for, and the `largest_share` of the gradient that is left, if known.
    """
    after, outcome = trip.after, trip.outcome
    f, noise = after.value, objective.noise(after.value)
    # A stationary point above a value already seen is not an answer.
    at_bottom = objective.merit(after) <= p.lowest + jnp.maximum(noise, outcome.noise)
    stationary = is_stationary(stop, p, after)
    # Where nothing more can be done, rounding may be what keeps the relative gradient above its tolerance.
    resting = at_bottom & is_resting(stop, p, after, FLOOR_SLOPE * SPAN)
    if method.second_order:  # what its model promises is known with the first product
        stationary &= (p.promise < jnp.inf) | (after.grad_norm == 0)
    # Where even the start is as low as can be measured, its gradient is no scale.
    untouched = p.start_value - p.lowest <= UNTOUCHED * noise
    low = (p.best_norm <= stop.floor * p.largest_norm) | untouched
    flat = low & (p.best_norm <= stop.floor * size_of(p.best_value, p.start_value) / FLOOR_SLOPE)
    # What a gradient's rounding is depends on the units of each parameter: that of a stiff one stops a descent far from
    # the minimum of others. So it is believed if a model promises nothing and no entry is left, or if it began there.
    modelled = method.models & (True if left is None else left <= SHARE_LEFT * stop.floor)
    settled = p.settled & (modelled | untouched)
    settled &= (p.promise <= noise) | (p.promise == jnp.inf)
    # Above a value already seen by more than rounding there is more to be had: the map of a space may be flat here.
    above = objective.merit(after) - p.lowest > jnp.maximum(noise, stop.tol * size_of(f, p.start_value))
    settled &= untouched | ~above
    frozen = p.frozen >= jnp.minimum(stop.patience, PATIENCE_OF_STEPS)
    stalled = frozen | (p.idle >= stop.patience)
    cycles = p.curvature > 0  # the same value and gradient norm, but on two sides of a valley
    lost, ran_away = escapes(p, trip, objective.merit(after), method.searches)
    true, failed = ~squares_are_lost(p), outcome.failed
    rounds = exhausted(p, trip) & is_explained(p, f)
    if p.blind is not None:
        blind = p.blind & ~is_down(p, f)
        true, failed = true & ~blind, failed | (blind & stationary)
    tests = {
        Status.NONFINITE_START: p.steps < 0,
        Status.UNBOUNDED: unbounded(p, trip),
        Status.TARGET_REACHED: False if stop.target is None else f <= stop.target,
        Status.RUNAWAY: outcome.ran_away,  # at infinity every cosine is zero
        Status.CONVERGED: stationary & at_bottom & true,
        Status.PRECISION_FLOOR: rounds & ((flat & (p.predicted <= noise)) | settled | resting) & true,
        Status.DIVERGED: ran_away,
        Status.NONFINITE: lost,
        Status.LINE_SEARCH_FAILED: failed,
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


def exhausted(p: Progress, trip: Trip) -> jax.Array:
    """Whether the descent makes no progress any more."""
    return (p.idle >= FLOOR_PATIENCE) | trip.outcome.failed


def is_stationary(stop: Limits, p: Progress, point: Point) -> jax.Array:
    """Whether the gradient counts as zero, and no decrease worth having is known to be left."""
    resting = is_resting(stop, p, point, SPAN)
    # The cosine between residuals and columns of their Jacobian is free of units, and takes the norms' place.
    zero = resting if p.cosine is None else (p.cosine <= stop.tol) & ~promising(stop, p, point)
    zero &= True if stop.gradient_at_most is None else point.grad_norm <= stop.gradient_at_most
    return (zero if stop.gradient is None else zero | (point.grad_norm <= stop.gradient)) & (p.inward <= INWARD)


def is_resting(stop: Limits, p: Progress, point: Point, span: float) -> jax.Array:
    """Whether the norm of the gradient, the decrease that is promised and the relative gradient are small.

    The last is the change of the value, to first order, if each of the n parameters changes by its own size:
    ``sum |x_i g_i| <= span sqrt(n) tol (|f| + min(1, |f_0|))`` (J. E. Dennis and R. B. Schnabel, Numerical Methods
    for Unconstrained Optimization and Nonlinear Equations, 1983, section 7.2). It is free of the units of the
    parameters. The norm is not: in a regression on raw columns it is small where large terms that cancel each other
    are far from right.
    """
    small = point.grad_norm <= gradient_threshold(stop.tol, p, point.value)
    most = span * float(vector.size(point.x)) ** 0.5
    relative = p.span <= most * stop.tol * size_of(point.value, p.start_value)
    return small & ~promising(stop, p, point) & relative


def promising(stop: Limits, p: Progress, point: Point) -> jax.Array:
    """Whether the decrease that is known to be left is worth having, small as the gradient may be.

    A gradient norm depends on units; the decrease that a quadratic model promises, ``g'Hg / 2``, does not. It must be
    small beside |f|, or (where the minimum is 0, of which it is a share at all times) beside the decrease made so far,
    of which 1 counts at most, as in `progress.size_of`.
    """
    left = jnp.where(jnp.isfinite(p.promise), p.promise, 0)
    made = jnp.minimum(jnp.maximum(p.start_value - point.value, 0) + left, 1)
    return left > PROMISED * stop.tol * jnp.maximum(jnp.abs(point.value), stop.tol * made)


def escapes(p: Progress, trip: Trip, f: Scalar, searches: bool) -> tuple[jax.Array | bool, jax.Array | bool]:
    """Whether a method without a search met a non-finite point, and whether the value ran away upwards."""
    if p.cosine is not None:  # see `progress.enter`
        return False, False
    g, point = trip.after.grad_norm, trip.point
    rise = f - p.start_value
    size = jnp.maximum(jnp.abs(p.start_value), p.start_value - p.lowest)
    steep = (g > DIVERGED_SLOPE * p.start_norm) & (rise > DIVERGED_SHARE * size)
    far = (rise > DIVERGED_RISE * size) | steep
    ran_away = (p.rises >= PATIENCE) & far & (rise > DIVERGED_GROWTH * p.first_rise)
    ran_away &= p.last_rise * p.rises.astype(f.dtype) > DIVERGED_POWER * (f - p.lowest)
    if searches:
        return False, ran_away
    lost = ~(jnp.isfinite(point.value) & jnp.isfinite(point.grad_norm))
    return lost, ran_away | (lost & ((point.value == jnp.inf) | (p.rises > 0)))


def unbounded(p: Progress, trip: Trip) -> jax.Array:
    """Whether the value is -inf, or so low that the start's value is lost twice over in its rounding; or fell all the
    way to where the squares of x overflow, and the gradient is zero for that reason.
    """  # fmt: skip
    value, info = trip.after.value, jnp.finfo(trip.point.value.dtype)
    low = (trip.point.value == -jnp.inf) | (value < -(1 + jnp.abs(p.start_value)) / float(info.eps) ** 2)
    if trip.outcome.secant is None:
        return low
    far = trip.outcome.accepted & ~(trip.outcome.secant.xx < 1e-4 * float(info.max))
    return low | (far & (trip.after.grad_norm == 0) & (value < p.start_value))


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
