"""How far each entry of the gradient has fallen: what tells a minimum, in any units, from the floor of a stiff valley.

A norm is that of the stiffest parameters. Where these are within the rounding of their minimum, theirs is all that it
shows, and so do the steps and values: others, that could not move meanwhile, may be far from theirs.
"""

import jax
import jax.numpy as jnp

from gdjax.problem.objective import Objective
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
