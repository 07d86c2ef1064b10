"""The one loop: evaluate where the method asks, let it step, test. One evaluation of the loss a trip."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent import (
    constrained,
    entrywise,
    given_gradient,
    given_jacobian,
    progress,
    runaways,
    secants,
    stopping,
    warm_start,
)
from gdjax.descent.conditions import conditions_at
from gdjax.descent.explained import squares_are_lost
from gdjax.descent.history import HistoryBuffer
from gdjax.descent.in_place import in_place
from gdjax.descent.limits import Limits
from gdjax.descent.progress import Progress, Trip
from gdjax.descent.result import Result
from gdjax.descent.sandwich import squares_at
from gdjax.descent.stopping import Status
from gdjax.jaxtools.scalar_kernels import as_written, branch, one_kernel, update_if, while_loop
from gdjax.jaxtools.varying import cond, vary
from gdjax.methods.base import Method
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

NEVER = int(np.iinfo(np.int32).max)  # a step that is not reached


class Carry(NamedTuple):
    """What goes around the loop."""

    state: Any  # of the method
    best: Point  # the best point seen, if it is not the iterate
    first: Vector | None  # size of each entry of the gradient at first, for methods that end by themselves
    inward: jax.Array | None  # with spaces, the largest slopes seen back inside
    progress: Progress
    record: HistoryBuffer | None  # the history, if wanted
    status: jax.Array


class Until(NamedTuple):
    """Where a piece of the loop ends, if no test of the stop fires: at whichever comes first. Traced."""

    trips: Any  # after this many trips
    steps: Any  # once this step is accepted
    below: Any  # once a value lower than this is seen, in the minimiser's sign


class Loop(NamedTuple):
    """A descent, ready to run inside one trace."""

    objective: Objective
    method: Method
    stop: Limits
    capacity: int  # of the history; 0 for none
    warm: Any = None  # state of the same method at the end of another descent, to begin with what it has learnt
    unroll: int | None = None  # see `run`
    asks_later: bool = False  # whether `runaways.review` is a program of its own, for who runs it to call where needed

    @property
    def watches_entries(self) -> bool:
        """Whether `entrywise.look` has a say on how the descent ends."""
        return self.method.searches and self.tests_gradients

    @property
    def tests_gradients(self) -> bool:
        """Whether it is the size of a gradient that tells convergence."""
        return not (self.method.least_squares or self.method.constrained)

    def start(self) -> Carry:
        """Before the first evaluation, which happens in the loop as well."""
        state = warm_start.begin(self.method, self.method.init(self.objective), self.warm)
        columns = 3 if self.objective.constrained is None else 4
        carry = Carry(
            state=state,
            best=state.iterate.bare,
            first=entrywise.begin(self.objective) if self.watches_entries else None,
            inward=entrywise.begin_inward(self.objective) if self.tests_gradients else None,
            progress=progress.begin(self.objective, self.method.least_squares),
            record=HistoryBuffer.empty(self.capacity, self.objective.dtype, columns) if self.capacity else None,
            status=jnp.asarray(Status.RUNNING, jnp.int32),
        )
        return vary(carry, self.objective.axes)

    def trip(self, carry: Carry) -> Carry:
        """One evaluation and what follows from it."""
        point = self.method.ask(self.objective, carry.state)
        state, outcome = self.method.step(self.objective, carry.state, point)
        trip = Trip(carry.state.iterate, point, state.iterate, outcome)
        if self.unroll is not None:  # what only decides when to stop has no part in the derivative
            trip = jax.lax.stop_gradient(trip)
        if carry.inward is not None:
            least = self.stop.tol * progress.size_of(trip.after.value, carry.progress.start_value)
            inward, left = entrywise.look_inward(self.objective, carry.inward, trip.after, least)
            carry = carry._replace(inward=inward, progress=carry.progress._replace(inward=left))
        first, now, status = self.keep_books(carry, trip)
        best = self.keep_best(carry, now, point, trip.outcome.accepted)
        carry = Carry(
            state=state if self.unroll else in_place(state, point, (now.curvature, best.value)),
            best=best,
            first=first,
            inward=carry.inward,
            progress=now,
            record=None if carry.record is None else carry.record.add(now, trip),
            status=status,
        )
        return vary(carry, self.objective.axes)

    def keep_books(self, carry: Carry, trip: Trip) -> tuple[Vector | None, Progress, jax.Array]:
        """Enter the trip, and test; also what `entrywise.look` saw at first."""
        if trip.outcome.kkt is not None:
            return None, *one_kernel(lambda p: self.test_constrained(p, trip), carry.progress)
        if trip.outcome.cosine is not None:  # of least squares, with no need of any vector
            alone = lambda p: self.test(self.enter(p, trip), trip, None)
            return None, *one_kernel(alone, carry.progress)
        now = self.enter(carry.progress, trip)
        first, left = self.follow(carry, now, trip)
        return first, *self.test(now, trip, left)

    def enter(self, p: Progress, trip: Trip) -> Progress:
        """What the trip shows, and now and then the curvature."""
        p, wanted = one_kernel(lambda p: progress.enter(self.objective, self.stop.tol, trip, p), p)
        if self.method.least_squares:  # it has a model, and all that it does not know is never asked for
            return p

        def measure(old: secants.Known) -> secants.Known:
            products = trip.outcome.secant or secants.secant(trip.before, trip.point)
            return one_kernel(lambda old: secants.measure(self.objective, trip, products, old), old)

        return p._replace(**update_if(wanted, measure, secants.known(p))._asdict())

    def test_constrained(self, p: Progress, trip: Trip) -> tuple[Progress, jax.Array]:
        """What the trip shows of a problem with constraints, and the status."""
        p = constrained.enter(self.objective, self.stop.tol, trip, p)
        code = constrained.status(self.objective, self.stop, p, trip)
        return stopping.with_answer(p, code), code

    def follow(self, carry: Carry, now: Progress, trip: Trip) -> tuple[Vector | None, Scalar | None]:
        """What `entrywise.look` sees, at first and where a test will ask for it."""
        if carry.first is None:
            return None, None
        early, unknown = trip.outcome.accepted & (carry.progress.steps <= 0), jnp.full_like(trip.after.value, jnp.inf)

        def look(state: tuple[Vector, Scalar]) -> tuple[Vector, Scalar]:
            first, left = entrywise.look(state[0], trip.after.grad, early)
            return first, left.astype(unknown.dtype)

        return update_if(early | stopping.exhausted(now, trip), look, (carry.first, unknown))

    def test(self, p: Progress, trip: Trip, left: Scalar | None) -> tuple[Progress, jax.Array]:
        """The status, and the progress with its say on whether the iterate is the best point."""
        small = stopping.small_step(self.stop, trip)

        def decide(p: Progress) -> tuple[Progress, jax.Array]:
            code = stopping.status(self.objective, self.stop, self.method, p, trip, small, left)
            return stopping.with_answer(p, code), code

        return one_kernel(decide, p)

    def keep_best(self, carry: Carry, now: Progress, point: Point, accepted: jax.Array) -> Point:
        """The best point is copied only when the iterate leaves it, or a trial that is refused is lower still."""
        if self.objective.constrained is not None:
            better = constrained.is_improved(carry.progress, now)
            return update_if(better, lambda _: point.bare, carry.best)
        low = ~accepted & (now.best_value < carry.progress.best_value)
        leaving = accepted & carry.progress.at_best & ~now.at_best
        chosen = lambda _: vector.where(low, self.objective.with_norm(point).bare, carry.state.iterate.bare)
        return update_if(low | leaving, chosen, carry.best)

    def run(self, carry: Carry) -> Carry:
        """Until a test fires; or at most ``unroll`` trips, in a loop of fixed length, which has reverse derivatives."""
        running = lambda c: c.status == Status.RUNNING
        if self.unroll is None:
            return self.compact(lambda c: self.turn(running, c), carry)
        carry = self.turn(running, carry)
        return carry._replace(status=jnp.where(running(carry), Status.MAX_EVALS, carry.status))

    def turn(self, goes_on: Callable[[Carry], jax.Array], carry: Carry) -> Carry:
        """Trips as long as it ``goes_on``; with ``unroll`` at most so many, as in `run`."""
        if self.unroll is None:
            return while_loop(goes_on, self.trip, carry)
        step = lambda c, _: (cond(goes_on(c), self.trip, lambda same: same, c), None)
        with as_written():
            return jax.lax.scan(step, carry, length=self.unroll)[0]

    def compact(self, loop: Callable[[Any], Any], state: Any) -> Any:
        """The loop as one function if the loss is cheap: then launching kernels is what takes time."""
        return one_kernel(loop, state) if self.objective.is_small else loop(state)

    def run_until(self, carry: Carry, until: Until) -> tuple[Carry, jax.Array]:
        """One piece of `run`, by the same trips; also how many trips it took. What calls it makes it `compact`."""

        def goes_on(turn: tuple[Carry, jax.Array]) -> jax.Array:
            c, trips = turn
            within = (trips < until.trips) & (c.progress.steps < until.steps)
            return (c.status == Status.RUNNING) & within & ~(c.progress.lowest < until.below)

        begun = carry, jnp.asarray(0, jnp.int32)
        return while_loop(goes_on, lambda turn: (self.trip(turn[0]), turn[1] + 1), begun)

    def answer(self, carry: Carry) -> Result:
        """The best point, as the user's own."""
        iterate, at_best = carry.state.iterate, carry.progress.at_best
        best = vector.where(at_best, iterate.bare, carry.best)
        if iterate.residuals is not None:  # of another point they are not kept
            anew = lambda r: self.objective.residuals(best.x)[0]
            best = best._replace(residuals=branch(at_best, lambda r: r, anew, iterate.residuals))
        return self.report(carry, best)

    def report(self, carry: Carry, point: Point) -> Result:
        """A point and the story so far."""
        now, sign = carry.progress, self.objective.sign
        where, code, automatic = (self.stop, now), carry.status, None
        if self.objective.jacobian is None or not self.method.least_squares:
            function, there = self.method.judged(self.objective, carry.state, point)
            code, automatic = given_gradient.review(function, *where, code, there)
        if self.objective.constrained is not None:
            code = constrained.review(self.objective, carry.state.terms, code, point)
        code, entry = given_jacobian.review(self.objective, *where, code, point)
        squares = squares_at(self.objective, point, carry.state)
        if squares is not None:
            lost = stopping.is_success(code) & squares_are_lost(now, squares.residuals)
            code = jnp.where(lost, Status.LINE_SEARCH_FAILED, code)
            code = code if self.asks_later else runaways.review(self.objective, code, point.x, squares)
        return Result(
            **self.objective.to_user(point),
            code=code,
            num_steps=jnp.maximum(now.steps, 0),
            num_evals=now.evals,
            history=None if carry.record is None else carry.record.to_history(sign),
            progress=progress.finite(now),
            stop=self.stop,
            maximized=sign < 0,
            unmoved=self.objective.unmoved(point) if self.method.partial else None,
            automatic=None if automatic is None else self.objective.grad_to_user(automatic),
            entry=entry,
            blunt=self.objective.blunt,
            compared_with=self.objective.compared_with,
            method=None if self.objective.composite is None else self.method.name,
            squares=squares,
            conditions=conditions_at(self.objective, self.method, carry.state, point, self.stop.tol),
        )
