"""Many descents at once on a GPU, where a pass of the loop costs about the same for thousands of problems.

There it does not pay to give the place of a problem that is done to the next one, and traffic with the host costs more
than the descents: 10 000 problems of ten variables took 12 ms under `jax.vmap`, and 120 ms with the refilled lanes that
suit a CPU. So each chunk of problems is one vmapped descent, in pieces of a fraction of a second; between two pieces
Python can end it.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.loop import NEVER, Carry, Loop, Until
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.jaxtools.pytrees import merge
from gdjax.jaxtools.scalar_kernels import batched
from gdjax.many.lanes import LaneProgram
from gdjax.running.programs import make_loop

# Ten variables by BFGS on an H100: 1.2 us a problem with 10 000 lanes, 0.74 with 100 000, 0.85 with a million.
LANES = 2**17
MEMORY = 2**30  # bytes that the lanes carry at most: several times that is used, and losses have needs of their own
PIECE = 0.2  # seconds, about: what Ctrl-C and a time limit have to wait
TRIPS = 64  # of the first piece


def solve(
    program: LaneProgram, shared: list[Any], own: list[Any], ending: Callable[[], Status], batch_size: int | None
) -> Result:
    """All results. ``own``: the arrays of the problems, along the first axis; ``ending``: a status that ends all."""
    problems = own[0].shape[0]
    carry = begin.eval_shape(program, shared, own)
    size = sum(x.size * x.dtype.itemsize for x in [*own, *jax.tree.leaves(carry)])
    width = lanes(problems, size // problems, batch_size)
    if width == problems:
        return descend(program, shared, own, ending)
    results = [descend(program, shared, cut(own, first, width), ending) for first in range(0, problems, width)]
    return join(results, problems)


def lanes(problems: int, lane_bytes: int, batch_size: int | None) -> int:
    """Problems per chunk: equal chunks, rounded up to one of eight sizes per octave, so that few are compiled."""
    most = min(LANES, max(1, MEMORY // max(1, lane_bytes)), batch_size or LANES)
    each = -(-problems // -(-problems // most))
    step = 1 << max(0, each.bit_length() - 4)
    return min(-(-each // step) * step, most)


def cut(own: list[Any], first: int, width: int) -> list[Any]:
    """The problems from ``first`` on, padded with the last one."""
    rows = np.minimum(np.arange(first, first + width), own[0].shape[0] - 1)
    return [x[rows] if isinstance(x, np.ndarray) else take(x, rows) for x in own]


@jax.jit
def take(x: jax.Array, rows: jax.Array) -> jax.Array:
    """The rows of these problems."""
    return x[rows]


@functools.partial(jax.jit, static_argnums=1)
def join(results: list[Result], problems: int) -> Result:
    """The chunks in a row, without the padding of the last."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:problems], *results)


def descend(program: LaneProgram, shared: list[Any], own: list[Any], ending: Callable[[], Status]) -> Result:
    """One chunk, piece by piece."""
    carry, trips, status = begin(program, shared, own), TRIPS, Status.RUNNING
    while status == Status.RUNNING:
        began, status = time.perf_counter(), ending()
        limit = trips if status == Status.RUNNING else 1  # each has its first evaluation
        carry, made, running = advance(program, shared, own, carry, np.int32(limit))
        made, seconds = int(made), time.perf_counter() - began
        if not running:
            break
        trips = int(np.clip(made * PIECE / seconds, 1, 8 * trips))
    return answer(program, shared, own, carry, np.int32(status))


def loop(program: LaneProgram, shared: list[Any], own: list[Any]) -> Loop:
    """The loop of one problem, inside a trace."""
    return make_loop(merge(program.arrays(own, shared), program.key))


@functools.partial(jax.jit, static_argnums=0)
def begin(program: LaneProgram, shared: list[Any], own: list[Any]) -> Carry:
    """Before the first evaluation."""
    return jax.vmap(lambda own: loop(program, shared, own).start())(own)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=3)
def advance(
    program: LaneProgram, shared: list[Any], own: list[Any], carry: Carry, trips: Any
) -> tuple[Carry, jax.Array, jax.Array]:
    """Make at most so many passes; how many were made, and whether a lane has not ended."""
    go_on = lambda own, carry: loop(program, shared, own).run_until(carry, Until(trips, NEVER, -jnp.inf))
    with batched():
        carry, made = jax.vmap(go_on)(own, carry)
    return carry, jnp.max(made), jnp.any(carry.status == Status.RUNNING)


@functools.partial(jax.jit, static_argnums=0)
def answer(program: LaneProgram, shared: list[Any], own: list[Any], carry: Carry, status: Any) -> Result:
    """The results; descents that have not ended get this status."""
    carry = carry._replace(status=jnp.where(carry.status == Status.RUNNING, status, carry.status))
    return jax.vmap(lambda own, carry: loop(program, shared, own).answer(carry))(own, carry)
