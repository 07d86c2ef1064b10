"""Student's distribution, as far as intervals and tests need it and JAX does not have it."""

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc, erfc, ndtri

BISECTIONS = 60


def two_sided(level: float | jax.Array, freedom: jax.Array | None) -> jax.Array:
    """The t with ``P(|T| <= t) = level``, for so many degrees of freedom; of the normal distribution for None.

    By bisection on ``z = t^2 / (t^2 + nu)``, of which ``P(|T| <= t)`` is the incomplete beta function I_z(1/2, nu/2).

    >>> print(f"{two_sided(0.95, jnp.asarray(12.0)):.3f} {two_sided(0.95, None):.2f}")
    2.179 1.96
    """
    if freedom is None:
        return ndtri(0.5 + 0.5 * jnp.asarray(level))
    return quantile(jnp.asarray(level), jnp.asarray(freedom).astype(jnp.result_type(float)))


@jax.jit
def quantile(level: jax.Array, nu: jax.Array) -> jax.Array:
    """`two_sided` for a finite number of degrees of freedom; NaN without any."""
    half = jnp.full_like(nu, 0.5)

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        # 1 - z, so that large t, close to z = 1, are told apart: I_z(a, b) = 1 - I_(1 - z)(b, a).
        more = 1 - betainc(0.5 * nu, half, middle) < level
        return jnp.where(more, low, middle), jnp.where(more, middle, high)

    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (jnp.zeros_like(nu), jnp.ones_like(nu)))
    rest = 0.5 * (low + high)
    return jnp.where(nu > 0, jnp.sqrt(nu * (1 - rest) / rest), jnp.nan)


def beyond(t: jax.Array, freedom: jax.Array | None) -> jax.Array:
    """``P(|T| > |t|)``, the two-sided p-value, for so many degrees of freedom; of the normal distribution for None.

    >>> print(f"{beyond(jnp.asarray(2.179), jnp.asarray(12.0)):.3f} {beyond(jnp.asarray(1.96), None):.3f}")
    0.050 0.050
    """
    if freedom is None:
        return erfc(jnp.abs(t) / jnp.sqrt(jnp.asarray(2, t.dtype)))
    nu = jnp.broadcast_to(jnp.asarray(freedom).astype(t.dtype), t.shape)
    enough = nu > 0
    nu = jnp.where(enough, nu, 1)
    p = betainc(0.5 * nu, jnp.full_like(nu, 0.5), nu / (nu + t * t))
    return jnp.where(enough, p, jnp.nan)
