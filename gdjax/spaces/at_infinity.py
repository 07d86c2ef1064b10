"""Fits in spaces whose parameters run to infinity, as `gdjax.methods.parts.runaway` tells it without a space.

There a step by free numbers counts by what it changes of the logarithm of the distance to an end.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp

from gdjax.descent.runaways import has_ended
from gdjax.methods.parts.linearised import Linear
from gdjax.methods.parts.runaway import ONWARD, step_left
from gdjax.methods.parts.triangular import norm, product
from gdjax.spaces.base import Edges


def is_left(flat: Any, grad: Any, linear: Linear, code: jax.Array) -> jax.Array:
    """Whether some distances to ends are at infinity, or on the way: to multiply all of these changes nothing.

    Either they have grown by a factor of ``eps^-1/2`` or more and their part is below ``eps^(2/3)``, or by
    ``eps^-1/4`` with a part below its inverse, and the step of Gauss and Newton leads them on.

    Args:
        flat: the chart at the answer, a `gdjax.spaces.at_ends.FlatChart`.
        grad: by the free numbers.
        linear: the residuals to first order there.
        code: the status.
    """
    n = flat.layout.size
    if linear.q.shape != (n,):  # fewer residuals than parameters
        return jnp.asarray(False)
    eps = float(jnp.finfo(linear.q.dtype).eps)
    steps = flat.leaves(step_left(linear, eps))
    # By how much a free number changes if its distance is multiplied by e; of what has no ends, itself.
    units, sizes = flat.leaves(jnp.zeros_like(linear.q)), flat.chart.free_leaves(flat.free)
    shares = [None if z is None else jnp.ones_like(z) for z in units]
    for (i, s, z), unit in zip(flat.ends, flat.by_distance(jnp.ones_like(linear.q)), strict=True):
        if not s.mixes and unit.shape == z.shape:
            before = cast(Edges, s.edges(flat.chart.start[i], flat.chart.free_leaves(grad)[i], z))
            units[i], sizes[i] = jnp.where(s.endless, unit, 0), jnp.where(unit != 0, unit, z)
            shares[i] = jnp.where(unit != 0, before.share, 1)
    whole = lambda leaves: flat.layout.ravel(flat.chart.free_tree(leaves))
    unit, size, share, step = map(whole, (units, sizes, shares, steps))
    extent, onward = norm(linear.effects * size), step * jnp.sign(unit) >= ONWARD * jnp.abs(unit)

    def without_part(them: jax.Array, least: float) -> jax.Array:
        them = jnp.where(them, unit, 0)
        return jnp.any(them != 0) & (norm(product(linear.triangle, linear.columns * them)) <= least * extent)

    left = without_part(share <= eps**0.5, eps ** (2 / 3)) | without_part((share <= eps**0.25) & onward, eps**0.25)
    return has_ended(code) & left
