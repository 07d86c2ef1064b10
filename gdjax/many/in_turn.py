"""Many small descents one after the other in one compiled loop, for losses so cheap that each is one function.

See `gdjax.jaxtools.in_turn` for what that gains over lanes side by side. What goes in and comes out is what
`gdjax.many.lanes` has, with one lane, whose carry is packed: the descent that was under way when the last call came
back is continued.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.loop import NEVER, Until
from gdjax.descent.stopping import Status
from gdjax.jaxtools.packing import Packed, pack, unpack, zeros
from gdjax.jaxtools.remembered import remembered
from gdjax.jaxtools.scalar_kernels import one_kernel, update_if
from gdjax.jaxtools.small_programs import is_inside, one_function, small_function
from gdjax.many.lanes import NONE, LaneProgram, Lanes, Log, Orders, Page, Report


@remembered(static=1)
def serve(
    program: LaneProgram, shared: list[Any], lanes: Lanes, page: Page, orders: Orders
) -> tuple[Lanes, Log, Report]:
    """Work on the lane and the page until the orders say to come back: all of it as one function, if that is small."""
    orders = Orders(*(jnp.asarray(x, jnp.int32) for x in orders))
    lane = jax.tree.map(lambda x: x[0], lanes)
    begun = Report(orders.first, under_way(lane), jnp.asarray(0, jnp.int32))
    state = lane, blank(program, shared, lane, page), begun
    lane, log, report = one_function(lambda given: work(program, *given), (shared, page, orders, state))
    return jax.tree.map(lambda x: x[None], lane), log, report


def work(
    program: LaneProgram, shared: list[Any], page: Page, orders: Orders, state: tuple[Lanes, Log, Report]
) -> tuple[Lanes, Log, Report]:
    """Problem after problem."""

    def goes_on(turn: tuple[Lanes, Log, Report]) -> jax.Array:
        lane, _, report = turn
        return ((report.first < orders.count) | (lane.ids != NONE)) & (report.trips < orders.trips)

    def turn(turn: tuple[Lanes, Log, Report]) -> tuple[Lanes, Log, Report]:
        lane, log, report = turn
        free = lane.ids == NONE
        waiting = jax.tree.map(lambda rows: rows[report.first], page)
        own, ids = jax.tree.map(lambda new, old: jnp.where(free, new, old), tuple(waiting), (lane.own, lane.ids))
        left = jnp.where(orders.ending == Status.RUNNING, orders.trips - report.trips, 1)
        carry, status, trips = descend(program, shared, own, lane.carry, free, left, orders.ending)
        lane, log = write(program, shared, Lanes(carry, own, ids), status, log)
        return lane, log, Report(report.first + free.astype(jnp.int32), under_way(lane), report.trips + trips)

    return jax.lax.while_loop(goes_on, turn, state)


def under_way(lane: Lanes) -> jax.Array:
    """Whether there is a problem in the lane, 0 or 1."""
    return (lane.ids != NONE).astype(jnp.int32)


def idle(carry: Packed, own: list[Any]) -> Lanes:
    """The lane without a problem, for a carry of these shapes; ``own`` are the arrays of several problems."""
    one = [np.zeros((1, *x.shape[1:]), x.dtype) for x in own]
    return Lanes(zeros(carry, 1), one, np.full(1, NONE, np.int32))


def descend(
    program: LaneProgram,
    shared: list[Any],
    own: list[Any],
    carry: Packed,
    fresh: jax.Array,
    most: jax.Array,
    ending: jax.Array,
) -> tuple[Packed, jax.Array, jax.Array]:
    """Go on with a descent, or from its start if it is ``fresh``, for so many trips at most; also status and trips.

    The carry is packed between two problems: its leaves, each alone, were copied there, and handed over, by 120 kernels
    of some numbers each. Where the descent has not ended its status is ``ending``.

    Raises:
        NotSmallError: if that is not one function.
    """
    loop = program.loop(own, shared)
    like = jax.eval_shape(loop.start)

    def trips(state: tuple[Packed, jax.Array, jax.Array, jax.Array]) -> tuple[Packed, jax.Array, jax.Array]:
        packed, fresh, most, ending = state
        carry = update_if(fresh, lambda _: loop.start(), unpack(packed, like))
        carry, made = loop.run_until(carry, Until(most, NEVER, -jnp.inf))
        carry = carry._replace(status=jnp.where(carry.status == Status.RUNNING, ending, carry.status))
        return pack(carry), carry.status, made

    state = carry, fresh, most, ending
    return trips(state) if is_inside() else small_function(trips, state)


def write(program: LaneProgram, shared: list[Any], lane: Lanes, status: jax.Array, log: Log) -> tuple[Lanes, Log]:
    """Write down the answer, if it is one: the next overwrites it if it is not."""
    done = status != Status.RUNNING
    answer = packed(program, shared, lane)
    put = lambda rows, row: jax.lax.dynamic_update_index_in_dim(rows, row, log.size, 0)
    new = Log(jax.tree.map(put, log.answers, answer), put(log.ids, lane.ids), log.size + done.astype(jnp.int32))
    return lane._replace(ids=jnp.where(done, NONE, lane.ids)), new


def packed(program: LaneProgram, shared: list[Any], lane: Lanes) -> dict[str, jax.Array]:
    """The result of the lane."""
    like = jax.eval_shape(program.start, lane.own, shared)
    answer = lambda carry: pack(program.answer(lane.own, shared, unpack(carry, like))).vectors
    return one_kernel(answer, lane.carry)


def blank(program: LaneProgram, shared: list[Any], lane: Lanes, page: Page) -> Log:
    """A log for the answers of a page and of the descent that was under way."""
    rows = page.ids.shape[0] + 1
    shapes = jax.eval_shape(lambda lane: packed(program, shared, lane), lane)
    empty = {name: jnp.zeros((rows, *x.shape), x.dtype) for name, x in shapes.items()}
    return Log(empty, jnp.full(rows, NONE, jnp.int32), jnp.asarray(0, jnp.int32))
