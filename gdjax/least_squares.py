"""Nonlinear least squares: `least_squares` and `curve_fit`."""

import functools
from collections.abc import Callable
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.insight.fit import Fit
from gdjax.jaxtools.pytrees import as_data, is_concrete
from gdjax.minimize import run
from gdjax.minimize_many import refuse_services, solve_many
from gdjax.problem.jacobian import of_misfit
from gdjax.problem.misfit import check_sigma, hidden, misfit_of
from gdjax.request import AllOptions, Call, Options, take_services


class FitOptions(Options, total=False):
    """The options of `least_squares`, by name."""

    robust: Any
    absolute_sigma: bool
    jac: Callable[..., Any] | None
    check_jac: bool


class CurveOptions(FitOptions, total=False):
    """The options of `curve_fit`, by name."""

    p0: Any
    sigma: Any
    mask: Any


def least_squares(
    residuals: Callable[..., Any],
    params: Any,
    *args: Any,
    robust: Any = None,
    absolute_sigma: bool = False,
    jac: Callable[..., Any] | None = None,
    check_jac: bool = False,
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
        jac: your own Jacobian, ``jac(params, *args, **kwargs)``, as `jax.jacfwd` of the residuals would return it: of
            shape (m, n) for an array of m residuals and one of n params; otherwise a pytree like the residuals, in
            which each array has become a pytree like params. Between complex residuals and complex params it holds the
            complex derivatives. Default: JAX finds it. Where the descent ends it is compared with JAX's, or, if JAX
            cannot differentiate the residuals, with differences of them: see the status WRONG_GRADIENT.
        check_jac: whether to check the Jacobian at the start first (not inside a trace), array by array, by differences
            of the residuals too, and to refuse to start with a wrong one.
        penalty: a `gdjax.penalties.Box` or ``NonNegative`` for bounds, which may be equal; the residuals are never
            evaluated outside.
        tol: tolerance of the cosine test of `LevenbergMarquardt`: the descent has converged when the cosine of the
            angle between the residuals and each column of their Jacobian is at most this,
            ``|J_j'r| <= tol |J_j| |r|``. Default ``eps^(2/3)``: 3.7e-11 in float64, 2.4e-5 in float32. With another
            method it is that of `gdjax.minimize`.
        **options: those of `gdjax.minimize`, but for ``grad``, ``value_and_grad`` and ``check_grad``. A callback gets
            a `Fit`. ``gdjax.resume(path, residuals, params, *args)`` goes on with a checkpoint.

    **Derivatives** of ``fit.params`` (and of its value, residuals and covariance) with respect to the data are those of
    `gdjax.minimize`, ``-H^-1 dg/dtheta`` with the full Hessian H of ``1/2 sum |r|^2``. So they are exact where
    residuals are not zero, too; with the Gauss-Newton matrix ``J'J`` in its place they would not be.

    Returns:
        A `Fit`: a `Result` with covariance, standard errors and intervals; ``print`` it for a table. Its value is
        ``1/2 sum |r|^2``.

    Raises:
        TypeError, ValueError: as `gdjax.minimize`; if the residuals are no arrays of floating numbers, or none; if
            what ``jac`` returns has another structure, shape or dtype; with ``check_jac``, naming the worst entry.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(6.0)
    >>> y = jnp.array([5.0, 3.1, 1.8, 1.2, 0.6, 0.5])
    >>> decay = lambda p, x, y: p["height"] * jnp.exp(-p["rate"] * x) - y
    >>> fit = least_squares(decay, {"height": 1.0, "rate": 1.0}, x, y)
    >>> print(f"{float(fit.params['rate']):.2f} +- {float(fit.standard_errors['rate']):.2f}")
    0.49 +- 0.01
    """
    given = dict(options, robust=robust, absolute_sigma=absolute_sigma, jac=jac, check_jac=check_jac)
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
    jac: Callable[..., Any] | None = None,
    check_jac: bool = False,
    **options: Unpack[Options],
) -> Fit:
    """`least_squares` for many params and data at once, as `gdjax.minimize_many` is for losses.

    Args:
        residuals, robust, absolute_sigma, jac, options: as for `least_squares`; for all problems the same.
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
    given = dict(options, robust=robust, absolute_sigma=absolute_sigma, jac=jac, check_jac=check_jac)
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
    finish = functools.partial(as_fit, absolute_sigma=bool(rest.pop("absolute_sigma", False)))
    return Call("least_squares", residuals, params, args, dict(rest, squares=True), services, finish)


def as_fit(result: Result, by: str = "least_squares", mask: Any = None, absolute_sigma: bool = False) -> Fit:
    """The result of a least-squares problem with what its covariance needs: how many residuals count."""
    count = None
    if result.squares is not None:
        found = result.squares.residuals.shape[-1]
        if mask is not None:
            used = np.sum(jax.device_get(mask)) if is_concrete(mask) else jnp.sum(mask, dtype=jnp.int32)
            found = found // mask.size * used
        known = not isinstance(found, jax.Array)  # then it goes to the device as the transfer guard wants it
        count = jax.device_put(np.full(result.code.shape, found, np.int32)) if known else found
    return Fit(**vars(result), count=count, absolute_sigma=absolute_sigma, by=by)


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
    jac: Callable[..., Any] | None = None,
    **options: Any,
) -> Fit:
    """Fit ``y = model(params, x)`` to data by least squares.

    Args:
        model: ``model(params, x)`` to an array like y, or to what broadcasts with it, real or complex.
        params: where to start, any pytree.
        x: data of any kind, handed to the model as it is: an array, a pair of arrays, a dict.
        y: what is measured, an array.
        p0: SciPy's way to call it, ``curve_fit(model, x, y, p0=[...])``, for a model with its parameters one by one,
            ``model(x, a, b, c)``. The parameters of the fit are then one array.
        sigma: standard deviations of y, a number or an array like it; or the covariance matrix of a y with one axis,
            shape (m, m). The residuals are divided by them.
        absolute_sigma: whether sigma is what the errors are, as for `least_squares`, or tells their proportions alone.
        mask: of y, True where a datum counts. The others, which may be NaN, are left out.
        jac: the Jacobian of the model by the parameters, ``jac(params, x)``, as `jax.jacfwd` of the model would return
            it: a pytree like params, whose arrays have the axes of y followed by those of the parameters. It is divided
            by sigma here. In SciPy's way to call it ``jac(x, a, b, c)``, of shape (m, n).
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
    given = dict(options, p0=p0, sigma=sigma, absolute_sigma=absolute_sigma, mask=mask, jac=jac)
    return cast(Fit, run(call_curve_fit("curve_fit", model, params, (x, y), given)))


def call_curve_fit(
    caller: str, model: Callable[..., Any], params: Any, args: tuple[Any, ...], options: Any, watched: bool = True
) -> Call:
    """A call of `curve_fit`, see `gdjax.request.call_minimize`; ``args`` are x and y."""
    take_services(caller, options, CurveOptions, watched)
    own, jac = {name: options.get(name) for name in ("p0", "sigma", "mask")}, options.get("jac")
    x, y = args if len(args) == 2 else (*args, None) if len(args) == 1 else (None, None)
    if own["p0"] is not None:
        if y is not None:
            raise TypeError("with p0= the call is SciPy's, curve_fit(model, x, y, p0=...): params is one too many")
        scipys, params, x, y = model, jnp.asarray(own["p0"], jnp.result_type(float)), params, x
        model = lambda p, x: scipys(x, *p)
        scipys_jac = jac
        jac = None if jac is None else lambda p, x: scipys_jac(x, *p)
    elif y is None:
        raise TypeError("curve_fit(model, params, x, y); or SciPy's way, curve_fit(model, x, y, p0=[...])")
    y = jnp.asarray(as_data("y", y))
    y = y if jnp.issubdtype(y.dtype, jnp.inexact) else y.astype(jnp.result_type(float))
    sigma, counts = check_sigma(own["sigma"], y), None if own["mask"] is None else jnp.asarray(own["mask"], bool)
    if counts is not None:
        if counts.shape != y.shape:
            raise ValueError(f"mask has shape {counts.shape}, y {y.shape}")
        if sigma is not None and sigma.ndim == 2 and y.ndim == 1:
            raise ValueError("a mask does not go with a covariance matrix: leave the data out of y, x and sigma")
        y, sigma = hidden(counts, y, 0), None if sigma is None else hidden(counts, sigma, 1)
    rest = {name: value for name, value in options.items() if name not in own}
    rest |= dict(jac=None if jac is None else of_misfit(jac))
    call = call_least_squares(caller, misfit_of(model), params, (x, y, sigma, counts), rest, watched)
    return call._replace(by="curve_fit", finish=functools.partial(call.finish, by="curve_fit", mask=counts))
