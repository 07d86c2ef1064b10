"""What methods that never reject a point share: everything but the step.

A method of this kind says what it remembers and what displacement follows from a point; nothing else.
"""

import abc
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.methods.base import Method, Outcome, usable
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Vector


class SteppingState(NamedTuple):
    """A descent between two evaluations."""

    iterate: Point  # accepted point
    displacement: Vector  # of the coming step; zero before the start is evaluated
    memory: Any  # of the method

    @property
    def trial(self) -> Vector:
        """The next point to evaluate."""
        return vector.add(self.iterate.x, self.displacement)


class Stepping(Method):
    """``x <- x + s``, with s from `advance`: for methods that accept every finite point.

    A subclass is a frozen dataclass made by `gdjax.methods.method`. Its float hyperparameters arrive as scalars in the
    dtype of the loss. If it is written with the algebra of `gdjax.vectors`, it works for all parameters: complex ones,
    several dtypes, sharded over devices.
    """

    leafwise: ClassVar[bool] = True

    def empty(self, x: Vector) -> Any:
        """What is remembered before the start, x, is evaluated: a pytree of arrays, or None."""
        return None

    @abc.abstractmethod
    def advance(self, memory: Any, point: Point) -> tuple[Any, Vector]:
        """From the point just evaluated (``point.x``, ``value``, ``grad``): the new memory, and the displacement s."""

    def learnt(self, old: SteppingState) -> dict[str, Any]:
        """The memory."""
        return dict(memory=old.memory)

    def evaluations(self, stop: Any) -> int | None:
        """One a step, and the start."""
        if stop.max_evals is None and isinstance(stop.max_steps, int):
            return stop.max_steps + 1
        return super().evaluations(stop)

    def init(self, objective: Objective) -> SteppingState:
        """At the start, with a displacement of zero."""
        x = objective.start
        return SteppingState(objective.blank, vector.zeros_like(x), self.empty(x))

    def step(self, objective: Objective, state: SteppingState, point: Point) -> tuple[SteppingState, Outcome]:
        """Accept the point and choose the next displacement."""
        finite, keep = usable(point, state.iterate)
        memory, displacement = checked(self, state.memory, point)
        ss, gg = objective.dots((state.displacement, state.displacement), (state.iterate.grad, state.iterate.grad))
        size = jnp.where(gg > 0, vector.root(ss / jnp.where(gg > 0, gg, 1)), 0)
        iterate = vector.where(keep, point, state.iterate)
        return SteppingState(iterate, displacement, memory), Outcome(finite, size)


def checked(method: Stepping, memory: Any, point: Point) -> tuple[Any, Vector]:
    """What `Stepping.advance` returns; TypeError if the loop could not go on with it."""
    name, out = method.name, method.advance(memory, point)
    if not (isinstance(out, tuple) and len(out) == 2):
        raise TypeError(f"{name}.advance must return two things, (memory, displacement); it returned {out!r}")
    new, displacement = out
    if (found := shapes_of(displacement)) != (wanted := shapes_of(point.x)):
        raise TypeError(
            f"the displacement that {name}.advance returns must be like point.x, {wanted}; it is {found}. Compute it "
            "with the functions of gdjax.vectors"
        )
    if (found := shapes_of(new)) != (wanted := shapes_of(memory)):
        raise TypeError(
            f"the memory that {name}.advance returns must be like the one it was given, {wanted}; it is {found}. "
            f"{name}.empty(x) says what the first one is (None if it is not written)"
        )
    return new, displacement


def shapes_of(tree: Any) -> Any:
    """The tree with a shape in place of each array."""
    return jax.tree.map(jnp.shape, tree)
