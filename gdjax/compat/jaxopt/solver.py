"""What all solvers share: jaxopt's calls, made by `gdjax.minimize`, `gdjax.init` and `gdjax.step`."""

import dataclasses
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gdjax.compat.jaxopt import implicit_diff
from gdjax.compat.jaxopt.state import OptStep, State, not_begun, of_loop, of_result, same_data
from gdjax.compat.jaxopt.tree_util import tree_l2_norm
from gdjax.compat.jaxopt.unrolled import run_with_own_derivatives
from gdjax.descent.limits import Stop
from gdjax.descent.result import Result
from gdjax.doors import call_by
from gdjax.jaxtools.pytrees import split
from gdjax.methods.choice import count_reals
from gdjax.minimize import minimize, run
from gdjax.own_loop import init, step
from gdjax.request import is_traced

# Evaluations that are unrolled for each step that is allowed, with ``implicit_diff=False``: searches take one to two.
EVALS_OF_STEP = 2


def can_call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Whether a function takes these arguments, as far as its signature tells."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # it has no signature
        return True
    return True


class Solver:
    """A solver of jaxopt's: a dataclass of its constructor's arguments. It is not called by itself.

    What gdjax decides by itself is accepted and has no effect: limits and factors of line searches, ``unroll``, ``jit``
    (all is compiled; use `jax.debug` to look inside).
    """

    fun: Any
    tol: Any
    maxiter: Any
    has_aux: bool
    value_and_grad: Any
    verbose: Any
    implicit_diff: bool
    implicit_diff_solve: Any
    pre_update: Any = None

    door: ClassVar[Callable[..., Any]] = staticmethod(minimize)
    stochastic: ClassVar[bool] = False  # every update sees other data
    takes: ClassVar[str | None] = None  # the name of what follows params in `run`

    def __post_init__(self) -> None:
        self.update = jax.jit(self._update)
        self.init_state = jax.jit(self._init_state)

    # What a solver says of itself.

    def how(self, penalty: Any) -> Any:
        """The gdjax method; None for the default."""
        raise NotImplementedError

    def penalty(self, given: Any) -> Any:
        """The penalty that is made of what follows params."""
        return None

    @property
    def loss(self) -> Callable[..., Any]:
        """What gdjax is given: a function to the value, or to value and gradient."""
        return self.value_and_grad if callable(self.value_and_grad) else self.fun

    def keywords(self, params: Any, given: Any) -> dict[str, Any]:
        """The options of the door."""
        penalty = self.penalty(given)
        made = dict(method=self.how(penalty), stop=self.stop(params), has_aux=self.has_aux)
        if self.value_and_grad:
            made["value_and_grad"] = True
        return made if penalty is None else made | dict(penalty=penalty)

    def stop(self, params: Any) -> Stop:
        """jaxopt's tolerance, of the Euclidean norm of the gradient, and gdjax's test with the same number: both.

        The first alone calls a loss scaled by 1e-6 converged where it starts.
        """
        at_most = self.tol / max(count_reals(params), 1) ** 0.5
        return Stop(tol=self.tol, gradient_at_most=at_most, max_steps=self.maxiter)

    # What people call.

    def run(self, init_params: Any, *args: Any, **kwargs: Any) -> OptStep:
        """Minimise from ``init_params`` (or an `OptStep`, to go on with what it has learnt).

        Returns:
            ``(params, state)``; ``state.status`` says how it ended.
        """
        given, args, kwargs = self.take(args, kwargs)
        if self.pre_update is not None:
            return self.run_by_updates(init_params, given, args, kwargs)
        if not self.implicit_diff or self.implicit_diff_solve is None:
            return self.descend(init_params, given, args, kwargs)
        solve = lambda start, given, *args, **kwargs: self.descend(start, given, args, kwargs)
        decorate = implicit_diff.custom_root(self.optimality, has_aux=True, solve=self.implicit_diff_solve)
        return OptStep(*decorate(solve)(init_params, given, *args, **kwargs))

    def descend(self, start: Any, given: Any, args: Any, kwargs: Any) -> OptStep:
        """The call of the door."""
        params = start.params if isinstance(start, OptStep) else start
        options = self.keywords(params, given) | dict(kwargs=kwargs, keep_state=True)
        options |= self.watched(params, args, kwargs)
        if isinstance(start, OptStep) and isinstance(start.state, State) and start.state.result is not None:
            params = dataclasses.replace(start.state.result, params=params)
        call = call_by(self.door)(type(self).__name__, self.loss, params, args, options)
        result = run(call) if self.implicit_diff else run_with_own_derivatives(call, EVALS_OF_STEP * self.maxiter)
        return OptStep(result.params, of_result(result))

    def watched(self, *arrays: Any) -> dict[str, Any]:
        """The services that a call from Python can have."""
        if not self.verbose:
            return {}
        if is_traced(jax.tree.leaves(arrays)):
            warnings.warn("verbose= prints nothing inside jit, vmap or grad: call run as it is", stacklevel=4)
            return {}
        return dict(callback=print_line)

    def _init_state(self, init_params: Any, *args: Any, **kwargs: Any) -> State:
        """The state before the first `update`; without the data of the loss, which begins with that update."""
        given, args, kwargs = self.take(args, kwargs)
        if not can_call(self.loss, init_params, *args, **kwargs):
            return not_begun()
        params = init_params.params if isinstance(init_params, OptStep) else init_params
        params = jax.tree.map(jnp.asarray, params)
        options = self.keywords(params, given)
        loop = init(self.loss, params, *args, by=self.door, kwargs=kwargs, **options)
        state = of_loop(loop, jnp.asarray(0, jnp.int32), self.error, split((given, args, kwargs))[0])
        value, aux, grad = self.evaluate(params, args, kwargs)
        like = lambda x, old: jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), x, old)
        infinite = jnp.full_like(state.error, jnp.inf)
        return state._replace(value=like(value, state.value), aux=aux, grad=like(grad, state.grad), error=infinite)

    def _update(self, params: Any, state: State, *args: Any, **kwargs: Any) -> OptStep:
        """The next accepted step from ``params``, which may be others than the last update returned."""
        if self.pre_update is not None:
            params, state = self.pre_update(params, state, *args, **kwargs)
        if state.loop is None:
            state = self._init_state(params, *args, **kwargs)
        given, args, kwargs = self.take(args, kwargs)
        data, loop = split((given, args, kwargs))[0], state.loop
        if given is not None:
            loop = loop.with_options(penalty=self.penalty(given))
        new = True if self.stochastic else ~same_data(state.data, data)
        ways: Any = dict(new_data=new, params=params, whole=not self.stochastic, kwargs=kwargs)
        loop = step(self.loss, loop, *args, **ways)
        return OptStep(loop.params, of_loop(loop, state.iter_num + 1, self.error, data))

    def run_by_updates(self, init_params: Any, given: Any, args: Any, kwargs: Any) -> OptStep:
        """`run` as a loop of updates, for a hook before each."""
        given = () if self.takes is None else (given,)
        goes_on = lambda now: (now.state.error > self.tol) & (now.state.iter_num < self.maxiter)
        begun = OptStep(jax.tree.map(jnp.asarray, init_params), self.init_state(init_params, *given, *args, **kwargs))
        return jax.lax.while_loop(goes_on, lambda now: self._update(*now, *given, *args, **kwargs), begun)

    def run_iterator(self, init_params: Any, iterator: Iterator[Any], *args: Any, **kwargs: Any) -> OptStep:
        """An `update` for each batch, which the loss is given as ``data``: at most ``maxiter``."""
        params, state = init_params, self.init_state(init_params, *args, **kwargs, data=next(iterator))
        for data in itertools.islice(iterator, 0, self.maxiter):
            params, state = self.update(params, state, *args, **kwargs, data=data)
        return OptStep(params, state)

    def optimality_fun(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """Zero at a solution: the gradient; with a penalty or bounds ``prox(params - gradient) - params``."""
        return self.optimality(params, *self.taken(args, kwargs)[0], **self.taken(args, kwargs)[1])

    def l2_optimality_error(self, params: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """The Euclidean norm of `optimality_fun`."""
        return tree_l2_norm(self.optimality_fun(params, *args, **kwargs))

    # How it is done.

    def take(self, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        """What follows params, by place or by name, and the rest."""
        if self.takes is None:
            return None, args, kwargs
        if self.takes in kwargs:
            return kwargs[self.takes], args, {k: v for k, v in kwargs.items() if k != self.takes}
        return (args[0], args[1:], kwargs) if args else (None, args, kwargs)

    def taken(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The same, in front."""
        given, args, kwargs = self.take(args, kwargs)
        return (given, *args), kwargs

    def optimality(self, params: Any, given: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimality_fun`, with what follows params (None for nothing) in its place."""
        grad, penalty = self.evaluate(params, args, kwargs)[2], self.penalty(given)
        if penalty is None:
            return grad
        ahead = penalty.prox(jax.tree.map(lambda x, g: x - g, params, grad), 1.0)
        return jax.tree.map(lambda new, old: new - old, ahead, params)

    def evaluate(self, params: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        """Value, aux and gradient."""
        if self.value_and_grad:
            value, grad = self.loss(params, *args, **kwargs)
        else:
            value, grad = jax.value_and_grad(self.loss, has_aux=self.has_aux)(params, *args, **kwargs)
        return (*value, grad) if self.has_aux else (value, None, grad)

    def error(self, point: Any) -> Any:
        """The error at an iterate of a loop."""
        return tree_l2_norm(point.grad).astype(point.value.dtype)


def print_line(result: Result) -> None:
    """One line for a step, with ``verbose=True``."""
    print(f"step {int(result.num_steps)}: value {float(result.value):.6g}, gradient norm {float(result.grad_norm):.3g}")
