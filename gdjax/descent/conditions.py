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
    complementarity: jax.Array  # largest min(|multiplier|, distance to its bound), of the scaled problem


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
    )
