"""Small descents of a batch one after the other, each as one function of machine code.

Under `jax.vmap` a loop makes its trips for all problems together until the slowest has ended, and both sides of its
branches are computed for all. On a CPU, where one small problem alone stays in the first cache and launches nothing
(see `small_programs`), they are better taken in turn. 1000 problems, jaxlib 0.10, one core, seconds: Rosenbrock's
function of ten variables by BFGS 0.038 instead of 0.10 (L-BFGS 0.040 instead of 0.31), fits of two exponentials 0.020
instead of 0.37, fits of three parameters by Levenberg and Marquardt 0.006 instead of 0.020. And what is compiled is
the program of one problem: 1 CPU second instead of 3.6.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.custom_batching import custom_vmap
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from gdjax.jaxtools.scalar_kernels import batched, for_cpu
from gdjax.jaxtools.small_programs import has_small_loop, is_allowed


def can_take_turns() -> bool:
    """Whether one device of a CPU does all the work: several would have their share of a batch each."""
    return for_cpu() and is_allowed() and jax.device_count() == 1


def in_turn(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    """``function(arrays)``, a descent, of which `jax.vmap` takes one problem after the other if its loop is small."""
    traced: list[tuple[ClosedJaxpr, Any]] = []

    def alone(arrays: list[Any]) -> Any:
        if not traced:
            with batched(False):
                traced.append(jax.make_jaxpr(function, return_shape=True)(arrays))
        program, shapes = traced[0]
        return jax.tree.unflatten(jax.tree.structure(shapes), jaxpr_as_fun(program)(*arrays))

    once = custom_vmap(alone)

    @once.def_vmap
    def many(size: int, have_axes: list[Any], arrays: list[Any]) -> tuple[Any, Any]:
        (axes,) = have_axes
        own = [x for x, has_axis in zip(arrays, axes, strict=True) if has_axis]

        def one(mine: list[Any]) -> Any:
            rows = iter(mine)
            return once([next(rows) if has_axis else x for x, has_axis in zip(arrays, axes, strict=True)])

        if has_small_loop(traced[0][0]):
            results = jax.lax.map(one, own)
        else:
            with batched():
                results = jax.vmap(function, in_axes=([0 if has_axis else None for has_axis in axes],))(arrays)
        return results, jax.tree.map(lambda _: True, results)

    return once
