"""Nonlinear least squares of a model and data: `curve_fit`, and many at once."""

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.insight.fit import Fit
from gdjax.jaxtools.pytrees import as_data, is_concrete
from gdjax.least_squares import FitOptions, call_least_squares
from gdjax.many.axes import Input, count_problems, spread_axes
from gdjax.minimize import run
from gdjax.minimize_many import refuse_services, solve_many
from gdjax.opening import trained
from gdjax.problem.arguments import check_model, names_of_arguments, one_by_one
from gdjax.problem.constraints import of_model
from gdjax.problem.jacobian import of_misfit
from gdjax.problem.misfit import check_mask, check_sigma, goes_into, hidden, hidden_too, misfit_of
from gdjax.request import Call, take_services


class CurveOptions(FitOptions, total=False):
    """The options of `curve_fit`, by name."""

    p0: Any
    sigma: Any
    mask: Any


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
        model: ``model(params, x)`` returns an array like y, or one that broadcasts with it, real or complex.
        params: where to start, any pytree.
        x: data of any kind, passed to the model unchanged: an array, a pair of arrays, a dict.
        y: the measurements, an array.
        p0: the start, to call it as in SciPy, ``curve_fit(model, x, y, p0=[...])``, with a model that takes its
            parameters one by one, ``model(x, a, b, c)``. The parameters of the fit are then one array; integers become
            floats.
        sigma: standard deviations of y, a number or an array like it; or the covariance matrix of a y with one axis,
            shape (m, m). The residuals are divided by them. Values for masked data are ignored.
        absolute_sigma: True if sigma is the size of the errors, as for `least_squares`. False (as in SciPy) if only the
            ratios of sigma are known; then the scatter of the residuals sets the size.
        mask: an array like y, True where a datum counts. The others, which may be NaN, are left out, and so are the
            corresponding entries of x if x has the shape of y. Otherwise x must be finite, because the model is
            evaluated at all of it.
        jac: the Jacobian of the model with respect to the parameters, ``jac(params, x)``, as `jax.jacfwd` of the model
            would return it: a pytree like params, whose arrays have the axes of y followed by those of the parameters.
            gdjax divides it by sigma. If you call as in SciPy it is ``jac(x, a, b, c)``, of shape (m, n).
        **options: those of `least_squares`. With ``constraints`` their functions are called as ``c(params, x)``.

    Returns:
        A `Fit`.

    Raises:
        TypeError, ValueError: as `least_squares`; if the model's shape is not that of y, or it takes more than
            params and x; if a mask holds more than True and False; if sigma is 0, negative or infinite where data
            count, or a matrix that is not symmetric and positive definite (a NaN, and inside `jax.jit` all of these,
            end as NONFINITE_START); if the mask leaves no data (inside `jax.jit` the status is then NO_DATA).

    >>> import jax.numpy as jnp
    >>> x, y = jnp.arange(5.0), jnp.array([1.0, 3.1, 4.9, 7.2, 8.9])
    >>> fit = curve_fit(lambda x, a, b: a * x + b, x, y, p0=[1.0, 1.0])
    >>> print(fit.params.round(2), fit.status.name)
    [1.99 1.04] CONVERGED
    """
    given = dict(options, p0=p0, sigma=sigma, absolute_sigma=absolute_sigma, mask=mask, jac=jac)
    return cast(Fit, run(call_curve_fit("curve_fit", model, params, (x, y), given)))


def curve_fit_many(
    model: Callable[..., Any],
    params: Any,
    x: Any,
    y: Any,
    *,
    in_axes: Any = None,
    sigma: Any = None,
    absolute_sigma: bool = False,
    mask: Any = None,
    jac: Callable[..., Any] | None = None,
    batch_size: int | None = None,
    max_seconds: float | None = None,
    **options: Any,
) -> Fit:
    """`curve_fit` for many data sets at once, each with a mask and errors of its own.

    Masked data do not count: degrees of freedom and standard errors are those of the data that remain.
    (If you set residuals of `least_squares_many` to zero instead, they count as data, and standard errors come out too
    small.)

    Args:
        model: ``model(params, x)`` of one problem, as for `curve_fit`.
        params: where to start; the same for all problems, unless ``in_axes`` says otherwise.
        x: data of any kind; also shared unless ``in_axes`` says otherwise.
        y: the measurements, an array with a leading axis of problems, shape (problems, ...).
        in_axes: the axes of problems of params and x, as in `jax.vmap`: a tuple (params, x), each an int, None for what
            all problems share, or a pytree prefix of these; or one value for both. Default: both are shared.
        sigma: standard deviations: a number; an array that broadcasts to one problem's y, the same for all; or, with as
            many axes as y, one that broadcasts to y. For covariance matrices use `least_squares_many`.
        absolute_sigma: as for `curve_fit`.
        mask: True where a datum counts, like y or like one problem's y. The others may be NaN.
        jac: as for `curve_fit`, of one problem.
        batch_size, max_seconds: as for `gdjax.minimize_many`.
        **options: those of `least_squares_many`.

    Returns:
        A `Fit` with a leading axis of problems in every leaf. A problem with too few data raises no error: its
        ``freedom`` is not positive, and standard errors that the data do not determine are NaN. A problem without any
        data has the status NO_DATA, which is not a success.

    Raises:
        TimeoutError, TypeError, ValueError: as `curve_fit` and `least_squares_many`; if y, sigma or mask has another
            shape.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(5.0)
    >>> y = jnp.array([[1.0, 3.1, 4.9, 7.2, 8.9], [2.0, 3.0, jnp.nan, 4.8, 6.1]])
    >>> fits = curve_fit_many(lambda p, x: p["a"] * x + p["b"], {"a": 1.0, "b": 1.0}, x, y, mask=jnp.isfinite(y))
    >>> print(fits.params["a"].round(2), fits.freedom, fits.converged)
    [1.99 1.  ] [3 2] [ True  True]
    """
    refuse_services("curve_fit_many", options)
    y, x, params = as_measured(y), as_one_array(x), trained(params)
    start = params.params if isinstance(params, Result) else params
    if y.ndim < 2:
        raise ValueError(f"y has shape {y.shape}: it needs an axis of problems, and axes of data; one fit is curve_fit")
    if isinstance(in_axes, tuple | list) and len(in_axes) != 2:
        raise ValueError(
            f"in_axes must be an axis or a tuple of two, (params, x), got {in_axes!r}; y has its problems in front, "
            "and so have sigma and mask if they have as many axes"
        )
    inputs = spread_axes(in_axes, (start, as_data("x", x)))
    count_problems([Input("y", y, 0), *(i._replace(name=i.name.replace("args[0]", "x", 1)) for i in inputs)])
    one: Any = jax.ShapeDtypeStruct(y.shape[1:], y.dtype)
    like = lambda given: y if np.ndim(given) == y.ndim else one
    if sigma is not None:
        sigma = as_data("sigma", sigma)
        if not goes_into(np.shape(sigma), like(sigma).shape):
            raise ValueError(
                f"sigma has shape {np.shape(sigma)}, y {y.shape}: give sigma the axes of y (one for each problem as "
                "sigma[:, None]), or those of one problem"
            )
    mask = None if mask is None else check_mask(mask, like(mask))
    if sigma is not None:
        counts = mask
        if mask is not None and mask.ndim > like(sigma).ndim:  # where any problem has a datum
            counts = jnp.any(mask, axis=0)
        sigma = check_sigma(sigma, like(sigma), counts)
    axes = tuple(in_axes) if isinstance(in_axes, tuple | list) else (in_axes, in_axes)
    if mask is not None and axes[1] in (None, 0):
        shared = jnp.any(mask, axis=0) if axes[1] is None and mask.ndim == y.ndim else mask
        x = hidden_too(shared, as_data("x", x))
    rest = dict(options, absolute_sigma=absolute_sigma, jac=jac)
    call = call_measured("curve_fit_many", model, params, x, y, sigma, mask, rest, watched=False)
    if mask is not None:
        call = call._replace(finish=functools.partial(call.finish, masks=int(mask.ndim == y.ndim)))
    axes += tuple(0 if np.ndim(given) == y.ndim else None for given in call.args[1:])
    return cast(Fit, solve_many(call, axes, batch_size, max_seconds))


def call_curve_fit(
    caller: str, model: Callable[..., Any], params: Any, args: tuple[Any, ...], options: Any, watched: bool = True
) -> Call:
    """A call of `curve_fit`, see `gdjax.request.call_minimize`; ``args`` are x and y."""
    take_services(caller, options, CurveOptions, watched)
    own, jac = {name: options.get(name) for name in ("p0", "sigma", "mask")}, options.get("jac")
    labels = None
    x, y = args if len(args) == 2 else (*args, None) if len(args) == 1 else (None, None)
    if own["p0"] is not None:
        if y is not None:
            raise TypeError("with p0= the call is curve_fit(model, x, y, p0=...), as in SciPy: leave params out")
        scipys, params, x, y = model, one_by_one(own["p0"]), params, x
        labels = names_of_arguments(scipys, params.size)
        model = lambda p, x: scipys(x, *p)
        scipys_jac = jac
        jac = None if jac is None else lambda p, x: scipys_jac(x, *p)
    elif y is None:
        raise TypeError("curve_fit(model, params, x, y); or SciPy's way, curve_fit(model, x, y, p0=[...])")
    else:
        check_model(model)
    y, x = as_measured(y), as_one_array(x)
    mask = None if own["mask"] is None else check_mask(own["mask"], y)
    if mask is not None and is_concrete(mask) and not np.any(jax.device_get(mask)):
        raise ValueError("mask leaves no data: it is False everywhere; it must be True where a datum counts")
    sigma = check_sigma(own["sigma"], y, mask)
    x = x if mask is None else hidden_too(mask, as_data("x", x))
    if mask is not None and sigma is not None and sigma.ndim == 2 and y.ndim == 1:
        raise ValueError("a mask does not go with a covariance matrix: leave the data out of y, x and sigma")
    rest = {name: value for name, value in options.items() if name not in own} | dict(jac=jac)
    return call_measured(caller, model, params, x, y, sigma, mask, rest, watched, labels)


def call_measured(
    caller: str,
    model: Callable[..., Any],
    params: Any,
    x: Any,
    y: jax.Array,
    sigma: jax.Array | None,
    mask: jax.Array | None,
    options: Any,
    watched: bool,
    labels: tuple[str, ...] | None = None,
) -> Call:
    """The same with data that have been checked; those of many are not ``watched``."""
    known: Any = dict(by="curve_fit", weighted=sigma is not None, labels=labels)
    if mask is not None:
        y, sigma = hidden(mask, y, 0), None if sigma is None else hidden(mask, sigma, 1)
        known |= dict(mask=mask)
    jac, constraints = options["jac"], of_model(options.get("constraints"))
    rest = options | dict(jac=None if jac is None else of_misfit(jac), constraints=constraints)
    misfit = misfit_of(model, bool(options.get("has_aux")))
    call = call_least_squares(caller, misfit, params, (x, y, sigma, mask), rest, watched)
    return call._replace(by="curve_fit", finish=functools.partial(call.finish, **known))


def as_measured(y: Any) -> jax.Array:
    """The data as an array of floating numbers."""
    y = jnp.asarray(as_data("y", y))
    return y if jnp.issubdtype(y.dtype, jnp.inexact) else y.astype(jnp.result_type(float))


def as_one_array(x: Any) -> Any:
    """Data for the model as they are; a list of numbers, which a program would take one by one, as an array."""
    numbers = isinstance(x, list | tuple) and len(x) > 1 and all(isinstance(i, int | float | np.number) for i in x)
    return jnp.asarray(x, jnp.result_type(float)) if numbers else x
