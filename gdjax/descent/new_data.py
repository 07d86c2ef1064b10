"""A descent that meets another loss, for its data are new: what was known of values goes, what was learnt stays."""

import dataclasses

import jax
import jax.numpy as jnp

from gdjax.descent import progress
from gdjax.descent.loop import Carry, Loop
from gdjax.descent.stopping import Status
from gdjax.vectors import vector
from gdjax.vectors.vector import Vector

SCALES = ("start_value", "start_norm", "largest_norm")


def begin_at(loop: Loop, x: Vector, warm: bool, old: Carry, steps: int) -> Carry:
    """Begin again at x, counts and scales going on: the evaluation there counts for so many ``steps``.

    If ``warm``, with what the method has learnt (`gdjax.methods.base.Method.learnt`).
    """
    moved = dataclasses.replace(loop.objective, start=x, blank=loop.objective.blank._replace(x=x))
    fresh = loop._replace(objective=moved, warm=old.state if warm else None).start()
    scales = {name: getattr(old.progress, name) for name in ("evals", *SCALES)}
    begun = fresh.progress._replace(steps=jnp.maximum(old.progress.steps - 1 + steps, -1), **scales)
    return fresh._replace(progress=begun, record=old.record, first=old.first)


def trip(loop: Loop, old: Carry) -> Carry:
    """One evaluation of a loss that may be another than in the trip before.

    A method that refuses trials compares values, and those of two losses cannot be compared: it begins again where it
    stands. One that accepts every point (`accept`) goes on.
    """
    if loop.method.searches:
        return loop.trip(begin_at(loop, old.state.iterate.x, True, old, 0))
    known = {name: getattr(old.progress, name) for name in ("evals", "steps", *SCALES)}
    return accept(loop, old._replace(progress=progress.begin(loop.objective)._replace(**known)))


def accept(loop: Loop, old: Carry) -> Carry:
    """The next step of a method that accepts every point; none, if value or gradient is not finite there.

    Nothing is tested: the gradient of one batch may be zero by chance, and its value is no measure for that of another.
    """
    point = loop.method.ask(loop.objective, old.state)
    state, outcome = loop.method.step(loop.objective, old.state, point)
    # Behind the barrier the norm is one reduction, not one in each kernel that needs to know.
    value, norm, finite = jax.lax.optimization_barrier((point.value, point.grad_norm, progress.is_finite(point)))
    point, was = point._replace(value=value, grad_norm=norm), old.progress
    begins = finite & (was.steps < 0)
    now = was._replace(
        evals=was.evals + 1 + outcome.extra_evals,
        steps=was.steps + (finite & outcome.accepted).astype(jnp.int32),
        start_value=jnp.where(begins, point.value, was.start_value),
        start_norm=jnp.where(begins, point.grad_norm, was.start_norm),
        largest_norm=jnp.where(finite, jnp.maximum(point.grad_norm, was.largest_norm), was.largest_norm),
    )
    kept = vector.where(finite, state, old.state)
    record = old.record
    if record is not None:
        record = record.add(
            now, progress.Trip(old.state.iterate, point, kept.iterate, outcome._replace(accepted=finite))
        )
    code = jnp.where(finite, Status.RUNNING, Status.NONFINITE).astype(jnp.int32)
    return old._replace(state=kept, progress=now, record=record, status=code)
