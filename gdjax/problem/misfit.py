"""The residuals of a model: what it says less what was measured, in units of the errors."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import as_data, is_concrete, is_traceable, one_of
from gdjax.vectors.vector import gathered


def misfit_of(model: Callable[..., Any], has_aux: bool = False) -> Callable[..., Any]:
    """The residuals of a model, as a function of params and data; with aux if the model has it."""

    def misfit(params: Any, x: Any, y: Any, sigma: Any, mask: Any) -> Any:
        out = model(params, x)
        if has_aux and not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(f"has_aux=True needs a model that returns (array, aux); it returned a {type(out).__name__}")
        found, aux = out if has_aux else (out, None)
        r = weighted(found, y, sigma, mask)
        return (r, aux) if has_aux else r

    def weighted(found: Any, y: Any, sigma: Any, mask: Any) -> jax.Array:
        if not is_traceable(found):
            aux = "; what else it returns is aux, with has_aux=True" if isinstance(found, tuple) else ""
            raise TypeError(f"the model must return one array like y; it returned a {type(found).__name__}{aux}")
        found = jnp.asarray(found)
        if not goes_into(found.shape, y.shape):
            raise ValueError(f"the model returned an array of shape {found.shape}; y has shape {y.shape}")
        dtype = jnp.promote_types(found.dtype, y.dtype)
        r = found.astype(dtype) - y.astype(dtype)
        r = r if mask is None else jnp.where(mask, r, 0)
        if sigma is None:
            return r
        if sigma.ndim == 2 and y.ndim == 1:
            return jax.scipy.linalg.solve_triangular(sigma.astype(r.dtype), gathered(r), lower=True)
        return r / sigma.astype(r.dtype)

    return misfit


def hidden_too(mask: jax.Array, x: Any) -> Any:
    """Data for the model, with a number in place of what is not finite where the mask, of the same shape, leaves out.

    Derivatives in reverse are NaN where the model is, whatever becomes of it.
    """

    def of_leaf(leaf: Any) -> Any:
        if np.shape(leaf) != mask.shape or not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            return leaf
        known = is_concrete(leaf) and is_concrete(mask)
        np_, (leaf, use) = (np, jax.device_get((leaf, mask))) if known else (jnp, (leaf, mask))
        good = np_.isfinite(leaf)
        if known and good.all():
            return leaf
        return np_.where(use | good, leaf, np_.ravel(leaf)[np_.argmax(np_.ravel(use & good))])

    return jax.tree.map(of_leaf, x)


@functools.partial(jax.jit, static_argnums=2)
def hidden(mask: jax.Array, x: jax.Array, number: int) -> jax.Array:
    """The array with a number in place of what the mask leaves out."""
    return jnp.where(mask, x, number)


def check_mask(mask: Any, y: Any) -> jax.Array:
    """Which data count; ValueError if that has not the shape of y, or holds anything but True and False, or 1 and 0."""
    given, mask = jnp.asarray(mask), jnp.asarray(mask, bool)
    if mask.shape != y.shape:
        raise ValueError(f"mask has shape {mask.shape}, y {y.shape}")
    tells = given.dtype != bool and is_concrete(given)
    known = np.asarray(jax.device_get(given) if tells else True)
    if np.any(wrong := (known != 0) & (known != 1)):
        raise ValueError(
            f"mask must be True where a datum counts and False elsewhere, got {one_of(known, wrong)}; "
            "for weights give sigma=1/sqrt(weight)"
        )
    return mask


def check_sigma(sigma: Any, y: jax.Array, mask: jax.Array | None = None) -> jax.Array | None:
    """Standard deviations like y, or the Cholesky factor of a covariance matrix; positive where the mask is.

    In a trace none can be refused: NaN stands for those that would be.
    """
    if sigma is None:
        return None
    sigma = jnp.asarray(as_data("sigma", sigma))
    sigma = sigma if jnp.issubdtype(sigma.dtype, jnp.floating) else sigma.astype(jnp.result_type(float))
    if y.ndim == 1 and sigma.shape == (y.size, y.size) and y.size > 1:
        return factor_of(sigma)
    if not goes_into(sigma.shape, y.shape):
        raise ValueError(f"sigma has shape {sigma.shape}, y {y.shape}")
    whole = jnp.broadcast_to(sigma, y.shape)
    if is_concrete(sigma) and (mask is None or is_concrete(mask)):
        known, counts = (np.asarray(jax.device_get(x)) for x in (whole, True if mask is None else mask))
        if np.any(wrong := ~(known > 0) & ~np.isnan(known) & counts):
            where = "" if mask is None else " where the mask lets data count"
            raise ValueError(f"sigma must be positive{where}, got {one_of(known, wrong)}")
        if np.any(np.isinf(known) & counts):
            raise ValueError(
                "sigma is infinite for data that count (for the standard errors, too): leave them out, mask="
            )
        return whole
    return jnp.where((whole > 0) & (whole < jnp.inf), whole, jnp.nan)


def factor_of(covariance: jax.Array) -> jax.Array:
    """Its Cholesky factor, shape (m, m). ValueError if it has none; in a trace NaN."""
    scales = jnp.sqrt(jnp.abs(jnp.diagonal(covariance)))
    rounding = 10 * float(jnp.finfo(covariance.dtype).eps) * jnp.outer(scales, scales)
    symmetric = jnp.all(jnp.abs(covariance - covariance.T) <= rounding)
    factor = jnp.where(symmetric, jnp.linalg.cholesky(covariance), jnp.nan)
    if is_concrete(factor) and bool(jnp.isnan(factor).any()):
        raise ValueError(f"sigma, a covariance matrix, must be {'positive definite' if symmetric else 'symmetric'}")
    return factor


def goes_into(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array of this shape broadcasts to the other."""
    return len(shape) <= len(whole) and all(a in (1, b) for a, b in zip(shape[::-1], whole[::-1], strict=False))
