"""Residuals: what a least-squares problem computes in place of one number."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import is_traceable, named_leaves
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar


def as_residuals(out: Any) -> jax.Array:
    """The residuals, any pytree of real or complex arrays, as one vector of reals, shape (m,).

    A complex residual counts as two: its real and its imaginary part. On a mesh with explicit axes the vector is on
    every device, as parameters are.

    Raises:
        TypeError: naming what is no array of floating or complex numbers; ValueError: if there are none.
    """
    named = named_leaves("residuals", out)
    for name, leaf in named:
        if not is_traceable(leaf):
            raise TypeError(f"the residuals must be a pytree of arrays; {name} is a {type(leaf).__name__}")
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact):
            raise TypeError(f"{name} has dtype {jnp.asarray(leaf).dtype}; residuals must be floating or complex")
    leaves = [vector.gathered(jnp.asarray(leaf)) for _, leaf in named]
    if sum(leaf.size for leaf in leaves) == 0:
        raise ValueError("there are no residuals: the function returned " + ("None" if out is None else repr(out)))
    dtype = vector.real_dtype(leaves)
    reals = [part for x in leaves for part in ((x.real, x.imag) if jnp.iscomplexobj(x) else (x,))]
    return jnp.concatenate([part.reshape(-1).astype(dtype) for part in reals])


def half_sum(r: jax.Array, robust: Any) -> Scalar:
    """``1/2 sum r^2``, or with a robust loss ``1/2 sum c^2 rho(r^2 / c^2)``."""
    return 0.5 * jnp.sum(r * r if robust is None else robust.of(r))


def compared(before: jax.Array, after: jax.Array, robust: Any) -> tuple[Scalar, Scalar]:
    """`half_sum` of the residuals after a step, and by how much it fell, in one pass.

    Each residual's share of the decrease is taken first: the rounding of the result is in proportion to the change, not
    to the sums.
    """
    if robust is None:
        parts = vector.dots((after, after), (before - after, before + after))
    else:
        parts = vector.sums([robust.of(after), robust.of(before) - robust.of(after)])
    return 0.5 * parts[0], 0.5 * parts[1]
