"""PANOC: quasi-Newton steps on the residual of the proximal gradient method, made safe by its envelope.

L. Stella, A. Themelis, P. Sopasakis and P. Patrinos, A simple and efficient algorithm for nonlinear model predictive
control, IEEE CDC (2017). A. De Marchi and A. Themelis, Proximal gradient algorithms under local Lipschitz gradient
continuity, J. Optim. Theory Appl. 194 (2022): the adaptive step.
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.jaxtools.scalar_kernels import branch
from gdjax.jaxtools.varying import cond
from gdjax.methods.base import Method, Outcome, usable
from gdjax.methods.parts.curvature import LEAP, change, probe, steepness
from gdjax.methods.parts.pairs import Pairs, empty, remember, solve
from gdjax.problem.objective import Objective, Point
from gdjax.problem.penalized import slope_of, stationarity, step_norm
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

ALPHA, BETA = 0.95, 0.5  # the authors' constants: share of 1 / step for the curvature, share of the sure decrease
HALVINGS = 4  # of tau before the proximal gradient step is taken instead
MAX_TRIALS = 60  # halvings of the step before the search has failed


class Base(NamedTuple):
    """A point x with its prox-gradient point z."""

    point: Point  # x, its loss and gradient
    z: jax.Array  # prox(x - gamma g)
    envelope: Scalar  # forward-backward envelope f + g'(z - x) + |z - x|^2 / 2 gamma + penalty(z) at x
    slope: jax.Array  # G = (x - z) / gamma, the part of a gradient


class PANOCState(NamedTuple):
    """PANOC between two evaluations."""

    iterate: Point  # last z accepted
    base: Base  # x, at a candidate the z before
    trial: jax.Array  # the z of the base, or a candidate for the next x
    at_z: jax.Array  # which of the two
    gamma: Scalar  # step of the proximal gradient method; 0 before the start is evaluated
    direction: jax.Array  # d
    tau: Scalar  # candidate: x + tau d + (1 - tau) (z - x)
    x_before: jax.Array  # the z before, and
    map_before: jax.Array  # its G, which takes the part of a gradient
    memory: Pairs
    trials: jax.Array  # steps gamma rejected since the iterate; -1 for the probe


@pytree_dataclass
class PANOC(Method):
    """``z = prox(x - gamma g)``, then ``x <- prox(z - gamma g) + tau (z + d - prox(z - gamma g))``, d by L-BFGS.

    (prox is the proximal operator of the penalty.) ``d = -B^{-1} G(z)``, where the map
    ``G(x) = (x - prox(x - gamma g)) / gamma`` plays the role of a gradient. The pairs for B come from both steps, to z
    and to x. Entries that the prox leaves exactly where they are (zeros of L1, bounds) are held by a mask, as in
    `LBFGS` with bounds. A candidate outside a constraint is projected. A step gamma must satisfy
    ``f(z) <= f(x) + g'(z - x) + 0.95 |z - x|^2 / 2 gamma`` and is halved if it does not. tau is 1, and is halved until
    the forward-backward envelope falls by a fraction of the guaranteed decrease; in the end it is 0, which is a plain
    proximal gradient step. Near a minimum this is a quasi-Newton method. The loss need not be convex. The reported
    points are the z, which satisfy constraints and are exactly sparse. A step costs two evaluations.

    The papers take d at x, and one pair per step. Here the gradient is also known at z, and d is taken there: with the
    papers' choice constraints made most candidates fail (a least squares problem in a box took 696 evaluations, now
    37).

    Args:
        memory: pairs of L-BFGS.

    >>> import gdjax
    >>> loss = lambda x: jnp.sum((x - jnp.array([3.0, 0.2])) ** 2)
    >>> print(gdjax.minimize(loss, jnp.zeros(2), penalty=gdjax.penalties.L1(1.0), method=PANOC()).params.round(4))
    [2.5 0. ]
    """

    memory: int = static_field(20)

    searches: ClassVar[bool] = True
    monotone: ClassVar[bool] = False
    accepts_penalty: ClassVar[bool] = True
    needs_value: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.memory, int) or self.memory < 1:
            raise ValueError(f"memory must be a positive whole number, got {self.memory!r}")

    def init(self, objective: Objective) -> PANOCState:
        """At the start, which is taken for a candidate."""
        if objective.composite is None:
            raise ValueError("PANOC is for a loss with a penalty; without one use LBFGS, which it would be")
        zero, x = jnp.zeros((), objective.dtype), objective.start
        o, no = jnp.zeros_like(x), jnp.asarray(False)
        base = Base(objective.blank, x, objective.blank.value, o)
        memory = empty(self.memory, x, objective.dtype)
        return PANOCState(objective.blank, base, x, no, zero, o, zero, x, o, memory, jnp.asarray(-1, jnp.int32))

    def step(self, objective: Objective, state: PANOCState, point: Point) -> tuple[PANOCState, Outcome]:
        """Digest an evaluation at z or at a candidate for x."""
        return cond(
            state.at_z,
            lambda: self.at_z(objective, state, point),
            lambda: self.at_candidate(objective, state, point),
        )

    def at_candidate(self, objective: Objective, state: PANOCState, w: Point) -> tuple[PANOCState, Outcome]:
        """Take the candidate if the envelope falls; else one nearer to z; in the end z."""
        first = state.gamma == 0
        finite, _ = usable(w, state.base.point)
        gg, xx = objective.dots((w.grad, w.grad), (w.x, w.x))
        gamma = jnp.where(first, probe(gg, xx, w.smooth), state.gamma)
        candidate = envelope(objective, w, gamma)
        base, x = state.base, state.base.point
        rise, slope, ss = change(objective, x, w)
        before, after = objective.dots((base.slope, base.slope), (candidate.slope, candidate.slope))
        sure = 0.5 * BETA * (1 - ALPHA) * gamma * before
        fall = (base.envelope - x.smooth) - (candidate.envelope - w.smooth) - rise - sure
        # Where penalties differ by rounding, the residual must fall.
        noise = objective.noise(base.envelope - x.smooth)
        falls = finite & ((fall > noise) | ((fall >= -noise) & (after < before)))
        # Where the loss bends more on the way than gamma allows for, the envelope is none, and values must tell.
        fits = rise - slope <= ALPHA * 0.5 * ss / gamma + objective.noise(x.smooth)
        falls &= fits | (w.value <= state.iterate.value)
        tau = jnp.where(state.tau > 0.5**HALVINGS, 0.5 * state.tau, 0)
        taken = first | falls
        to_z = taken | (tau == 0)
        base = vector.where(taken, candidate, state.base)
        start = w._replace(grad_norm=step_norm(w.x, w.grad, candidate.z, gamma))
        new = state._replace(
            iterate=vector.where(first, start, state.iterate),
            base=base,
            trial=jnp.where(to_z, base.z, candidate_at(objective, state.base, state.direction, tau)),
            at_z=to_z,
            gamma=gamma,
            tau=tau,
        )
        return new, Outcome(first & finite, gamma, jnp.asarray(False), promise(objective, new))

    def at_z(self, objective: Objective, state: PANOCState, z: Point) -> tuple[PANOCState, Outcome]:
        """Take z as the new iterate if the step gamma was short enough, and turn; else shorten it."""
        x, gamma = state.base.point, state.gamma
        finite, _ = usable(z, x)
        rise, slope, dd = change(objective, x, z)
        bends = rise - slope
        rounding = objective.noise(x.smooth)
        fits = finite & (bends <= ALPHA * 0.5 * dd / gamma + rounding)
        probe = state.trials < 0  # it only tells the curvature
        found = jnp.where(bends > rounding, 0.5 * ALPHA * dd / jnp.where(bends > 0, bends, 1), 10 * gamma)
        shorter = jnp.where(finite, jnp.clip(0.9 * found, 0.1 * gamma, 0.5 * gamma), 0.1 * gamma)
        found = jnp.where(finite, found, 0.1 * gamma)
        taken = fits & ~probe
        # Where the loss bends far less than gamma allows for, gamma had been shortened by what is now behind.
        bend = gamma * steepness(objective, x, z)
        unknown = (bend == 0) & ((state.memory.stored == 0) | (state.tau == 0))
        far_less = unknown | ((bend > 0) & (bend < 1 / LEAP))
        longer = gamma * jnp.where(far_less, jnp.minimum(LEAP, ALPHA / jnp.where(bend > 0, bend, ALPHA / LEAP)), 1)
        # A candidate above the iterate was taken for an envelope that was none, as z shows: back to the iterate, from
        # which the same step gamma tells the memory more. (Shorter steps taught it nothing, and the next candidate was
        # the same: a mixture of Gaussians took 3350 evaluations, and now 87.)
        misled = ~taken & (x.value > state.iterate.value)
        gamma = jnp.where(taken, longer, jnp.where(probe, found, jnp.where(misled, gamma, shorter)))
        # One prox: of z, in case it is the next x, or of x or the iterate again.
        other = envelope(objective, vector.where(taken, z, vector.where(misled, state.iterate, x)), gamma)
        again = state._replace(base=other, trial=other.z, gamma=gamma, trials=state.trials + 1)
        again = again._replace(tau=jnp.where(misled, 0, state.tau))
        new = branch(taken, lambda state: self.turn(objective, state, z, other, gamma), lambda _: again, state)
        # A step so short that rounding swallows it leads nowhere, if no candidate does.
        failed = (~taken & (new.trials >= MAX_TRIALS)) | ((dd == 0) & ~probe & (state.tau == 0))
        return new, Outcome(taken, state.gamma, failed, promise(objective, new))

    def turn(self, objective: Objective, state: PANOCState, z: Point, ahead: Base, gamma: Scalar) -> PANOCState:
        """From x to z, which is the next x unless a candidate is better: learn from both steps, then a candidate."""
        x, same = state.base.point.x, gamma == state.gamma
        memory, _ = remember(state.memory, x - state.x_before, state.base.slope - state.map_before)
        memory, _ = remember(memory, jnp.where(same, z.x - x, 0), ahead.slope - state.base.slope)
        # Entries that the prox leaves where they were (zeros of L1, bounds) stay there.
        direction = solve(memory, ahead.slope, ahead.slope != 0)
        usual = (memory.stored > 0) & jnp.isfinite(vector.max_abs(direction))
        one = usual.astype(state.tau.dtype)
        return PANOCState(
            iterate=z._replace(grad_norm=stationarity(state.base.point, z, state.gamma)),
            base=ahead,
            trial=jnp.where(usual, candidate_at(objective, ahead, direction, one), ahead.z),
            at_z=~usual,
            gamma=gamma,
            direction=direction,
            tau=one,
            x_before=z.x,
            map_before=ahead.slope,
            memory=memory,
            trials=jnp.zeros_like(state.trials),
        )


def envelope(objective: Objective, point: Point, gamma: Scalar) -> Base:
    """The prox-gradient point of x and the envelope."""
    composite = objective.composite
    assert composite is not None
    z = composite.descend(point.x, point.grad, gamma)
    d = vector.subtract(z, point.x)
    slope, dd = objective.dots((d, point.grad), (d, d))
    slopes = slope_of(point.x, point.grad, z, gamma)
    return Base(point, z, point.smooth + slope + 0.5 * dd / gamma + composite.value(z), slopes)


def candidate_at(objective: Objective, base: Base, direction: jax.Array, tau: Scalar) -> jax.Array:
    """``z + tau (x + d - z)``, moved into the domain of the penalty: the loss is never evaluated outside."""
    composite, t = objective.composite, tau.astype(direction.dtype)
    assert composite is not None
    candidate = base.point.x + t * direction + (1 - t) * (base.z - base.point.x)
    return composite.into_domain(candidate, composite.value(candidate))


def promise(objective: Objective, state: PANOCState) -> Scalar:
    """Decrease that the model promises: at least that of a proximal gradient step, if gamma is short enough."""
    slope, gamma = state.base.slope, state.gamma
    along, square = objective.dots((slope, state.direction), (slope, slope))
    return 0.5 * jnp.maximum(-along, gamma * square)
