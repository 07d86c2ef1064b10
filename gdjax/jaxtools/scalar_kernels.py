"""Scalar code and branches as XLA likes them, on a CPU and on a GPU.

On a CPU every output of a computation on scalars becomes a kernel of its own, repeats the shared work and takes 10 to
20 ms to compile: the bookkeeping of one trip around the loop made 60 kernels, more than most losses. `one_kernel` makes
one of them. The loop and `gdjax.methods.searching` ask for that, where their scalars are together; methods and searches
are plain code. (L-BFGS of 3000 variables: 63 kernels instead of 115, 1.3 s of compiling instead of 1.9.)

On a GPU XLA makes few kernels of scalars by itself, and what waits for the host is dear. So branches are both computed,
and one is selected, where they are small; and the scalars of a loop go around together. ``GDJAX_AS_ON_GPU=1`` in the
environment asks for that code on a CPU, too: so it is tested where there is no GPU. (Set it before the first descent: a
program that is compiled already stays as it is.)
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from gdjax.jaxtools.packing import pack, unpack
from gdjax.jaxtools.small_programs import is_inside, of_bytes, one_function
from gdjax.jaxtools.varying import axes_after, cond, vary

# Bytes that branches are given, up to which both are computed on a GPU. On an H100 a conditional costs 9 us (a trip of
# gradient descent with two of them 48, without 31), in which 22 MB are moved; branches and choice read and write what
# they are given some ten times in all.
BOTH = 2**21
TOGETHER = 1  # numbers of an array that goes around a loop on a GPU together with others

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


def for_cpu() -> bool:
    """Whether the code is for a CPU, as far as can be known while tracing."""
    return os.environ.get("GDJAX_AS_ON_GPU") != "1" and jax.default_backend() == "cpu"


def one_kernel(function: Callable[[Any], Any], state: Any) -> Any:
    """``function(state)``, on a CPU as one function of machine code: for scalars, or little more.

    Not where it is part of a larger such function, nor for derivatives in reverse, which XLA's has not.
    """
    plain = is_inside() or AS_WRITTEN.get() or not for_cpu()
    return function(state) if plain else one_function(function, state)


def update_if(condition: jax.Array, function: Callable[[Any], Any], state: Any) -> Any:
    """``function(state)`` if ``condition``, else ``state``: on a CPU in place, by a loop of one turn or none.

    A conditional copies what it hands through, such as the memory of L-BFGS: with ten variables a trip took 1.75 us
    instead of 1.5. (Of many problems at once all are written in any case: `gdjax.minimize_many` takes a tenth less.)
    """
    if AS_WRITTEN.get() or BATCHED.get() or not for_cpu():
        return branch(condition, function, lambda state: state, state)
    axes = axes_after(lambda condition, state: (condition, state, function(state)), condition, state)
    turn = lambda carry: vary((jnp.asarray(False), function(carry[1])), axes)
    return jax.lax.while_loop(lambda carry: carry[0], turn, vary((condition, state), axes))[1]


def branch(condition: jax.Array, yes: Callable[[Any], Any], no: Callable[[Any], Any], state: Any) -> Any:
    """``yes(state)`` if ``condition``, else ``no(state)``: a conditional, or on a GPU a choice if that is cheaper."""
    if AS_WRITTEN.get() or for_cpu():  # in a derivative what was not chosen may be NaN, and spoil the rest
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


def bounded_loop(goes_on: Callable[[Any], jax.Array], turn: Callable[[Any], Any], state: Any, most: int) -> Any:
    """A loop of at most so many turns within a trip, which has reverse derivatives where they are wanted."""
    if not AS_WRITTEN.get():
        return jax.lax.while_loop(goes_on, turn, state)
    step = lambda state, _: (cond(goes_on(state), turn, lambda same: same, state), None)
    return jax.lax.scan(step, state, length=most)[0]


def while_loop(goes_on: Callable[[Any], jax.Array], trip: Callable[[Any], Any], state: Any) -> Any:
    """`jax.lax.while_loop`. On a GPU the scalars of the state go around as one array for each dtype.

    Each alone, most would be copied in every trip, by a kernel of its own: 38 of the 90 of L-BFGS (59 us a trip instead
    of 89). Under `jax.vmap` to put them together is what costs: 188 us a trip of 10 000 problems instead of 71.
    """
    if for_cpu() or BATCHED.get():
        return jax.lax.while_loop(goes_on, trip, state)
    opened = lambda packed: unpack(packed, state)
    turn = lambda packed: pack(trip(opened(packed)), TOGETHER)
    return opened(jax.lax.while_loop(lambda packed: goes_on(opened(packed)), turn, pack(state, TOGETHER)))
