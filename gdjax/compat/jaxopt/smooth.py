"""Solvers of smooth losses: `GradientDescent`, `LBFGS`, `BFGS`, `NonlinearCG`."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from gdjax.compat.jaxopt.absent import SEARCH
from gdjax.compat.jaxopt.solver import Solver
from gdjax.jaxtools.pytrees import is_concrete
from gdjax.line_search.backtracking import Backtracking
from gdjax.line_search.hager_zhang import HagerZhang
from gdjax.methods import bfgs, lbfgs
from gdjax.methods.accelerated_gradient import AcceleratedGradient
from gdjax.methods.conjugate_gradient import ConjugateGradient
from gdjax.methods.gradient_descent import GradientDescent as Descent


class NamedSearch:
    """A line search of jaxopt's, to be given to a solver as ``linesearch=``; its name is all that counts."""

    name: ClassVar[str]

    def __init__(self, fun: Any = None, *args: Any, **options: Any) -> None:
        self.fun, self.options = fun, options

    def run(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Nothing is done.

        Raises:
            NotImplementedError: saying what does it.
        """
        raise NotImplementedError(f"gdjax does not run {type(self).__name__} by itself; use {SEARCH}")


class BacktrackingLineSearch(NamedSearch):
    """`gdjax.Backtracking`."""

    name = "backtracking"


class ZoomLineSearch(NamedSearch):
    """The solver's own, `gdjax.MoreThuente`."""

    name = "zoom"


class HagerZhangLineSearch(NamedSearch):
    """`gdjax.HagerZhang`."""

    name = "hager-zhang"


SEARCHES = {"zoom": None, "backtracking": Backtracking(), "hager-zhang": HagerZhang()}


def searched(stepsize: Any) -> bool:
    """Whether the step is to be searched for: 0 (or less) by jaxopt's convention. A traced number is a rate."""
    return not callable(stepsize) and is_concrete(stepsize) and stepsize <= 0


def line_search(name: Any, stepsize: Any) -> dict[str, Any]:
    """The line search of that name; nothing for the method's own."""
    name = getattr(name, "name", name)
    if name not in SEARCHES:
        raise ValueError(f"linesearch must be one of {', '.join(SEARCHES)}, got {name!r}")
    if not searched(stepsize):
        warnings.warn("gdjax's quasi-Newton methods search for their steps; stepsize= has no effect", stacklevel=4)
    search = SEARCHES[name]
    return {} if search is None else dict(line_search=search)


@dataclasses.dataclass(eq=False)
class GradientDescent(Solver):
    """`gdjax.AcceleratedGradient`; with ``acceleration=False``, or a schedule, `gdjax.GradientDescent`.

    >>> params, state = GradientDescent(lambda x, a: (x - a) ** 2).run(0.0, 3.0)
    >>> print(params.round(2), state.status)
    3.0 CONVERGED
    """

    fun: Callable[..., Any]
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

    def how(self, penalty: Any) -> Any:
        """By acceleration and step size."""
        search = searched(self.stepsize)
        if self.acceleration and not callable(self.stepsize):
            return AcceleratedGradient() if search else AcceleratedGradient(initial=self.stepsize, grow=1.0)
        return Descent(Backtracking() if search else self.stepsize)


@dataclasses.dataclass(eq=False)
class LBFGS(Solver):
    """`gdjax.LBFGS`; with ``history_size=0`` `gdjax.GradientDescent` with a search.

    >>> import jax.numpy as jnp
    >>> rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    >>> params, state = LBFGS(rosenbrock, tol=1e-2).run(jnp.zeros(4))
    >>> print(params.round(1), state.status, bool(state.failed_linesearch))
    [1. 1. 1. 1.] CONVERGED False
    """

    fun: Callable[..., Any]
    value_and_grad: Any = False
    has_aux: bool = False
    maxiter: Any = 500
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
    history_size: int = 10
    use_gamma: bool = True
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"
    verbose: Any = False

    def how(self, penalty: Any) -> Any:
        """With as many pairs."""
        search = line_search(self.linesearch, self.stepsize)
        return lbfgs.LBFGS(self.history_size, **search) if self.history_size else Descent(Backtracking())


@dataclasses.dataclass(eq=False)
class BFGS(Solver):
    """`gdjax.BFGS`."""

    fun: Callable[..., Any]
    value_and_grad: Any = False
    has_aux: bool = False
    maxiter: Any = 500
    tol: Any = 1e-3
    stepsize: Any = 0.0
    linesearch: Any = "zoom"
    linesearch_init: str = "increase"
    condition: Any = None
    maxls: Any = 30
    decrease_factor: Any = None
    increase_factor: Any = 1.5
    max_stepsize: Any = 1.0
    min_stepsize: Any = 1e-6
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"
    verbose: Any = False

    def how(self, penalty: Any) -> Any:
        """With the line search of that name."""
        return bfgs.BFGS(**line_search(self.linesearch, self.stepsize))


@dataclasses.dataclass(eq=False)
class NonlinearCG(Solver):
    """`gdjax.ConjugateGradient`, of Hager, Zhang, Dai and Kou, whatever the ``method`` (a beta) and ``linesearch``.

    Conjugate directions need an accurate search, so it keeps its own.
    """

    fun: Callable[..., Any]
    value_and_grad: Any = False
    has_aux: bool = False
    maxiter: Any = 100
    tol: Any = 1e-3
    method: Any = "polak-ribiere"
    linesearch: Any = "zoom"
    linesearch_init: str = "increase"
    condition: Any = None
    maxls: Any = 30
    decrease_factor: Any = None
    increase_factor: Any = 1.2
    max_stepsize: Any = 1.0
    min_stepsize: Any = 1e-6
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    jit: bool = True
    unroll: Any = "auto"
    verbose: Any = False

    def __post_init__(self) -> None:
        names = ("polak-ribiere", "fletcher-reeves", "hestenes-stiefel")
        if self.method not in names:
            raise ValueError(f"method must be one of {', '.join(names)}, got {self.method!r}")
        super().__post_init__()

    def how(self, penalty: Any) -> Any:
        """With its own line search."""
        line_search(self.linesearch, 0.0)  # the name must be one of jaxopt's
        return ConjugateGradient()
