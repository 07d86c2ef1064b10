"""Solvers of least squares: `LevenbergMarquardt`, `GaussNewton`, both by `gdjax.least_squares`."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gdjax.compat.jaxopt.solver import Solver
from gdjax.descent.limits import Stop
from gdjax.least_squares import least_squares
from gdjax.methods.choice import count_reals
from gdjax.methods.levenberg_marquardt import LevenbergMarquardt as Marquardt


class Squares(Solver):
    """A solver that is given residuals. Params and residuals may be pytrees."""

    residual_fun: Callable[..., Any]
    jac_fun: Any = None

    door: ClassVar[Callable[..., Any]] = staticmethod(least_squares)
    value_and_grad = False

    @property
    def loss(self) -> Callable[..., Any]:
        """The residuals."""
        return self.residual_fun

    def how(self, penalty: Any) -> Any:
        """Marquardt's method: that of Gauss and Newton where its steps are safe."""
        return Marquardt()

    @property
    def norm(self) -> Any:
        """What the norm of the gradient may be."""
        return self.tol

    def stop(self, params: Any) -> Stop:
        """That, and gdjax's own test for least squares, which is free of units, with the smaller of the tolerances.

        A gradient or step below ``tol`` alone would call a fit of small numbers converged that is not.
        """
        at_most = self.norm / max(count_reals(params), 1) ** 0.5
        eps = jnp.finfo(jnp.result_type(float, *jax.tree.leaves(params))).eps
        return Stop(tol=jnp.minimum(self.norm, eps ** (2 / 3)), gradient_at_most=at_most, max_steps=self.maxiter)

    def keywords(self, params: Any, given: Any) -> dict[str, Any]:
        """And the Jacobian."""
        made = super().keywords(params, given)
        return made if self.jac_fun is None else made | dict(jac=self.jac_fun)

    def evaluate(self, params: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        """Half the sum of squares, aux and gradient."""

        def half(params: Any) -> Any:
            found = self.residual_fun(params, *args, **kwargs)
            residuals, aux = found if self.has_aux else (found, None)
            return 0.5 * sum(jnp.sum(jnp.abs(r) ** 2) for r in jax.tree.leaves(residuals)), aux

        (value, aux), grad = jax.value_and_grad(half, has_aux=True)(params)
        return value, aux, grad


@dataclasses.dataclass(eq=False)
class GaussNewton(Squares):
    """`gdjax.LevenbergMarquardt`, whose steps are those of Gauss and Newton near a solution, and safe elsewhere."""

    residual_fun: Callable[..., Any]
    maxiter: Any = 30
    tol: Any = 1e-5
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    has_aux: bool = False
    verbose: Any = False
    jit: bool = True
    unroll: Any = "auto"


@dataclasses.dataclass(eq=False)
class LevenbergMarquardt(Squares):
    """`gdjax.LevenbergMarquardt`, which chooses its damping and its linear algebra itself; ``xtol`` has no effect.

    >>> import jax.numpy as jnp
    >>> x, y = jnp.arange(4.0), jnp.array([3.0, 1.1, 0.4, 0.15])
    >>> decay = lambda p, x, y: p["a"] * jnp.exp(-p["b"] * x) - y
    >>> params, state = LevenbergMarquardt(decay).run({"a": 1.0, "b": 0.5}, x, y=y)
    >>> print(params["b"].round(2), state.converged, state.residual.shape)
    1.0 True (4,)
    """

    residual_fun: Callable[..., Any]
    maxiter: Any = 30
    damping_parameter: Any = 1e-6
    stop_criterion: str = "grad-l2-norm"
    tol: Any = 1e-3
    xtol: Any = 1e-3
    gtol: Any = 1e-3
    solver: Any = "qr"
    geodesic: bool = False
    verbose: Any = False
    jac_fun: Any = None
    materialize_jac: bool = False
    implicit_diff: bool = True
    implicit_diff_solve: Any = None
    has_aux: bool = False
    jit: bool = True
    unroll: Any = "auto"

    @property
    def norm(self) -> Any:
        """By the criterion."""
        return self.gtol if self.stop_criterion == "madsen-nielsen" else self.tol

    def how(self, penalty: Any) -> Any:
        """With geodesic acceleration, if it is wanted."""
        return Marquardt(acceleration=self.geodesic)
