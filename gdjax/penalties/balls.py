"""Balls as penalties: 0 within a radius, infinite outside."""

from typing import Any

import jax
import jax.numpy as jnp
from optax import projections

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.penalties.base import count_zeros, like, squared_norm, total
from gdjax.penalties.sets import as_before, indicator, mixed
from gdjax.penalties.simplex import Simplex
from gdjax.vectors.vector import Scalar


@pytree_dataclass
class L1Ball:
    """``sum |x_i| <= radius`` (J. Duchi et al., ICML 2008). The radius must be positive."""

    radius: Any = 1.0

    def __post_init__(self) -> None:
        require("must be positive", self.radius, lambda s: s > 0, "radius")

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        norm = total([jnp.abs(leaf) for leaf in jax.tree.leaves(x)])
        return indicator(norm - like(self.radius, norm), like(self.radius, norm))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Soft threshold, with the smallest threshold that suffices."""
        # optax's l1_ball rests on a simplex that is not shifted: of float32 entries of 50 it keeps four digits.
        sizes = jax.tree.map(jnp.abs, x)
        norm = total(jax.tree.leaves(sizes))
        outside = norm > like(self.radius, norm)
        shrunk = Simplex(self.radius).prox(sizes, step)
        shorten = lambda v, size, to: jnp.where(outside, v * (to / jnp.where(size > 0, size, 1)).astype(v.dtype), v)
        return jax.tree.map(shorten, x, sizes, shrunk)

    def describe(self, x: Any) -> str:
        """The sparsity in words."""
        zeros, size = count_zeros(x)
        return f"{zeros} of {size} entries are exactly zero"


@pytree_dataclass
class L2Ball:
    """``|x|_2 <= radius``, all parameters being one vector. The radius must be positive."""

    radius: Any = 1.0

    def __post_init__(self) -> None:
        require("must be positive", self.radius, lambda s: s > 0, "radius")

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        norm = jnp.sqrt(squared_norm(x))
        return indicator(norm - like(self.radius, norm), like(self.radius, norm))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Shorten the vector to the radius if it is longer."""
        with mixed():
            return as_before(projections.projection_l2_ball(x, self.radius), x)
