"""An augmented Lagrangian for general constraints, whose outer update is a trip of the loop like any other.

E. G. Birgin and J. M. Martinez, Practical Augmented Lagrangian Methods for Constrained Optimization, SIAM (2014). A. R.
Conn, N. I. M. Gould and Ph. L. Toint, Trust-Region Methods, SIAM (2000), section 14.4: two tolerances. E. G. Birgin and
J. M. Martinez, Improving ultimate convergence of an augmented Lagrangian method, Optim. Methods Softw. 23 (2008):
Newton's method in the end.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.jaxtools.scalar_kernels import branch, update_if
from gdjax.methods.base import Kkt, Method, Outcome
from gdjax.methods.parts import newton_kkt, optimality, outer
from gdjax.methods.parts.merit import Terms, blank, known, measured, merit, plain, renewed, seen, value_and_multipliers
from gdjax.methods.parts.outer import FIRST_TOLERANCE, FRUITLESS, MOST_TRIPS, PATIENCE, Schedule
from gdjax.methods.projected_lbfgs import ProjectedLBFGS
from gdjax.methods.projected_newton import ProjectedNewton
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

FALLS = 0.7  # what may be left of the residual of the optimality conditions after one of Newton's steps
STEPS = 10  # of Newton's in a row
# The residual may rise to so much, for so many steps: multipliers that are still far off do that.
RISES, DOUBTS = 2.0, 3


class Finish(NamedTuple):
    """Newton's method on the optimality conditions."""

    running: jax.Array  # whether the trial is one of its steps
    x: jax.Array  # the trial
    multipliers: jax.Array  # with it
    here: Point  # where it stands; the iterate, or beyond it
    residual: Scalar  # of the conditions at the iterate
    steps: jax.Array  # that were taken
    doubts: jax.Array  # those beyond the iterate


def in_weight(point: Point, before: Terms, terms: Terms) -> Point:
    """The point as it would have been seen with the weight of the loss that now is."""
    ratio, shown = terms.weight / before.weight, seen(point)
    shown = shown._replace(multipliers=ratio * shown.multipliers, weight=ratio * shown.weight)
    return point._replace(
        grad=ratio.astype(point.grad.dtype) * point.grad, grad_norm=ratio * point.grad_norm, seen=shown
    )


class AugmentedState(NamedTuple):
    """The method between two evaluations."""

    inner: Any  # of the inner method, on the merit function
    iterate: Point  # accepted point
    terms: Terms
    schedule: Schedule
    finish: Finish

    @property
    def trial(self) -> Vector:
        """The next point to evaluate."""
        return jnp.where(self.finish.running, self.finish.x, self.inner.trial)


class Turn(NamedTuple):
    """What an evaluation came to."""

    state: AugmentedState
    accepted: jax.Array
    step_size: Scalar
    ends: jax.Array  # whether the minimisation, or Newton's method, has ended
    lost: jax.Array  # whether the merit function has no minimum


@pytree_dataclass
class AugmentedLagrangian(Method):
    """Multipliers and penalties for ``lower <= c(x) <= upper``: the method of `gdjax.minimize` with ``constraints``.

    It minimises ``f + 1/2 sum rho_i d_i^2``, d the distance of ``c + y / rho`` to its bounds, by a method for bounds,
    until the gradient is small enough; sets the multipliers to ``y = rho d``, raises the penalty rho of each constraint
    whose violation did not fall to a quarter, asks for more accuracy, and goes on. Each such update is followed by an
    evaluation at the same point. Where updates leave the violation as it is, the violation alone is minimised, which
    finds a feasible point, or one of least violation: then the problem is infeasible, at least near there.

    With up to 300 parameters and constraints the inner method takes Newton's steps, and each update is followed by
    those on the optimality conditions, as long as these soon fall; a Hessian is formed for each, of a product for each
    parameter (not counted as evaluations). That gives the last digits, and most often comes first.

    Args:
        inner: the method for bounds.
        newton: whether to take these steps.
    """

    inner: ProjectedLBFGS = ProjectedLBFGS()
    newton: bool = static_field(True)

    searches: ClassVar[bool] = True
    accepts_penalty: ClassVar[bool] = True
    constrained: ClassVar[bool] = True
    name: ClassVar[str] = "augmented Lagrangian"

    def init(self, objective: Objective) -> AugmentedState:
        """At the start."""
        terms, x = plain(known(objective), objective.dtype), objective.start
        zero, count = jnp.zeros((), objective.dtype), jnp.asarray(0, jnp.int32)
        finish = Finish(jnp.asarray(False), x, terms.multipliers, blank(objective), zero, count, count)
        inner = self.descent(objective).init(merit(objective, terms))
        schedule = outer.begin(objective)
        return AugmentedState(inner, blank(objective), terms, schedule, finish)

    def ask(self, objective: Objective, state: AugmentedState) -> Point:
        """The merit function at the trial; or the Lagrangian, after a step of Newton's."""
        finish, terms = state.finish, state.terms
        multipliers = jnp.where(finish.running, finish.multipliers, terms.multipliers)
        return merit(objective, terms._replace(multipliers=multipliers, fixed=finish.running)).evaluate(state.trial)

    def judged(self, objective: Objective, state: AugmentedState, point: Point) -> tuple[Objective, Point]:
        """The merit function whose gradient at the point is that of the Lagrangian with the point's multipliers."""
        constrained, shown, terms = known(objective), seen(point), state.terms
        y = shown.multipliers / terms.scales
        bound = jnp.where(y > 0, constrained.upper, constrained.lower)
        off = jnp.where(y == 0, 0, terms.scales * (shown.c - bound))
        terms = terms._replace(multipliers=y - terms.penalty * off, restoring=jnp.asarray(False))
        terms = terms._replace(weight=jnp.where(shown.weight > 0, shown.weight, terms.weight))
        value, _ = value_and_multipliers(constrained, terms, point.loss, shown.c)
        return merit(objective, terms), point._replace(value=value)

    def step(self, objective: Objective, state: AugmentedState, point: Point) -> tuple[AugmentedState, Outcome]:
        """A step of the inner method, or of Newton's; where either ends an update, and the inner method begins anew."""
        first, newton = state.iterate.is_blank, state.finish.running
        near = outer.nearest(objective, state.terms, state.schedule.nearest, point, first)
        state = state._replace(schedule=state.schedule._replace(nearest=near))
        descend = lambda state: self.descend(objective, state, point)
        turn = branch(newton, lambda state: self.follow(objective, state, point), descend, state)
        kkt = self.conditions(objective, turn.state, turn.state.iterate)
        update = lambda state: self.update(objective, state, kkt, first, turn.lost, newton)
        new = update_if(turn.ends, update, turn.state)
        if self.finishes(objective):
            ready = turn.ends & ~newton & ~first & ~turn.lost & ~state.terms.restoring & ~new.terms.restoring
            # Where nothing moved, and the violation stays, they have just been tried in vain.
            ready &= (turn.state.schedule.trips > 0) | (new.schedule.stuck == 0)
            aim = lambda state: self.aim(objective, state, newton)
            new = update_if(ready | (newton & ~turn.ends), aim, new)
        unknown = jnp.asarray(jnp.inf, objective.dtype)  # at first, when the scales are
        kkt = vector.where(first, self.conditions(objective, new, new.iterate)._replace(stationarity=unknown), kkt)
        kkt = kkt._replace(impossible=new.schedule.impossible, exhausted=new.schedule.fruitless >= FRUITLESS)
        return new, Outcome(turn.accepted & ~state.schedule.again, turn.step_size, kkt=kkt)

    def descent(self, objective: Objective) -> ProjectedLBFGS:
        """The inner method: by Newton's steps, where these can be had."""
        return ProjectedNewton(self.inner.memory) if self.finishes(objective) else self.inner

    def finishes(self, objective: Objective) -> bool:
        """Whether Newton's method has a part: the problem is small, and JAX can differentiate the gradient."""
        if not self.newton or known(objective).size + objective.start.size > newton_kkt.MOST:
            return False
        try:
            jax.eval_shape(objective.product, objective.start, objective.start)
        except ValueError:
            return False
        return True

    def descend(self, objective: Objective, state: AugmentedState, point: Point) -> Turn:
        """A step of the inner method."""
        function, old = merit(objective, state.terms), state.schedule
        first = state.iterate.is_blank
        inner, outcome = self.descent(objective).step(function, state.inner, point)
        iterate = vector.where(outcome.accepted | first, inner.iterate, state.iterate)
        violation = self.conditions(objective, state, iterate).violation
        schedule = outer.follow(function, old, old.again | first, iterate, violation, outcome.accepted)
        feasible = violation <= outer.feasible(objective)
        length = vector.largest(jnp.abs(seen(iterate).multipliers / state.terms.scales))  # of the violations
        enough = feasible | (violation <= outer.RESTORED * old.least)
        restored = state.terms.restoring & (enough | (iterate.grad_norm <= outer.feasible(objective) * length))
        lost = ~first & ~feasible & ~state.terms.restoring & outer.is_lost(state.terms, schedule, iterate, violation)
        spent = lost | outcome.failed | (schedule.idle >= PATIENCE) | (schedule.trips >= MOST_TRIPS) | restored
        ends = (outcome.accepted & first) | (~first & ((iterate.grad_norm <= old.tolerance) | spent))
        state = state._replace(inner=inner, iterate=iterate, schedule=schedule)
        return Turn(state, outcome.accepted, outcome.step_size, ends, lost)

    def follow(self, objective: Objective, state: AugmentedState, point: Point) -> Turn:
        """Take a step of Newton's if it leads nearer to the optimality conditions; otherwise that is soon its end."""
        finish = state.finish
        left = optimality.residual(objective, state.terms, point)
        good = jnp.isfinite(point.value) & jnp.isfinite(left) & (left <= FALLS * finish.residual)
        good &= outer.stays_near(objective, state.schedule, state.iterate, point)
        point = point._replace(grad_norm=optimality.projected(objective, point))
        steps, doubts = finish.steps + good.astype(jnp.int32), jnp.where(good, 0, finish.doubts + 1)
        doubtful = jnp.isfinite(point.value) & (left <= RISES * finish.residual) & (doubts <= DOUBTS)
        ends = ~(good | doubtful) | (steps >= STEPS)
        residual = jnp.where(good, left, finish.residual)
        finish = finish._replace(running=~ends, here=point, residual=residual, steps=steps, doubts=doubts)
        schedule = state.schedule._replace(impossible=jnp.asarray(False))
        state = state._replace(iterate=vector.where(good, point, state.iterate), finish=finish, schedule=schedule)
        return Turn(state, good, jnp.ones_like(left), ends, jnp.asarray(False))

    def conditions(self, objective: Objective, state: AugmentedState, point: Point) -> Kkt:
        """How far a point is from the optimality conditions."""
        return optimality.conditions(objective, state.terms, point)

    def update(
        self,
        objective: Objective,
        state: AugmentedState,
        kkt: Kkt,
        first: jax.Array,
        lost: jax.Array,
        newton: jax.Array,
    ) -> AugmentedState:
        """The next merit function, and the inner method at the start of its descent.

        At ``first`` is where the start has been seen; where the descent is ``lost`` it goes back to the point of least
        violation; after ``newton``'s steps it goes on from where they have led.
        """
        old, before = state.schedule._replace(again=jnp.asarray(True)), state.terms
        terms, schedule = outer.next_terms(objective, before, old, state.iterate, kkt)
        terms, schedule = vector.where(lost, outer.raised(before, old), (terms, schedule))
        terms, schedule = vector.where(newton, self.after(state, old), (terms, schedule))
        begun = old._replace(tolerance=jnp.full_like(kkt.violation, FIRST_TOLERANCE))
        terms, schedule = vector.where(first, (measured(objective, state.iterate), begun), (terms, schedule))
        x = jnp.where(lost, old.nearest.x, state.iterate.x)
        x = jnp.where(terms.restoring, outer.restoration_start(objective, before, old.nearest), x)
        terms = vector.where(first | lost, terms, renewed(objective, terms, state.iterate))
        anew = jnp.full_like(terms.penalty, outer.returning(schedule))
        terms = terms._replace(penalty=jnp.where(before.restoring, anew, terms.penalty))
        function = merit(objective, terms)
        inner = self.descent(objective).init(dataclasses.replace(function, start=x, blank=function.blank._replace(x=x)))
        same = jnp.all(terms.penalty == before.penalty) & jnp.all(terms.scales == before.scales) & ~first
        same &= (terms.restoring == before.restoring) & (terms.weight == before.weight)
        inner = vector.where(same, inner._replace(**self.inner.learnt(state.inner)), inner)
        finish = state.finish._replace(running=jnp.asarray(False))
        return AugmentedState(inner, in_weight(state.iterate, before, terms), terms, schedule, finish)

    def after(self, state: AugmentedState, schedule: Schedule) -> tuple[Terms, Schedule]:
        """After Newton's steps, if any was taken: with the multipliers that they have found."""
        moved = state.finish.steps > 0
        multipliers = jnp.where(
            moved, outer.safe(seen(state.iterate).multipliers / state.terms.scales), state.terms.multipliers
        )
        tolerance = jnp.minimum(schedule.tolerance, jnp.where(moved, state.finish.residual, jnp.inf))
        return state.terms._replace(multipliers=multipliers), schedule._replace(tolerance=tolerance)

    def aim(self, objective: Objective, state: AugmentedState, newton: jax.Array) -> AugmentedState:
        """Let a step of Newton's be the trial: the first one, or with ``newton`` the next."""
        old = state.finish
        here = vector.where(newton, old.here, state.iterate)
        step = newton_kkt.propose(objective, state.terms, here)
        left = optimality.residual(objective, state.terms, here)
        running = jnp.all(jnp.isfinite(step.x)) & jnp.all(jnp.isfinite(step.multipliers))
        steps, doubts, left = vector.where(newton, (old.steps, old.doubts, old.residual), (0, 0, left))
        finish = Finish(running, step.x, step.multipliers, here, left, steps, doubts)
        return state._replace(finish=finish, schedule=state.schedule._replace(again=state.schedule.again & ~running))
