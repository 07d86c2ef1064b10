"""The compiled programs: a whole descent, its beginning, its next step."""

import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.derivatives.implicit import differentiable
from gdjax.descent.limits import Stop
from gdjax.descent.loop import NEVER, Carry, Loop, Until
from gdjax.descent.new_data import trip as new_data_trip
from gdjax.descent.new_data import whole_step
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.jaxtools.hoisted import Hoisted
from gdjax.jaxtools.in_turn import can_take_turns, in_turn
from gdjax.jaxtools.packing import Packed, pack, unpack
from gdjax.jaxtools.pytrees import (
    Static,
    is_traceable,
    merge,
    named_leaves,
    places,
    pytree_dataclass,
    split,
    static_field,
)
from gdjax.jaxtools.remembered import remembered
from gdjax.jaxtools.scalar_kernels import as_written
from gdjax.jaxtools.varying import vary
from gdjax.methods.hyperparameters import in_dtype
from gdjax.methods.optax import Optax
from gdjax.problem.objective import trace
from gdjax.problem.problem import Problem
from gdjax.running.pieces import compiled
from gdjax.vectors.layout import Apart, Flat


@pytree_dataclass
class Request:
    """What a descent is asked to do."""

    problem: Problem
    method: Any
    stop: Stop
    warm: Any = None  # state of the same method at the end of another descent
    history: int = static_field(0)  # steps to keep

    def split(self) -> tuple[Static, list[Any]]:
        """What selects the compiled program, and its arrays; `merge` is the inverse."""
        arrays, key = split(self)
        return key, arrays


def layout_for(problem: Problem, method: Any) -> Any:
    """What makes the layout of its parameters."""
    apart = problem.spread and problem.penalty is None and method.leafwise
    return (Apart if apart else method.layout).of


def make_loop(request: Request) -> Loop:
    """Trace the loss and set up the loop, inside a trace."""
    problem, method = request.problem, request.method
    # The shapes in what was traced, and those of optax, are their own affair.
    own = lambda x: None if isinstance(x, Hoisted) else x
    numbers = () if isinstance(method, Optax) else jax.tree.map(own, method, is_leaf=lambda x: isinstance(x, Hoisted))
    for name, leaf in named_leaves("stop", request.stop) + named_leaves("method", numbers):
        if is_traceable(leaf) and jnp.ndim(leaf) != 0:
            raise ValueError(f"{name} has shape {jnp.shape(leaf)}; it must be one number (jax.vmap tries several)")
    objective = trace(problem, layout_for(problem, method))
    if not isinstance(method, Optax):
        method = in_dtype(method, objective.dtype)
    limits = request.stop.resolve(objective, method.monotone, method.settles, method.least_squares)
    return Loop(objective, method, limits, request.history, request.warm, problem.unroll)


WATCHED = compiled(make_loop)


@remembered(static=2)
def descend(key: Static, keep_state: bool, arrays: list[Any]) -> Result:
    """The whole descent as one program, with the derivative of its solution: inside a trace, or on several devices."""

    def solve(arrays: list[Any]) -> Result:
        loop = make_loop(merge(arrays, key))
        carry = loop.run(loop.start())
        return dataclasses.replace(loop.answer(carry), state=carry if keep_state else None)

    problem = lambda arrays: merge(arrays, key).problem
    if problem(arrays).unroll is not None:
        return solve(arrays)
    small = can_take_turns() and make_loop(merge(arrays, key)).objective.is_small
    numbers = places(key, lambda request: request.problem.penalty)
    return differentiable(in_turn(solve) if small else solve, lambda arrays: trace(problem(arrays), Flat.of), numbers)(
        arrays
    )


@remembered(static=1)
def begin(key: Static, arrays: list[Any]) -> Carry:
    """The carry before the first evaluation."""
    return make_loop(merge(arrays, key)).start()


@remembered(static=1)
def next_step(key: Static, arrays: list[Any], carry: Carry) -> tuple[Carry, Result]:
    """Go on to the next accepted point; also what to show of it."""
    loop = make_loop(merge(arrays, key))
    one = lambda carry: loop.run_until(carry, Until(NEVER, carry.progress.steps + 1, -jnp.inf))
    carry, _ = loop.compact(one, carry)
    return carry, loop.report(carry, carry.state.iterate)


def own_loop(key: Static, arrays: list[Any], unrolled: bool) -> Loop:
    """A loop whose trips the user calls; ``unrolled``, they have derivatives in reverse."""
    return make_loop(merge(arrays, key))._replace(unroll=1 if unrolled else None)


@remembered(static=2)
def own_begin(key: Static, unrolled: bool, arrays: list[Any]) -> Carry:
    """The carry of such a loop before the first evaluation, for its shapes."""
    return own_loop(key, arrays, unrolled).start()


@remembered(static=3)
def own_start(key: Static, unrolled: bool, most: int, arrays: list[Any]) -> Packed:
    """The same, arrays of up to ``most`` numbers together: so a call hands over few."""
    return pack(own_loop(key, arrays, unrolled).start(), most)


@remembered(static=3)
def own_trip(key: Static, unrolled: bool, new_data: bool, arrays: list[Any], packed: Packed) -> Packed:
    """One trip, with the data of the trip before or with others."""
    loop = own_loop(key, arrays, unrolled)
    # As a loop that turns once: XLA then makes the same code of the trip as in the whole descent, bit for bit.
    running = vary(jnp.asarray(Status.RUNNING, jnp.int32), loop.objective.axes)
    again = lambda carry: loop.run_until(carry._replace(status=running), Until(1, NEVER, -jnp.inf))[0]
    one = (lambda carry: new_data_trip(loop, carry)) if new_data else loop.trip if unrolled else again
    with as_written() if unrolled else contextlib.nullcontext():
        carry = unpack(packed, jax.eval_shape(loop.start))
        return pack(one(carry) if unrolled else loop.compact(one, carry), packed.most)


@remembered(static=3)
def own_move(key: Static, unrolled: bool, whole: bool, arrays: list[Any], packed: Packed, given: Any) -> Packed:
    """One trip with new data, or a whole step; ``given``: where to begin (None: where it is), whether data are new."""
    loop, (params, new_data) = own_loop(key, arrays, unrolled), given
    x = None if params is None else loop.objective.layout.ravel(params)

    def one(carry: Carry) -> Carry:
        return whole_step(loop, carry, x, new_data) if whole else new_data_trip(loop, carry, x)

    with as_written() if unrolled else contextlib.nullcontext():
        carry = unpack(packed, jax.eval_shape(loop.start))
        return pack(one(carry) if unrolled else loop.compact(one, carry), packed.most)


@remembered(static=2)
def own_answer(key: Static, unrolled: bool, arrays: list[Any], packed: Packed) -> Result:
    """The best point so far."""
    loop = own_loop(key, arrays, unrolled)
    return loop.answer(unpack(packed, jax.eval_shape(loop.start)))
