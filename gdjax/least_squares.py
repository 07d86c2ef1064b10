"""Nonlinear least squares: `least_squares`, and many at once."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.sandwich import KINDS
from gdjax.descent.stopping import Status
from gdjax.insight.fit import Fit
from gdjax.insight.spread import rank_along
from gdjax.jaxtools.pytrees import is_concrete
from gdjax.minimize import run
from gdjax.minimize_many import refuse_services, solve_many
from gdjax.request import AllOptions, Call, Options, take_services


class FitOptions(Options, total=False):
    """The options of `least_squares`, by name."""

    robust: Any
    absolute_sigma: bool
    jac: Callable[..., Any] | None
    check_jac: bool
    cov_type: str | None


def least_squares(
    residuals: Callable[..., Any],
    params: Any,
    *args: Any,
    robust: Any = None,
    absolute_sigma: bool = False,
    cov_type: str | None = None,
    jac: Callable[..., Any] | None = None,
    check_jac: bool = False,
    **options: Unpack[AllOptions],
) -> Fit:
    """Minimise ``1/2 sum |r|^2`` over ``params``, where ``r = residuals(params, *args, **kwargs)``.

    In everything else it works like `gdjax.minimize`: params are any pytree, data follow them, the same call works
    inside `jax.jit`, `jax.vmap` and under `jax.grad`, and a `Status` says how the run ended. The default method is
    `LevenbergMarquardt`, which uses the fact that the loss is a sum of squares: it needs far fewer evaluations than the
    others, and none of its tests depends on the units of parameters or residuals.

    Args:
        residuals: function of the parameters and data that returns a pytree of real or complex arrays (a complex number
            counts as two residuals); or (residuals, aux) with ``has_aux``. If their standard deviations differ, divide
            by them.
        params: where to start.
        *args: data for the residuals.
        robust: None for squares, or one of `gdjax.Huber`, `gdjax.SoftL1`, `gdjax.Cauchy`, `gdjax.Tukey`.
        absolute_sigma: whether the residuals are in units of their known standard deviation. Otherwise the standard
            deviation is estimated from the residuals, for the covariance. With a robust loss the errors are always
            estimated (Huber's formula, see `gdjax.Fit`); this option then makes their tests and intervals normal
            instead of Student's.
        cov_type: None if the errors are independent and equally large; "HC0", "HC1", "HC2" or "HC3" (White's sandwich)
            if they are independent but of unequal size. The formulas are in `gdjax.Fit`.
        jac: your own Jacobian, ``jac(params, *args, **kwargs)``, as `jax.jacfwd` of the residuals would return it: of
            shape (m, n) for an array of m residuals and one of n params; otherwise a pytree like the residuals, in
            which each array has become a pytree like params. Between complex residuals and complex params it holds the
            complex derivatives. Default: JAX finds it. Where the descent ends it is compared with JAX's, or, if JAX
            cannot differentiate the residuals, with differences of them: see the status WRONG_GRADIENT.
        check_jac: whether to check the Jacobian at the start (not inside a trace), array by array, also by finite
            differences of the residuals, and to refuse to start if it is wrong.
        penalty: a `gdjax.penalties.Box` or ``NonNegative`` for bounds, which may be equal; the residuals are never
            evaluated outside.
        constraints: as for `gdjax.minimize`, functions of (params, *args). The method is `AugmentedLagrangian`, and tol
            is that of `gdjax.minimize`. The standard errors allow only changes along the active constraints: with Z a
            basis of their tangent space the covariance is ``s^2 Z (Z'J'J Z)^-1 Z'``, and each active constraint gives
            back a degree of freedom. For plain squares only.
        tol: tolerance of the cosine test of `LevenbergMarquardt`: the fit has converged when the cosine of the angle
            between the residuals and each column of their Jacobian is at most tol, ``|J_j'r| <= tol |J_j| |r|``.
            Default ``eps^(2/3)``: 3.7e-11 in float64, 2.4e-5 in float32. With another method it is the tolerance of
            `gdjax.minimize`.
        **options: those of `gdjax.minimize`, except ``grad``, ``value_and_grad`` and ``check_grad``. A callback gets a
            `Fit`. To continue from a checkpoint, call ``gdjax.resume(path, residuals, params, *args)``.

    **Derivatives** of ``fit.params`` (and of its value, residuals and covariance) with respect to the data are those of
    `gdjax.minimize`, ``-H^-1 dg/dtheta`` with the full Hessian H of ``1/2 sum |r|^2``. So they are exact even where
    residuals are not zero; with the Gauss-Newton matrix ``J'J`` instead of H they would not be.

    Returns:
        A `Fit`: a `Result` with covariance, standard errors and intervals; ``print`` it for a table. Its value is
        ``1/2 sum |r|^2``.

    Raises:
        TypeError, ValueError: as `gdjax.minimize`; if the residuals are not arrays of floating numbers, or there are
            none; if ``jac`` returns another structure, shape or dtype; with ``check_jac``, naming the worst entry; if
            cov_type is not one of these, or is HC2 or HC3 with a robust loss.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(6.0)
    >>> y = jnp.array([5.0, 3.1, 1.8, 1.2, 0.6, 0.5])
    >>> decay = lambda p, x, y: p["height"] * jnp.exp(-p["rate"] * x) - y
    >>> fit = least_squares(decay, {"height": 1.0, "rate": 1.0}, x, y)
    >>> print(f"{float(fit.params['rate']):.2f} +- {float(fit.standard_errors['rate']):.2f}")
    0.49 +- 0.01
    """
    given = dict(options, robust=robust, absolute_sigma=absolute_sigma, cov_type=cov_type, jac=jac, check_jac=check_jac)
    return cast(Fit, run(call_least_squares("least_squares", residuals, params, args, given)))


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
    jac: Callable[..., Any] | None = None,
    check_jac: bool = False,
    **options: Unpack[Options],
) -> Fit:
    """`least_squares` for many params and data at once, as `gdjax.minimize_many` is for losses.

    Where data are missing, use `gdjax.curve_fit_many` with its ``mask``: a residual that is made zero
    (``jnp.where(ok, r, 0)``) counts as a datum, so that standard errors come out too small.

    Args:
        residuals, robust, absolute_sigma, cov_type, jac, options: as for `least_squares`; for all problems the same.
        check_jac: as for `least_squares`, for the first problem.
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
    refuse_services("least_squares_many", options)
    given = dict(options, robust=robust, absolute_sigma=absolute_sigma, cov_type=cov_type, jac=jac, check_jac=check_jac)
    call = call_least_squares("least_squares_many", residuals, params, args, given, watched=False)
    return cast(Fit, solve_many(call, in_axes, batch_size, max_seconds))


def call_least_squares(
    caller: str, residuals: Callable[..., Any], params: Any, args: tuple[Any, ...], options: Any, watched: bool = True
) -> Call:
    """A call of `least_squares`, see `gdjax.request.call_minimize`."""
    for name in ("grad", "value_and_grad", "check_grad"):
        if options.get(name):
            raise TypeError(f"{caller} has no option {name!r}: residuals have a Jacobian, jac= (or JAX finds it)")
    services, rest = take_services(caller, options, FitOptions, watched)
    cov_type, robust = check_cov_type(rest.get("cov_type"), rest.get("robust")), rest.get("robust") is not None
    known: Any = dict(absolute_sigma=bool(rest.pop("absolute_sigma", False)), robust=robust, cov_type=cov_type)
    finish = functools.partial(as_fit, **known)
    return Call("least_squares", residuals, params, args, dict(rest, squares=True), services, finish)


def check_cov_type(cov_type: Any, robust: Any) -> str | None:
    """The kind of covariance, if there is such a one."""
    if cov_type is not None and cov_type not in KINDS:
        raise ValueError(f"cov_type must be None or one of {', '.join(KINDS)}, got {cov_type!r}")
    if cov_type in ("HC2", "HC3") and robust is not None:
        raise ValueError(f"cov_type={cov_type!r} is for squares; with a robust loss there are HC0 and HC1")
    return cov_type


def as_fit(result: Result, mask: Any = None, masks: int = 0, **known: Any) -> Fit:
    """The result of a least-squares problem with what its covariance needs: how many residuals count.

    Args:
        result: of one problem or of many.
        mask: of their data.
        masks: how many of its axes, the first, are of problems: 0 or 1.
        **known: for the `Fit`.
    """
    count, used, size = None, None, 1
    if mask is not None:
        axes, size = tuple(range(masks, mask.ndim)), math.prod(mask.shape[masks:])
        used = np.sum(jax.device_get(mask), axes) if is_concrete(mask) else jnp.sum(mask, axes, dtype=jnp.int32)
        result = without_data(result, used)
    if result.squares is not None:
        found, normals = result.squares.residuals.shape[-1], result.squares.normals
        if used is not None:
            found = found // max(size, 1) * used
        if normals is not None:
            found = found + rank_along(normals, result.squares.linear.columns)
        plain = not isinstance(found, jax.Array)  # then it goes to the device as the transfer guard wants it
        shape = result.code.shape
        count = jax.device_put(np.full(shape, found, np.int32)) if plain else jnp.broadcast_to(found, shape)
    return Fit(**vars(result), count=count, **known)


def without_data(result: Result, used: Any) -> Result:
    """The result, with the status NO_DATA where a mask leaves none: there all residuals are zero, and none is fitted.

    Args:
        result: of one problem or of many.
        used: how many data the mask leaves: one number for all problems, or one for each.
    """
    if is_concrete(used) and np.all(used):
        return result
    code = jnp.where(jnp.asarray(used) == 0, jnp.int32(Status.NO_DATA), result.code)
    return dataclasses.replace(result, code=code)
