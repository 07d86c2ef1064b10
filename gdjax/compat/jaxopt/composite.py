"""Solvers with a penalty, a set or bounds: `ProximalGradient`, `ProjectedGradient`, `LBFGSB`."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from gdjax.compat.jaxopt.prox import as_constraint, as_penalty, prox_none
from gdjax.compat.jaxopt.smooth import searched
from gdjax.compat.jaxopt.solver import Solver
from gdjax.line_search.backtracking import Backtracking
from gdjax.methods import lbfgs
from gdjax.methods.accelerated_gradient import AcceleratedGradient
from gdjax.methods.accelerated_proximal_gradient import AcceleratedProximalGradient
from gdjax.methods.proximal_gradient import ProximalGradient as Proximal
from gdjax.penalties.base import has_value
from gdjax.penalties.sets import Box


class Composite(Solver):
    """A solver that takes numbers of a penalty after the parameters."""

    stepsize: Any
    acceleration: bool

    def error(self, point: Any) -> Any:
        """The norm of the prox-gradient step."""
        return point.grad_norm

    def how(self, penalty: Any) -> Any:
        """By acceleration and step size; where values are known, the methods that compare them."""
        if penalty is None:
            return AcceleratedGradient()
        search, known = searched(self.stepsize), has_value(penalty)
        if self.acceleration and not callable(self.stepsize):
            if search and known:
                return None  # L-BFGS with bounds, or PANOC
            return AcceleratedProximalGradient(None if search else self.stepsize)
        if search:
            return Proximal(Backtracking() if known else None)
        return Proximal(self.stepsize)


@dataclasses.dataclass(eq=False)
class ProximalGradient(Composite):
    """gdjax's methods for a penalty: `gdjax.PANOC` where its value is known, as of all of `gdjax.compat.jaxopt.prox`.

    Of a ``prox`` of your own it is not: then `gdjax.AcceleratedProximalGradient`, or with ``acceleration=False``
    `gdjax.ProximalGradient`.

    >>> import jax.numpy as jnp
    >>> from gdjax.compat.jaxopt.prox import prox_lasso
    >>> loss = lambda x, b: 0.5 * jnp.sum((x - b) ** 2)
    >>> params, state = ProximalGradient(loss, prox_lasso).run(jnp.zeros(2), 1.0, jnp.array([3.0, 0.5]))
    >>> print(params.round(2), state.status)
    [2. 0.] CONVERGED
    """

    fun: Callable[..., Any]
    prox: Callable[..., Any] = prox_none
    value_and_grad: Any = False
    has_aux: bool = False
    stepsize: Any = 0.0
    maxiter: Any = 500
    maxls: Any = 15
    tol: Any = 1e-3
    acceleration: bool = True
    decrease_factor: Any = 0.5
    verbose: Any = False
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"

    takes: ClassVar[str] = "hyperparams_prox"

    def penalty(self, given: Any) -> Any:
        """That whose prox it is."""
        return as_penalty(self.prox, given)


@dataclasses.dataclass(eq=False)
class ProjectedGradient(Composite):
    """gdjax's methods for a set: L-BFGS with bounds for boxes, `gdjax.PANOC` for the others of `projection`.

    Of a ``projection`` of your own: as for `ProximalGradient`.
    """

    fun: Callable[..., Any]
    projection: Callable[..., Any]
    value_and_grad: Any = False
    has_aux: bool = False
    stepsize: Any = 0.0
    maxiter: Any = 500
    maxls: Any = 15
    tol: Any = 1e-3
    acceleration: bool = True
    decrease_factor: Any = 0.5
    verbose: Any = False
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"

    takes: ClassVar[str] = "hyperparams_proj"

    def penalty(self, given: Any) -> Any:
        """The set."""
        return as_constraint(self.projection, given)


@dataclasses.dataclass(eq=False)
class LBFGSB(Composite):
    """`gdjax.LBFGS` in a box; a bound may be None, infinite, a number, an array or a pytree like params.

    >>> import jax.numpy as jnp
    >>> params, state = LBFGSB(lambda x: jnp.sum((x - 2.0) ** 2)).run(jnp.zeros(2), bounds=(None, [1.0, 3.0]))
    >>> print(params.round(2), state.status)
    [1. 2.] CONVERGED
    """

    fun: Callable[..., Any]
    value_and_grad: Any = False
    has_aux: bool = False
    maxiter: Any = 50
    tol: Any = 1e-3
    stepsize: Any = 0.0
    linesearch: Any = "zoom"
    linesearch_init: str = "increase"
    stop_if_linesearch_fails: bool = False
    condition: Any = None
    maxls: Any = 30
    decrease_factor: Any = None
    increase_factor: Any = 1.5
    max_stepsize: Any = 1.0
    min_stepsize: Any = 1e-6
    theta: Any = 1.0
    history_size: int = 10
    use_gamma: bool = True
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"
    verbose: Any = False

    takes: ClassVar[str] = "bounds"

    def penalty(self, given: Any) -> Any:
        """The box, infinite without bounds."""
        return Box() if given is None else Box(*given)

    def how(self, penalty: Any) -> Any:
        """With as many pairs."""
        return lbfgs.LBFGS(max(self.history_size, 1))
