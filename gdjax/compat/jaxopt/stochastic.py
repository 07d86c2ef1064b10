"""Solvers for batches of data: `OptaxSolver`, `PolyakSGD`, `ArmijoSGD`, all by optax."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import optax

from gdjax.compat.jaxopt.solver import Solver


class Stochastic(Solver):
    """A solver each of whose updates may see other data."""

    stochastic: ClassVar[bool] = True


@dataclasses.dataclass(eq=False)
class OptaxSolver(Stochastic):
    """Any optax optimiser, those that ask for value and gradient (``optax.lbfgs``) too.

    After `run`, ``state.value`` and ``error`` are those of the params returned. After `update` they are those of the
    params that were given: the loss of the batch.

    >>> params, state = OptaxSolver(lambda x: (x - 3.0) ** 2, optax.adam(0.1), maxiter=2000).run(0.0)
    >>> print(params.round(2), state.status)
    3.0 CONVERGED
    """

    fun: Callable[..., Any]
    opt: Any
    value_and_grad: Any = False
    pre_update: Any = None
    maxiter: Any = 500
    tol: Any = 1e-3
    verbose: Any = False
    implicit_diff: bool = False
    implicit_diff_solve: Any = None
    has_aux: bool = False
    jit: bool = True
    unroll: Any = "auto"

    def how(self, penalty: Any) -> Any:
        """The optimiser."""
        return self.opt


@dataclasses.dataclass(eq=False)
class PolyakSGD(Stochastic):
    """``optax.polyak_sgd``, with momentum by ``optax.trace``."""

    fun: Callable[..., Any]
    value_and_grad: Any = False
    has_aux: bool = False
    fun_min: Any = 0.0
    variant: str = "SPS_max"
    max_stepsize: Any = 1.0
    delta: Any = 0.0
    momentum: Any = 0.0
    pre_update: Any = None
    maxiter: Any = 500
    tol: Any = 1e-3
    verbose: Any = False
    implicit_diff: bool = False
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"

    def how(self, penalty: Any) -> Any:
        """By variant: SPS_max bounds the step, SPS+ does not."""
        if self.variant not in ("SPS_max", "SPS+"):
            raise ValueError(f"variant must be SPS_max or SPS+, got {self.variant!r}")
        plus = self.variant == "SPS+"
        most, eps = (1e30, 0.0) if plus else (self.max_stepsize, self.delta)
        polyak = optax.polyak_sgd(most, 1.0, self.fun_min, eps, "sps+" if plus else "sps")
        return with_momentum(polyak, self.momentum)


@dataclasses.dataclass(eq=False)
class ArmijoSGD(Stochastic):
    """``optax.scale_by_backtracking_linesearch`` along the gradient, with momentum by ``optax.trace``."""

    fun: Callable[..., Any]
    value_and_grad: Any = False
    has_aux: bool = False
    aggressiveness: Any = 0.9
    decrease_factor: Any = 0.8
    increase_factor: Any = 1.5
    reset_option: str = "increase"
    momentum: Any = 0.0
    max_stepsize: Any = 1.0
    pre_update: Any = None
    maxiter: Any = 500
    maxls: Any = 15
    tol: Any = 1e-3
    verbose: Any = False
    implicit_diff: bool = False
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"

    def how(self, penalty: Any) -> Any:
        """By what a step begins with: one that has grown, or with the last."""
        if self.reset_option not in ("increase", "conservative", "goldstein"):
            raise ValueError(f"reset_option must be increase, conservative or goldstein, got {self.reset_option!r}")
        search = optax.scale_by_backtracking_linesearch(
            max_backtracking_steps=self.maxls,
            slope_rtol=1 - self.aggressiveness,
            decrease_factor=self.decrease_factor,
            increase_factor=1.0 if self.reset_option == "conservative" else self.increase_factor,
            max_learning_rate=self.max_stepsize,
        )
        return with_momentum(optax.chain(optax.scale(-1.0), search), self.momentum)


def with_momentum(optimizer: Any, momentum: Any) -> Any:
    """Heavy-ball steps: ``v <- momentum v + step``."""
    return optax.chain(optimizer, optax.trace(momentum)) if momentum else optimizer
