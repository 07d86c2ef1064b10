"""Rates of gradient steps that follow the curvature without a search.

P. Latafat, A. Themelis, L. Stella and P. Patrinos, Adaptive proximal algorithms for convex optimization under local
Lipschitz continuity of the gradient, Math. Program. (2024): adaPGM. With (q, r) = (3/2, 3/4), the authors'
recommendation, its steps are never shorter than those of Y. Malitsky and K. Mishchenko (2020).
"""

import jax
import jax.numpy as jnp

from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar


def first_rate(given: Scalar | float | None, gg: Scalar) -> Scalar:
    """The rate given, or else one whose step has length 1 at most; ``gg`` is the squared norm of the gradient."""
    return jax.lax.rsqrt(jnp.maximum(gg, 1)) if given is None else jnp.asarray(given)


def smoothness(rate: Scalar, ss: Scalar, yy: Scalar) -> Scalar:
    """``(rate L)^2`` with ``L = |y| / |s|``, which alone may overflow when squared."""
    return (vector.root(yy) / jnp.sqrt(jnp.where(ss > 0, ss, 1)) * rate) ** 2


def adapt(rate: Scalar, growth: Scalar, ss: Scalar, sy: Scalar, yy: Scalar) -> Scalar:
    """adaPGM's rate after a step s with ``rate``, ``growth`` times the one before, that changed the gradient by y.

    ``rate min(sqrt(1/q + growth), sqrt((1 - r/q) / [(rate L)^2 + 2 (r - 1) rate l + 1 - 2 r]+))`` with
    ``L = |y| / |s|``, ``l = s'y / s's``; for q = 3/2, r = 3/4 the second root is 1 / sqrt(2 (rate L)^2 - rate l - 1).
    """
    margin = 2 * smoothness(rate, ss, yy) - sy / jnp.where(ss > 0, ss, 1) * rate - 1
    return rate * jnp.where(ss > 0, jax.lax.rsqrt(jnp.maximum(1 / (2 / 3 + growth), margin)), 1)
