"""The front door: `minimize`, `maximize`, `iterate`."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
import optax

from gdjax.closures import hoist
from gdjax.composite import check_penalty
from gdjax.driver import compiled
from gdjax.gradient_check import check_gradient
from gdjax.history import CAPACITY
from gdjax.implicit import differentiable
from gdjax.layout import Flat
from gdjax.loop import Carry, Loop, Until
from gdjax.methods.base import Method, is_monotone
from gdjax.methods.choice import with_penalty
from gdjax.methods.gradient_descent import GradientDescent
from gdjax.methods.lbfgs import LBFGS
from gdjax.methods.optax import Optax
from gdjax.objective import Problem, trace
from gdjax.observers import NEVER
from gdjax.pytrees import Static, is_traceable, merge, named_leaves, split
from gdjax.result import Result
from gdjax.services import Services, are_idle, describe
from gdjax.services import check as check_services
from gdjax.services import run as run_with
from gdjax.stopping import Status, Stop


def minimize(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    method: Any = None,
    penalty: Any = None,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    tol: Any = None,
    max_steps: Any = None,
    max_evals: Any = None,
    stop: Stop | None = None,
    history: bool | int = False,
    check_grad: bool = False,
    implicit: bool = True,
    kwargs: dict[str, Any] | None = None,
    **services: Unpack[Services],
) -> Result:
    """Minimise ``loss(params, *args, **kwargs)`` over ``params`` until the gradient counts as zero.

    One compiled `lax.while_loop` runs the method. The program is known by what the functions compute and the
    shapes of the arrays: new data, starts, tolerances, limits or learning rates compile nothing, and arrays
    that the loss closes over are data too, so ``minimize(lambda p: loss(p, x), params)`` in a loop over x
    compiles once. A function seen before is not traced again, unless a variable that it refers to (a closure's, a
    global, an attribute of ``self``) has been rebound since; a NumPy array changed in place is not noticed.
    The same call works inside `jax.jit` and `jax.vmap` (one status a lane; nothing raises for the batch) and
    under `jax.grad`.

    Args:
        loss: function of the parameters and data to one real number, or to (number, aux) with ``has_aux``.
            A loss that is itself a pytree (`jax.tree_util.Partial`, a module) has its arrays traced.
        params: where to start: any pytree of float or complex arrays or numbers; or a result, to start at its
            params, and with what its method had learnt (curvature pairs, moments) if it was made with
            ``keep_state=True``. Steps and evaluations are counted anew.
        *args: data for the loss, any pytrees; arrays and numbers are traced, the rest (strings, functions,
            Python bools) selects a program.
        method: a gdjax method or an optax optimiser. Default: `LBFGS`; with a penalty that is no box, `PANOC`.
        penalty: a term that is added to the loss and need not be differentiable, or a constraint: one of
            `gdjax.penalties`, or any object with ``value(x)`` and ``prox(x, step)``. Its numbers are traced.
            The gradient test is then on the prox-gradient step (`gdjax.Stop`); what comes back satisfies the
            constraint, and a start that does not is projected. `maximize` subtracts the penalty.
        grad: analytic gradient, ``grad(params, *args, **kwargs)`` like params, in `jax.grad`'s convention;
            `jax.grad` of the loss otherwise.
        has_aux: whether the loss returns (value, aux); ``result.aux`` is that of the point returned.
        tol: tolerance of the gradient test, see `Stop`, whose default depends on the dtype.
        max_steps: limit on accepted steps, default 10 000.
        max_evals: limit on evaluations, default none.
        stop: a `Stop` for all other tests (target, decrease, step, patience).
        history: record value, gradient norm, step size and evaluations of each step: True keeps up to 1024
            evenly spaced steps, a number that many.
        check_grad: check the gradient at the start first (not inside a trace) and refuse to start on a wrong one.
        implicit: how derivatives are taken, below. False unrolls ``max_evals`` evaluations instead (or ``max_steps``
            steps of gradient descent or optax), which must be Python numbers.
        kwargs: data for the loss by name.
        **services: ``progress``, ``callback``, ``checkpoint``, ``max_seconds``, ``keep_state``: see
            `gdjax.Services`.

    **Derivatives** of ``result.params``, ``value`` and ``aux`` with respect to ``args``, ``kwargs`` and what the loss
    closes over follow from the implicit function theorem, in forward and reverse mode, to any order:
    ``dx/dtheta = -H^-1 dg/dtheta`` at the minimum (`gdjax.implicit`). No iteration is stored, and methods without
    derivatives of their own (optax's too) have these. They are as exact as the minimum: an error e in params, about tol
    over the smallest curvature, makes one of order e in the derivatives of params and of order e^2 in that of value.
    They are NaN where the theorem does not hold: the gradient is more than ten times the tolerance (no convergence),
    or the Hessian is not positive definite (see `gdjax.linear.solve` for how that is noticed). The derivative with
    respect to the start, the method's numbers and the tolerances is zero. History and counts have none.
    With a penalty they are those of the prox-gradient fixed point, by the penalty's numbers too: of a lasso on its
    nonzero entries, of a box off the bounds that hold, where params follow the bound. They need a prox that JAX can
    differentiate. Just where an entry leaves its zero or bound there is none: what comes lies between both sides'.
    With ``implicit=False`` the loop has a fixed length and is differentiated itself, as for a truncated inner
    problem: the start and the learning rate then have derivatives. Memory grows with the evaluations. (Methods that
    search have these in forward mode; in reverse they give NaN.)

    Returns:
        The best point found, with a `Status` that says how the descent ended; ``print`` it.

    Raises:
        TypeError, ValueError: naming the argument and leaf, if params, loss, grad, method or a number is not
            what it must be. How a descent ends never raises: that is the status.

    >>> import jax.numpy as jnp
    >>> rosenbrock = lambda p: (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2
    >>> result = minimize(rosenbrock, {"x": -1.2, "y": 1.0})
    >>> result.converged, round(float(result.params["y"]), 2)
    (True, 1.0)
    >>> fitted = lambda strength: minimize(lambda p: (p - 3.0) ** 2 + strength * p**2, 0.0).params
    >>> round(float(jax.grad(fitted)(0.5)), 2)  # of 3 / (1 + strength)
    -1.33
    """
    request = prepare(
        loss, params, args, method=method, penalty=penalty, grad=grad, has_aux=has_aux, tol=tol, max_steps=max_steps,
        max_evals=max_evals, stop=stop, history=history, check_grad=check_grad, implicit=implicit, kwargs=kwargs,
    )  # fmt: skip
    return run(request, services)


def maximize(loss: Callable[..., Any], params: Any, *args: Any, **options: Unpack["AllOptions"]) -> Result:
    """Maximise ``loss``: as `minimize`, with the same options, for the largest value.

    ``result.value``, ``grad`` and the history are of the function itself, not of its negative; a ``target``
    is reached from below.

    >>> area = lambda length: length * (100 - length)
    >>> round(float(maximize(area, 57.0).value))
    2500
    """
    services, rest = take_services("maximize", options)
    return run(prepare(loss, params, args, maximize=True, **rest), services)


def iterate(
    loss: Callable[..., Any], params: Any, *args: Any, maximize: bool = False, **options: Unpack["Options"]
) -> Iterator[Result]:
    """Step by hand: a generator of results, one an accepted step, beginning with the start (step 0).

    Each shows the iterate of its step, with status RUNNING but for the last, which has the status that ended
    the descent. (`minimize` returns the best point; for methods whose values may rise that can be an
    earlier one.) The options are those of `minimize`; the same trip is run, so the iterates are the same.
    Not inside a trace.

    >>> import gdjax
    >>> for state in iterate(lambda x: x**2, 1.0, method=gdjax.GradientDescent(0.25), max_steps=2):
    ...     print(state.num_steps, state.params, state.status.name)
    0 1.0 RUNNING
    1 0.5 RUNNING
    2 0.25 MAX_STEPS
    """
    check_options("iterate", options, Options)
    request = prepare(loss, params, args, maximize=maximize, **options)
    require_concrete(request[2], "iterate steps in Python")

    def states() -> Iterator[Result]:
        carry = _begin(*request)
        while True:
            carry, state = _next_step(*request, carry)
            yield state
            if state.status != Status.RUNNING:
                return

    return states()


class Options(TypedDict, total=False):
    """The options of `minimize`, by name."""

    method: Any
    penalty: Any
    grad: Callable[..., Any] | None
    has_aux: bool
    tol: Any
    max_steps: Any
    max_evals: Any
    stop: Stop | None
    history: bool | int
    check_grad: bool
    implicit: bool
    kwargs: dict[str, Any] | None


class AllOptions(Options, Services, total=False):
    """Those and the services."""


DEFAULT_METHOD = LBFGS()


def prepare(
    loss: Callable[..., Any],
    params: Any,
    args: tuple[Any, ...],
    *,
    maximize: bool = False,
    method: Any = None,
    penalty: Any = None,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    tol: Any = None,
    max_steps: Any = None,
    max_evals: Any = None,
    stop: Stop | None = None,
    history: bool | int = False,
    check_grad: bool = False,
    implicit: bool = True,
    kwargs: dict[str, Any] | None = None,
) -> tuple[Static, int, list[Any]]:
    """Check the request and split it: what selects the compiled program, the history's size, the arrays."""
    for name, function in (("loss", loss), ("grad", grad)):
        if not (callable(function) or (function is None and name == "grad")):
            raise TypeError(f"{name} must be a function of (params, *args), got {function!r}")
    if not isinstance(kwargs or {}, dict):
        raise TypeError(f"kwargs must be a dict of data for the loss by name, got {kwargs!r}")
    if not isinstance(stop, Stop | None):
        raise TypeError(f"stop must be a gdjax.Stop, such as gdjax.Stop(target=0.0), got {stop!r}")
    limits = dict(tol=tol, max_steps=max_steps, max_evals=max_evals)
    given = {name: value for name, value in limits.items() if value is not None}
    twice = [name for name in given if stop is not None and getattr(stop, name) is not None]
    if twice:
        raise ValueError(f"{twice[0]} is given both by name and in stop; give it once")
    check_penalty(penalty)
    stop, method = dataclasses.replace(stop or Stop(), **given), as_method(method, penalty)
    params, warm = (params.params, params.state) if isinstance(params, Result) else (params, None)
    trips = None if implicit else unrolled_trips(method, stop)
    problem = Problem(loss, params, args, kwargs or {}, grad, bool(has_aux), bool(maximize), penalty, trips)
    arrays, static = split((hoist(problem), method, stop, None if warm is None else warm.state))
    if check_grad:
        require_concrete(arrays, "check_grad=True compares numbers")
        check_gradient(loss, params, *args, grad=grad, has_aux=has_aux, kwargs=kwargs).raise_if_wrong()
    return static, history_capacity(history), arrays


def check_options(caller: str, options: Any, known: Any) -> None:
    """Raise TypeError for an option that is not ``known``."""
    for name in options:
        if name not in known.__annotations__:
            raise TypeError(f"{caller} has no option {name!r}; its options are {', '.join(known.__annotations__)}")


def take_services(caller: str, options: Any) -> tuple[Services, Any]:
    """The services among the options, and the others; TypeError for what is neither."""
    check_options(caller, options, AllOptions)
    services: Any = {name: value for name, value in options.items() if name in Services.__annotations__}
    return services, {name: value for name, value in options.items() if name not in services}


def run(request: tuple[Static, int, list[Any]], services: Services, carry: Carry | None = None) -> Result:
    """The descent, as one program unless a service asks for pieces."""
    check_options("minimize", services, AllOptions)
    if carry is None and not any(services.values()) and services.get("max_seconds") is None:
        return _descend(*request)
    check_services(services)
    if not are_idle(services):
        require_concrete(request[2], f"{', '.join(services)}: a service works in Python, between pieces of the run")
    problem, method, *_ = merge(request[2], request[0])
    header = dict(method=describe(method), maximize=problem.maximize, history=request[1])
    return run_with(WATCHED.bind(*request), problem, services, header, carry)


def require_concrete(arrays: list[Any], what: str) -> None:
    """Raise ValueError inside a trace, where there are no numbers to look at (whatever is computed there is traced)."""
    if any(isinstance(x, jax.core.Tracer) for x in [*arrays, jnp.zeros(())]):
        raise ValueError(f"{what}, so it cannot be used inside jit, vmap or grad")


def as_method(method: Any, penalty: Any = None) -> Method:
    """A gdjax method as it is, an optax optimiser wrapped, the default for None.

    Raises:
        TypeError: for anything else, with what to write instead; ValueError: if it takes no penalty.
    """
    if penalty is not None:
        return with_penalty(method if method is None else as_method(method), penalty)
    if method is None:
        return DEFAULT_METHOD
    if isinstance(method, optax.GradientTransformation | optax.MultiSteps):
        return Optax(method)
    if not isinstance(method, type) and all(hasattr(method, name) for name in ("init", "step", "layout")):
        return method
    hint = ""
    if isinstance(method, str) and hasattr(optax, method.lower()):
        hint = f"; for optax's write method=optax.{method.lower()}(...)"
    elif callable(method):
        hint = "; it is a class or function: call it first, with its hyperparameters"
    raise TypeError(f"method must be a gdjax method or an optax optimiser, got {method!r}{hint}")


def unrolled_trips(method: Method, stop: Stop) -> int:
    """Length of the loop for ``implicit=False``: the evaluations that were asked for."""
    if isinstance(stop.max_evals, int):
        return stop.max_evals
    if isinstance(stop.max_steps, int) and isinstance(method, GradientDescent | Optax) and not method.searches:
        return stop.max_steps + 1
    raise ValueError(
        "implicit=False unrolls a fixed number of evaluations: give max_evals as a Python number (or max_steps, "
        "for gradient descent without a search and for optax)"
    )


def history_capacity(history: bool | int) -> int:
    """Rows of the history: 0 for none, even otherwise."""
    if isinstance(history, bool):
        return CAPACITY if history else 0
    if not isinstance(history, int) or history < 2:
        raise ValueError(f"history must be True, False or a number of steps to keep, at least 2; got {history!r}")
    return history + history % 2


def make_loop(static: Static, capacity: int, arrays: list[Any]) -> Loop:
    """Trace the loss and set up the loop, inside a trace."""
    problem, method, stop, warm = merge(arrays, static)
    hyperparameters = method if not isinstance(method, Optax) else ()  # whose shapes are optax's affair
    for name, leaf in named_leaves("stop", stop) + named_leaves("method", hyperparameters):
        if is_traceable(leaf) and jnp.ndim(leaf) != 0:
            raise ValueError(f"{name} has shape {jnp.shape(leaf)}; it must be one number (jax.vmap tries several)")
    objective = trace(problem, method.layout.of)
    limits = stop.resolve(objective, is_monotone(method), getattr(method, "settles", True))
    return Loop(objective, method, limits, capacity, warm, problem.trips)


WATCHED = compiled(make_loop)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _descend(static: Static, capacity: int, arrays: list[Any]) -> Result:
    """The whole descent as one program, with the derivative of its solution."""

    def descend(arrays: list[Any]) -> Result:
        loop = make_loop(static, capacity, arrays)
        return loop.answer(loop.run(loop.start()))

    problem = lambda arrays: merge(arrays, static)[0]
    if problem(arrays).trips is not None:
        return descend(arrays)
    return differentiable(descend, lambda arrays: trace(problem(arrays), Flat.of))(arrays)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _begin(static: Static, capacity: int, arrays: list[Any]) -> Carry:
    """The carry before the first evaluation."""
    return make_loop(static, capacity, arrays).start()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _next_step(static: Static, capacity: int, arrays: list[Any], carry: Carry) -> tuple[Carry, Result]:
    """On to the next accepted point, and what to show of it."""
    loop = make_loop(static, capacity, arrays)
    carry, _ = loop.run_until(carry, Until(NEVER, carry.progress.steps + 1, -jnp.inf))
    return carry, loop.report(carry, carry.state.iterate)
