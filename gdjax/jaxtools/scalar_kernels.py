"""Branches and scalar code as XLA's CPU backend likes them: loops of at most one turn.

A conditional copies all that it hands through: the memory of L-BFGS, in every trip. A loop changes its carry in place,
and one that makes no turn costs nothing; under `jax.vmap` it makes a turn if any lane wants one, where a conditional
always takes both branches.

Every output of a computation on scalars becomes a kernel of its own there, repeats the shared work and takes 10 to
20 ms to compile: the bookkeeping of a trip made 50 kernels, more than most losses. A loop that touches few bytes (up to
1024), however, is compiled as one function. (Where the whole descent is, see `gdjax.jaxtools.small_programs`, plain
code will do.)

On a GPU all is plain code again: there a loop costs a round trip to the host. Branches are both computed, and one is
selected, where they are small, and conditionals where they are not. ``GDJAX_LOOPS=0`` in the environment asks for that
code on a CPU, too: so it is tested where there is no GPU. (Set it before the first descent: a program that is compiled
already stays as it is.)
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from gdjax.jaxtools.pytrees import strong
from gdjax.jaxtools.small_programs import DTYPES, is_inside, of_bytes
from gdjax.jaxtools.varying import axes_after, cond, vary

# Bytes that branches are given, up to which both are computed on a GPU. On an H100 a conditional costs 9 us (a trip of
# gradient descent with two of them 48, without 31), in which 22 MB are moved; branches and choice read and write what
# they are given some ten times in all.
BOTH = 2**21

AS_WRITTEN = contextvars.ContextVar("as_written", default=False)
BATCHED = contextvars.ContextVar("batched", default=False)


@contextlib.contextmanager
def batched(many: bool = True) -> Iterator[None]:
    """What is traced inside is for `jax.vmap`: a scalar is a vector there, and has no need of company."""
    token = BATCHED.set(many)
    try:
        yield
    finally:
        BATCHED.reset(token)


def in_batch() -> bool:
    """Whether what is traced now is for `jax.vmap`."""
    return BATCHED.get()


def is_batched(arrays: Any) -> bool:
    """Whether this is inside `jax.vmap`, and the program another one for that."""
    return any(type(x).__name__ == "BatchTracer" for x in jax.tree.leaves(arrays))


@contextlib.contextmanager
def as_written() -> Iterator[None]:
    """What is traced inside has derivatives in reverse, which loops have not."""
    token = AS_WRITTEN.set(True)
    try:
        yield
    finally:
        AS_WRITTEN.reset(token)


def in_loops() -> bool:
    """Whether to write loops: where they are compiled for a CPU, as far as can be known while tracing."""
    forbidden = AS_WRITTEN.get() or os.environ.get("GDJAX_LOOPS") == "0"
    return not forbidden and jax.default_backend() == "cpu"


def update_if(condition: jax.Array, function: Callable[[Any], Any], state: Any) -> Any:
    """``function(state)`` if ``condition``, else ``state``; in place."""
    if not in_loops():
        return branch(condition, function, lambda state: state, state)
    axes = axes_after(lambda condition, state: (condition, state, function(state)), condition, state)
    turn = lambda carry: vary((jnp.asarray(False), function(carry[1])), axes)
    return jax.lax.while_loop(lambda carry: carry[0], turn, vary((condition, state), axes))[1]


def branch(condition: jax.Array, yes: Callable[[Any], Any], no: Callable[[Any], Any], state: Any) -> Any:
    """``yes(state)`` if ``condition``, else ``no(state)``: a conditional, or on a GPU a choice if that is cheaper."""
    if AS_WRITTEN.get() or in_loops():  # in a derivative what was not chosen may be NaN, and spoil the rest
        return cond(condition, yes, no, state)
    (yes, from_yes), (no, from_no) = traced(yes, state), traced(no, state)
    if sum(map(of_bytes, [*jax.tree.leaves(state), *from_yes, *from_no])) > BOTH:
        return cond(condition, yes, no, state)
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes(state), no(state))


def traced(function: Callable[[Any], Any], state: Any) -> tuple[Callable[[Any], Any], list[Any]]:
    """The same function, traced, and the arrays that it closes over."""
    program, shapes = jax.make_jaxpr(function, return_shape=True)(state)
    replay = lambda state: jaxpr_as_fun(program)(*jax.tree.leaves(state))
    return lambda state: jax.tree.unflatten(jax.tree.structure(shapes), replay(state)), program.consts


def one_kernel(function: Callable[[Any], tuple[Any, Any]], state: Any) -> tuple[Any, Any]:
    """``function(state)``: the next state and other outputs, all pytrees of scalars, in one kernel and in place."""
    if not in_loops() or is_inside():
        return function(state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, state)[1])
    blank = vary(zeros, axes_after(lambda state: function(state)[1], state))
    # XLA must not see that there is but one turn, or it dissolves the loop.
    begin = jax.lax.optimization_barrier(jnp.asarray(True))
    return update_if(begin, lambda both: jax.tree.map(strong, function(both[0])), (state, blank))


def choose(condition: jax.Array, a: Any, b: Any) -> Any:
    """``a`` if ``condition`` else ``b``, pytrees of arrays: all scalars that differ in one kernel."""
    pairs, treedef = [*zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)], jax.tree.structure(a)
    few = [(x, y) for x, y in pairs if x is not y and x.ndim == 0]
    scalars = lambda _: (None, [jnp.where(condition, x, y) for x, y in few])
    chosen = iter(one_kernel(scalars, None)[1] if few else [])

    def leaf(x: jax.Array, y: jax.Array) -> jax.Array:
        if x is y:
            return y
        return next(chosen) if x.ndim == 0 else jnp.where(condition, x, y)

    return jax.tree.unflatten(treedef, [leaf(x, y) for x, y in pairs])


def while_loop(goes_on: Callable[[Any], jax.Array], trip: Callable[[Any], Any], state: Any) -> Any:
    """`jax.lax.while_loop`. On a GPU the scalars of the state go around as one array for each dtype.

    Each alone, most would be copied in every trip, by a kernel of its own: 38 of the 90 of L-BFGS (59 us a trip instead
    of 89). Under `jax.vmap` to put them together is what costs: 188 us a trip of 10 000 problems instead of 71.
    """
    if in_loops() or BATCHED.get():
        return jax.lax.while_loop(goes_on, trip, state)
    kind_of = lambda x: x.dtype.name if jnp.ndim(x) == 0 and x.dtype.name in DTYPES else None
    kinds, treedef = [kind_of(x) for x in jax.tree.leaves(state)], jax.tree.structure(state)

    def pack(state: Any) -> tuple[dict[str, jax.Array], list[Any]]:
        both = [*zip(jax.tree.leaves(state), kinds, strict=True)]
        of_kind = lambda wanted: [x for x, kind in both if kind == wanted]
        return {kind: jnp.stack(of_kind(kind)) for kind in dict.fromkeys(kinds) if kind}, of_kind(None)

    def unpack(packed: tuple[dict[str, jax.Array], list[Any]]) -> Any:
        rows = {kind: iter(vector) for kind, vector in packed[0].items()} | {None: iter(packed[1])}
        return jax.tree.unflatten(treedef, [next(rows[kind]) for kind in kinds])

    packed = jax.lax.while_loop(lambda p: goes_on(unpack(p)), lambda p: pack(trip(unpack(p))), pack(state))
    return unpack(packed)
