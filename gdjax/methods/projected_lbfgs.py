"""L-BFGS in a box: masks say which variables are at their bounds, the rest take a quasi-Newton step.

D. P. Bertsekas, Projected Newton methods for optimization problems with simple constraints, SIAM J. Control Optim. 20
(1982): the two-metric projection. R. H. Byrd, P. Lu, J. Nocedal and C. Zhu, A limited memory algorithm for bound
constrained optimization, SIAM J. Sci. Comput. 16 (1995), section 5.1: the inverse of the free part of B.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.forward_jacobian import piecewise
from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.jaxtools.scalar_kernels import branch
from gdjax.line_search.base import denoise
from gdjax.methods.base import Method, Outcome, usable
from gdjax.methods.lbfgs import LBFGS
from gdjax.methods.parts.curvature import parabola
from gdjax.methods.parts.pairs import Pairs, empty, forget, remember, solve
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

DECREASE = 1e-4  # Armijo's constant (Nocedal & Wright)
GROW = 10.0  # factor on the step where the loss has shown no curvature, as in `searching`
SLACK = 32.0  # roundings of the parameters within which the minimum is found, as in `secants`
MAX_TRIALS = 30  # rejected steps before the memory is dropped


class Model(NamedTuple):
    """What is known of the loss around the iterate."""

    step: Callable[[jax.Array, jax.Array], jax.Array]  # of the variables that are free: (g, free) -> -B_FF^-1 g_F
    reach: jax.Array  # t: a variable that ``x - t g`` takes to a bound is not free, and goes there


class ProjectedState(NamedTuple):
    """Projected L-BFGS between two evaluations."""

    iterate: Point  # accepted point
    trial: jax.Array  # clip(x + alpha d)
    direction: jax.Array  # d
    step_size: Scalar  # alpha
    pairs: Pairs  # of x / units
    units: jax.Array  # of each parameter; 1 until the descent begins anew
    fresh: jax.Array  # whether it has just done so
    scaled: jax.Array  # whether it has ever done so
    rounding: Scalar  # change of the loss that the rounding of x makes at the iterate
    trials: jax.Array  # rejected since the iterate
    blocked: jax.Array  # whether the loss was not finite at one of them

    def inverse_times(self, v: jax.Array) -> jax.Array:
        """H v, of all variables."""
        return -self.units * solve(self.pairs, self.units * v, jnp.ones(v.shape, bool))


@pytree_dataclass
class ProjectedLBFGS(Method):
    """``x <- clip(x + alpha d)`` between bounds; what `LBFGS` becomes with ``penalty=Box(...)``.

    Variables that a gradient step of length 1 / theta would take to a bound go straight there. The others, F, take
    ``d_F = -B_FF^{-1} g_F``, with B the limited-memory matrix of all variables: the bounds cost two masked products
    with the memory, and no sorting. alpha is halved or interpolated until
    ``f(x + s) <= f(x) + 1e-4 g's`` for the projected step s. Where values differ by rounding, slopes decide.

    Where no step is found the descent begins anew, without pairs and in x / |x|: one theta for all cannot serve
    parameters of very different units, of which it makes some move by less than their rounding.

    The measure of stationarity is the norm of ``(x - clip(x - t g)) / t`` with ``t = min(1, 1 / theta)``: at
    least that of ``x - clip(x - g)``, and it scales with the loss and with x.

    Args:
        memory: number of pairs m.
    """

    memory: int = static_field(20)

    searches: ClassVar[bool] = True
    accepts_penalty: ClassVar[bool] = True
    models: ClassVar[bool] = True
    name: ClassVar[str] = "LBFGS with bounds"

    @classmethod
    def of(cls, method: LBFGS) -> "ProjectedLBFGS":
        """With the memory of an `LBFGS`.

        Raises:
            ValueError: if it has another line search than the default: the path between bounds has kinks.
        """
        if type(method.line_search) is not type(LBFGS().line_search):
            raise ValueError(f"between bounds LBFGS searches along a path with kinks; {method.line_search!r} cannot")
        return cls(method.memory)

    def learnt(self, old: ProjectedState) -> dict[str, Any]:
        """The pairs, and the units in which they are."""
        return dict(pairs=old.pairs, units=old.units, scaled=old.scaled)

    def model(self, objective: Objective, pairs: Pairs, units: jax.Array, before: Point, point: Point) -> Model:
        """By the pairs; t is 1 / theta, in the units of each variable."""
        step = lambda g, free: units * solve(pairs, jnp.where(free, units * g, 0), free)
        return Model(step, gradient_steps(pairs, units))

    def growth(self, point: Point) -> Any:
        """By what the step grows where the loss has shown no curvature: else it would stay as short as it was."""
        return GROW

    def init(self, objective: Objective) -> ProjectedState:
        """At the start."""
        zero, n, x = jnp.zeros((), objective.dtype), jnp.asarray(0, jnp.int32), objective.start
        pairs = empty(self.memory, x, objective.dtype)
        units = jnp.ones_like(x)
        no = jnp.asarray(False)
        return ProjectedState(objective.blank, x, jnp.zeros_like(x), zero, pairs, units, no, no, zero, n, no)

    def step(self, objective: Objective, state: ProjectedState, point: Point) -> tuple[ProjectedState, Outcome]:
        """Take the point and turn; or try a shorter step; or begin anew."""
        finite, keep = usable(point, state.iterate)
        before, alpha = state.iterate, state.step_size
        first = before.is_blank
        s = point.x - before.x
        slope, slope_after = objective.dots((s, before.grad), (s, point.grad))
        noise = objective.search_noise(before.value) + state.rounding
        one = jnp.ones_like(slope)
        value = denoise(before.value, slope, one, jnp.where(finite, point.value, jnp.inf), slope_after, noise)
        falls = (slope < 0) & (value <= before.value + DECREASE * slope)
        taken = keep & (first | falls)

        shorter = alpha * piecewise(parabola)(slope, value - before.value, slope < 0)
        spent = (state.trials + 1 >= MAX_TRIALS) | jnp.all(s == 0)
        anew = ~taken & spent & ~state.fresh
        failed = ~taken & spent & ~anew
        state = state._replace(blocked=state.blocked | ~finite)
        again = state._replace(step_size=shorter, trials=state.trials + 1)
        again = again._replace(trial=clip(objective, vector.add_scaled(before.x, shorter, state.direction)))
        new = branch(
            taken | anew,
            lambda state: self.turn(objective, state, vector.where(anew, before, point), anew),
            lambda _: again,
            state,
        )
        return new, Outcome(finite & taken, alpha, failed, promise(objective, new), settled=settled(objective, new))

    def turn(self, objective: Objective, state: ProjectedState, point: Point, anew: jax.Array) -> ProjectedState:
        """From the new iterate (the old one, to begin anew): learn from the step, then a direction."""
        before, dtype = state.iterate, objective.dtype
        first = before.is_blank
        units = jnp.where(anew, units_of(objective, point.x), state.units)
        pairs, good = remember(state.pairs, (point.x - before.x) / units, (point.grad - before.grad) * units)
        pairs = vector.where(anew, forget(state.pairs), pairs)
        # The first step has length 1; anew it is just so long that rounding does not hide what it tells.
        length, short = length_of(point.grad * units).astype(dtype), float(jnp.finfo(point.x.dtype).eps) ** 0.5
        scale = jnp.where(first & (pairs.stored == 0), length, jnp.where(anew, length / short, pairs.theta))
        pairs = pairs._replace(theta=scale)
        model = self.model(objective, pairs, units, before, point)
        direction, norm = descend(objective, pairs, units, point, state.blocked & ~anew, model)
        grown = jnp.maximum(self.growth(point) * state.step_size, 1)
        alpha = jnp.where(good | first | anew, 1, grown)
        rounding = objective.rounding(point.x, point.grad)
        ahead = vector.add_scaled(point.x, alpha, direction)
        trial = clip(objective, jnp.where(jnp.isnan(ahead), point.x, ahead))  # NaN is in no box
        point = point._replace(grad_norm=norm)
        count = jnp.zeros_like(state.trials)
        scaled = state.scaled | anew
        return ProjectedState(
            point, trial, direction, alpha, pairs, units, anew, scaled, rounding, count, jnp.zeros_like(anew)
        )


def bounds_of(objective: Objective) -> tuple[jax.Array, jax.Array]:
    """Lower and upper bound; infinite without."""
    composite = objective.composite
    if composite is None or composite.bounds is None:
        raise ValueError("this method needs a penalty that is a box")
    return composite.bounds


def clip(objective: Objective, x: jax.Array) -> jax.Array:
    """Into the box, exactly."""
    return jnp.clip(x, *bounds_of(objective))


def units_of(objective: Objective, x: jax.Array) -> jax.Array:
    """The size of each parameter, now or at the start; if that is 0 the width of its box; 1 without."""
    lower, upper = bounds_of(objective)
    width = upper - lower
    width = jnp.where(jnp.isfinite(width) & (width > 0), width, 1)
    size = jnp.maximum(jnp.abs(x), jnp.abs(objective.start))
    return jnp.where(size > 0, size, width)


def gradient_steps(pairs: Pairs, units: jax.Array) -> jax.Array:
    """1 / theta for each parameter, which is measured in units."""
    return units * (units / pairs.theta.astype(units.dtype))


def length_of(g: jax.Array) -> jax.Array:
    """The norm, whose squares may be too small or too large for the dtype; 1 for zero."""
    largest = vector.max_abs(g)
    unit = jnp.where(largest > 0, largest, 1)
    return jnp.where(largest > 0, unit * vector.root(vector.dot(g / unit, g / unit)), 1)


def promise(objective: Objective, state: ProjectedState) -> Scalar:
    """Decrease that a quadratic model promises along d; 0 if the rounding of x alone changes the loss by more."""
    decrease = -0.5 * objective.dot(state.iterate.grad, state.direction)
    return jnp.where(decrease <= state.rounding, 0, decrease)


def settled(objective: Objective, state: ProjectedState) -> jax.Array:
    """Whether the model, in units that hide no parameter's step, has its minimum within some roundings of here."""
    within = jnp.abs(state.direction) <= SLACK * objective.eps * jnp.abs(state.iterate.x)
    return state.scaled & (state.pairs.stored > 0) & jnp.all(within)


def descend(
    objective: Objective, pairs: Pairs, units: jax.Array, point: Point, blocked: jax.Array, model: Model
) -> tuple[jax.Array, Scalar]:
    """The direction d at a point, and its measure of stationarity.

    Where the way to it was ``blocked`` by values that are not finite, a bound that is near is no reason to stop.
    """
    lower, upper = bounds_of(objective)
    x, g, dtype = point.x, point.grad, objective.dtype
    ahead = x - model.reach * g
    active = ((ahead <= lower) & (g > 0)) | ((ahead >= upper) & (g < 0)) | (lower == upper)
    free = ~active
    to_bound = jnp.where(g > 0, lower, upper) - x
    newton = model.step(g, free)
    d = jnp.where(free, newton, jnp.where(lower == upper, 0, to_bound))
    # By rounding or overflow uphill: the projected gradient step instead.
    downhill = vector.dot(jnp.where(free, newton, 0), g) <= 0
    d = jnp.where(downhill, d, jnp.clip(ahead, lower, upper) - x)

    short = jnp.minimum(gradient_steps(pairs, units), 1)
    there = x - short * g
    inside = (there >= lower) & (there <= upper)
    held = ((x <= lower) & (g > 0)) | ((x >= upper) & (g < 0))  # however short the step that would tell
    slope = jnp.where(inside | blocked, g, (x - jnp.clip(there, lower, upper)) / short)
    return d, vector.max_abs(jnp.where(held, 0, slope)).astype(dtype)
