"""The simplex as a penalty: nonnegative numbers with a given sum."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from optax import projections

from gdjax.jaxtools.pytrees import is_concrete, pytree_dataclass, require, static_field
from gdjax.penalties.base import like, total
from gdjax.penalties.sets import Box, as_before, indicator, mixed
from gdjax.vectors.vector import Scalar, largest, real_dtype


@pytree_dataclass
class Simplex:
    """``x >= lower, sum x = scale``: probabilities, mixtures.

    ``prox: x -> max(x - tau, lower)`` with the tau that gives the right sum. The lower bounds hold exactly, the sum up
    to rounding. A loss that contains log x or sqrt x has no gradient at x = 0: with a small positive ``lower`` it is
    never evaluated there.

    Args:
        scale: the sum, positive.
        axis: None for one sum over all parameters; an axis for a sum along it in every leaf (array of the pytree),
            such as -1 for the rows of a stochastic matrix.
        lower: lower bound of the entries: a number, an array that broadcasts to the parameters, or a pytree like
            them. The bounds must sum to less than the scale.

    Raises:
        ValueError: if the scale is not positive, if a lower bound is not finite, or, in `gdjax.minimize`, if the lower
            bounds sum to the scale or more.

    >>> print(Simplex(lower=0.1).prox(jnp.array([3.0, 1.0, 0.5]), 1.0).round(3))
    [0.8 0.1 0.1]
    """

    scale: Any = 1.0
    axis: int | None = static_field(None)
    lower: Any = 0.0

    def __post_init__(self) -> None:
        require("must be positive", self.scale, lambda s: s > 0, "scale")
        for leaf in jax.tree.leaves(self.lower):
            require("must be finite", leaf, np.isfinite, "lower")

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        dtype = real_dtype(x)
        inside = jnp.isfinite(Box(self.lower).value(x))
        gaps = [largest(jnp.abs(s - like(self.scale, s))).astype(dtype) for s in self.sums(x)]
        near = indicator(jnp.stack(gaps).max(), like(self.scale, gaps[0]))
        return jnp.where(inside, near, jnp.inf).astype(dtype)

    def prox(self, x: Any, step: Scalar) -> Any:
        """Shift all entries, then clip them at the lower bound."""
        lower = Box(self.lower).bounds(x)[0]
        above = jax.tree.map(jnp.subtract, x, lower)
        rests = [like(self.scale, s) - s for s in self.sums(lower)]
        if self.axis is None:
            shares = onto_simplex(shifted(above), rests[0]) if size_of(x) else above
        else:
            leaves, treedef = jax.tree.flatten(above)
            rows = [along(leaf, rest, self.axis) for leaf, rest in zip(leaves, rests, strict=True)]
            shares = jax.tree.unflatten(treedef, rows)
        return jax.tree.map(jnp.add, lower, shares)

    def sums(self, x: Any) -> list[jax.Array]:
        """The sums that must equal the scale."""
        leaves = jax.tree.leaves(x)
        return [total(leaves)] if self.axis is None else [jnp.sum(leaf, self.axis) for leaf in leaves]

    def narrowed(self, x: Any) -> "Simplex":
        """The same with lower bounds in the dtypes of x."""
        return Simplex(self.scale, self.axis, Box(self.lower).narrowed(x).lower)

    def check(self, x: Any) -> None:
        """Raise ValueError unless the lower bounds sum to less than the scale, as far as the numbers are known."""
        for least in self.sums(Box(self.lower).bounds(x)[0]):
            if is_concrete(least) and is_concrete(self.scale) and not np.all(np.asarray(least) < self.scale):
                raise ValueError(
                    f"the lower bounds of Simplex add up to {np.max(least):.6g}, which must be less than the sum "
                    f"{self.scale}"
                )

    def describe(self, x: Any) -> str:
        """The sparsity in words."""
        lower = Box(self.lower).bounds(x)[0]
        at = sum(int(jnp.sum(v == low)) for v, low in zip(*map(jax.tree.leaves, (x, lower)), strict=True))
        zero = all(not jnp.any(low) for low in jax.tree.leaves(lower))
        return f"{at} of {size_of(x)} entries are {'exactly zero' if zero else 'at the lower bound'}"


def size_of(x: Any) -> int:
    """The number of entries."""
    return sum(leaf.size for leaf in jax.tree.leaves(x))


def shifted(x: Any) -> Any:
    """Shift the largest entry to 0, which the projection does not see: sums of large equal numbers lose the scale."""
    largest = jnp.stack([jnp.max(leaf, initial=-jnp.inf).astype(real_dtype(x)) for leaf in jax.tree.leaves(x)]).max()
    return jax.tree.map(lambda leaf: leaf - largest.astype(leaf.dtype), x)


@jax.custom_jvp
def onto_simplex(x: Any, scale: jax.Array) -> Any:
    """optax's projection; its own derivative would be taken outside of `mixed`, and not by the scale."""
    with mixed():
        return as_before(projections.projection_simplex(x, scale), x)


@onto_simplex.defjvp
def onto_simplex_jvp(primals: tuple[Any, jax.Array], tangents: tuple[Any, jax.Array]) -> tuple[Any, Any]:
    """The entries above 0 move together so that their sum follows the scale."""
    z = onto_simplex(*primals)
    dots, rise = tangents
    moving = jax.tree.map(lambda v, d: jnp.where(v > 0, d, 0), z, dots)
    count = total([(v > 0).astype(rise.dtype) for v in jax.tree.leaves(z)])
    shift = (rise - total(jax.tree.leaves(moving)).astype(rise.dtype)) / count.astype(rise.dtype)
    return z, jax.tree.map(lambda v, d: jnp.where(v > 0, d + shift.astype(d.dtype), 0), z, moving)


def along(leaf: jax.Array, scales: jax.Array, axis: int) -> jax.Array:
    """The projection of every vector along an axis, each onto the simplex of its scale."""
    if leaf.size == 0:
        return leaf
    moved = jnp.moveaxis(leaf, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    rows = jax.vmap(lambda row, scale: onto_simplex(shifted(row), scale))(rows, scales.reshape(-1))
    return jnp.moveaxis(rows.reshape(moved.shape), -1, axis)
