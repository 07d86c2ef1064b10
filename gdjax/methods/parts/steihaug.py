"""The subproblem of a trust region, by conjugate gradients with a diagonal preconditioner that they build themselves.

T. Steihaug, The conjugate gradient method and trust regions in large scale optimization, SIAM J. Numer. Anal. 20
(1983); P. L. Toint (1981); A. R. Conn, N. I. M. Gould and P. L. Toint, Trust-Region Methods (2000), section 7.5.
S. G. Nash, Preconditioning of truncated-Newton methods, SIAM J. Sci. Stat. Comput. 6 (1985) (the diagonal).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.problem.objective import Objective
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

# An update lowers no entry of D below a thousandth of itself: in exact arithmetic it stays positive, with rounding
# perhaps not.
KEPT = 1e-3


class Inner(NamedTuple):
    """Conjugate gradients on the model m(z) = g'z + z'Hz / 2, preconditioned by D, in the norm |z| = sqrt(z'Dz)."""

    z: Vector  # step so far
    r: Vector  # residual -g - Hz
    p: Vector  # direction, of length 1: where |Hp| is 1e19 its square overflows in float32
    unit: Scalar  # what the direction of the method was multiplied with to be so
    ry: Scalar  # r'y, y = r / D
    enough: Scalar  # r'y at which the residual is small enough
    zz: Scalar  # z'Dz and z'Dp, which need no products
    zp: Scalar
    promised: Scalar  # -m(z)
    products: jax.Array  # Hessian products so far
    learnt: Vector  # D with what these have shown, for the next subproblem
    scaled: jax.Array  # whether that has the scale of H, which the unit matrix of the start has not


def nothing(zeros: Vector, zero: Scalar) -> Inner:
    """Before the first evaluation; D is the unit matrix."""
    one = jax.tree.map(lambda leaf: jnp.ones_like(jnp.abs(leaf)), zeros)
    count, no = jnp.asarray(0, jnp.int32), jnp.asarray(False)
    return Inner(zeros, zeros, zeros, zero, zero, zero, zero, zero, zero, count, one, no)


def begin(objective: Objective, old: Inner, diagonal: Vector, grad: Vector, forcing: Scalar) -> Inner:
    """A new subproblem: z = 0, and the first direction."""
    r = vector.negative(grad)
    y, zero = vector.divide(r, diagonal), jnp.zeros_like(old.ry)
    ry = objective.dot(r, y)
    none, count, unit = vector.zeros_like(r), jnp.zeros_like(old.products), reciprocal_root(ry)
    p = vector.scale(unit, y)
    return Inner(none, r, p, unit, ry, forcing**2 * ry, zero, zero, zero, count, diagonal, old.scaled)


def advance(
    objective: Objective, inner: Inner, diagonal: Vector, radius: Scalar, hp: Vector
) -> tuple[Inner, jax.Array, jax.Array]:
    """One step, from Hp: the next state, whether z ends at the boundary, and whether it is good enough."""
    z, r, p, unit, ry, enough, zz, zp, promised, products, learnt, scaled = inner
    php, pdp = objective.dots((p, hp), (p, vector.multiply(learnt, p)))
    rp = ry * unit
    alpha = rp / jnp.where(php > 0, php, 1)
    leaves = ~(php > 0) | ~(zz + 2 * alpha * zp + alpha**2 < radius**2)
    # Where the line z + tau p leaves the region; written so that nothing cancels for z'Dp >= 0.
    gap = jnp.maximum(radius**2 - zz, 0)
    tau = gap / (zp + jnp.sqrt(zp**2 + gap))
    step = jnp.where(leaves, tau, alpha)

    # Where curvature shrinks, D follows at once: entries that no direction has shown yet would else count as stiff
    # (QUARTC took 7984 trips instead of 309). Where it grows D does not: new directions show it one by one.
    rescale = (php > 0) & (~scaled | ((products == 0) & (php < pdp)))
    learnt = vector.where(php > 0, update(learnt, p, hp, php, pdp, rescale), learnt)
    z, r = vector.add_scaled(z, step, p), vector.add_scaled(r, -step, hp)
    y = vector.divide(r, diagonal)
    ry_new = objective.dot(r, y)
    done = leaves | (ry_new <= enough) | (products >= 2 * vector.size(z) + 10)
    beta = ry_new / rp  # of the direction of length 1
    next_unit = reciprocal_root(ry_new + beta**2)
    p = vector.scale(next_unit, vector.add_scaled(y, beta, p))
    zz, zp = zz + 2 * step * zp + step**2, next_unit * beta * (zp + step)
    promised = promised + step * (rp - 0.5 * step * php)
    new = Inner(z, r, p, next_unit, ry_new, enough, zz, zp, promised, products + 1, learnt, scaled | rescale)
    return new, leaves, done


def reciprocal_root(square: Scalar) -> Scalar:
    """One over the length; 0 for a length of 0."""
    return jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


def update(d: Vector, p: Vector, hp: Vector, php: Scalar, pdp: Scalar, rescale: jax.Array) -> Vector:
    """``D - diag(Dp p'D) / p'Dp + diag(Hp p'H) / p'Hp``, of D scaled to the curvature along p if it is to be."""
    scale = jnp.where(rescale, php / pdp, 1)
    php, pdp = jnp.where(php > 0, php, 1), scale * pdp

    def of_leaf(d: jax.Array, p: jax.Array, hp: jax.Array) -> jax.Array:
        # Squares of quotients: the squares themselves overflow in float32 where |Hp| is 1e19.
        s, a, b = (v.astype(d.dtype) for v in (scale, jnp.sqrt(pdp), jnp.sqrt(php)))
        d = s * d
        return jnp.maximum(d - (d * jnp.abs(p) / a) ** 2 + (jnp.abs(hp) / b) ** 2, KEPT * d)

    return jax.tree.map(of_leaf, d, p, hp)


def shorten(inner: Inner, grad: Vector, share: Scalar | float) -> Inner:
    """The step scaled by a share, with its residual -g - share Hz."""
    r = vector.add_scaled(vector.scale(share - 1, grad), share, inner.r)
    return inner._replace(z=vector.scale(share, inner.z), r=r, zz=share**2 * inner.zz)
