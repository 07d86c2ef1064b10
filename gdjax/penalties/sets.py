"""Constraints as penalties: 0 in a convex set, infinite outside. The prox is the projection, for any step.

The projections are those of `optax.projections`, if it has them.
"""

import contextlib
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from optax import projections

from gdjax.jaxtools.pytrees import is_concrete, one_of, pytree_dataclass, require
from gdjax.penalties.base import Some, count_zeros, spread
from gdjax.vectors.vector import Scalar, real_dtype

NONE_ACTIVE = "0 entries are at a bound"


def indicator(violation: jax.Array, scale: Any) -> Scalar:
    """0 where a violation is rounding, inf elsewhere.

    A projection onto a slanted set ends within a few roundings of it, seldom in it: up to sqrt(eps) of the
    numbers that enter (``scale``) counts as in. Boxes and signs are exact and do without.
    """
    allowed = float(jnp.finfo(violation.dtype).eps) ** 0.5 * scale
    return jnp.where(violation <= allowed, 0, jnp.inf).astype(violation.dtype)


def mixed() -> contextlib.AbstractContextManager[Any]:
    """Allow implicit promotion of dtypes: optax needs it, whatever the user has chosen."""
    return jax.numpy_dtype_promotion("standard")


def as_before(new: Any, old: Any) -> Any:
    """The pytree in the dtypes that the parameters had."""
    return jax.tree.map(lambda a, b: jnp.asarray(a).astype(b.dtype), new, old)


@pytree_dataclass
class Box:
    """``lower <= x <= upper``, entry by entry. Either side may be infinite, for all entries or some.

    The results of `gdjax.minimize` lie exactly in the box, and the loss is never evaluated outside. If the parameters
    have fewer digits than the bounds, the bounds are rounded into the box.

    Args:
        lower: a number, an array that broadcasts to the parameters, or a pytree like them; None means -inf.
        upper: the same; None means inf.

    Raises:
        ValueError: if a lower bound is above the upper one, or a bound is NaN.

    >>> import gdjax
    >>> result = gdjax.minimize(lambda x: jnp.sum((x - 2) ** 2), jnp.zeros(2), penalty=Box(upper=jnp.array([1.0, 3.0])))
    >>> print(result.params.round(3))
    [1. 2.]
    """

    lower: Any = None
    upper: Any = None

    is_box: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            for leaf in jax.tree.leaves(getattr(self, name)):
                require("must not be NaN", leaf, lambda x: ~np.isnan(x), name)
        sides = jax.tree.leaves(self.lower), jax.tree.leaves(self.upper)
        pairs = zip(*sides, strict=True) if len(sides[0]) == len(sides[1]) else []
        for a, b in pairs:
            if is_concrete(a) and is_concrete(b) and not np.all(good := np.asarray(a) <= np.asarray(b)):
                both = (one_of(np.broadcast_to(side, good.shape), ~good) for side in (a, b))
                raise ValueError(f"lower must not be above upper, got {' and '.join(both)}")

    def bounds(self, x: Any) -> tuple[Any, Any]:
        """Lower and upper bound as pytrees like x, in its shapes and dtypes."""
        if any(map(jnp.iscomplexobj, jax.tree.leaves(x))):
            raise TypeError("a box is for real parameters; penalise the other leaves with gdjax.penalties.by_leaf")
        pairs = jax.tree.map(bounds_of, x, spread(self.lower, x, "lower"), spread(self.upper, x, "upper"))
        lower, upper = (jax.tree.map(lambda _, pair, k=k: pair[k], x, pairs) for k in (0, 1))
        return lower, upper

    def narrowed(self, x: Any) -> "Box":
        """The same with bounds in the dtypes of x: the loss may see half precision where the prox works in single."""
        return Box(*self.bounds(x))

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        inside = jax.tree.map(lambda v, a, b: jnp.all((a <= v) & (v <= b)), x, *self.bounds(x))
        return jnp.where(jnp.stack(jax.tree.leaves(inside)).all(), 0, jnp.inf).astype(real_dtype(x))

    def prox(self, x: Any, step: Scalar) -> Any:
        """The projection: clip every entry."""
        return projections.projection_box(x, *self.bounds(x))

    def describe(self, x: Any) -> str:
        """The active set in words."""
        lower, upper = self.bounds(x)
        count = lambda bound: sum(jax.tree.leaves(jax.tree.map(lambda v, b: int(jnp.sum(v == b)), x, bound)))
        size, low, high = sum(leaf.size for leaf in jax.tree.leaves(x)), count(lower), count(upper)
        return f"{low} of {size} entries are at the lower bound, {high} at the upper" if low or high else NONE_ACTIVE


def bounds_of(leaf: jax.Array, lower: Some, upper: Some) -> tuple[jax.Array, jax.Array]:
    """The bounds of a leaf in its dtype, rounded inwards; both the nearest number, if none is left between."""
    low, low_lost = rounded(leaf, -jnp.inf if lower.value is None else lower.value, 1.0)
    high, high_lost = rounded(leaf, jnp.inf if upper.value is None else upper.value, -1.0)
    if low_lost or high_lost:
        one_apart = (low > high) & (low <= jnp.nextafter(high, jnp.full_like(high, jnp.inf)))
        low = jnp.where(one_apart, high, low)
    return jnp.broadcast_to(low, leaf.shape), jnp.broadcast_to(high, leaf.shape)


def rounded(leaf: jax.Array, bound: Any, toward: float) -> tuple[jax.Array, bool]:
    """A bound in the dtype of a leaf, rounded up (``toward`` 1) or down (-1), and whether digits may be lost."""
    wide = jnp.asarray(bound)
    cast = wide.astype(leaf.dtype)
    lost = jnp.issubdtype(wide.dtype, jnp.floating) and jnp.finfo(cast.dtype).nmant < jnp.finfo(wide.dtype).nmant
    if lost:
        outside = (cast.astype(wide.dtype) - wide) * toward < 0
        cast = jnp.where(outside, jnp.nextafter(cast, jnp.full_like(cast, toward * jnp.inf)), cast)
    return cast, lost


def narrowed(penalty: Any, x: Any) -> Any:
    """A penalty with bounds that the dtypes of x hold, if it has bounds."""
    return penalty.narrowed(x) if hasattr(penalty, "narrowed") else penalty


@pytree_dataclass
class NonNegative:
    """``x >= 0``, entry by entry: `Box` from 0 to infinity."""

    is_box: ClassVar[bool] = True

    def bounds(self, x: Any) -> tuple[Any, Any]:
        """0 and infinity, in the shapes and dtypes of x."""
        return Box(0.0).bounds(x)

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        return Box(0.0).value(x)

    def prox(self, x: Any, step: Scalar) -> Any:
        """The projection: clip every entry."""
        return Box(0.0).prox(x, step)

    def describe(self, x: Any) -> str:
        """The active set in words."""
        zeros, size = count_zeros(x)
        return f"{zeros} of {size} entries are exactly zero" if zeros else NONE_ACTIVE
