"""The memory of L-BFGS where some variables are held: the matrix B of all of them, inverted on those that are free.

R. H. Byrd, P. Lu, J. Nocedal and C. Zhu, A limited memory algorithm for bound constrained optimization, SIAM J. Sci.
Comput. 16 (1995), section 5.1. `ProjectedLBFGS` and `PANOC` share it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.scalar_kernels import in_batch
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

SMALL = 2**11  # numbers of two matrices whose product is written row by row: of 20 pairs up to 34 variables


class Pairs(NamedTuple):
    """The last steps, each divided by sqrt(s'y); an empty slot is all zeros."""

    w: jax.Array  # [Y; S], shape (2 m, n)
    r: jax.Array  # s_i'y_j for i older than j or the same, 1 on the diagonal; shape (m, m)
    theta: Scalar  # y'y / s'y of the newest pair: B0 = theta I
    stored: jax.Array  # pairs stored since the last reset


def empty(m: int, x: jax.Array, dtype: Any) -> Pairs:
    """No pairs, and the unit matrix."""
    one = jnp.ones((), dtype)
    return Pairs(jnp.zeros((2 * m, x.size), x.dtype), jnp.eye(m, dtype=dtype), one, jnp.asarray(0, jnp.int32))


def forget(pairs: Pairs) -> Pairs:
    """No pairs, but the scale that they had found."""
    m = pairs.r.shape[0]
    return Pairs(jnp.zeros_like(pairs.w), jnp.eye(m, dtype=pairs.r.dtype), pairs.theta, jnp.zeros_like(pairs.stored))


def remember(pairs: Pairs, s: jax.Array, y: jax.Array) -> tuple[Pairs, jax.Array]:
    """Store a pair in place of the oldest if its curvature is positive; and whether it was."""
    m, dtype = pairs.r.shape[0], pairs.r.dtype
    ss, sy, yy = (v.astype(dtype) for v in vector.dots((s, s), (s, y), (y, y)))
    good = sy > float(jnp.finfo(s.dtype).eps) * jnp.sqrt(ss) * jnp.sqrt(yy)
    slot = pairs.stored % m
    scale = (1 / jnp.sqrt(jnp.where(good, sy, 1))).astype(s.dtype)
    y = scale * y
    w = vector.with_row(vector.with_row(pairs.w, slot, y), slot + m, scale * s)
    # The newest pair has a full column s_i'y and an empty row but for the 1 on the diagonal.
    here = jnp.arange(m, dtype=jnp.int32) == slot
    column = (w[m:] @ y).astype(dtype)
    r = jnp.where(here[None, :], jnp.where(here, 1, column)[:, None], jnp.where(here[:, None], 0, pairs.r))
    new = Pairs(w, r, yy / jnp.where(good, sy, 1), pairs.stored + 1)
    return vector.where(good, new, pairs), good


def solve(pairs: Pairs, g: jax.Array, free: jax.Array) -> jax.Array:
    """``-B_FF^{-1} g`` for a g that is zero outside of F.

    With ``U = [Y / sqrt(theta); sqrt(theta) S]`` and A the variables that are not free,
    ``B_FF^{-1} = (I + U_F' N^{-1} U_F) / theta``, ``N = [[-D, C'], [C, theta S_A S_A']]``,
    ``D = I + Y_F Y_F' / theta``, ``C = S_A Y_A' - R``. D and its complement ``theta S_A S_A' + C D^{-1} C'`` in N are
    positive definite.
    """
    m, dtype = pairs.r.shape[0], pairs.r.dtype
    theta = pairs.theta
    y, s = pairs.w[:m], pairs.w[m:]
    yy = of_rows(jnp.where(free, y, 0), y).astype(dtype)
    products = of_rows(jnp.where(free, 0, s), pairs.w).astype(dtype)  # S_A [Y; S]'
    c = products[:, :m] - pairs.r
    root, wg = jnp.sqrt(theta), (pairs.w @ g).astype(dtype)
    sides = jnp.concatenate([c.T, (wg[:m] / root)[:, None]], axis=1)
    solved = solve_definite(jnp.eye(m, dtype=dtype) + yy / theta, sides)  # D^{-1} [C' U_y g]
    folded = of_rows(c, solved.T)
    b = solve_definite(theta * products[:, m:] + folded[:, :m], (root * wg[m:] + folded[:, m])[:, None])[:, 0]
    a = solved[:, :m] @ b - solved[:, m]
    step = jnp.concatenate([a / root, root * b]).astype(g.dtype) @ pairs.w
    return -jnp.where(free, g + step, 0) / theta.astype(g.dtype)


def of_rows(a: jax.Array, b: jax.Array) -> jax.Array:
    """``a b'``, shape (rows of a, rows of b): row by row where it is small.

    With products of a matrix and a vector alone a descent can be one function of machine code
    (`gdjax.jaxtools.small_programs`), which compiles in half the time and takes half the time of a trip: 10 us instead
    of 23 for PANOC, n = 10. From 100 variables on, and of many problems at once, products of matrices are faster.
    """
    if in_batch() or a.size + b.size > SMALL:
        return a @ b.T
    return jax.lax.map(lambda row: b @ row, a)


def solve_definite(a: jax.Array, b: jax.Array) -> jax.Array:
    """``a^{-1} b`` for a symmetric positive definite a, shape (m, m), and b, shape (m, k), by Gauss and Jordan.

    Such a matrix needs no pivoting. LAPACK is not asked: under `jax.vmap` the threads of two of its calls may wait
    for each other for ever.
    """
    m = a.shape[0]

    def eliminate(i: jax.Array, ab: jax.Array) -> jax.Array:
        row = ab[i] / ab[i, i]
        here = (jnp.arange(m, dtype=i.dtype) == i)[:, None]
        return jnp.where(here, row[None, :], ab - ab[:, i][:, None] * row[None, :])

    step = lambda ab, i: (eliminate(i, ab), None)  # a loop of known length, which has derivatives in reverse
    return jax.lax.scan(step, jnp.concatenate([a, b], axis=1), jnp.arange(m, dtype=jnp.int32))[0][:, m:]
