"""What a penalty is: a term g of ``minimize f(x) + g(x)`` that need not be differentiable, given by its prox."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import is_traceable, named_leaves, require
from gdjax.vectors.vector import Scalar, real_dtype


@runtime_checkable
class Penalty(Protocol):
    """A convex (or at least prox-bounded) function of the parameters; its values are real numbers or inf.

    A class of your own needs no base class, only these two methods. If it is a pytree (a NamedTuple is one), its
    numbers are traced: another strength then compiles nothing. The method chooses the steps, which are at least 0; at
    step 0 the prox is the identity, or the projection if the penalty is a set. `gdjax.check_penalty` tells you whether
    value and prox belong together. Without ``value`` (missing, or None) the best point is the one with the smallest
    prox-gradient step, and the value of the result is that of the loss alone.

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
    """Whether ``x`` has a prox (and is not a class that has one)."""
    return callable(getattr(x, "prox", None)) and not isinstance(x, type)


def has_value(penalty: Any) -> bool:
    """Whether the value of a penalty is known, not only its prox."""
    return callable(getattr(penalty, "value", None)) and getattr(penalty, "value_is_known", True)


def like(number: Any, leaf: jax.Array) -> jax.Array:
    """A number or array in the real dtype of ``leaf``."""
    return jnp.asarray(number).astype(leaf.real.dtype)


def spread(value: Any, tree: Any, name: str, of: str = "params") -> Any:
    """``value`` for every leaf of ``tree``: it is a number, an array that broadcasts, or a pytree of such.

    A pytree may stop short of the leaves (a prefix); None in it stands for the default. Where a parameter is one array,
    a list of numbers is an array too.

    Raises:
        ValueError: naming the leaf, if a shape does not broadcast to that of the parameter or the structures differ.
    """
    is_none = lambda v: v is None
    treedef: Any = jax.tree.structure(tree)
    try:
        full = jax.tree.map(lambda v, sub: jax.tree.map(lambda _: Some(v), sub), value, tree, is_leaf=is_none)
        some = jax.tree.leaves(full, is_leaf=lambda v: isinstance(v, Some))
    except ValueError as error:
        try:
            some = [Some(as_array(v)) for v in treedef.flatten_up_to(value)]
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a number, an array or a pytree like {of}: {error}") from None
    for (leaf_name, leaf), v in zip(named_leaves(of, tree), some, strict=True):
        shape = jnp.shape(v.value) if v.value is not None else ()
        ends = zip(shape[::-1], leaf.shape[::-1], strict=False)
        if len(shape) > leaf.ndim or any(a not in (1, b) for a, b in ends):
            raise ValueError(f"{name} has shape {shape}, which does not broadcast to {leaf_name} of shape {leaf.shape}")
    return jax.tree.unflatten(treedef, some)


def as_array(value: Any) -> Any:
    """Lists and tuples of numbers, nested or not, as arrays; numbers, arrays and None as they are."""
    if not isinstance(value, list | tuple):
        return value
    rows = [jnp.asarray(as_array(v)) for v in value]
    dtype = jnp.result_type(float, *[row for row in rows if jnp.issubdtype(row.dtype, jnp.floating)])
    return jnp.stack([row.astype(dtype) for row in rows])


class Some:
    """A wrapper that is a leaf of a pytree, whatever it holds."""

    def __init__(self, value: Any) -> None:
        self.value = value


def require_strength(name: str, value: Any) -> None:
    """Raise unless a strength consists of numbers that are at least 0."""
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
