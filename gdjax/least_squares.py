"""Nonlinear least squares: `least_squares` and `curve_fit`."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.sandwich import KINDS
from gdjax.insight.fit import Fit
from gdjax.jaxtools.pytrees import as_data, is_concrete
from gdjax.minimize import run
from gdjax.minimize_many import solve_many
from gdjax.request import AllOptions, Options, check_options, prepare, take_services


def least_squares(
    residuals: Callable[..., Any],
    params: Any,
    *args: Any,
    robust: Any = None,
    absolute_sigma: bool = False,
    cov_type: str | None = None,
    **options: Unpack[AllOptions],
) -> Fit:
    """Minimise ``1/2 sum |r|^2`` over ``params``, where ``r = residuals(params, *args, **kwargs)``.

    As `gdjax.minimize` in all else: params are any pytree, data follow them, the same call works inside `jax.jit`,
    `jax.vmap` and under `jax.grad`, how it ends is a `Status`. The default method is `LevenbergMarquardt`, which knows
    that the loss is a sum of squares: it needs a fraction of the evaluations of the others, and none of its tests
    depends on the units of parameters or residuals.

    Args:
        residuals: function of the parameters and data to a pytree of real or complex arrays (a complex number counts
            as two residuals); or to (residuals, aux) with ``has_aux``. Divide them by their standard deviations if
            these differ.
        params: where to start.
        *args: data for the residuals.
        robust: None for squares, or one of `gdjax.Huber`, `gdjax.SoftL1`, `gdjax.Cauchy`, `gdjax.Tukey`.
        absolute_sigma: whether the residuals are in units of their known standard deviation. Otherwise that is
            estimated from the residuals, for the covariance.
        cov_type: None for errors that are independent and alike; "HC0", "HC1", "HC2" or "HC3" (White's sandwich) for
            errors that are independent, but not alike. The formulas are at `gdjax.Fit`.
        penalty: a `gdjax.penalties.Box` or ``NonNegative`` for bounds, which may be equal; the residuals are never
            evaluated outside.
        tol: tolerance of the cosine test of `LevenbergMarquardt`: the descent has converged when the cosine of the
            angle between the residuals and each column of their Jacobian is at most this,
            ``|J_j'r| <= tol |J_j| |r|``. Default ``eps^(2/3)``: 3.7e-11 in float64, 2.4e-5 in float32. With another
            method it is that of `gdjax.minimize`.
        **options: those of `gdjax.minimize`, but for ``grad``, ``value_and_grad``, ``check_grad`` and ``checkpoint``.

    Returns:
        A `Fit`: a `Result` with covariance, standard errors and intervals; ``print`` it for a table. Its value is
        ``1/2 sum |r|^2``.

    Raises:
        TypeError, ValueError: as `gdjax.minimize`; if the residuals are no arrays of floating numbers, or none; if
            cov_type is none of these, or HC2 or HC3 with a robust loss, for which there are only the others.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(6.0)
    >>> y = jnp.array([5.0, 3.1, 1.8, 1.2, 0.6, 0.5])
    >>> decay = lambda p, x, y: p["height"] * jnp.exp(-p["rate"] * x) - y
    >>> fit = least_squares(decay, {"height": 1.0, "rate": 1.0}, x, y)
    >>> print(f"{float(fit.params['rate']):.2f} +- {float(fit.standard_errors['rate']):.2f}")
    0.49 +- 0.01
    """
    refuse_gradients("least_squares", options)
    services, rest = take_services("least_squares", options)
    fitted = dict(robust=robust, cov_type=check_cov_type(cov_type, robust))
    result = run(prepare(residuals, params, args, squares=True, **fitted, **rest), services)
    return as_fit(result, bool(absolute_sigma), **fitted)


def least_squares_many(
    residuals: Callable[..., Any],
    params: Any,
    *args: Any,
    in_axes: Any = 0,
    batch_size: int | None = None,
    max_seconds: float | None = None,
    robust: Any = None,
    absolute_sigma: bool = False,
    cov_type: str | None = None,
    **options: Unpack[Options],
) -> Fit:
    """`least_squares` for many params and data at once, as `gdjax.minimize_many` is for losses.

    Args:
        residuals, robust, absolute_sigma, cov_type, options: as for `least_squares`; for all problems the same.
        params, args, in_axes, batch_size, max_seconds: as for `gdjax.minimize_many`.

    Returns:
        A `Fit` with a leading axis of problems in every leaf: one status and one covariance for each.

    Raises:
        TimeoutError, TypeError, ValueError: as `gdjax.minimize_many` and `least_squares`.

    >>> import jax.numpy as jnp
    >>> x = jnp.linspace(0.0, 2.0, 9)
    >>> y = jnp.array([[1.0], [2.0], [4.0]]) * jnp.exp(-x)
    >>> fits = least_squares_many(lambda p, x, y: p * jnp.exp(-x) - y, 1.0, x, y, in_axes=(None, None, 0))
    >>> print(fits.params.round(3))
    [1. 2. 4.]
    """
    check_options("least_squares_many", options, Options)
    refuse_gradients("least_squares_many", options)
    fitted = dict(robust=robust, cov_type=check_cov_type(cov_type, robust))
    whole: Any = dict(options, squares=True, **fitted)
    result = solve_many(residuals, params, args, in_axes, batch_size, max_seconds, whole)
    return as_fit(result, bool(absolute_sigma), **fitted)


def refuse_gradients(caller: str, options: Any) -> None:
    """Raise TypeError for options that residuals have no use for, and for a file that `gdjax.resume` could not read."""
    for name in ("grad", "value_and_grad", "check_grad", "maximize"):
        if options.get(name):
            raise TypeError(f"{caller} has no option {name!r}: residuals have a Jacobian, which JAX finds")
    if options.get("checkpoint") is not None:
        raise TypeError(f"{caller} has no option 'checkpoint': gdjax.resume continues the descent of a loss alone")


def check_cov_type(cov_type: Any, robust: Any) -> str | None:
    """The kind of covariance, if there is such a one."""
    if cov_type is not None and cov_type not in KINDS:
        raise ValueError(f"cov_type must be None or one of {', '.join(KINDS)}, got {cov_type!r}")
    if cov_type in ("HC2", "HC3") and robust is not None:
        raise ValueError(f"cov_type={cov_type!r} is for squares; with a robust loss there are HC0 and HC1")
    return cov_type


def as_fit(result: Result, absolute_sigma: bool, robust: Any, cov_type: str | None) -> Fit:
    """The result of a least-squares problem with what its covariance needs."""
    count = None
    if result.squares is not None:
        count = jnp.full(result.code.shape, result.squares.residuals.shape[-1], jnp.int32)
    return Fit(**vars(result), count=count, absolute_sigma=absolute_sigma, robust=robust is not None, cov_type=cov_type)


def curve_fit(
    model: Callable[..., Any],
    params: Any,
    x: Any,
    y: Any = None,
    *,
    p0: Any = None,
    sigma: Any = None,
    absolute_sigma: bool = False,
    mask: Any = None,
    **options: Any,
) -> Fit:
    """Fit ``y = model(params, x)`` to data by least squares.

    Args:
        model: ``model(params, x)`` to an array like y, or to what broadcasts with it, real or complex.
        params: where to start, any pytree.
        x: data of any kind, handed to the model as it is: an array, a pair of arrays, a dict.
        y: what is measured, an array.
        p0: SciPy's way to call it, ``curve_fit(model, x, y, p0=[...])``, for a model with its parameters one by one,
            ``model(x, a, b, c)``. The parameters of the fit are then one array, named in tables as they are there.
        sigma: standard deviations of y, a number or an array like it; or the covariance matrix of a y with one axis,
            shape (m, m). The residuals are divided by them.
        absolute_sigma: whether sigma is what the errors are, as for `least_squares`, or tells their proportions alone.
        mask: of y, True where a datum counts. The others, which may be NaN, are left out.
        **options: those of `least_squares`.

    Returns:
        A `Fit`.

    Raises:
        TypeError, ValueError: as `least_squares`; if the model's shape is not that of y; if sigma is not positive.

    >>> import jax.numpy as jnp
    >>> x, y = jnp.arange(5.0), jnp.array([1.0, 3.1, 4.9, 7.2, 8.9])
    >>> fit = curve_fit(lambda x, a, b: a * x + b, x, y, p0=[1.0, 1.0])
    >>> print(fit.params.round(2), fit.status.name)
    [1.99 1.04] CONVERGED
    """
    labels = None
    if p0 is not None:
        if y is not None:
            raise TypeError("with p0= the call is SciPy's, curve_fit(model, x, y, p0=...): params is one too many")
        scipys, params, x, y = model, jnp.asarray(p0, jnp.result_type(float)), params, x
        model, labels = lambda p, x: scipys(x, *p), names_of_arguments(scipys, params.size)
    elif y is None:
        raise TypeError("curve_fit(model, params, x, y); or SciPy's way, curve_fit(model, x, y, p0=[...])")
    y = jnp.asarray(as_data("y", y))
    y = y if jnp.issubdtype(y.dtype, jnp.inexact) else y.astype(jnp.result_type(float))
    sigma, counts = check_sigma(sigma, y), None if mask is None else jnp.asarray(mask, bool)
    if counts is not None and counts.shape != y.shape:
        raise ValueError(f"mask has shape {counts.shape}, y {y.shape}")
    if counts is not None and sigma is not None and sigma.ndim == 2 and y.ndim == 1:
        raise ValueError("a mask does not go with a covariance matrix: leave the data out of y, x and sigma")

    def residuals(p: Any, x: Any, y: Any, sigma: Any, counts: Any) -> Any:
        found = jnp.asarray(model(p, x))
        if not goes_into(found.shape, y.shape):
            raise ValueError(f"the model returned an array of shape {found.shape}; y has shape {y.shape}")
        dtype = jnp.promote_types(found.dtype, y.dtype)
        r = found.astype(dtype) - (y if counts is None else jnp.where(counts, y, 0)).astype(dtype)
        r = r if counts is None else jnp.where(counts, r, 0)
        if sigma is None:
            return r
        if sigma.ndim == 2 and y.ndim == 1:
            return jax.scipy.linalg.solve_triangular(sigma.astype(r.dtype), r, lower=True)
        return r / (sigma if counts is None else jnp.where(counts, sigma, 1)).astype(r.dtype)

    fit = least_squares(residuals, params, x, y, sigma, counts, absolute_sigma=absolute_sigma, **options)
    per = 2 if jnp.iscomplexobj(y) else 1
    count = fit.count if counts is None else per * jnp.sum(counts)
    return dataclasses.replace(fit, count=count, weighted=sigma is not None, labels=labels)


def names_of_arguments(model: Callable[..., Any], count: int) -> tuple[str, ...] | None:
    """What ``model(x, a, b, c)`` calls its parameters; None if that is not to be seen."""
    try:
        names = [p.name for p in inspect.signature(model).parameters.values() if p.kind in (0, 1)][1:]
    except (TypeError, ValueError):
        return None
    return tuple(names) if len(names) == count else None


def check_sigma(sigma: Any, y: jax.Array) -> jax.Array | None:
    """Standard deviations like y, or the Cholesky factor of a covariance matrix."""
    if sigma is None:
        return None
    sigma = jnp.asarray(as_data("sigma", sigma))
    sigma = sigma if jnp.issubdtype(sigma.dtype, jnp.floating) else sigma.astype(jnp.result_type(float))
    if y.ndim == 1 and sigma.shape == (y.size, y.size) and y.size > 1:
        factor = jnp.linalg.cholesky(sigma)
        if is_concrete(factor) and bool(jnp.isnan(factor).any()):
            raise ValueError("sigma, a covariance matrix, must be positive definite")
        return factor
    if not goes_into(sigma.shape, y.shape):
        raise ValueError(f"sigma has shape {sigma.shape}, y {y.shape}")
    if is_concrete(sigma) and bool(np.any(~(np.asarray(sigma) > 0) & ~np.isnan(np.asarray(sigma)))):
        raise ValueError("sigma must be positive")
    return jnp.broadcast_to(sigma, y.shape)


def goes_into(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array of this shape broadcasts to the other."""
    return len(shape) <= len(whole) and all(a in (1, b) for a, b in zip(shape[::-1], whole[::-1], strict=False))
