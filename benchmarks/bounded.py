"""The solvers for bounds: name -> solve(loss, x0, lower, upper, tol, max_evals), each as its own documentation says."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
import scipy.optimize

import gdjax
from benchmarks.solvers import Loss, Outcome, compiled
from gdjax.vectors.vector import max_abs  # XLA's maximum loses NaN among thousands of numbers


def of_gdjax(name: str | None) -> Callable[..., Outcome]:
    """A method of gdjax with its defaults; None is the default method."""

    def solve(loss: Loss, x0: jax.Array, lower: jax.Array, upper: jax.Array, tol: float, max_evals: int) -> Outcome:
        method = name and getattr(gdjax, name)()
        box = gdjax.penalties.Box(lower, upper)
        r = gdjax.minimize(loss, x0, penalty=box, method=method, tol=tol, max_evals=max_evals, max_steps=max_evals)
        return Outcome(r.params, r.converged, int(r.num_evals), r.status.name)

    return solve


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def jaxopt_run(
    loss: Loss, x0: jax.Array, lower: jax.Array, upper: jax.Array, tol: float, limit: int
) -> tuple[jax.Array, ...]:
    """To the 2-norm of x - clip(x - g), which is what it tests; it has a limit on steps alone."""
    x, state = jaxopt.LBFGSB(loss, tol=tol, maxiter=limit).run(x0, bounds=(lower, upper))
    return x, state.error <= tol, state.num_fun_eval


def jaxopt_lbfgsb(loss: Loss, x0: jax.Array, lower: jax.Array, upper: jax.Array, tol: float, max_evals: int) -> Outcome:
    """jaxopt.LBFGSB with its defaults."""
    x, claimed, evals = jaxopt_run(loss, x0, lower, upper, tol, max_evals)
    return Outcome(x, bool(claimed), int(evals), "gradient" if claimed else "limit or NaN")


def of_scipy(method: str, **options: Any) -> Callable[..., Outcome]:
    """A method of scipy.optimize.minimize with bounds."""

    def solve(loss: Loss, x0: jax.Array, lower: jax.Array, upper: jax.Array, tol: float, max_evals: int) -> Outcome:
        evals = 0

        def value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal evals
            evals += 1
            value, grad = compiled(loss)[0](x.astype(x0.dtype))
            return float(value), np.asarray(grad, np.float64)

        bounds = scipy.optimize.Bounds(np.asarray(lower, np.float64), np.asarray(upper, np.float64))
        limits = {"maxfun": max_evals} | ({"maxiter": max_evals} if method == "L-BFGS-B" else {})
        r = scipy.optimize.minimize(
            value_and_grad, np.asarray(x0, np.float64), jac=True, method=method, bounds=bounds,
            options={"gtol": tol} | limits | options,
        )  # fmt: skip
        return Outcome(r.x, bool(r.success), evals, str(r.message))

    return solve


BOUNDED: dict[str, Callable[..., Outcome]] = {
    "gdjax.LBFGS": of_gdjax(None),
    "gdjax.PANOC": of_gdjax("PANOC"),
    "jaxopt.LBFGSB": jaxopt_lbfgsb,
    "scipy.L-BFGS-B": of_scipy("L-BFGS-B"),
    "scipy.L-BFGS-B ftol=0": of_scipy("L-BFGS-B", ftol=0.0),
    "scipy.TNC": of_scipy("TNC", ftol=0.0),
}


def measure(loss: Loss, x: jax.Array, lower: jax.Array, upper: jax.Array) -> tuple[jax.Array, jax.Array, bool]:
    """The value at a point, the norm of x - clip(x - g), and whether the point is in the box."""
    value, grad = compiled(loss)[0](x)
    norm = max_abs(x - jnp.clip(x - grad, lower, upper))
    return value, norm, bool(jnp.all((lower <= x) & (x <= upper)))
