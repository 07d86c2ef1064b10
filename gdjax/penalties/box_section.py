"""A slice through a box, as a penalty: bounds on every entry and one linear equation."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.penalties.affine import Hyperplane, normal_like
from gdjax.penalties.sets import Box
from gdjax.vectors.vector import Scalar


@pytree_dataclass
class BoxSection:
    """``lower <= x <= upper`` and ``normal . x = offset``: the dual of a support vector machine, budgets, portfolios.

    ``prox: x -> clip(x - tau * normal)``, where tau is the root of a decreasing piecewise linear function, found
    exactly from its sorted kinks. The bounds hold exactly, the equation up to rounding. If no point of the box
    satisfies the equation, the value is infinite everywhere.

    Args:
        normal: an array like the parameters, or a pytree of arrays.
        offset: a number.
        lower: as in `Box`.
        upper: as in `Box`.

    >>> print(BoxSection(1.0, 1.0, 0.0, 0.6).prox(jnp.array([2.0, 0.5, 0.1]), 1.0).round(3))
    [0.6 0.4 0. ]
    """

    normal: Any
    offset: Any = 0.0
    lower: Any = None
    upper: Any = None

    def __post_init__(self) -> None:
        Box(self.lower, self.upper)  # checks the bounds

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        return Box(self.lower, self.upper).value(x) + Hyperplane(self.normal, self.offset).value(x)

    def prox(self, x: Any, step: Scalar) -> Any:
        """Shift along the normal, then clip."""
        lower, upper = Box(self.lower, self.upper).bounds(x)
        flat, unravel = ravel_pytree(x)
        sides = (ravel_pytree(tree)[0].astype(flat.dtype) for tree in (normal_like(self.normal, x), lower, upper))
        return unravel(project(flat, jnp.asarray(self.offset).astype(flat.dtype), *sides))

    def narrowed(self, x: Any) -> "BoxSection":
        """The same with bounds in the dtypes of x."""
        return BoxSection(self.normal, self.offset, *Box(self.lower, self.upper).bounds(x))

    def describe(self, x: Any) -> str:
        """The active set in words."""
        on = jnp.isfinite(Hyperplane(self.normal, self.offset).value(x))
        return Box(self.lower, self.upper).describe(x) + ("" if on else "; no point of the box satisfies the equation")


def project(x: jax.Array, b: jax.Array, a: jax.Array, lower: jax.Array, upper: jax.Array) -> jax.Array:
    """The point of the box nearest to x with ``a . x = b``, all of shape (n,)."""
    kinks = jnp.concatenate([(x - lower) / a, (x - upper) / a])
    # The kinks tell which variables move, no more: tau's derivative is that of the linear equation below.
    kinks = jax.lax.stop_gradient(jnp.sort(jnp.where(jnp.isnan(kinks), jnp.inf, kinks)))

    def at(tau: jax.Array) -> jax.Array:
        return jnp.where(a == 0, jnp.clip(x, lower, upper), jnp.clip(x - tau * a, lower, upper))

    def halve(_: Any, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        left, right = ends
        middle = (left + right) // 2
        above = (a @ at(kinks[jnp.clip(middle, 0, kinks.size - 1)]) >= b) | (middle < 0)
        return jnp.where(above, middle, left), jnp.where(above, right, middle)

    ends = (jnp.asarray(-1, jnp.int32), jnp.asarray(kinks.size, jnp.int32))
    left, right = jax.lax.fori_loop(0, kinks.size.bit_length() + 1, lambda i, e: halve(i, e), ends)
    # Between two kinks the variables that move stay the same, and tau solves a linear equation.
    low = jnp.where(left >= 0, kinks[jnp.maximum(left, 0)], -jnp.inf)
    high = jnp.where(right < kinks.size, kinks[jnp.minimum(right, kinks.size - 1)], jnp.inf)
    finite = jnp.isfinite(low), jnp.isfinite(high)
    middle = jnp.where(finite[0] & finite[1], 0.5 * (low + high), jnp.where(finite[0], low + 1, high - 1))
    middle = jnp.where(finite[0] | finite[1], middle, 0)
    inside = x - middle * a
    free = (inside > lower) & (inside < upper) & (a != 0)
    rest = jnp.where(free, x, at(middle))
    squares = jnp.sum(jnp.where(free, a * a, 0))
    tau = jnp.where(squares > 0, (jnp.sum(a * rest) - b) / jnp.where(squares > 0, squares, 1), middle)
    return at(tau)
