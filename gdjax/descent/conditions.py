"""What a result says of constraints: the optimality conditions at its point, in the user's own units."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.methods.base import Method
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector


@pytree_dataclass
class Conditions:
    """The conditions of Karush, Kuhn and Tucker at a point; the trees are like what the constraints return."""

    multipliers: Any  # by how much the optimal value changes with the bound that is reached, df*/d(bound)
    values: Any  # of the constraints
    excess: Any  # of each value above its upper bound, or (negative) below its lower one
    active: Any  # whether a value is at one of its bounds, or beyond, to within the tolerance
    violation: jax.Array  # the largest excess, without its sign
    relative: jax.Array  # the same, each of the size of its constraint: what the tolerance is compared with
    stationarity: jax.Array  # norm of the gradient of the Lagrangian, of the scaled problem; NaN if it is not known
    complementarity: jax.Array  # largest min(pull of a multiplier, distance to its bound), each of its own size
    # |multiplier| times the size of the constraint, of the size of the loss. Where it is large, what the tolerance lets
    # a constraint be violated by matters to the value: constraints hardly allow a point, or their gradients vanish or
    # depend on each other.
    leverage: Any


def conditions_at(objective: Objective, method: Method, state: Any, point: Point, tol: jax.Array) -> Conditions | None:
    """Those at a point of the descent of a method; None without constraints."""
    constrained = objective.constrained
    if constrained is None:
        return None
    kkt, terms, c = method.conditions(objective, state, point), state.terms, point.seen.c
    excess, allowed = constrained.excess(c), tol * terms.sizes
    near = jnp.minimum(jnp.abs(c - constrained.lower), jnp.abs(constrained.upper - c))
    active = (near <= allowed) | (excess != 0)
    sign = jnp.asarray(-objective.sign, objective.dtype)
    known = point.seen.weight > 0
    multipliers = jnp.where(known, sign * point.seen.multipliers / kkt.weight, jnp.nan)
    once = jnp.maximum(terms.sizes, jnp.minimum(terms.norms, terms.first))  # where a gradient vanishes, what it was
    x, grad = jnp.abs(point.x), jnp.abs(point.seen.grad)
    value = jnp.abs(point.loss) + jnp.minimum(1, jnp.abs(terms.start)) + vector.dot(x, grad).astype(c.dtype)
    tree = constrained.layout.unravel
    return Conditions(
        multipliers=tree(multipliers),
        values=tree(c),
        excess=tree(excess),
        active=jax.tree.map(lambda x: x > 0, tree(active.astype(c.dtype))),
        violation=vector.largest(jnp.abs(excess)),
        relative=kkt.violation,
        stationarity=jnp.where(known, kkt.stationarity, jnp.nan),
        complementarity=kkt.complementarity,
        leverage=tree(jnp.abs(multipliers) * once / jnp.where(value > 0, value, 1)),
    )
