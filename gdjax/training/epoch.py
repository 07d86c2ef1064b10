"""The compiled part of a training: batch after batch of shuffled rows, in one loop."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.descent.loop import Carry
from gdjax.descent.new_data import accept
from gdjax.descent.stopping import Status
from gdjax.jaxtools.pytrees import Static, merge
from gdjax.jaxtools.remembered import remembered
from gdjax.jaxtools.rows import rows_at, rows_from
from gdjax.jaxtools.scalar_kernels import one_kernel, update_if
from gdjax.problem.problem import check_params
from gdjax.running.programs import Request, layout_for, make_loop
from gdjax.vectors import vector


class Plan(NamedTuple):
    """What selects the program, beside the loss and the method."""

    rows: int  # of the data; 0 if batches come from elsewhere
    batch_size: int
    shuffle: bool
    takes_key: bool  # whether the loss takes a random key after the batch
    averages: bool  # whether an average of the weights is kept

    @property
    def batches(self) -> int:
        """In an epoch; the last one may be smaller."""
        return -(-self.rows // self.batch_size)


class Course(NamedTuple):
    """A training on its way."""

    carry: Carry  # of the method
    average: Any  # (1 - d) sum of d^(t - i) x_i, the parameters after step i; None if there is none
    weight: jax.Array  # d^t
    key: jax.Array  # of the whole training
    order: Any  # of the rows in this epoch, int32; None if they are not shuffled
    epoch: jax.Array  # int32
    batch: jax.Array  # the next one of the epoch, int32
    total: jax.Array  # losses of the batches of this epoch, each times its rows
    rows: jax.Array  # of these, int32
    skipped: jax.Array  # batches of this epoch that were not finite, int32


@remembered(static=2)
def begin(key: Static, plan: Plan, arrays: list[Any], seed: jax.Array) -> Course:
    """Before the first batch."""
    loop = make_loop(merge(arrays, key)[0])
    carry, zero = loop.start(), jnp.asarray(0, jnp.int32)
    average = jax.tree.map(jnp.zeros_like, loop.method.position(carry.state)) if plan.averages else None
    order = jnp.arange(plan.rows, dtype=jnp.int32) if plan.shuffle and plan.rows else None
    one = jnp.ones((), loop.objective.dtype)
    return Course(carry, average, one, seed, order, zero, zero, 0 * one, zero, zero)


@remembered(static=2)
def next_epoch(key: Static, plan: Plan, arrays: list[Any], course: Course) -> Course:
    """Nothing is counted yet in the new epoch."""
    zero = jnp.zeros_like(course.batch)
    total = jnp.zeros_like(course.total)
    return course._replace(epoch=course.epoch + 1, batch=zero, rows=zero, skipped=zero, total=total)


@remembered(static=2)
def weights(key: Static, plan: Plan, arrays: list[Any], course: Course) -> Any:
    """The parameters, or their average: like those of the user."""
    request, _ = merge(arrays, key)
    x = request.method.position(course.carry.state)
    if plan.averages:  # without the share of the zeros that it began with
        begun = course.weight < 1
        share = 1 - jnp.where(begun, course.weight, 0)
        mean = jax.tree.map(lambda a: a / share.astype(a.dtype), course.average)
        x = vector.where(begun, mean, x)
    problem = request.problem
    return layout_for(problem, request.method)(check_params(problem.params)).unravel(x)


@remembered(static=2, donate=(4,))
def piece(key: Static, plan: Plan, arrays: list[Any], data: Any, course: Course, trips: Any, decay: Any) -> Course:
    """So many batches, or to the end of the epoch."""
    (request, tail), whole = merge(arrays, key), plan.rows // plan.batch_size
    last = course.batch + trips

    def shuffled(course: Course) -> Course:
        of_epoch = jax.random.fold_in(course.key, course.epoch)
        places = jax.random.bits(of_epoch, (plan.rows,))  # ties are too few to matter
        _, order = jax.lax.sort_key_val(places, jnp.arange(plan.rows, dtype=jnp.int32))
        return course._replace(order=order)

    def step(request: Request, course: Course, count: int) -> Course:
        start = course.batch * plan.batch_size
        if plan.shuffle:
            rows = jax.lax.dynamic_slice_in_dim(course.order, start, count)
            batch = rows_at(data, rows)
        else:
            batch = rows_from(data, start, count)
        return trip(request, plan, course, batch, count, decay)

    if plan.shuffle:
        course = update_if(course.batch == 0, shuffled, course)
    goes_on = lambda course: course.batch < jnp.minimum(last, whole)
    course = jax.lax.while_loop(goes_on, lambda course: step(request, course, plan.batch_size), course)
    if rest := plan.rows % plan.batch_size:
        is_next = (course.batch == whole) & (course.batch < last)
        smaller = dataclasses.replace(request, problem=dataclasses.replace(request.problem, loss=tail))
        course = jax.lax.cond(is_next, lambda course: step(smaller, course, rest), lambda course: course, course)
    return course


@remembered(static=2, donate=(4,))
def one_batch(key: Static, plan: Plan, arrays: list[Any], batch: Any, course: Course, decay: Any) -> Course:
    """A batch that comes from elsewhere."""
    count = jax.tree.leaves(batch)[0].shape[0]
    return trip(merge(arrays, key)[0], plan, course, batch, count, decay)


def trip(request: Request, plan: Plan, course: Course, batch: Any, size: int, decay: Any) -> Course:
    """One step of the method, on one batch of so many rows."""
    given = jax.tree.leaves(batch)
    if plan.takes_key:
        of_epoch = jax.random.fold_in(course.key, course.epoch)
        given.append(jax.random.fold_in(of_epoch, course.batch + 1))
    loop = make_loop(dataclasses.replace(request, problem=dataclasses.replace(request.problem, args=tuple(given))))
    carry = accept(loop, course.carry)
    fine = carry.status == Status.RUNNING
    average = course.average
    if plan.averages:
        moved = lambda a, x: a + jnp.where(fine, 1 - decay, 0).astype(a.dtype) * (x - a)
        average = jax.tree.map(moved, average, loop.method.position(carry.state))

    def count(known: dict[str, jax.Array]) -> dict[str, jax.Array]:
        value = jnp.where(fine, carry.state.iterate.value, 0)
        weight = known["weight"]
        return dict(
            weight=jnp.where(fine & plan.averages, weight * decay.astype(weight.dtype), weight),
            batch=known["batch"] + 1,
            total=known["total"] + value * jnp.asarray(size, value.dtype),
            rows=known["rows"] + jnp.where(fine, size, 0).astype(jnp.int32),
            skipped=known["skipped"] + jnp.where(fine, 0, 1).astype(jnp.int32),
        )

    known = {name: getattr(course, name) for name in ("weight", "batch", "total", "rows", "skipped")}
    return course._replace(carry=carry, average=average, **one_kernel(count, known))


@remembered(static=2)
def witness(key: Static, plan: Plan, arrays: list[Any], data: Any, course: Course) -> tuple[jax.Array, jax.Array]:
    """Value and gradient norm, where the training stands, on as many rows as a batch has, evenly spread over all."""
    request, _ = merge(arrays, key)
    given = jax.tree.leaves(rows_at(data, jnp.linspace(0, plan.rows - 1, plan.batch_size).astype(jnp.int32)))
    given += [course.key] * plan.takes_key
    loop = make_loop(dataclasses.replace(request, problem=dataclasses.replace(request.problem, args=tuple(given))))
    point = loop.objective.evaluate(loop.method.position(course.carry.state))
    return point.value, point.grad_norm


@remembered(static=1)
def measured(key: Static, arrays: list[Any], params: Any, data: Any) -> jax.Array:
    """The validation of params, by a traced function of params and data."""
    return merge(arrays, key)(params, data)
