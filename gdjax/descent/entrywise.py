"""How far each entry of the gradient has fallen: what tells a minimum, in any units, from the floor of a stiff valley.

A norm is that of the stiffest parameters. Where these are within the rounding of their minimum, theirs is all that it
shows, and so do the steps and values: others, that could not move meanwhile, may be far from theirs.
"""

import jax
import jax.numpy as jnp

from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector


def begin(objective: Objective) -> Vector | None:
    """Before the first evaluation. (With a penalty no gradient vanishes.)"""
    return None if objective.composite is not None else jax.tree.map(jnp.abs, objective.blank.grad)


def look(first: Vector, grad: Vector, early: jax.Array) -> tuple[Vector, Scalar]:
    """The size of each entry of the gradient at first, and the `largest_share` that is left.

    At first is at the start or after the first step, whichever is more: there it is ``early``. (At the start alone some
    entries can be 0 by chance, as that of an intercept which is right for the mean.)
    """
    sizes = jax.tree.map(lambda a, g: jnp.maximum(a, jnp.where(early, jnp.abs(g), 0)), first, grad)
    return sizes, largest_share(sizes, grad)


def largest_share(first: Vector, grad: Vector) -> Scalar:
    """The largest share that is left of an entry of the gradient, of its size at first: free of any units."""
    share = lambda g, size: vector.largest(jnp.where(g == 0, 0, jnp.abs(g) / size))
    return vector.largest(jnp.stack(jax.tree.leaves(jax.tree.map(share, grad, first))))


def begin_inward(objective: Objective) -> jax.Array | None:
    """Before the first evaluation. None if the parameters are in no space that has ends."""
    slopes = objective.inward and objective.inward(objective.start, objective.blank.grad, objective.start)
    return None if slopes is None else jnp.zeros_like(slopes)


def look_inward(objective: Objective, largest: jax.Array, point: Point, least: Scalar) -> tuple[jax.Array, Scalar]:
    """The largest slopes back inside that were seen, and the largest share that is left of one that leads there.

    One by which the loss would not fall by ``least`` does not count.

    Near an end of a space the map from the free numbers is flat, and so is the loss by these: their gradient says
    nothing there. The slope by the parameter itself says that the loss falls back inside; its size has a unit, but the
    share that is left of it has none.
    """
    assert objective.inward is not None
    slopes = objective.inward(point.x, point.grad, objective.start)
    largest = jnp.maximum(largest, jnp.abs(slopes))
    left = jnp.where(slopes > least, slopes / jnp.where(largest > 0, largest, 1), 0)
    return largest, jnp.max(left, initial=0).astype(objective.dtype)
