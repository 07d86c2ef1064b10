"""Constraints as penalties: 0 in a convex set, infinite outside; the prox is the projection, whatever the step.

Projections are optax's (`optax.projections`) where it has them.
"""

import contextlib
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from optax import projections

from gdjax.penalties.base import count_zeros, like, spread, squared_norm, total
from gdjax.pytrees import is_concrete, pytree_dataclass, require, static_field
from gdjax.vector import Scalar, real_dtype


def indicator(violation: jax.Array, scale: Any) -> Scalar:
    """0 where a violation is rounding, inf elsewhere.

    A projection onto a slanted set ends within a few roundings of it, seldom in it: up to sqrt(eps) of the
    numbers that enter (``scale``) counts as in. Boxes and signs are exact and do without.
    """
    allowed = float(jnp.finfo(violation.dtype).eps) ** 0.5 * scale
    return jnp.where(violation <= allowed, 0, jnp.inf).astype(violation.dtype)


def mixed() -> contextlib.AbstractContextManager[Any]:
    """optax mixes dtypes, whatever the user has chosen."""
    return jax.numpy_dtype_promotion("standard")


def as_before(new: Any, old: Any) -> Any:
    """The dtypes that the parameters had."""
    return jax.tree.map(lambda a, b: jnp.asarray(a).astype(b.dtype), new, old)


@pytree_dataclass
class Box:
    """``lower <= x <= upper``, entry by entry. Either side may be infinite, for all entries or some.

    The results of `gdjax.minimize` lie in the box exactly, and the loss is never evaluated outside. Bounds
    are rounded into the box where the parameters have fewer digits.

    Args:
        lower: a number, an array that broadcasts to the parameters, or a pytree like them; None is -inf.
        upper: likewise; None is inf.

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
            if is_concrete(a) and is_concrete(b) and not np.all(np.asarray(a) <= np.asarray(b)):
                raise ValueError(f"lower must not be above upper, got {a} and {b}")

    def bounds(self, x: Any) -> tuple[Any, Any]:
        """Lower and upper bound as pytrees like x, in its shapes and dtypes."""

        def side(value: Any, name: str, none: float, toward: float) -> Any:
            def of_leaf(leaf: jax.Array, bound: Any) -> jax.Array:
                if jnp.iscomplexobj(leaf):
                    raise TypeError("a box has no complex parameters; penalise other leaves by gdjax.penalties.by_leaf")
                wide = jnp.asarray(none if bound.value is None else bound.value)
                cast = wide.astype(leaf.dtype)
                if jnp.issubdtype(wide.dtype, jnp.floating) and jnp.finfo(cast.dtype).bits < jnp.finfo(wide.dtype).bits:
                    outside = (cast.astype(wide.dtype) - wide) * toward < 0
                    cast = jnp.where(outside, jnp.nextafter(cast, jnp.full_like(cast, toward * jnp.inf)), cast)
                return jnp.broadcast_to(cast, leaf.shape)

            return jax.tree.map(of_leaf, x, spread(value, x, name))

        return side(self.lower, "lower", -jnp.inf, 1.0), side(self.upper, "upper", jnp.inf, -1.0)

    def value(self, x: Any) -> Scalar:
        """0 or inf."""
        inside = jax.tree.map(lambda v, a, b: jnp.all((a <= v) & (v <= b)), x, *self.bounds(x))
        return jnp.where(jnp.stack(jax.tree.leaves(inside)).all(), 0, jnp.inf).astype(real_dtype(x))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Clip."""
        return projections.projection_box(x, *self.bounds(x))

    def describe(self, x: Any) -> str:
        """The active set in words."""
        lower, upper = self.bounds(x)
        count = lambda bound: sum(jax.tree.leaves(jax.tree.map(lambda v, b: int(jnp.sum(v == b)), x, bound)))
        size = sum(leaf.size for leaf in jax.tree.leaves(x))
        return f"of {size} entries {count(lower)} are at the lower bound, {count(upper)} at the upper"


@pytree_dataclass
class NonNegative:
    """``x >= 0``, entry by entry: `Box` from 0 to infinity."""

    is_box: ClassVar[bool] = True

    def bounds(self, x: Any) -> tuple[Any, Any]:
        """0 and infinity."""
        return Box(0.0).bounds(x)

    def value(self, x: Any) -> Scalar:
        """0 or inf."""
        return Box(0.0).value(x)

    def prox(self, x: Any, step: Scalar) -> Any:
        """Clip."""
        return Box(0.0).prox(x, step)

    def describe(self, x: Any) -> str:
        """The active set in words."""
        zeros, size = count_zeros(x)
        return f"{zeros} of {size} entries are exactly zero"


@pytree_dataclass
class Simplex:
    """``x >= 0, sum x = scale``: probabilities, mixtures.

    Args:
        scale: the sum, positive.
        axis: None for the sum over all parameters; an axis for each vector along it in every leaf, such as
            -1 for the rows of a stochastic matrix.

    Raises:
        ValueError: if the scale is not positive.
    """

    scale: Any = 1.0
    axis: int | None = static_field(None)

    def __post_init__(self) -> None:
        require("must be positive", self.scale, lambda s: s > 0, "scale")

    def value(self, x: Any) -> Scalar:
        """0 or inf."""
        leaves = jax.tree.leaves(x)
        negative = jnp.stack([jnp.max(-leaf, initial=0).astype(real_dtype(x)) for leaf in leaves]).max()
        sums = [total(leaves)] if self.axis is None else [jnp.sum(leaf, self.axis) for leaf in leaves]
        gaps = [jnp.max(jnp.abs(s - like(self.scale, s))).astype(negative.dtype) for s in sums]
        return indicator(jnp.maximum(negative, jnp.stack(gaps).max()), like(self.scale, negative))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Shift and clip."""
        # Shifted first (the same for the projection): sums of large equal numbers would lose the scale.
        project = lambda tree: onto_simplex(tree, jnp.asarray(self.scale).astype(real_dtype(tree)))
        axis = self.axis
        if axis is None:
            dtype = real_dtype(x)
            largest = jnp.stack([jnp.max(leaf).astype(dtype) for leaf in jax.tree.leaves(x)]).max()
            return project(jax.tree.map(lambda leaf: leaf - largest.astype(leaf.dtype), x))
        return jax.tree.map(lambda leaf: along(project, leaf, axis), x)

    def describe(self, x: Any) -> str:
        """The sparsity in words."""
        zeros, size = count_zeros(x)
        return f"{zeros} of {size} entries are exactly zero"


@jax.custom_jvp
def onto_simplex(x: Any, scale: jax.Array) -> Any:
    """optax's projection; its own derivative would be taken outside of `mixed`, and not by the scale."""
    with mixed():
        return as_before(projections.projection_simplex(x, scale), x)


@onto_simplex.defjvp
def onto_simplex_jvp(primals: tuple[Any, jax.Array], tangents: tuple[Any, jax.Array]) -> tuple[Any, Any]:
    """The entries above 0 move together such that their sum does as the scale."""
    z = onto_simplex(*primals)
    dots, rise = tangents
    moving = jax.tree.map(lambda v, d: jnp.where(v > 0, d, 0), z, dots)
    count = total([(v > 0).astype(rise.dtype) for v in jax.tree.leaves(z)])
    shift = (rise - total(jax.tree.leaves(moving)).astype(rise.dtype)) / count.astype(rise.dtype)
    return z, jax.tree.map(lambda v, d: jnp.where(v > 0, d + shift.astype(d.dtype), 0), z, moving)


def along(project: Any, leaf: jax.Array, axis: int) -> jax.Array:
    """A projection of every vector along an axis."""
    moved = jnp.moveaxis(leaf, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    rows = jax.vmap(project)(rows - jnp.max(rows, axis=1, keepdims=True))
    return jnp.moveaxis(rows.reshape(moved.shape), -1, axis)


@pytree_dataclass
class L1Ball:
    """``sum |x_i| <= radius`` (J. Duchi et al., ICML 2008). The radius must be positive."""

    radius: Any = 1.0

    def __post_init__(self) -> None:
        require("must be positive", self.radius, lambda s: s > 0, "radius")

    def value(self, x: Any) -> Scalar:
        """0 or inf."""
        norm = total([jnp.abs(leaf) for leaf in jax.tree.leaves(x)])
        return indicator(norm - like(self.radius, norm), like(self.radius, norm))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Soft threshold, as far as needed."""
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
        """0 or inf."""
        norm = jnp.sqrt(squared_norm(x))
        return indicator(norm - like(self.radius, norm), like(self.radius, norm))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Shorten."""
        with mixed():
            return as_before(projections.projection_l2_ball(x, self.radius), x)
