"""Levenberg and Marquardt's method for nonlinear least squares, as a trust region in scaled parameters.

J. J. More, The Levenberg-Marquardt algorithm: implementation and theory, in Numerical Analysis, Lecture Notes in
Mathematics 630 (1978). In a box: C. Kanzow, N. Yamashita and M. Fukushima, Levenberg-Marquardt methods with strong
local convergence properties for solving nonlinear equations with convex constraints, J. Comput. Appl. Math. 172 (2004).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.jaxtools.scalar_kernels import branch, one_kernel
from gdjax.methods.base import Method, Outcome, Secant, usable
from gdjax.methods.parts.damped_step import damped_step
from gdjax.methods.parts.linearised import Linear, linearise
from gdjax.methods.parts.radius import ACCEPT, Verdict, by_slopes, next_radius
from gdjax.methods.parts.triangular import norm
from gdjax.problem.objective import Objective, Point
from gdjax.problem.residuals import compared
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

# Roundings of the residuals, in units of eps |D x|: what the sum of squares cannot tell below, and where the step that
# is left is lost in them. (With 1 instead of 1/4, NIST's Bennett5 ends at 1.8 digits in float32, with 4 at 1.3; 2.0 and
# 3.6 digits are to be had from its two starts.)
BLUR, SETTLED = 2.0, 0.25


class LevenbergMarquardtState(NamedTuple):
    """The method between two evaluations of the residuals."""

    iterate: Point  # accepted point
    linear: Linear
    scale: jax.Array  # D: the longest that each column has been, shape (n,)
    step: jax.Array  # to the trial, shape (n,)
    change: jax.Array  # R y: what the model says of the residuals there, shape (n,)
    radius: Scalar  # of the steps, |D p| <= radius
    damping: Scalar  # of the last step
    guessed: jax.Array  # whether the radius is the first guess still, which no step has tried

    @property
    def trial(self) -> jax.Array:
        """The next point to evaluate."""
        return self.iterate.x + self.step


class Move(NamedTuple):
    """What follows from a trial; all without residuals and aux."""

    state: LevenbergMarquardtState
    taken: jax.Array  # whether the trial is the iterate now
    accepted: jax.Array  # the same, but for a start that is not finite
    failed: jax.Array
    promise: Scalar  # decrease that the model still promises
    settled: jax.Array
    xx: Scalar  # x'x


@pytree_dataclass
class LevenbergMarquardt(Method):
    """``x <- x + p`` where p minimises ``|J p + r|`` in ``|D p| <= radius``: the default of `gdjax.least_squares`.

    D holds the longest that each column of the Jacobian J has been, so that the units of parameters and residuals make
    no difference. One evaluation of the residuals a step; J at the points that are taken, by forward derivatives if
    there are no more parameters than residuals, in reverse otherwise. With a `Box` a parameter at a bound that the
    gradient points out of is held, and steps end at the bounds: the residuals are never evaluated outside.

    Args:
        factor: the first radius, in units of ``|D x|`` at the start (of ``|r|`` if x is 0 there). A smaller one, such
            as 1, keeps the first step short where residuals overflow or other minima are near.

    Raises:
        ValueError: if ``factor`` is not positive.

    >>> import gdjax, jax.numpy as jnp
    >>> rosenbrock = lambda p: (10 * (p[1] - p[0] ** 2), 1 - p[0])
    >>> print(gdjax.least_squares(rosenbrock, jnp.array([-1.2, 1.0])).params.round(3))
    [1. 1.]
    """

    factor: float | jax.Array = 100.0

    searches: ClassVar[bool] = True
    models: ClassVar[bool] = True
    accepts_penalty: ClassVar[bool] = True
    least_squares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require("must be positive", self.factor, lambda x: x > 0, "factor")

    def learnt(self, old: Any) -> dict[str, Any]:
        """The scales of the parameters."""
        return dict(scale=old.scale)

    def ask(self, objective: Objective, state: LevenbergMarquardtState) -> Point:
        """The residuals at the trial; their gradient follows if the point is taken."""
        x = state.trial
        if objective.composite is not None:  # the sum of iterate and step may round to outside
            x = jnp.clip(x, *objective.composite.ends)
        r, aux = objective.residuals(x)
        value, gained = compared(state.iterate.residuals, r, objective.robust)
        point = state.iterate._replace(x=x, value=value, grad_norm=jnp.zeros_like(value), aux=aux, residuals=r)
        return point._replace(gained=gained, smooth=None if objective.composite is None else value)

    def init(self, objective: Objective) -> LevenbergMarquardtState:
        """At the start, with a step of length zero."""
        x, zero = objective.start, jnp.zeros((), objective.dtype)
        r = jax.eval_shape(objective.residuals, x)[0]
        blank = objective.blank._replace(residuals=jnp.zeros(r.shape, r.dtype), gained=zero)
        none = jnp.zeros_like(x)
        linear = Linear(jnp.zeros((x.size, x.size), x.dtype), none, none, none, zero + jnp.inf, none)
        return LevenbergMarquardtState(blank, linear, none, none, none, zero, zero, jnp.asarray(True))

    def step(
        self, objective: Objective, state: LevenbergMarquardtState, point: Point
    ) -> tuple[LevenbergMarquardtState, Outcome]:
        """Take the point or not, set the radius, and find the next step."""
        # Nothing of the size of the residuals goes into what is to be one kernel.
        before, trial = state._replace(iterate=bare(state.iterate)), bare(point)
        verdict = one_kernel(lambda given: self.judge(objective, *given), (before, trial))
        linear = branch(verdict.good, lambda _: linearise(objective, point), lambda old: old, state.linear)
        move = one_kernel(lambda given: self.move(objective, *given), (before, trial, linear, verdict))
        whole = lambda p: (p.residuals, p.aux)
        residuals, aux = vector.where(move.taken, whole(point), whole(state.iterate))
        zero = jnp.zeros((), objective.dtype)
        outcome = Outcome(
            move.accepted,
            zero + 1,
            move.failed,
            predicted=move.promise,
            settled=move.settled,
            noise=verdict.noise,
            cosine=move.state.linear.cosine,
            secant=Secant(zero, zero, zero, zero, zero, move.xx, zero),
        )
        iterate = move.state.iterate._replace(residuals=residuals, aux=aux)
        return move.state._replace(iterate=iterate), outcome

    def judge(self, objective: Objective, state: LevenbergMarquardtState, point: Point) -> Verdict:
        """Whether a point is worth its Jacobian."""
        before, gained, (finite, keep) = state.iterate, point.gained, usable(point, state.iterate)
        predicted = -(jnp.sum(state.linear.q * state.change) + 0.5 * jnp.sum(state.change**2))
        reach, size = norm(state.scale * before.x), jnp.sqrt(2 * before.value)
        noise = objective.noise(point.value) + BLUR * objective.eps * reach * size
        ratio = jnp.where(predicted > 0, gained / jnp.where(predicted > 0, predicted, 1), 0)
        blurred = (predicted <= noise) & (jnp.abs(gained) <= noise)  # the sums tell nothing
        good = keep & (before.is_blank | blurred | (ratio >= ACCEPT) | (gained > noise))
        return Verdict(good, finite, gained, predicted, ratio, blurred, noise, BLUR * objective.eps * (reach + size))

    def move(
        self, objective: Objective, state: LevenbergMarquardtState, point: Point, linear: Linear, verdict: Verdict
    ) -> Move:
        """Where the descent stands, and its next step; ``linear`` is at the point if that is good."""
        first, good = state.iterate.is_blank, verdict.good
        sound = jnp.all(jnp.isfinite(linear.q)) & jnp.all(jnp.isfinite(linear.triangle))
        # Where a parameter has lost all effect the model has gone over to a plateau, as exp(-b x) does for a large b.
        # That is no minimum, and nothing leads back. (At a bound it may be: a rate has no effect on an amplitude of 0.)
        lost = jnp.any((state.scale > 0) & (linear.effects <= objective.eps**2 * state.scale))
        sound &= ~lost | at_a_bound(objective, point.x)
        length = norm(state.scale * state.step)
        seen = -0.5 * jnp.sum((state.linear.grad + linear.grad) * state.step)
        gained, ratio, worse = by_slopes(verdict, seen, length)
        sound &= ~worse
        taken = good & (first | sound)
        gained = jnp.where(verdict.finite & (taken | worse | ~good), gained, -jnp.inf)
        linear = vector.where(taken, linear, state.linear)
        grad_norm = vector.max_abs(jnp.where(linear.columns == 0, 0, linear.grad)).astype(objective.dtype)
        iterate = vector.where(taken, point._replace(grad=linear.grad, grad_norm=grad_norm), state.iterate)

        scale = jnp.maximum(state.scale, linear.effects)
        reach = norm(scale * iterate.x)
        size = jnp.where(reach > 0, reach, jnp.sqrt(2 * iterate.value))  # D x is in units of the residuals
        slope = jnp.sum(state.linear.q * state.change)
        radius = next_radius(state.radius, length, state.damping > 0, slope, gained, ratio)
        radius = jnp.where(first, self.factor * jnp.where(size > 0, size, 1), radius)
        step, change, damping, next_length = self.next_step(objective, iterate, linear, scale, radius, state.damping)
        guessed = first | (state.guessed & ~taken)
        radius = jnp.where(guessed, jnp.minimum(radius, next_length), radius)

        promise = 0.5 * jnp.sum(linear.q**2)
        stuck = jnp.all(iterate.x + step == iterate.x) | (~taken & (radius <= objective.eps * reach))
        settled = jnp.sqrt(2 * promise) <= SETTLED * objective.eps * reach
        settled |= stuck & (promise <= objective.noise(iterate.value))
        return Move(
            LevenbergMarquardtState(iterate, linear, scale, step, change, radius, damping, guessed),
            taken,
            taken & jnp.isfinite(point.value) & jnp.isfinite(grad_norm),
            (settled | stuck) & (linear.cosine > 0),
            jnp.where(settled, 0, promise),
            settled,
            jnp.sum(iterate.x * iterate.x).astype(objective.dtype),
        )

    def next_step(
        self, objective: Objective, point: Point, linear: Linear, scale: jax.Array, radius: Scalar, damping: Scalar
    ) -> tuple[jax.Array, jax.Array, Scalar, Scalar]:
        """The step p, R D p, the damping and ``|D p|``."""
        used = jnp.where(scale > 0, scale, 1)
        r = linear.triangle * (linear.columns / used)[None, :]
        y, damping = damped_step(r, linear.q, radius, damping)
        step = y / used
        if objective.composite is not None:
            lower, upper = objective.composite.ends
            step = jnp.clip(point.x + step, lower, upper) - point.x
            y = used * step
        return step, jnp.sum(r * y, axis=1), damping, norm(y)


def bare(point: Point) -> Point:
    """A point without what may be large."""
    return point._replace(residuals=None, aux=None)


def at_a_bound(objective: Objective, x: jax.Array) -> jax.Array:
    """Whether some parameter is."""
    if objective.composite is None:
        return jnp.asarray(False)
    lower, upper = objective.composite.ends
    return jnp.any((x <= lower) | (x >= upper))
