"""What a penalty is: a term g of ``minimize f(x) + g(x)`` that need not be differentiable, known by its prox."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from gdjax.pytrees import is_traceable, named_leaves, require
from gdjax.vector import Scalar, real_dtype


@runtime_checkable
class Penalty(Protocol):
    """A convex (or at least prox-bounded) function of the parameters, with values in [0, inf] or any reals.

    A class of your own needs no base class, only these two methods. As a pytree (a NamedTuple is one) its
    numbers are traced: another strength then compiles nothing. The steps are those of a method, at least 0; at
    step 0 the prox is the identity, or for a set the projection.

    >>> from typing import NamedTuple
    >>> import gdjax
    >>> class Capped(NamedTuple):  # strength * max(x, 0), summed
    ...     strength: float
    ...     def value(self, x):
    ...         return self.strength * jnp.sum(jnp.maximum(x, 0))
    ...     def prox(self, x, step):
    ...         return jnp.where(x > 0, jnp.maximum(x - step * self.strength, 0), x)
    >>> loss = lambda x: jnp.sum((x - jnp.array([3.0, 0.2, -1.0])) ** 2)
    >>> print(gdjax.minimize(loss, jnp.zeros(3), penalty=Capped(1.0)).params.round(3))
    [ 2.5  0.  -1. ]
    """

    def value(self, x: Any) -> Any:
        """g(x), one real number; inf outside its domain."""

    def prox(self, x: Any, step: Scalar) -> Any:
        """The z that minimises ``step * g(z) + |z - x|^2 / 2``, a pytree like x."""


def is_penalty(x: Any) -> bool:
    """Whether ``x`` has the two methods (and is not a class that has them)."""
    return isinstance(x, Penalty) and not isinstance(x, type)


def like(number: Any, leaf: jax.Array) -> jax.Array:
    """A number or array in the real dtype of ``leaf``."""
    return jnp.asarray(number).astype(leaf.real.dtype)


def spread(value: Any, tree: Any, name: str) -> Any:
    """``value`` for every leaf of ``tree``: it is a number, an array that broadcasts, or a pytree of such.

    A pytree may stop short of the leaves (a prefix); None in it stands for the default.

    Raises:
        ValueError: naming the leaf, if a shape does not broadcast to that of the parameter or the structures differ.
    """
    is_none = lambda v: v is None
    try:
        full = jax.tree.map(lambda v, sub: jax.tree.map(lambda _: Some(v), sub), value, tree, is_leaf=is_none)
    except ValueError as error:
        raise ValueError(f"{name} must be a number, an array or a pytree like params: {error}") from None
    some, treedef = jax.tree.leaves(full, is_leaf=lambda v: isinstance(v, Some)), jax.tree.structure(tree)
    for (leaf_name, leaf), v in zip(named_leaves("params", tree), some, strict=True):
        shape = jnp.shape(v.value) if v.value is not None else ()
        ends = zip(shape[::-1], leaf.shape[::-1], strict=False)
        if len(shape) > leaf.ndim or any(a not in (1, b) for a, b in ends):
            raise ValueError(f"{name} has shape {shape}, which does not broadcast to {leaf_name} of shape {leaf.shape}")
    return jax.tree.unflatten(treedef, some)


class Some:
    """A wrapper that is a leaf whatever is in it."""

    def __init__(self, value: Any) -> None:
        self.value = value


def require_strength(name: str, value: Any) -> None:
    """Raise unless every number in a strength is at least 0, and it is made of numbers."""
    for leaf_name, leaf in named_leaves(name, value):
        if not (is_traceable(leaf) or type(leaf) is object):  # JAX rebuilds pytrees with bare objects
            raise TypeError(f"{leaf_name} must be a number or an array, got {leaf!r}")
        require("must not be negative", leaf, lambda x: x >= 0, leaf_name)


def total(terms: list[jax.Array]) -> Scalar:
    """The sum of all entries of some arrays, in single precision at least."""
    dtype = real_dtype(terms)
    return sum((jnp.sum(t.astype(dtype)) for t in terms[1:]), jnp.sum(terms[0].astype(dtype)))


def squared_norm(tree: Any) -> Scalar:
    """Sum of the squared moduli of all entries."""
    return total([(x.real**2 + x.imag**2) if jnp.iscomplexobj(x) else x**2 for x in jax.tree.leaves(tree)])


def count_zeros(tree: Any) -> tuple[int, int]:
    """How many entries are exactly zero, and how many there are."""
    leaves = jax.tree.leaves(tree)
    return sum(int(jnp.sum(x == 0)) for x in leaves), sum(x.size for x in leaves)
