"""A descent that meets another loss, for its data are new: what was known of values goes, what was learnt stays."""

import dataclasses

import jax
import jax.numpy as jnp

from gdjax.descent import progress
from gdjax.descent.loop import Carry, Loop
from gdjax.descent.stopping import Status, is_success
from gdjax.jaxtools.scalar_kernels import one_kernel
from gdjax.vectors import vector
from gdjax.vectors.vector import Vector

TRIALS = 8  # evaluations of a step at most, in a loop of fixed length: see `Loop.turn`
SCALES = ("start_value", "start_norm", "largest_norm")


def begin_at(loop: Loop, x: Vector, warm: bool, old: Carry, steps: int) -> Carry:
    """Begin again at x, counts and scales going on: the evaluation there counts for so many ``steps``.

    If ``warm``, with what the method has learnt (`gdjax.methods.base.Method.learnt`).
    """
    moved = dataclasses.replace(loop.objective, start=x, blank=loop.objective.blank._replace(x=x))
    fresh = loop._replace(objective=moved, warm=old.state if warm else None).start()
    scales = {name: getattr(old.progress, name) for name in ("evals", *SCALES)}
    begun = fresh.progress._replace(steps=jnp.maximum(old.progress.steps - 1 + steps, -1), **scales)
    return fresh._replace(progress=begun, record=old.record, first=old.first, inward=old.inward)


def moved(loop: Loop, old: Carry, x: Vector | None) -> jax.Array:
    """Whether x is another point than the one where the descent stands; None is not."""
    if x is None:
        return jnp.asarray(False)
    same = jax.tree.map(lambda a, b: jnp.all(a == b), x, loop.method.position(old.state))
    return ~jnp.all(jnp.stack(jax.tree.leaves(same)))


def whole_step(loop: Loop, old: Carry, x: Vector | None, new_data: jax.Array) -> Carry:
    """Until the next point is accepted, or a test holds: if the data are new, or x is, begun again at x."""
    again, here = new_data | moved(loop, old, x), loop.method.position(old.state) if x is None else x
    carry = vector.where(again, begin_at(loop, here, True, old, 0), old)
    carry = carry._replace(status=jnp.full_like(carry.status, Status.RUNNING))
    # For one that searches the start is no step; one that accepts every point has made its first step there.
    last = jnp.maximum(old.progress.steps, 0) if loop.method.searches else old.progress.steps
    return with_trials(loop).turn(lambda c: (c.status == Status.RUNNING) & (c.progress.steps <= last), carry)


def with_trials(loop: Loop) -> Loop:
    """A loop for one step: of fixed length, if it is to have derivatives in reverse."""
    return loop if loop.unroll is None else loop._replace(unroll=TRIALS)


def trip(loop: Loop, old: Carry, x: Vector | None = None) -> Carry:
    """A step of a loss that may be another than in the trip before, from x (None: where the descent stands).

    A method that refuses trials compares values, and those of two losses cannot be compared: it takes a whole step
    (`search`). One that accepts every point (`accept`) goes on.
    """
    if loop.method.searches:
        return search(loop, old, old.state.iterate.x if x is None else x)
    if x is not None:
        old = vector.where(moved(loop, old, x), begin_at(loop, x, True, old, 1), old)
    known = {name: getattr(old.progress, name) for name in ("evals", "steps", *SCALES)}
    return accept(loop, old._replace(progress=progress.begin(loop.objective)._replace(**known)))


def search(loop: Loop, old: Carry, x: Vector) -> Carry:
    """The loss at x, where the method stands, and its search from there until it accepts a point.

    A pair of points is so always of one loss, as in N. N. Schraudolph, J. Yu and S. Günter, A stochastic quasi-Newton
    method for online convex optimization, AISTATS (2007). The status is about where it stood: a success says that the
    new loss asks for no step. It is not said of the point after, since a loop of the user's own goes on to other data.
    """
    begun, stand = begin_at(loop, x, True, old, 0), jnp.maximum(old.progress.steps, 0)

    def goes_on(c: Carry) -> jax.Array:
        unseen, stands = c.progress.evals == old.progress.evals, c.progress.steps == stand
        return (c.status == Status.RUNNING) & (unseen | stands)

    carry = with_trials(loop).turn(goes_on, begun)
    finite, moved = carry.progress.steps >= stand, carry.progress.steps > stand
    code = jnp.where(moved & is_success(carry.status), Status.RUNNING, carry.status)
    lost = old._replace(progress=old.progress._replace(evals=carry.progress.evals))
    code = jnp.where(finite, code, Status.NONFINITE).astype(jnp.int32)
    return vector.where(finite, carry, lost)._replace(status=code)


def accept(loop: Loop, old: Carry) -> Carry:
    """The next step of a method that accepts every point; none, if value or gradient is not finite there.

    Nothing is tested: the gradient of one batch may be zero by chance, and its value is no measure for that of another.
    """
    point = loop.method.ask(loop.objective, old.state)
    state, outcome = loop.method.step(loop.objective, old.state, point)
    # Behind the barrier the norm is one reduction, not one in each kernel that needs to know.
    value, norm, finite = jax.lax.optimization_barrier((point.value, point.grad_norm, progress.is_finite(point)))
    point, was = point._replace(value=value, grad_norm=norm), old.progress
    counted = ("evals", "steps", *SCALES)

    def count(known: dict[str, jax.Array]) -> dict[str, jax.Array]:
        begins = finite & (known["steps"] < 0)
        largest = jnp.maximum(point.grad_norm, known["largest_norm"])
        return dict(
            evals=known["evals"] + 1 + outcome.extra_evals,
            steps=known["steps"] + (finite & outcome.accepted).astype(jnp.int32),
            start_value=jnp.where(begins, point.value, known["start_value"]),
            start_norm=jnp.where(begins, point.grad_norm, known["start_norm"]),
            largest_norm=jnp.where(finite, largest, known["largest_norm"]),
        )

    now = was._replace(**one_kernel(count, {name: getattr(was, name) for name in counted}))
    kept = vector.where(finite, state, old.state)
    record = old.record
    if record is not None:
        record = record.add(
            now, progress.Trip(old.state.iterate, point, kept.iterate, outcome._replace(accepted=finite))
        )
    code = jnp.where(finite, Status.RUNNING, Status.NONFINITE).astype(jnp.int32)
    return old._replace(state=kept, progress=now, record=record, status=code)
