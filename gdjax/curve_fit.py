"""Nonlinear least squares of a model and data: `curve_fit`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

import jax.numpy as jnp

from gdjax.insight.fit import Fit
from gdjax.jaxtools.pytrees import as_data
from gdjax.least_squares import FitOptions, call_least_squares
from gdjax.minimize import run
from gdjax.problem.jacobian import of_misfit
from gdjax.problem.misfit import check_sigma, hidden, misfit_of
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
        TypeError, ValueError: as `least_squares`; if the model's shape is not that of y, or it takes more than
            params and x; if sigma is not positive.

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
    labels = None
    x, y = args if len(args) == 2 else (*args, None) if len(args) == 1 else (None, None)
    if own["p0"] is not None:
        if y is not None:
            raise TypeError("with p0= the call is SciPy's, curve_fit(model, x, y, p0=...): params is one too many")
        scipys, params, x, y = model, jnp.asarray(own["p0"], jnp.result_type(float)), params, x
        labels = names_of_arguments(scipys, params.size)
        model = lambda p, x: scipys(x, *p)
        scipys_jac = jac
        jac = None if jac is None else lambda p, x: scipys_jac(x, *p)
    elif y is None:
        raise TypeError("curve_fit(model, params, x, y); or SciPy's way, curve_fit(model, x, y, p0=[...])")
    else:
        check_model(model)
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
    known = dict(weighted=sigma is not None, labels=labels)
    return call._replace(by="curve_fit", finish=functools.partial(call.finish, by="curve_fit", mask=counts, **known))


def check_model(model: Callable[..., Any]) -> None:
    """Raise TypeError if the model takes its parameters one by one, and is not to be called as ``model(params, x)``."""
    try:
        taken = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        return
    names = [p.name for p in taken if p.kind in (0, 1) and p.default is p.empty]
    if len(names) > 2:
        raise TypeError(
            f"the model takes {len(names)} arguments ({', '.join(names)}), but is called as model(params, x) here. For "
            "a model with its parameters one by one give the start by name: curve_fit(model, x, y, p0=[...])"
        )


def names_of_arguments(model: Callable[..., Any], count: int) -> tuple[str, ...] | None:
    """What ``model(x, a, b, c)`` calls its parameters; None if that is not to be seen."""
    try:
        names = [p.name for p in inspect.signature(model).parameters.values() if p.kind in (0, 1)][1:]
    except (TypeError, ValueError):
        return None
    return tuple(names) if len(names) == count else None
