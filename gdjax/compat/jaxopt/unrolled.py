"""``implicit_diff=False``: a descent whose derivatives, if any are taken, are those of its own steps."""

import dataclasses
from typing import Any

import jax

from gdjax.minimize import run
from gdjax.request import Call, is_traced
from gdjax.running.programs import descend


def run_with_own_derivatives(call: Call, length: int) -> Any:
    """The call, whose derivatives are those of the same descent in a loop of ``length`` evaluations.

    The loop is made only if one is taken. So whoever turns implicit derivatives off to save time pays nothing.
    """
    request = call.prepare()
    key, arrays = request.split()
    if not is_traced(arrays):
        return run(call, request)
    fixed = dataclasses.replace(request, problem=dataclasses.replace(request.problem, unroll=length)).split()[0]
    descent = jax.custom_jvp(lambda arrays: descend(key, True, arrays))
    descent.defjvp(lambda x, dx: jax.jvp(lambda arrays: descend(fixed, True, arrays), x, dx))
    return call.finish(descent(arrays))
