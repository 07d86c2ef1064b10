"""What a solver of jaxopt's hands back, by the names that people read."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.compat.jaxopt.tree_util import tree_l2_norm
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.jaxtools.faces import one_line
from gdjax.jaxtools.pytrees import is_concrete, pytree_dataclass

# What states of some of jaxopt's solvers hold of their inside, and what to use instead.
OF_PAIRS = "the inverse Hessian that they stand for is, after run, state.result.inverse_hessian()"
OF_MOMENTUM = "the momentum is set inside the loop, of which state.iter_num, state.stepsize and state.error tell"
OF_DAMPING = "gdjax.LevenbergMarquardt sets a radius in its place, and the first one is its factor="
INSIDE = dict(
    internal_state="what the optimiser has learnt goes along in the state by itself; a loop of your own over its state "
    "is optax's init and update",
    **dict.fromkeys(("s_history", "y_history", "rho_history", "gamma"), OF_PAIRS),
    **dict.fromkeys(("velocity", "t"), OF_MOMENTUM),
    **dict.fromkeys(("damping_factor", "increase_factor"), OF_DAMPING),
    loss="half the sum of squares is state.value",
    delta="the step is the difference of the params of two updates",
    jac="the Jacobian is jax.jacfwd(residuals)(params), and state.result.covariance what it is mostly for",
)


class OptStep(NamedTuple):
    """What `run` and `update` return; ``params, state = solver.run(...)`` takes it apart."""

    params: Any
    state: Any


@pytree_dataclass
class State:
    """The state of every solver here. After `run` the numbers are those of the params returned."""

    iter_num: Any  # accepted steps; calls of `update`
    value: Any  # of the loss alone, without a penalty
    error: Any  # Euclidean norm of the gradient; with a penalty or bounds the norm of the prox-gradient step
    grad: Any  # of the loss, as `jax.grad` returns it
    stepsize: Any  # of the last step, or of the next
    aux: Any
    failed_linesearch: Any
    num_fun_eval: Any
    num_grad_eval: Any
    num_linesearch_iter: Any  # evaluations beyond one a step
    code: Any  # of the `gdjax.Status`
    residual: Any = None  # of `LevenbergMarquardt` and `GaussNewton`
    result: Any = None  # of `run`: the `gdjax.Result`, or `gdjax.Fit`
    loop: Any = None  # of `init_state` and `update`: the `gdjax.LoopState`
    data: Any = None  # and what it was last called with

    @property
    def status(self) -> Any:
        """How it ended: a `gdjax.Status`; RUNNING in a loop of `update`. Inside a trace, its number."""
        return Status(int(self.code)) if is_concrete(self.code) and np.ndim(self.code) == 0 else self.code

    @property
    def converged(self) -> Any:
        """Whether that is a success."""
        return (self.code >= Status.CONVERGED) & (self.code <= Status.PRECISION_FLOOR)

    @property
    def gradient(self) -> Any:
        """The same as grad, by the name in jaxopt's states of least squares."""
        return self.grad

    def __getattr__(self, name: str) -> NoReturn:
        """Called for what is not here: what only some states of jaxopt's have is said to be elsewhere.

        Raises:
            AttributeError: always.
        """
        if name in INSIDE:
            raise AttributeError(
                f"gdjax's states have no {name!r}, which is part of the inside of jaxopt's solver; {INSIDE[name]}"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def _fields(self) -> tuple[str, ...]:
        """As of a named tuple."""
        return tuple(field.name for field in dataclasses.fields(self))

    def _replace(self, **changes: Any) -> "State":
        """As of a named tuple."""
        return dataclasses.replace(self, **changes)

    def _asdict(self) -> dict[str, Any]:
        """As of a named tuple."""
        return dict(vars(self))

    def __str__(self) -> str:
        """How it ended, in words."""
        return repr(self) if self.result is None else str(self.result)

    __repr__ = one_line

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name."""
        return dict(status=str(self.status), iter_num=self.iter_num, value=self.value, error=self.error)


def of_result(result: Result) -> State:
    """The state of a descent that has ended."""
    composite = result.penalty_value is not None
    squares = result.squares is not None
    return State(
        iter_num=result.num_steps,
        value=result.loss_value if composite else result.value,
        error=result.grad_norm if composite else tree_l2_norm(result.grad),
        grad=result.grad,
        stepsize=step_size(result.state.state),
        aux=result.aux,
        failed_linesearch=result.code == Status.LINE_SEARCH_FAILED,
        num_fun_eval=result.num_evals,
        num_grad_eval=result.num_evals,
        num_linesearch_iter=jnp.maximum(result.num_evals - result.num_steps - 1, 0),
        code=result.code,
        residual=result.squares.residuals if squares else None,
        result=result,
    )


def of_loop(loop: Any, iter_num: Any, error: Callable[[Any], Any], data: Any) -> State:
    """The state of a descent that is stepped; ``error`` makes that number of the iterate."""
    point, evals = loop.carry.state.iterate, loop.num_evals
    conjugate = lambda g: jnp.conj(g) if jnp.iscomplexobj(g) else g
    return State(
        iter_num=iter_num,
        value=point.loss,
        error=error(point),
        grad=jax.tree.map(conjugate, loop.frame.layout.unravel(point.grad)),
        stepsize=step_size(loop.carry.state),
        aux=point.aux,
        failed_linesearch=loop.carry.status == Status.LINE_SEARCH_FAILED,
        num_fun_eval=evals,
        num_grad_eval=evals,
        num_linesearch_iter=jnp.maximum(evals - iter_num - 1, 0),
        code=loop.carry.status,
        residual=point.residuals,
        loop=loop,
        data=data,
    )


def not_begun() -> State:
    """The state of a descent that waits for the data of its loss."""
    zero, infinite = jnp.zeros((), jnp.int32), jnp.full((), jnp.inf)
    numbers = dict(value=infinite, error=infinite, stepsize=jnp.full((), jnp.nan), grad=None, aux=None)
    counts = dict.fromkeys(("iter_num", "num_fun_eval", "num_grad_eval", "num_linesearch_iter"), zero)
    return State(**numbers, **counts, failed_linesearch=zero > 0, code=zero + Status.RUNNING)


def step_size(state: Any) -> Any:
    """What a method's state says of its step: a rate, or a multiple of a direction; NaN if it has neither."""
    for name in ("rate", "gamma", "step_size"):
        if hasattr(state, name):
            return getattr(state, name)
    search = getattr(state, "search", None)
    return getattr(search, "step_size", jnp.asarray(jnp.nan))


def same_data(old: Any, new: Any) -> jax.Array:
    """Whether data are those of the call before, number by number; those of other shapes are not."""
    equal = [
        jnp.array_equal(a, b, equal_nan=jnp.issubdtype(jnp.result_type(a), jnp.inexact))
        for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    ]
    return jnp.all(jnp.stack(equal)) if equal else jnp.asarray(True)
