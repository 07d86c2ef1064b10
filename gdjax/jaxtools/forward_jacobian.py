"""Reverse-mode derivatives, by way of the forward Jacobian, for small functions whose reverse rule is missing or NaN.

Where ``jnp.where(c, a, b)`` chooses a, the reverse mode multiplies the slopes of b by zero, and that is NaN if they are
infinite: of sqrt at 0, of a division by 0. Forward, `where` chooses between the tangents. So the Jacobian of a few
numbers is computed forward, and its transpose serves the reverse mode.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.vectors.vector import real_dtype

Arrays = list[Any]


def piecewise(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with the derivative ``J t``, J its Jacobian: in both modes, to any order, as right as forward mode.

    Arguments and results are pytrees with a few numbers in arrays, of which the floating ones have derivatives; what
    ``function`` closes over must not. Where nobody differentiates it is the function itself.

    >>> root = lambda x: jnp.where(x > 0, jnp.sqrt(x), x)
    >>> print(jax.grad(root)(0.0), jax.grad(piecewise(root))(0.0))
    nan 1.0
    """

    def of_arguments(*args: Any) -> Any:
        leaves, treedef = jax.tree.flatten(args)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
        arrays = [leaves[i] for i in places]
        # What the derivative's rule holds on to must not be of this trace.
        leaves = replaced(leaves, places, [None] * len(places))

        def of_arrays(arrays: Arrays) -> Any:
            return function(*jax.tree.unflatten(treedef, replaced(leaves, places, arrays)))

        return by_jacobian(of_arrays)(arrays)

    return of_arguments


def by_jacobian(function: Callable[[Arrays], Any]) -> Callable[[Arrays], Any]:
    """A function of a list of arrays with the derivative of `piecewise`."""
    differentiable = jax.custom_jvp(function)

    def rule(primals: tuple[Arrays], tangents: tuple[Arrays]) -> tuple[Any, Any]:
        (arrays,), (dots,) = primals, tangents
        arrays = [jnp.asarray(x) for x in arrays]
        moving = [i for i, dot in enumerate(dots) if dot.dtype != jax.dtypes.float0]
        rows = by_jacobian(lambda arrays: jacobian(function, arrays, moving))(arrays)
        out = differentiable(arrays)
        return out, along(rows, [dots[i] for i in moving], out)

    differentiable.defjvp(rule)
    return differentiable


def jacobian(function: Callable[[Arrays], Any], arrays: Arrays, moving: list[int]) -> Any:
    """The derivatives of the result of ``function`` by every number in the ``moving`` arrays, along a new first axis.

    Arrays of the result that are not floating have None.
    """
    arrays = [jnp.asarray(x) for x in arrays]

    def column(k: jax.Array) -> Any:
        def moved(floats: Arrays) -> Any:
            out = function(replaced(arrays, moving, floats))
            return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else None, out)

        floats, unit, start = [arrays[i] for i in moving], [], 0
        for x in floats:
            unit.append((jnp.arange(start, start + x.size) == k).astype(x.dtype).reshape(x.shape))
            start += x.size
        return jax.jvp(moved, (floats,), (unit,))[1]

    return jax.vmap(column)(jnp.arange(sum(arrays[i].size for i in moving)))


def along(rows: Any, dots: Arrays, out: Any) -> Any:
    """The tangent of ``out`` for changes ``dots`` of the numbers whose `jacobian` is ``rows``."""
    dtype = real_dtype(dots)
    step = jnp.concatenate([dot.reshape(-1).astype(dtype) for dot in dots])

    def product(x: jax.Array, j: Any) -> Any:
        return zero_tangent(x) if j is None else jnp.tensordot(step.astype(j.dtype), j, 1)

    return jax.tree.map(product, out, rows)


def replaced(leaves: Arrays, places: list[int], by: Arrays) -> Arrays:
    """``leaves`` with others in some places."""
    new = list(leaves)
    for i, leaf in zip(places, by, strict=True):
        new[i] = leaf
    return new


def zero_tangent(x: jax.Array) -> Any:
    """The tangent of what does not change."""
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)
