"""Norms as penalties: they make entries, groups or singular values exactly zero, or merely small.

N. Parikh and S. Boyd, Proximal Algorithms, Foundations and Trends in Optimization 1 (2014), chapter 6.
"""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.penalties.base import count_zeros, like, require_strength, spread, squared_norm, total
from gdjax.vectors.vector import Scalar


def shrink(x: jax.Array, threshold: jax.Array) -> jax.Array:
    """Soft threshold: lower the modulus by the threshold, down to 0, and keep the sign or phase."""
    if not jnp.iscomplexobj(x):
        return x - jnp.clip(x, -threshold, threshold)
    size = jnp.abs(x)
    return x * (jnp.maximum(size - threshold, 0) / jnp.where(size > 0, size, 1)).astype(x.dtype)


def zeros_in_words(x: Any) -> str:
    """How many entries are exactly zero."""
    zeros, size = count_zeros(x)
    return f"{zeros} of {size} entries are exactly zero"


@pytree_dataclass
class L1:
    """``strength * sum |x_i|``: the lasso. Makes entries exactly zero.

    ``prox: x_i -> sign(x_i) max(|x_i| - step * strength, 0)``; for a complex entry, the modulus is lowered.

    Args:
        strength: a number, an array that broadcasts to the parameters, or a pytree like them (0: no penalty).

    Raises:
        ValueError: if a strength is negative.

    >>> import gdjax
    >>> loss = lambda x: 0.5 * jnp.sum((x - jnp.array([3.0, 0.5])) ** 2)
    >>> print(gdjax.minimize(loss, jnp.zeros(2), penalty=L1(1.0)).params.round(2))
    [2. 0.]
    """

    strength: Any

    def __post_init__(self) -> None:
        require_strength("strength", self.strength)

    def value(self, x: Any) -> Scalar:
        """``strength * sum |x_i|``."""
        weigh = lambda leaf, s: jnp.abs(leaf) * like(s.value, leaf)
        return total(jax.tree.leaves(jax.tree.map(weigh, x, spread(self.strength, x, "strength"))))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Soft threshold."""
        soft = lambda leaf, s: shrink(leaf, like(step, leaf) * like(s.value, leaf))
        return jax.tree.map(soft, x, spread(self.strength, x, "strength"))

    def describe(self, x: Any) -> str:
        """The sparsity in words."""
        return zeros_in_words(x)


@pytree_dataclass
class SquaredL2:
    """``strength / 2 * sum |x_i|^2``: ridge, weight decay.

    It is differentiable, so it may also stand in the loss; here it can be given to some of the leaves.

    ``prox: x -> x / (1 + step * strength)``.

    Args:
        strength: as in `L1`.
    """

    strength: Any

    def __post_init__(self) -> None:
        require_strength("strength", self.strength)

    def value(self, x: Any) -> Scalar:
        """``strength / 2 * |x|^2``."""
        return ElasticNet(0.0, self.strength).value(x)

    def prox(self, x: Any, step: Scalar) -> Any:
        """Divide by ``1 + step * strength``."""
        return ElasticNet(0.0, self.strength).prox(x, step)


@pytree_dataclass
class ElasticNet:
    """``l1 * sum |x_i| + l2 / 2 * sum |x_i|^2`` (H. Zou and T. Hastie, J. R. Stat. Soc. B 67, 2005).

    ``prox: soft threshold by step * l1, then divide by 1 + step * l2``. In scikit-learn's ElasticNet the two
    are ``alpha * l1_ratio`` and ``alpha * (1 - l1_ratio)``, with half the mean of squares as the loss.

    Args:
        l1: strength of the norm, as in `L1`.
        l2: strength of the squared norm, as in `L1`.
    """

    l1: Any
    l2: Any

    def __post_init__(self) -> None:
        require_strength("l1", self.l1)
        require_strength("l2", self.l2)

    def value(self, x: Any) -> Scalar:
        """The sum of both terms."""

        def term(leaf: jax.Array, a: Any, b: Any) -> jax.Array:
            size = jnp.abs(leaf)
            return size * (like(a.value, leaf) + like(0.5, leaf) * like(b.value, leaf) * size)

        return total(jax.tree.leaves(jax.tree.map(term, x, *self.spread(x))))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Soft threshold and shrink."""

        def of_leaf(leaf: jax.Array, a: Any, b: Any) -> jax.Array:
            t = like(step, leaf)
            return shrink(leaf, t * like(a.value, leaf)) / (1 + t * like(b.value, leaf)).astype(leaf.dtype)

        return jax.tree.map(of_leaf, x, *self.spread(x))

    def spread(self, x: Any) -> tuple[Any, Any]:
        """Both strengths, for every leaf."""
        return spread(self.l1, x, "l1"), spread(self.l2, x, "l2")

    def describe(self, x: Any) -> str:
        """The sparsity in words."""
        return zeros_in_words(x)


@pytree_dataclass
class L2:
    """``strength * |x|_2``, the norm of all parameters as one vector, not squared. Makes all of them zero or none.

    ``prox: x -> x max(1 - step * strength / |x|, 0)``. For one norm per leaf (array of the pytree) see `GroupLasso`.

    Args:
        strength: a number.
    """

    strength: Any

    def __post_init__(self) -> None:
        require_strength("strength", self.strength)

    def value(self, x: Any) -> Scalar:
        """``strength * |x|``."""
        norm = safe_sqrt(squared_norm(x))
        return norm * like(self.strength, norm)

    def prox(self, x: Any, step: Scalar) -> Any:
        """Shorten the vector."""
        factor = shorten(squared_norm(x), self.strength, step)
        return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), x)

    def describe(self, x: Any) -> str:
        """Whether all parameters are zero, in words."""
        zeros, size = count_zeros(x)
        return "all entries are exactly zero" if zeros == size else "the vector is not zero"


def safe_sqrt(squares: jax.Array) -> jax.Array:
    """The square root with derivative 0 at 0: a norm that is zero stays zero, or is at its kink."""
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def shorten(squares: jax.Array, strength: Any, step: Scalar) -> jax.Array:
    """The factor ``max(1 - step * strength / norm, 0)``, which is 0 for a norm of 0."""
    norm = safe_sqrt(squares)
    rest = norm - like(step, norm) * like(strength, norm)
    return jnp.maximum(rest, 0) / jnp.where(norm > 0, norm, 1)


@pytree_dataclass
class GroupLasso:
    """``strength * sum over groups of |x_group|_2`` (M. Yuan and Y. Lin, J. R. Stat. Soc. B 68, 2006).

    The entries along ``axis`` of a leaf (an array of the pytree) are a group: with the default, each row of a matrix.
    Groups become zero as a whole. ``prox: x_group -> x_group max(1 - step * strength / |x_group|, 0)``.

    Args:
        strength: a number, or an array with one strength per group (with the shape of the leaf without ``axis``).
        axis: the axis along which a group lies; with None every leaf is one group.
    """

    strength: Any
    axis: int | None = static_field(-1)

    def __post_init__(self) -> None:
        require_strength("strength", self.strength)

    def norms(self, leaf: jax.Array) -> jax.Array:
        """Squared norm of every group."""
        squares = leaf.real**2 + leaf.imag**2 if jnp.iscomplexobj(leaf) else leaf**2
        return jnp.sum(squares, axis=self.axis, keepdims=self.axis is not None)

    def weights(self) -> jax.Array:
        """The strengths, to go with `norms`."""
        s = jnp.asarray(self.strength)
        return s if s.ndim == 0 or self.axis is None else jnp.expand_dims(s, self.axis)

    def value(self, x: Any) -> Scalar:
        """``strength * sum |x_group|``."""
        s = self.weights()
        return total([safe_sqrt(self.norms(leaf)) * like(s, leaf) for leaf in jax.tree.leaves(x)])

    def prox(self, x: Any, step: Scalar) -> Any:
        """Shorten every group."""
        s = self.weights()
        return jax.tree.map(lambda leaf: leaf * shorten(self.norms(leaf), s, step).astype(leaf.dtype), x)

    def describe(self, x: Any) -> str:
        """The sparsity in words."""
        zeros, groups = count_zeros([self.norms(leaf) for leaf in jax.tree.leaves(x)])
        return f"{zeros} of {groups} groups are exactly zero"
