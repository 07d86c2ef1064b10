"""Branches and scalar code as XLA's CPU backend likes them: loops of at most one turn.

A conditional copies all that it hands through: the memory of L-BFGS, in every trip. A loop changes its carry in place,
and one that makes no turn costs nothing; under `jax.vmap` it makes a turn if any lane wants one, where a conditional
always takes both branches.

Every output of a computation on scalars becomes a kernel of its own there, repeats the shared work and takes 10 to
20 ms to compile: the bookkeeping of a trip made 50 kernels, more than most losses. A loop that touches few bytes (up to
1024), however, is compiled as one function. (Where the whole descent is, see `gdjax.one_function`, plain code will do.)

On a GPU both are conditionals and plain code again: there a loop costs a round trip to the host. ``GDJAX_LOOPS=0`` in
the environment asks for that code on a CPU, too: so it is tested where there is no GPU. (Set it before the first
descent: a program that is compiled already stays as it is.)
"""

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.one_function import is_inside
from gdjax.pytrees import strong
from gdjax.varying import axes_after, cond, vary

AS_WRITTEN = contextvars.ContextVar("as_written", default=False)


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
        return cond(condition, function, lambda state: state, state)
    axes = axes_after(lambda condition, state: (condition, state, function(state)), condition, state)
    turn = lambda carry: vary((jnp.asarray(False), function(carry[1])), axes)
    return jax.lax.while_loop(lambda carry: carry[0], turn, vary((condition, state), axes))[1]


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
