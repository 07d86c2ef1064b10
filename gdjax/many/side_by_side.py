"""Many descents in one compiled loop: where one has ended, the next problem that waits takes its lane.

`jax.vmap` of a descent lets all lanes wait for the slowest. Here a trip of the loop is still one vmapped trip of some
lanes, few enough that what they carry stays in the cache, but a lane that is done is harvested and filled again, so
that nearly all of them work until no problem waits. Nothing of that reaches the host before a page of problems is
done: its answers come back as one matrix for each dtype, which is a kernel for each dtype instead of one for each leaf.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.descent.stopping import Status
from gdjax.jaxtools import compiler_options
from gdjax.jaxtools.packing import pack
from gdjax.jaxtools.remembered import remembered
from gdjax.jaxtools.scalar_kernels import one_kernel
from gdjax.many.lanes import NONE, LaneProgram, Lanes, Log, Orders, Page, Report
from gdjax.vectors import vector

SMALL = 16  # numbers of a leaf in a lane, up to which it is chosen together with others
# A harvest costs about as much as so many trips of all lanes. It comes when the lanes that are done have idled for as
# long: so neither costs much more than the other, whether descents are short or long. (10 000 fits of 9 evaluations
# take as long with 0.25 or 1, a tenth more with 2; Rosenbrock-10 with BFGS, 84 evaluations, as long as with an eighth
# of the lanes done.)
HARVEST = 0.5


def of_lanes(condition: jax.Array, a: Any, b: Any) -> Any:
    """The lanes of ``a`` where ``condition`` holds, of ``b`` elsewhere: what is small as one kernel."""
    choose = lambda given: jax.vmap(vector.where)(*given)
    (a, treedef), b = jax.tree.flatten(a), jax.tree.leaves(b)
    small = [x.size <= SMALL * condition.size for x in a]
    parts = lambda leaves, of: [x for x, is_small in zip(leaves, small, strict=True) if is_small == of]
    chosen = iter(one_kernel(choose, (condition, parts(a, True), parts(b, True))))
    large = iter(choose((condition, parts(a, False), parts(b, False))))
    return jax.tree.unflatten(treedef, [next(chosen if is_small else large) for is_small in small])


def choose(which: Any, condition: jax.Array, a: Any, b: Any) -> Any:
    """``a``, but for the leaves that ``which`` names: these as `of_lanes` has them."""
    (new, treedef), old = jax.tree.flatten(a), jax.tree.leaves(b)
    kept = [i for i, is_one in enumerate(jax.tree.leaves(which)) if is_one]
    if not kept:
        return a
    for i, x in zip(kept, of_lanes(condition, [new[i] for i in kept], [old[i] for i in kept]), strict=True):
        new[i] = x
    return jax.tree.unflatten(treedef, new)


def what_is_read(answer: Callable[..., Any], own: list[Any], carry: Any) -> Any:
    """Of which leaves of the carry the answer is made: no other need be kept for a lane that has ended."""
    jaxpr = jax.make_jaxpr(answer)(own, carry).jaxpr
    used = {id(v) for eqn in jaxpr.eqns for v in eqn.invars} | {id(v) for v in jaxpr.outvars}
    leaves, treedef = jax.tree.flatten(carry)
    return jax.tree.unflatten(treedef, [id(v) in used for v in jaxpr.invars[-len(leaves) :]])


@remembered(static=1, options=compiler_options.of_lanes)
def serve(
    program: LaneProgram, shared: list[Any], lanes: Lanes, page: Page, orders: Orders
) -> tuple[Lanes, Log, Report]:
    """Work on the lanes and the page until the orders say to come back."""

    def goes_on(turn: tuple[Lanes, Log, Report]) -> jax.Array:
        lanes, _, report = turn
        work = (report.first < orders.count) | (running(lanes) > orders.floor)
        return work & (report.trips < orders.trips)

    def turn(turn: tuple[Lanes, Log, Report]) -> tuple[Lanes, Log, Report]:
        lanes, log, report = turn
        # All lanes are filled first: an answer may evaluate, and lanes that had no problem yet hold zeros.
        lanes, first = refill(program, shared, lanes, page, report.first, orders)
        lanes, trips = advance(program, shared, lanes, first < orders.count, report.trips, orders)
        lanes, log = write(program, shared, lanes, log)
        return lanes, log, Report(first, running(lanes), trips)

    begun = Report(jnp.asarray(orders.first, jnp.int32), running(lanes), jnp.asarray(0, jnp.int32))
    log = blank(program, shared, lanes, page.ids.shape[0] + lanes.ids.size)
    return jax.lax.while_loop(goes_on, turn, (lanes, log, begun))


def running(lanes: Lanes) -> jax.Array:
    """How many are under way."""
    return jnp.sum(lanes.carry.status == Status.RUNNING, dtype=jnp.int32)


def answers(program: LaneProgram, shared: list[Any], lanes: Lanes) -> dict[str, jax.Array]:
    """The result of each lane, packed."""
    return jax.vmap(lambda own, carry: pack(program.answer(own, shared, carry)).vectors)(lanes.own, lanes.carry)


def blank(program: LaneProgram, shared: list[Any], lanes: Lanes, rows: int) -> Log:
    """A log for so many answers."""
    packed = jax.eval_shape(lambda lanes: answers(program, shared, lanes), lanes)
    empty = {name: jnp.zeros((rows, x.shape[1]), x.dtype) for name, x in packed.items()}
    return Log(empty, jnp.full(rows, NONE, jnp.int32), jnp.asarray(0, jnp.int32))


def write(program: LaneProgram, shared: list[Any], lanes: Lanes, log: Log) -> tuple[Lanes, Log]:
    """Write down the answers of the lanes that are done, which are idle then."""
    done = (lanes.ids != NONE) & (lanes.carry.status != Status.RUNNING)
    # Gathering before what is packed is there would search the pack for each number.
    packed = jax.lax.optimization_barrier(answers(program, shared, lanes))
    rows = jnp.where(done, log.size - 1 + jnp.cumsum(done, dtype=jnp.int32), log.ids.size)
    put = lambda log, new: log.at[rows].set(new, mode="drop")
    size = log.size + jnp.sum(done, dtype=jnp.int32)
    log = Log(jax.tree.map(put, log.answers, packed), put(log.ids, lanes.ids), size)
    return lanes._replace(ids=jnp.where(done, NONE, lanes.ids)), log


def refill(
    program: LaneProgram, shared: list[Any], lanes: Lanes, page: Page, first: jax.Array, orders: Orders
) -> tuple[Lanes, jax.Array]:
    """Give the idle lanes to the problems that wait; also the problem that is next."""
    free = lanes.ids == NONE
    place = first - 1 + jnp.cumsum(free, dtype=jnp.int32)
    filled = free & (place < orders.count)
    taken = jax.tree.map(lambda rows: rows[jnp.minimum(place, rows.shape[0] - 1)], page)
    # A lane that stays free is given a problem, too, and never its number: so it evaluates no odd points.
    own = of_lanes(free, taken.own, lanes.own)
    carry = of_lanes(free, jax.vmap(lambda own: program.start(own, shared))(own), lanes.carry)
    carry = carry._replace(status=jnp.where(free & ~filled, Status.CONVERGED, carry.status))
    ids = jnp.where(filled, taken.ids, lanes.ids)
    return Lanes(carry, own, ids), first + jnp.sum(filled, dtype=jnp.int32)


def advance(
    program: LaneProgram, shared: list[Any], lanes: Lanes, waiting: jax.Array, trips: jax.Array, orders: Orders
) -> tuple[Lanes, jax.Array]:
    """Trips of all running lanes, until it is time for a harvest; also how many trips were made in all.

    That is where problems are waiting for the lanes that are done; otherwise where no more than so many are running.
    """
    trip = jax.vmap(lambda own, carry: program.trip(own, shared, carry))
    answer = lambda own, carry: answers(program, shared, lanes._replace(own=own, carry=carry))
    read, ending = what_is_read(answer, lanes.own, lanes.carry), jnp.asarray(orders.ending, jnp.int32)
    width, most = lanes.ids.size, math.ceil(HARVEST * lanes.ids.size)
    # What else is in a lane that has ended is no descent's. With a penalty, which may be a set that no evaluation is to
    # leave, such a lane evaluates its start.
    begun = jax.vmap(lambda own: program.start(own, shared))(lanes.own)
    asked = what_is_read(jax.vmap(lambda own, carry: program.asked(own, shared, carry)), lanes.own, lanes.carry)

    def step(turn: tuple[Lanes, jax.Array, jax.Array]) -> tuple[Lanes, jax.Array, jax.Array]:
        lanes, trips, idle = turn
        live = lanes.carry.status == Status.RUNNING
        new = trip(lanes.own, choose(asked, live, lanes.carry, begun))
        status = jnp.where((new.status == Status.RUNNING) & (ending != Status.RUNNING), ending, new.status)
        lanes = lanes._replace(carry=choose(read, live, new._replace(status=status), lanes.carry))
        return lanes, trips + 1, idle + width - running(lanes)

    def goes_on(turn: tuple[Lanes, jax.Array, jax.Array]) -> jax.Array:
        lanes, trips, idle = turn
        left = running(lanes)
        return jnp.where(waiting, (idle < most) & (left > 0), left > orders.floor) & (trips < orders.trips)

    return jax.lax.while_loop(goes_on, step, (lanes, trips, jnp.asarray(0, jnp.int32)))[:2]
