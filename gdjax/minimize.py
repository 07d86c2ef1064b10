"""The front door: `minimize`, `maximize`."""

from collections.abc import Callable
from typing import Any, Unpack

import jax

from gdjax.descent.result import Result
from gdjax.insight.doubt import reviewed
from gdjax.insight.nonfinite_data import named_data, with_nonfinite_data
from gdjax.jaxtools.packing import Packed
from gdjax.opening import open_call
from gdjax.request import (
    AllOptions,
    Call,
    call_minimize,
    is_traced,
    on_one_device,
    require_concrete,
    shows_options,
)
from gdjax.running.programs import WATCHED, Request, descend
from gdjax.running.services import are_idle, describe
from gdjax.running.services import check as check_services
from gdjax.running.services import run as run_with


@shows_options
def minimize(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    **options: Unpack[AllOptions],
) -> Result:
    """Minimise ``loss(params, *args, **kwargs)`` over ``params`` until the gradient counts as zero.

    One compiled `lax.while_loop` runs the method. gdjax recognises a program by what the functions compute and by the
    shapes of the arrays, so new data, starts, tolerances, limits or learning rates compile nothing. Arrays and numbers
    that the loss closes over count as data too: ``minimize(lambda p: loss(p, x), params)`` in a loop over x compiles
    once. (Python numbers that are exponents or appear in the body of a loop are code, and so are 0, 1/2, 1 and 2.) Each
    call traces the loss, gradient, penalty and schedules, so they see the current value of everything they read. A
    `jax.jit` around the call saves that millisecond; as always under `jit`, it then keeps the values it read first. The
    64 most recently used programs are kept. The same call works inside `jax.jit`, `jax.vmap` (each problem of the batch
    has its own status, and none raises an error for all) and `jax.grad`.

    Args:
        loss: function of the parameters and data that returns one real number, or (number, aux) with ``has_aux``.
            If the loss is itself a pytree (`jax.tree_util.Partial`, a module), its arrays are traced.
        params: where to start: any pytree of float or complex arrays or numbers. Or a result, to start at its params;
            if it was made with ``keep_state=True``, the method also starts with what it has learnt (curvature pairs,
            moments). Steps and evaluations are then counted from zero. Or a `gdjax.Training`, to start at its params.
        *args: data for the loss, any pytrees. Arrays and numbers are traced, and so is anything with ``__array__``.
            (Pandas columns work; a data frame arrives as the matrix of its values, so pass ``dict(frame)`` to get its
            columns by name.) Everything else (strings, functions, single bools) is passed to the loss unchanged.
        method: a gdjax method or an optax optimiser. Default: `BFGS` for up to 32 real parameters, `LBFGS` for more;
            with a penalty other than a box, `PANOC`.
        penalty: a term that is added to the loss and need not be differentiable, or a constraint set: one of
            `gdjax.penalties`, a dict (or pytree like params) of them for some parameters, or any object with
            ``value(x)`` and ``prox(x, step)``, its proximal operator (see `gdjax.penalties.Penalty`). Its numbers are
            traced. The gradient test then uses the prox-gradient step (`gdjax.Stop`). The answer satisfies the
            constraint; a start that does not is projected. `maximize` subtracts the penalty.
        space: constraints on parameters by a change of variables: one of `gdjax.spaces` (`Fixed`, `Scaled`, `Positive`,
            `Interval`, `Simplex` ...), or a dict of them by name, ``{"sigma": Positive(), "layers[0]": Fixed()}``; or a
            constraint from numpyro or a bijector from distrax. The optimisation then works on unconstrained numbers,
            which are mapped to the parameters; tolerances apply to gradients with respect to these numbers.
            Where the map is flat, near the end of a space, the slope by the parameter must have fallen, too.
            ``result.grad`` is the gradient with respect to the parameters, as far as their spaces let them move, and 0
            for fixed ones. A penalty may act on parameters that are free or fixed. Params may be a whole model (an
            `equinox.Module`, a `flax.nnx.Module`, a dataclass): everything in it that is not a floating array stays as
            it is, and result.params is a model of the same kind.
        scale: "auto" measures the curvature at the start with one Hessian product per parameter (up to 1000), and
            optimises in units of ``1 / sqrt|H_ii|``. Use it if parameters differ greatly in size, like the coefficients
            of raw columns. (`TrustRegion` and `LevenbergMarquardt` learn such units by themselves.)
        constraints: a `gdjax.Constraint`, or a list or dict of them, for ``lower <= c(params, *args) <= upper``. They
            hold at the answer, to the tolerance, but not on the way there. The method is `AugmentedLagrangian`. A
            ``penalty`` next to constraints must be a `gdjax.penalties.Box` or ``NonNegative``; the run never leaves it.
        multipliers: with constraints, the multipliers to start with, such as ``result.multipliers`` of a similar
            problem whose ``result.params`` you start from: a pytree like what the constraints return. Default 0.
        grad: your own gradient, ``grad(params, *args, **kwargs)``, a pytree like params, in `jax.grad`'s convention.
            Default: `jax.grad` of the loss. At the end of the run, two evaluations compare your gradient with
            `jax.grad`'s (unless JAX cannot differentiate the loss): see the status WRONG_GRADIENT.
        has_aux: whether the loss returns (value, aux). ``result.aux`` is the aux at the returned point.
        value_and_grad: whether the loss returns (value, grad) from one call, as `jax.value_and_grad` and simulators
            with adjoints do; with ``has_aux`` ((value, aux), grad). Other functions that take a loss (`uncertainty`,
            for example) take it as ``loss=lambda p: f(p)[0], grad=lambda p: f(p)[1]``.
        tol: tolerance of the gradient test, see `Stop`. The default depends on the dtype.
        max_steps: limit on accepted steps, default 10 000.
        max_evals: limit on evaluations, default none.
        stop: a `Stop` for all other tests (target, decrease, step, patience).
        history: record value, gradient norm, step size and evaluations of each step. True keeps up to 1024 evenly
            spaced steps; a number keeps that many.
        check_grad: check the gradient at the start (not inside a trace), and refuse to start if it is wrong.
        implicit: how derivatives are computed, see below. False unrolls ``max_evals`` evaluations instead (or
            ``max_steps`` steps of gradient descent or optax), which must be Python numbers.
        kwargs: data for the loss by name.
        **services: ``progress``, ``callback``, ``checkpoint``, ``max_seconds``, ``keep_state``: see
            `gdjax.Services`.

    **Derivatives** of ``result.params``, ``value`` and ``aux`` with respect to ``args``, ``kwargs`` and what the loss
    closes over come from the implicit function theorem, in forward and reverse mode, to any order:
    ``dx/dtheta = -H^-1 dg/dtheta`` at the minimum (`gdjax.derivatives.implicit`). No iterations are stored, and the
    method need not be differentiable, so this also works with optax's. The derivatives are as exact as the minimum: an
    error e in params, about tol over the smallest curvature, causes an error of order e in the derivatives of params,
    and of order e^2 in that of value.
    They are NaN where the theorem does not hold: if the gradient is more than ten times the tolerance (no convergence),
    or if the Hessian is not positive definite (`gdjax.derivatives.hessian_solve.solve` says how this is checked).
    Derivatives with respect to the start, the method's numbers and the tolerances are zero. History and counts have
    none.
    With a penalty, gdjax differentiates the prox-gradient fixed point, also with respect to the penalty's numbers: for
    a lasso on its nonzero entries, for a box away from the active bounds. An entry at a bound moves with the bound. The
    prox must be differentiable. It may contain loops of variable length (but not for reverse mode with respect to more
    than eight of the penalty's numbers). At the exact point where an entry leaves zero or a bound, the derivative does
    not exist; you get a value between the one-sided derivatives.
    With ``implicit=False`` the loop has a fixed length and is itself differentiated, as for a truncated inner problem:
    the start and the learning rate then have derivatives. Memory grows with the number of evaluations. This works in
    both modes with any method. It gives the derivative of the returned numbers, as finite differences would, so it
    includes the step sizes that a search or a rule computes. Discrete decisions (accepting a trial, stopping) are not
    differentiated; where one changes, the result is discontinuous.

    **Constraints.** CONVERGED then means that three numbers are at most ``tol`` (see `gdjax.Stop` for its default).
    Multiplying the constraints by a number makes no difference; nor does multiplying the loss, except that a loss above
    1 at the start must meet a stricter test. ``result.stationarity`` is the norm of the gradient of the Lagrangian
    relative to that of the loss (or to ``|f| + min(1, |f at the start|)``, up to 1e-4 of its largest gradient; 1e-2 in
    float32). ``result.conditions.relative`` is the largest violation, each relative to the size of its constraint,
    ``|bound| + min(|dc/dx|, |x dc/dx|)``, or more at the start. ``result.complementarity`` is the largest of the
    contributions of a multiplier to the gradient, or the distance of its constraint from the bound if that is smaller.
    ``result.violation`` is the largest violation in the constraints' own units, and ``result.multipliers`` are the
    sensitivities df*/d(bound). Large multipliers are named in the message; they belong to constraints that hardly allow
    any point, or that depend on each other. INFEASIBLE means a point of least violation, as far as gradients can tell,
    even if the tolerance would allow it; the message names the constraints that conflict. Before convergence, the point
    of least violation is returned, and among feasible points the lowest. In float32 the default tolerance is 3.5e-4.

    Returns:
        The best point found, with a `Status` that says how the run ended; ``print`` it for an explanation.

    Raises:
        TypeError, ValueError: if params, loss, grad, method or a number is invalid; the message names the argument and
            the leaf (the array of the pytree). Failure to converge never raises an error: read ``result.status``. In a
            call from Python, errors that the loss raises while it runs (in `jax.pure_callback`, `equinox.error_if`) are
            not raised either: the status is RAISED, and ``result.exception`` is the error as JAX reports it. To keep
            all evaluations before the error, they are made twice. If the very first evaluation raises, there is nothing
            to keep, and the error is raised.

    >>> import jax, jax.numpy as jnp
    >>> rosenbrock = lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2
    >>> result = minimize(rosenbrock, {"x": -1.2, "y": 1.0})
    >>> result.converged, round(float(result.params["y"]), 2)
    (True, 1.0)
    >>> fitted = lambda strength: minimize(lambda p: (p - 3.0) ** 2 + strength * p**2, 0.0).params
    >>> round(float(jax.grad(fitted)(0.5)), 2)  # of 3 / (1 + strength)
    -1.33
    """
    return run(call_minimize("minimize", loss, params, args, options))


@shows_options
def maximize(loss: Callable[..., Any], params: Any, *args: Any, **options: Unpack[AllOptions]) -> Result:
    """Maximise ``loss``: like `minimize`, with the same options.

    ``result.value``, ``grad`` and the history belong to the function itself, not to its negative. A ``target`` is
    reached from below.

    >>> area = lambda length: length * (100 - length)
    >>> round(float(maximize(area, 57.0).value))
    2500
    """
    return run(call_minimize("maximize", loss, params, args, options).toward(maximize=True))


def run(call: Call, request: Request | None = None, carry: Packed | None = None) -> Result:
    """Run the descent that a front door is called for, in pieces if possible; or, with a carry, go on with it.

    Args:
        call: what is wanted.
        request: the same, prepared, if that has been done.
        carry: of a descent that was stopped.
    """
    call = open_call(call)
    request, services = request or call.prepare(), call.services
    check_services(services)
    key, arrays = request.split()
    if not are_idle(services):
        require_concrete(arrays, f"{', '.join(services)}: a service works in Python, between pieces of the run")
    problem = request.problem
    switches: Any = jax.config  # what is not known yet is infinite in a carry, which comes from the host at first
    strict = switches.jax_debug_nans or switches.jax_debug_infs or switches.jax_transfer_guard_host_to_device
    whole = strict or problem.unroll is not None or not on_one_device(arrays) or is_traced(arrays)
    if carry is None and are_idle(services) and whole:
        return call.finish(descend(key, bool(services.get("keep_state")), arrays))
    if (callback := services.get("callback")) is not None:
        services = {**services, "callback": lambda result: callback(call.finish(result))}
    header = dict(by=call.by, method=describe(request.method), maximize=problem.maximize, history=request.history)
    found = run_with(WATCHED.bind(key, arrays), problem, services, header, carry, call.escapes)
    result = reviewed(key, arrays, found)
    data = named_data(call.function, call.args, call.options.get("kwargs"))
    return call.finish(with_nonfinite_data(result, data))
