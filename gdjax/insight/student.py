"""Student's distribution, as far as intervals and tests need it and JAX does not have it.

For many degrees of freedom by the normal distribution, D. L. Wallace, Bounds on normal approximations to Student's and
the chi-square distributions, Ann. Math. Stat. 30 (1959):
``z = (8 nu + 1) / (8 nu + 3) sqrt(nu log(1 + t^2 / nu))``.
"""

import functools
from typing import Any

import jax
import numpy as np
import scipy.special  # jax requires scipy

from gdjax.jaxtools.on_host import compiled
from gdjax.vectors.vector import namespace

BISECTIONS = 60
# Degrees of freedom from which on Wallace's z is as good as the incomplete beta function, whose rounding grows with
# them: in float32 p errs by 3e-4 for 1000 and by a factor of 3 for 10^7. With z quantiles err by 5e-6 from 100 on.
MANY = {"float32": 100.0, "float64": 1e5}


def two_sided(level: float, freedom: jax.Array | None) -> jax.Array:
    """The t with ``P(|T| <= t) = level``, for so many degrees of freedom; of the normal distribution for None.

    By bisection on ``z = t^2 / (t^2 + nu)``, of which ``P(|T| <= t)`` is the incomplete beta function I_z(1/2, nu/2).

    >>> print(f"{two_sided(0.95, np.asarray(12.0)):.3f} {two_sided(0.95, None):.2f}")
    2.179 1.96
    """
    return of_tail(1 - level, freedom)


def of_tail(tail: Any, freedom: jax.Array | None) -> jax.Array:
    """The t with ``P(|T| > t) = tail``."""
    xp = namespace(tail, freedom)
    tail = xp.asarray(tail)
    return normal_quantile(tail) if freedom is None else quantile(tail, xp.asarray(freedom).astype(tail.dtype))


@compiled
def normal_quantile(tail: jax.Array) -> jax.Array:
    """The z with ``P(|Z| > z) = tail`` for the normal distribution."""
    return -special_of(tail).ndtri(0.5 * tail)


@compiled
def quantile(tail: jax.Array, nu: jax.Array) -> jax.Array:
    """The t with ``P(|T| > t) = tail`` for a finite number of degrees of freedom; NaN without any."""
    xp, special, many = namespace(nu), special_of(nu), MANY[nu.dtype.name]
    few, half = xp.where((nu > 0) & (nu < many), nu, 1), xp.full_like(nu, 0.5)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        # 1 - z, so that large t, close to z = 1, are told apart: I_z(a, b) = 1 - I_(1 - z)(b, a).
        more = special.betainc(0.5 * few, half, middle) > tail
        return xp.where(more, low, middle), xp.where(more, middle, high)

    ends = xp.zeros_like(nu), xp.ones_like(nu)
    low, high = (
        functools.reduce(lambda ends, i: halve(i, ends), range(BISECTIONS), ends)
        if xp is np
        else (jax.lax.fori_loop(0, BISECTIONS, halve, ends))
    )
    rest = 0.5 * (low + high)
    plenty = xp.maximum(nu, many)
    z = special.ndtri(0.5 * tail) * (8 * plenty + 3) / (8 * plenty + 1)
    t = xp.where(nu < many, xp.sqrt(few * (1 - rest) / rest), xp.sqrt(plenty * xp.expm1(z * z / plenty)))
    return xp.where(nu > 0, t, xp.nan)


@compiled
def beyond(t: jax.Array, freedom: jax.Array | None) -> jax.Array:
    """``P(|T| > |t|)``, the two-sided p-value, for so many degrees of freedom; of the normal distribution for None.

    >>> print(f"{beyond(np.asarray(2.179), np.asarray(12.0)):.3f} {beyond(np.asarray(1.96), None):.3f}")
    0.050 0.050
    """
    xp, special = namespace(t), special_of(t)
    of_normal = lambda z: special.erfc(xp.abs(z) / xp.sqrt(xp.asarray(2, t.dtype)))
    if freedom is None:
        return of_normal(t)
    nu, many = xp.broadcast_to(xp.asarray(freedom).astype(t.dtype), t.shape), MANY[t.dtype.name]
    few, plenty = xp.where((nu > 0) & (nu < many), nu, 1), xp.maximum(nu, many)
    p = special.betainc(0.5 * few, xp.full_like(few, 0.5), few / (few + t * t))
    z = (8 * plenty + 1) / (8 * plenty + 3) * xp.sqrt(plenty * xp.log1p(t * t / plenty))
    return xp.where(nu > 0, xp.where(nu < many, p, of_normal(z)), xp.nan)


def special_of(x: Any) -> Any:
    """SciPy's special functions, or JAX's."""
    return scipy.special if namespace(x) is np else jax.scipy.special
