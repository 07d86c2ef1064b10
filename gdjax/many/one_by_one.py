"""Many descents one after the other, for losses that JAX cannot vmap (a callback without a ``vmap_method``)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.many.lanes import LaneProgram
from gdjax.running.driver import drive
from gdjax.running.observers import Observer, Visit
from gdjax.running.programs import WATCHED


class Ending(Observer):
    """Stops each descent after its first evaluation when all problems are to end."""

    def __init__(self, ending: Callable[[], Status]) -> None:
        self.ending = ending

    def visit(self, visit: Visit) -> Status | None:
        """Stop if there is a reason to."""
        status = self.ending()
        return None if status == Status.RUNNING else status


def solve(program: LaneProgram, shared: list[Any], own: list[Any], ending: Callable[[], Status]) -> Result:
    """All results. ``own``: the arrays of the problems, along the first axis; ``ending``: a status that ends all."""
    results = []
    for i in range(own[0].shape[0]):
        arrays = program.arrays([x[i] for x in own], shared)
        descent = WATCHED.bind(program.key, arrays)
        result, _ = drive(descent, [Ending(ending)], None, (), True)
        results.append(dataclasses.replace(result, timing=None, exception=None))  # what is not the same for all
    return jax.tree.map(lambda *parts: jnp.stack([jnp.asarray(x) for x in parts]), *results)
