"""An augmented Lagrangian for general constraints, whose outer update is a trip of the loop like any other.

E. G. Birgin and J. M. Martinez, Practical Augmented Lagrangian Methods for Constrained Optimization, SIAM (2014). A. R.
Conn, N. I. M. Gould and Ph. L. Toint, Trust-Region Methods, SIAM (2000), section 14.4: two tolerances.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.jaxtools.scalar_kernels import update_if
from gdjax.methods.base import Kkt, Method, Outcome
from gdjax.methods.parts.merit import Terms, blank, known, measured, merit, plain, seen, value_and_multipliers
from gdjax.methods.projected_lbfgs import ProjectedLBFGS
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

FIRST_TOLERANCE = 0.1  # of the first minimisation, for a gradient that is 100 at most
FALL = 0.25  # what may be left of a violation at an update; otherwise its penalty grows
GROW = 10.0  # by this factor
LARGEST_MULTIPLIER = 1e9  # in float64; the square root of 1 / eps is 7e7
LARGEST_PENALTY = 1e12
PATIENCE = 20  # evaluations without progress after which a minimisation has ended
MOST_TRIPS = 1000  # of one minimisation
STUCK = 4  # updates in a row that leave the violation: then it alone is minimised
RESTORATIONS = 3
RUNAWAY = 1e8  # fall of the merit function, of its size at first, that only a penalty which is too small explains
FRUITLESS = 12  # updates in a row without a smaller residual after which there is no more to be had


class Schedule(NamedTuple):
    """Where the outer method stands."""

    start: Scalar  # the loss at the start
    tolerance: Scalar  # of the minimisation under way
    error: jax.Array  # of each constraint at the last update: violation, or distance to its bound; shape (m,)
    trips: jax.Array  # since the last update
    begun: Scalar  # merit at the start of it
    mark_value: Scalar  # and at its last progress
    mark_norm: Scalar
    idle: jax.Array  # evaluations since then
    least: Scalar  # violation at an update
    stuck: jax.Array  # updates in a row that left it
    residual: Scalar  # the smallest of the optimality conditions at an update
    fruitless: jax.Array  # updates since then
    restorations: jax.Array
    impossible: jax.Array  # whether the iterate is stationary for the violation
    again: jax.Array  # whether the trial is the iterate once more, under another merit function


class AugmentedState(NamedTuple):
    """The method between two evaluations."""

    inner: Any  # of the inner method, on the merit function
    iterate: Point  # accepted point
    terms: Terms
    schedule: Schedule
    base: Vector  # where the minimisation under way began

    @property
    def trial(self) -> Vector:
        """The next point to evaluate."""
        return self.inner.trial


@pytree_dataclass
class AugmentedLagrangian(Method):
    """Multipliers and penalties for ``lower <= c(x) <= upper``: the method of `gdjax.minimize` with ``constraints``.

    It minimises ``f + 1/2 sum rho_i d_i^2``, d the distance of ``c + y / rho`` to its bounds, by a method for bounds,
    until the gradient is small enough; sets the multipliers to ``y = rho d``, raises the penalty rho of each constraint
    whose violation did not fall to a quarter, asks for more accuracy, and goes on. Each such update is followed by an
    evaluation at the same point. Where updates leave the violation as it is, the violation alone is minimised, which
    finds a feasible point, or one of least violation: then the problem is infeasible, at least near there.

    Args:
        inner: the method for bounds.
    """

    inner: ProjectedLBFGS = ProjectedLBFGS()

    searches: ClassVar[bool] = True
    accepts_penalty: ClassVar[bool] = True
    constrained: ClassVar[bool] = True
    name: ClassVar[str] = "augmented Lagrangian"

    def init(self, objective: Objective) -> AugmentedState:
        """At the start."""
        terms = plain(known(objective), objective.dtype)
        inf, count, no = jnp.full((), jnp.inf, objective.dtype), jnp.asarray(0, jnp.int32), jnp.asarray(False)
        schedule = Schedule(
            start=inf,
            tolerance=inf,
            error=jnp.full_like(terms.penalty, jnp.inf),
            trips=count,
            begun=inf,
            mark_value=inf,
            mark_norm=inf,
            idle=count,
            least=inf,
            stuck=count,
            residual=inf,
            fruitless=count,
            restorations=count,
            impossible=no,
            again=no,
        )
        inner = self.inner.init(merit(objective, terms))
        return AugmentedState(inner, blank(objective), terms, schedule, objective.start)

    def ask(self, objective: Objective, state: AugmentedState) -> Point:
        """The merit function at the trial."""
        return self.inner.ask(merit(objective, state.terms), state.inner)

    def judged(self, objective: Objective, state: AugmentedState, point: Point) -> tuple[Objective, Point]:
        """The merit function whose gradient at the point is that of the Lagrangian with the point's multipliers."""
        constrained, shown, terms = known(objective), seen(point), state.terms
        bound = jnp.where(shown.multipliers > 0, constrained.upper, constrained.lower)
        off = jnp.where(shown.multipliers == 0, 0, terms.scales * (shown.c - bound))
        terms = terms._replace(multipliers=shown.multipliers - terms.penalty * off, restoring=jnp.asarray(False))
        value, _ = value_and_multipliers(constrained, terms, point.loss, shown.c)
        return merit(objective, terms), point._replace(value=value)

    def step(self, objective: Objective, state: AugmentedState, point: Point) -> tuple[AugmentedState, Outcome]:
        """A step of the inner method; or an update, and the inner method begins anew."""
        function, old = merit(objective, state.terms), state.schedule
        first = state.iterate.is_blank
        inner, outcome = self.inner.step(function, state.inner, point)
        iterate = vector.where(outcome.accepted | first, inner.iterate, state.iterate)
        schedule = self.follow(function, state, iterate, outcome)
        kkt = self.conditions(objective, state, iterate)
        length = vector.largest(jnp.abs(seen(iterate).multipliers))  # while restoring, of the violations
        least = iterate.grad_norm <= feasible(objective) * length
        restored = state.terms.restoring & ((kkt.violation <= feasible(objective)) | least)
        lost = (
            ~first & (iterate.value < -RUNAWAY * (1 + jnp.abs(schedule.begun))) & (kkt.violation > feasible(objective))
        )
        spent = lost | outcome.failed | (schedule.idle >= PATIENCE) | (schedule.trips >= MOST_TRIPS) | restored
        ends = (outcome.accepted & first) | (~first & ((iterate.grad_norm <= old.tolerance) | spent))
        state = AugmentedState(inner, iterate, state.terms, schedule, state.base)
        new = update_if(ends, lambda state: self.update(objective, state, kkt, first, lost), state)
        unknown = jnp.asarray(jnp.inf, objective.dtype)  # at first, when the scales are
        kkt = vector.where(first, self.conditions(objective, new, iterate)._replace(stationarity=unknown), kkt)
        kkt = kkt._replace(impossible=new.schedule.impossible, exhausted=new.schedule.fruitless >= FRUITLESS)
        return new, Outcome(outcome.accepted & ~old.again, outcome.step_size, kkt=kkt)

    def follow(self, function: Objective, state: AugmentedState, iterate: Point, outcome: Outcome) -> Schedule:
        """Whether the inner method makes progress."""
        old = state.schedule
        begins = old.again | state.iterate.is_blank
        fell = iterate.value < old.mark_value - function.noise(iterate.value)
        flatter = iterate.grad_norm < 0.9 * old.mark_norm
        moved = begins | (outcome.accepted & (fell | flatter))
        return old._replace(
            trips=jnp.where(begins, 0, old.trips + 1),
            begun=jnp.where(begins, iterate.value, old.begun),
            mark_value=jnp.where(begins | fell, iterate.value, old.mark_value),
            mark_norm=jnp.where(begins | flatter, iterate.grad_norm, old.mark_norm),
            idle=jnp.where(moved, 0, old.idle + 1),
            again=jnp.asarray(False),
            impossible=jnp.asarray(False),
        )

    def conditions(self, objective: Objective, state: AugmentedState, point: Point) -> Kkt:
        """How far a point is from the optimality conditions."""
        constrained, terms, shown = known(objective), state.terms, seen(point)
        size = jnp.maximum(1, jnp.mean(jnp.abs(shown.multipliers)) / 100)
        # In the units of the loss the gradient counts as for `gdjax.minimize`, or beside that of the loss alone.
        usual = jnp.abs(point.loss) + jnp.minimum(1, jnp.abs(state.schedule.start))
        own = terms.weight * jnp.maximum(usual, vector.max_abs(shown.grad).astype(usual.dtype))
        norm = point.grad_norm / (size * jnp.where(own > 0, jnp.minimum(1, own), 1))
        no = jnp.asarray(False)
        return Kkt(
            stationarity=jnp.where(shown.of_lagrangian, norm, jnp.inf),
            violation=vector.largest(jnp.abs(constrained.excess(shown.c)) / terms.sizes),
            complementarity=constrained.complementarity(shown.c, shown.multipliers, terms.scales) / size,
            weight=terms.weight,
            impossible=no,
            degenerate=jnp.any(jnp.abs(terms.multipliers) >= LARGEST_MULTIPLIER),
            exhausted=no,
        )

    def update(
        self, objective: Objective, state: AugmentedState, kkt: Kkt, first: jax.Array, lost: jax.Array
    ) -> AugmentedState:
        """The next merit function, and the inner method at the start of its descent.

        At ``first`` is where the start has been seen; where the descent is ``lost`` it goes back to where it began.
        """
        old = state.schedule._replace(again=jnp.asarray(True))
        terms, schedule = self.next_terms(objective, state, kkt)
        higher = state.terms._replace(penalty=jnp.minimum(GROW**2 * state.terms.penalty, LARGEST_PENALTY))
        terms, schedule = vector.where(lost, (higher, old), (terms, schedule))
        tolerance = jnp.full_like(kkt.violation, FIRST_TOLERANCE)
        start = old._replace(start=state.iterate.loss, tolerance=tolerance)
        terms, schedule = vector.where(first, (measured(objective, state.iterate), start), (terms, schedule))
        x, function = vector.where(lost, state.base, state.iterate.x), merit(objective, terms)
        inner = self.inner.init(dataclasses.replace(function, start=x, blank=function.blank._replace(x=x)))
        same = jnp.all(terms.penalty == state.terms.penalty) & (terms.restoring == state.terms.restoring) & ~first
        kept = inner._replace(**self.inner.learnt(state.inner))
        return AugmentedState(vector.where(same, kept, inner), state.iterate, terms, schedule, x)

    def next_terms(self, objective: Objective, state: AugmentedState, kkt: Kkt) -> tuple[Terms, Schedule]:
        """Multipliers, penalties and tolerance after a minimisation."""
        terms, old, shown = state.terms, state.schedule, seen(state.iterate)
        restoring = terms.restoring
        error = jnp.abs(shown.multipliers - terms.multipliers) / terms.penalty
        largest = vector.largest(error)
        # A constraint that is violated far less than others can wait (as in alpaqa).
        slow = (error > FALL * old.error) & (error > 0.1 * largest) & (kkt.violation > 0)
        penalty = jnp.minimum(jnp.where(slow & ~restoring, GROW * terms.penalty, terms.penalty), LARGEST_PENALTY)
        most = jnp.asarray(LARGEST_MULTIPLIER, penalty.dtype)
        multipliers = jnp.where(restoring, 0, jnp.clip(shown.multipliers, -most, most))

        fell = (kkt.violation <= 0.5 * old.least) | (kkt.violation <= feasible(objective))
        stuck = jnp.where(fell, 0, old.stuck + 1)
        begin = ~restoring & (stuck >= STUCK) & (old.restorations < RESTORATIONS)
        slope, length = state.iterate.grad_norm, vector.largest(jnp.abs(shown.multipliers))
        impossible = restoring & (slope <= 100 * feasible(objective) * length) & (kkt.violation > feasible(objective))

        residual = jnp.maximum(jnp.maximum(kkt.stationarity, kkt.violation), kkt.complementarity)
        better = restoring | (residual < 0.9 * old.residual)
        tolerance = jnp.clip(0.1 * largest, 0.01 * old.tolerance, 0.3 * old.tolerance)
        tolerance = jnp.where(restoring, FIRST_TOLERANCE, tolerance)
        schedule = old._replace(
            tolerance=jnp.where(begin, 0, tolerance).astype(tolerance.dtype),
            error=jnp.where(restoring, jnp.inf, error),
            least=jnp.minimum(old.least, kkt.violation),
            stuck=jnp.where(begin | restoring, 0, stuck),
            residual=jnp.minimum(old.residual, residual),
            fruitless=jnp.where(better, 0, old.fruitless + 1),
            restorations=old.restorations + begin.astype(jnp.int32),
            impossible=impossible,
            again=jnp.asarray(True),
        )
        return terms._replace(multipliers=multipliers, penalty=penalty, restoring=begin), schedule


def feasible(objective: Objective) -> float:
    """The violation, of the size of a constraint, that counts as none while the method chooses what to do."""
    return max(1e-7, 0.1 * objective.eps**0.5)
