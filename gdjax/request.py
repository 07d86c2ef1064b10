"""A request to `minimize`: checked, and split into what selects a program and what is data."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack

import jax

from gdjax import other_names
from gdjax.as_method import as_method
from gdjax.descent.history import CAPACITY
from gdjax.descent.limits import Stop
from gdjax.descent.onward import Escape
from gdjax.descent.result import Result
from gdjax.insight.gradient_check import check_gradient
from gdjax.insight.jacobian_check import check_jacobian
from gdjax.jaxtools.varying import axes_after, vary
from gdjax.methods.base import Method
from gdjax.methods.choice import default, for_size
from gdjax.methods.closures import hoist_method
from gdjax.methods.hyperparameters import with_floats
from gdjax.problem.constraints import as_constraints
from gdjax.problem.hoist import hoist
from gdjax.problem.jacobian import GivenJacobian
from gdjax.problem.penalized import as_penalty
from gdjax.problem.problem import call_loss, check_params, make_problem
from gdjax.problem.robust import check_robust
from gdjax.running.programs import Request
from gdjax.running.services import Services
from gdjax.vectors.vector import is_spread

T = TypeVar("T", bound=Callable[..., Any])


class Options(TypedDict, total=False):
    """The options of `minimize`, by name."""

    method: Any
    penalty: Any
    constraints: Any
    multipliers: Any
    grad: Callable[..., Any] | None
    has_aux: bool
    value_and_grad: bool
    tol: Any
    max_steps: Any
    max_evals: Any
    stop: Stop | None
    history: bool | int
    check_grad: bool
    implicit: bool
    kwargs: dict[str, Any] | None
    space: Any
    scale: str | None


class AllOptions(Options, Services, total=False):
    """Those options, and the services."""


class Call(NamedTuple):
    """What a front door was called with: all that is needed to begin its descent, or to go on with it."""

    by: str  # "minimize", "least_squares" or "curve_fit": a checkpoint says it, and is continued by the same
    function: Callable[..., Any]  # the loss, or the residuals: of (params, *args)
    params: Any
    args: tuple[Any, ...]
    options: Any  # of `prepare`
    services: Services
    finish: Callable[..., Any] = lambda result: result  # what the door makes of a result
    chart: Any = None  # of parameters in spaces, if it is called with free numbers instead
    escapes: tuple[Escape, ...] = ()  # from where the descent should not stay

    def prepare(self) -> "Request":
        """The request, with the user's functions checked and traced."""
        return prepare(self.function, self.params, self.args, **self.options)

    def toward(self, maximize: bool) -> "Call":
        """The same for the largest value, if ``maximize``; TypeError if that makes no sense."""
        if maximize and self.options.get("squares"):
            raise TypeError(f"{self.by} has no option 'maximize': it makes a sum of squares small")
        return self._replace(options=dict(self.options, maximize=bool(maximize)))


def call_minimize(
    caller: str, loss: Callable[..., Any], params: Any, args: tuple[Any, ...], options: Any, watched: bool = True
) -> Call:
    """A call of `gdjax.minimize`; of ``caller``, if something is wrong. Services are known if it is ``watched``."""
    services, rest = take_services(caller, options, Options, watched)
    return Call("minimize", loss, params, args, rest, services)


def prepare(
    loss: Callable[..., Any],
    params: Any,
    args: tuple[Any, ...],
    *,
    maximize: bool = False,
    method: Any = None,
    penalty: Any = None,
    constraints: Any = None,
    multipliers: Any = None,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    value_and_grad: bool = False,
    tol: Any = None,
    max_steps: Any = None,
    max_evals: Any = None,
    stop: Stop | None = None,
    history: bool | int = False,
    check_grad: bool = False,
    implicit: bool = True,
    kwargs: dict[str, Any] | None = None,
    space: Any = None,  # `gdjax.opening.open_call` has taken it
    scale: str | None = None,  # likewise
    inward: Callable[..., Any] | None = None,  # of spaces: see `gdjax.spaces.chart.Chart.inward`
    squares: bool = False,
    robust: Any = None,
    jac: Callable[..., Any] | None = None,
    check_jac: bool = False,
    cov_type: str | None = None,
) -> Request:
    """Check the request, and trace the user's functions."""
    limits = {n: v for n, v in dict(tol=tol, max_steps=max_steps, max_evals=max_evals).items() if v is not None}
    check_types(dict(loss=loss, grad=grad, jac=jac), kwargs, stop)
    check_robust(robust)
    check_conflicts(limits, stop, constraints, squares and (robust is not None or cov_type is not None))
    params, warm = (params.params, params.state) if isinstance(params, Result) else (params, None)
    penalty, constraints = as_penalty(penalty, params), as_constraints(constraints)
    if multipliers is not None and constraints is None:
        raise ValueError("multipliers are of constraints: give constraints=, too")
    nobodys = method is None and constraints is None
    method = default(params, penalty, squares) if nobodys else as_method(method, penalty, constraints)
    stop, method = dataclasses.replace(stop or Stop(), **limits), with_floats(method)
    if method.least_squares and not squares:
        raise ValueError(f"{method.name} works on residuals: gdjax.least_squares(residuals, params, ...)")
    ways: Any = dict(spread=is_spread(params), unroll=None if implicit else unrolled_trips(method, stop))
    ways |= dict(params=params, args=args, kwargs=kwargs or {}, grad=grad, maximize=bool(maximize), penalty=penalty)
    ways |= dict(squares=squares, robust=robust, cov_type=cov_type, constraints=constraints, inward=inward)
    ways |= dict(multipliers=multipliers)
    ways |= dict(jac=None if jac is None else GivenJacobian(jac, loss, bool(has_aux)))
    problem = make_problem(loss, bool(value_and_grad), bool(has_aux), **ways)
    # Each shard's loss is its own: the gradient by params that all of them share would be the sum over the shards.
    axes = axes_after(lambda p: call_loss(problem, check_params(p))[0], params)
    problem = dataclasses.replace(problem, params=vary(params, axes))
    plain, problem = problem, hoist(problem)
    method = for_size(method, problem)
    state = None if warm is None else warm.state
    request = Request(problem, hoist_method(method, problem), stop, state, history_capacity(history))
    if check_jac:
        require_concrete(request.split()[1], "check_jac=True compares numbers")
        check_jacobian(plain)
    if check_grad:
        require_concrete(request.split()[1], "check_grad=True compares numbers")
        data: Any = dict(has_aux=has_aux, kwargs=kwargs, penalty=penalty, value_and_grad=value_and_grad)
        data |= dict(constraints=constraints)
        check_gradient(loss, params, *args, grad=grad, **data).raise_if_wrong()
    return request


def check_types(functions: dict[str, Any], kwargs: Any, stop: Any) -> None:
    """TypeError for what is no function, no dict of data or no `gdjax.Stop`."""
    for name, function in functions.items():
        if not (callable(function) or (function is None and name != "loss")):
            raise TypeError(f"{name} must be a function of (params, *args), got {function!r}")
    if not isinstance(kwargs or {}, dict):
        raise TypeError(f"kwargs must be a dict of data for the loss by name, got {kwargs!r}")
    if not isinstance(stop, Stop | None):
        raise TypeError(f"stop must be a gdjax.Stop, such as gdjax.Stop(target=0.0), got {stop!r}")


def check_conflicts(limits: dict[str, Any], stop: Stop | None, constraints: Any, beyond_squares: bool) -> None:
    """ValueError for a limit given twice, and for what has no meaning with constraints."""
    if stop is not None and (twice := [name for name in limits if getattr(stop, name) is not None]):
        raise ValueError(f"{twice[0]} is given both by name and in stop; give it once")
    if constraints is not None and beyond_squares:
        raise ValueError("with constraints errors are known for plain squares alone: leave robust and cov_type out")
    if constraints is not None and stop is not None and (stop.decrease is not None or stop.step is not None):
        raise ValueError("with constraints a small step tells nothing: leave Stop(decrease=) and Stop(step=) out")


def shows_options(function: T) -> T:
    """Let ``help`` and notebooks show the options of a front door one by one, with their defaults."""
    *own, rest = inspect.signature(function).parameters.values()
    options = [p for p in inspect.signature(prepare).parameters.values() if p.name in Options.__annotations__]
    if rest.annotation == Unpack[AllOptions]:
        options.append(rest.replace(name="services", annotation=Unpack[Services]))
    names = {p.name for p in own}
    shown = [*own, *(p for p in options if p.name not in names)]
    function.__signature__ = inspect.Signature(shown, return_annotation=inspect.signature(function).return_annotation)  # type: ignore[attr-defined]
    return function


def take_services(caller: str, options: Any, known: Any, watched: bool = True) -> tuple[Services, Any]:
    """The services among the options, and the others; TypeError for one that is not ``known``, nor a service."""
    names = [*known.__annotations__, *(Services.__annotations__ if watched else ())]
    for name in options:
        if name not in names:
            raise TypeError(f"{caller} has no option {name!r}{other_names.for_option(name, names)}")
    services: Any = {name: value for name, value in options.items() if name in Services.__annotations__}
    return services, {name: value for name, value in options.items() if name not in services}


def is_traced(arrays: list[Any]) -> bool:
    """Whether this is inside a trace, where no number is known (everything computed there is traced)."""
    return any(isinstance(x, jax.core.Tracer) for x in [*arrays, _nothing()])


_nothing = jax.jit(lambda: True)  # a tenth of the time that an operation takes from Python


def on_one_device(arrays: list[Any]) -> bool:
    """Whether one process with one device does all the work: several would have to agree on where a piece ends."""
    given = [x for x in arrays if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)]
    return jax.process_count() == 1 and len({device for x in given for device in x.devices()}) <= 1


def require_concrete(arrays: list[Any], what: str) -> None:
    """Raise ValueError inside a trace."""
    if is_traced(arrays):
        raise ValueError(f"{what}, so it cannot be used inside jit, vmap or grad")


def unrolled_trips(method: Method, stop: Stop) -> int:
    """Length of the loop for ``implicit=False``: the number of evaluations that was asked for."""
    if (trips := method.evaluations(stop)) is not None:
        return trips
    raise ValueError(
        "implicit=False unrolls a fixed number of evaluations: give max_evals as a Python number (or max_steps, "
        "for gradient descent without a search and for optax)"
    )


def history_capacity(history: bool | int) -> int:
    """Number of rows of the history: 0 for none, otherwise even."""
    if isinstance(history, bool):
        return CAPACITY if history else 0
    if not isinstance(history, int) or history < 2:
        raise ValueError(f"history must be True, False or a number of steps to keep, at least 2; got {history!r}")
    return history + history % 2
