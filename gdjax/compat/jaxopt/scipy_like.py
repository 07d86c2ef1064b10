"""`ScipyMinimize` and `ScipyBoundedMinimize`: SciPy's gradient methods by those of gdjax, inside `jax.jit` too."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from gdjax.compat.jaxopt.solver import OptStep, Solver
from gdjax.compat.jaxopt.state import State
from gdjax.descent.limits import Stop
from gdjax.descent.stopping import Status, is_success
from gdjax.jaxtools.faces import one_line
from gdjax.jaxtools.pytrees import is_concrete, pytree_dataclass
from gdjax.methods.bfgs import BFGS
from gdjax.methods.conjugate_gradient import ConjugateGradient
from gdjax.methods.lbfgs import LBFGS
from gdjax.methods.trust_region import TrustRegion
from gdjax.penalties.sets import Box

NEWTON = ("newton-cg", "trust-ncg", "trust-krylov", "trust-exact", "dogleg")
BOUNDED = ("l-bfgs-b", "tnc", "slsqp", "trust-constr")
WITHOUT_GRADIENTS = ("nelder-mead", "powell", "cobyla", "cobyqa")
# SciPy's options with a meaning here, and those without: what is printed, and numbers of its own line searches.
MEANT = {"maxcor", "gtol", "ftol", "xtol", "maxfun", "maxfev"}
IGNORED = {"maxls", "disp", "iprint", "eps", "norm", "finite_diff_rel_tol", "finite_diff_rel_step", "return_all"}


@pytree_dataclass
class ScipyInfo(State):
    """The state, with SciPy's names."""

    __repr__ = one_line

    @property
    def status(self) -> Any:
        """SciPy's number: 0 for success, 1 at a limit, 2 otherwise. The `gdjax.Status` is ``state.result.status``."""
        limit = (self.code == Status.MAX_STEPS) | (self.code == Status.MAX_EVALS)
        number = jnp.where(self.success, 0, jnp.where(limit, 1, 2))
        return int(number) if is_concrete(number) and np.ndim(number) == 0 else number

    @property
    def success(self) -> Any:
        """Whether it ended with a success; SMALL_DECREASE and SMALL_STEP are one if ``ftol`` or ``xtol`` was given."""
        asked = (self.code == Status.SMALL_DECREASE) | (self.code == Status.SMALL_STEP)
        found = is_success(self.code) | asked
        return bool(found) if is_concrete(found) and np.ndim(found) == 0 else found

    @property
    def fun_val(self) -> Any:
        """The value."""
        return self.value

    @property
    def num_jac_eval(self) -> Any:
        """Evaluations of the gradient."""
        return self.num_grad_eval

    @property
    def num_hess_eval(self) -> Any:
        """Hessian products are not counted."""
        return jnp.zeros_like(self.num_grad_eval)

    @property
    def hess_inv(self) -> Any:
        """The inverse Hessian of L-BFGS and BFGS, a `gdjax.descent.inverse_hessian.InverseHessian`; else None."""
        try:
            return self.result.inverse_hessian()
        except ValueError:
            return None


@dataclasses.dataclass(eq=False)
class ScipyMinimize(Solver):
    """SciPy's methods by name: BFGS, L-BFGS-B, CG and, for those with Hessian products, `gdjax.TrustRegion`.

    ``tol`` (or the option ``gtol``) is an absolute bound of the largest entry of the gradient, as in SciPy; without
    either gdjax's own test holds. The dict of options is not changed.

    >>> params, state = ScipyMinimize(method="L-BFGS-B", fun=lambda x: (x - 3.0) ** 2, options=dict(maxcor=5)).run(0.0)
    >>> print(f"{params:.3f}", state.success, state.status)
    3.000 True 0
    """

    method: str | None = None
    dtype: Any = np.float64
    jit: bool = True
    implicit_diff_solve: Any = None
    has_aux: bool = False
    fun: Callable[..., Any] | None = None
    callback: Callable[..., Any] | None = None
    tol: Any = None
    options: dict[str, Any] | None = None
    maxiter: Any = 500
    value_and_grad: Any = False

    implicit_diff = True
    verbose = False

    def __post_init__(self) -> None:
        name = (self.method or "bfgs").lower()
        if name in WITHOUT_GRADIENTS:
            raise NotImplementedError(f"gdjax has no methods without gradients: {name} is in scipy.optimize.minimize")
        if name not in ("bfgs", "cg", *BOUNDED, *NEWTON):
            raise ValueError(f"method must be one of SciPy's, got {self.method!r}")
        if "maxiter" in (self.options or {}):
            raise ValueError("maxiter must be an argument of the solver, not one of options, where it could contradict")
        if unknown := set(self.options or {}) - MEANT - IGNORED:
            raise ValueError(f"options: {', '.join(sorted(unknown))} is not among {', '.join(sorted(MEANT | IGNORED))}")
        super().__post_init__()

    def how(self, penalty: Any) -> Any:
        """By name; with bounds those that can hold them."""
        name, given = (self.method or "bfgs").lower(), self.options or {}
        if penalty is not None or name in BOUNDED:
            return LBFGS(given.get("maxcor", 10))
        return TrustRegion() if name in NEWTON else ConjugateGradient() if name == "cg" else BFGS()

    def stop(self, params: Any) -> Stop:
        """SciPy's tolerances."""
        given = self.options or {}
        gradient = given.get("gtol", self.tol)
        return Stop(
            tol=None if gradient is None else 0.0,
            gradient=gradient,
            decrease=given.get("ftol"),
            step=given.get("xtol"),
            max_steps=self.maxiter,
            max_evals=given.get("maxfun", given.get("maxfev")),
        )

    def descend(self, start: Any, given: Any, args: Any, kwargs: Any) -> OptStep:
        """With SciPy's names in the state."""
        params, state = super().descend(start, given, args, kwargs)
        return OptStep(params, ScipyInfo(**vars(state)))

    def watched(self, *arrays: Any) -> dict[str, Any]:
        """The callback, which is given the parameters; if it returns True, that ends the descent."""
        call = self.callback
        return {} if call is None else dict(callback=lambda result: call(result.params) is True)


@dataclasses.dataclass(eq=False)
class ScipyBoundedMinimize(ScipyMinimize):
    """The same with ``run(params, bounds=(lower, upper))``; without bounds as without this."""

    takes: ClassVar[str] = "bounds"

    def penalty(self, given: Any) -> Any:
        """The box."""
        return None if given is None else Box(*given)
