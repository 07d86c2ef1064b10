"""The step of Levenberg and Marquardt where there are fewer residuals than parameters.

It lies in the row space of the Jacobian: with ``A' = P R`` (P has m columns of length 1 at right angles) a step is
``y = P u``, as long as u, and ``A y = R'u``. What is left is a problem of m unknowns: ``m^2 n`` operations in place of
``m n^2``, and nothing of size n^2. A. Bjorck, Numerical Methods for Least Squares Problems (1996), section 1.3.
"""

import jax
import jax.numpy as jnp

from gdjax.methods.parts.damped_step import damped_step
from gdjax.methods.parts.triangular import DEPENDENT, SMALL, factor, norm
from gdjax.vectors.vector import Scalar, matmul


def step_in_row_space(a: jax.Array, b: jax.Array, radius: Scalar, guess: Scalar) -> tuple[jax.Array, Scalar, Scalar]:
    """The y that minimises ``|A y + b|^2`` in ``|y| <= radius``, about; its damping; the decrease without the radius.

    Args:
        a: shape (m, n), m < n.
        b: shape (m,).
        radius, guess: as for `damped_step`.
    """
    r, units = factor_rows(a)
    triangle, q = factor(r.T, b)
    u, damping = damped_step(triangle, q, radius, guess)
    return matmul(u, units), damping, 0.5 * jnp.sum(q * q)


def factor_rows(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """R and P' of ``A' = P R``, shapes (m, m) and (m, n); a row that depends on those before it has zeros in both.

    Small ones by Gram-Schmidt, as in `gdjax.methods.parts.triangular`.
    """
    m = a.shape[0]
    if m > SMALL:
        p, r = jnp.linalg.qr(a.T)
        return r, p.T
    sizes, eps, places = norm(a, axis=1), float(jnp.finfo(a.dtype).eps), jnp.arange(m, dtype=jnp.int32)

    def turn(rest: jax.Array, row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        j, size = row
        length = norm(rest[j])
        there = length > DEPENDENT * eps * size
        unit = rest[j] / jnp.where(there, length, jnp.inf)
        parts = jnp.where(places > j, matmul(rest, unit), 0)
        return rest - parts[:, None] * unit[None, :], (jnp.where(places == j, jnp.where(there, length, 0), parts), unit)

    return jax.lax.scan(turn, a, (places, sizes))[1]
