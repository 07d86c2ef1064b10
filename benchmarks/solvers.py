"""The solvers: name -> solve(loss, x0, tol, max_evals), each run as its own documentation says.

An evaluation is one value with its gradient. A second call with the same loss compiles nothing.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
import optax
import optimistix
import scipy.optimize

import gdjax

Loss = Callable[[jax.Array], jax.Array]


class Outcome(NamedTuple):
    """What a solver says of its run."""

    params: Any
    claimed: bool  # that it succeeded
    evals: int  # values with gradients, and Hessian products
    status: str  # in its own words
    products: int = 0  # Hessian products, of those


def of_gdjax(method: Any) -> Callable[..., Outcome]:
    """A method of gdjax with its defaults."""

    def solve(loss: Loss, x0: jax.Array, tol: float, max_evals: int) -> Outcome:
        r = gdjax.minimize(loss, x0, method=method, tol=tol, max_evals=max_evals, max_steps=max_evals)
        return Outcome(r.params, r.converged, int(r.num_evals), r.status.name)

    return solve


@functools.partial(jax.jit, static_argnums=0)
def optax_loop(loss: Loss, x0: jax.Array, tol: float, max_evals: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The loop of optax's L-BFGS example, with the infinity norm."""
    optimiser = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)
    norm = lambda state: jnp.max(jnp.abs(optax.tree.get(state, "grad")))

    def unfinished(carry):
        _, state, evals = carry
        return (evals == 0) | ((evals < max_evals) & (norm(state) > tol))

    def step(carry):
        x, state, evals = carry
        fresh = ~jnp.isfinite(optax.tree.get(state, "value"))
        value, grad = value_and_grad(x, state=state)
        updates, state = optimiser.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        evals += fresh + optax.tree.get(state, "num_linesearch_steps")
        return optax.apply_updates(x, updates), state, evals

    x, state, evals = jax.lax.while_loop(unfinished, step, (x0, optimiser.init(x0), 0))
    return x, norm(state) <= tol, evals


def optax_lbfgs(loss: Loss, x0: jax.Array, tol: float, max_evals: int) -> Outcome:
    """optax.lbfgs with its zoom line search."""
    x, claimed, evals = optax_loop(loss, x0, tol, max_evals)
    return Outcome(x, bool(claimed), int(evals), "gradient" if claimed else "limit or NaN")


@functools.partial(jax.jit, static_argnums=(0, 1, 3, 4))
def jaxopt_run(solver: Any, loss: Loss, x0: jax.Array, tol: float, limit: int) -> tuple[jax.Array, ...]:
    """To the 2-norm of the gradient, which is what jaxopt tests; it has a limit on steps alone.

    Its own count has one evaluation a step that is never made (call-backs in the loss show it).
    """
    x, state = solver(loss, tol=tol, maxiter=limit).run(x0)
    return x, state.error <= tol, state.num_fun_eval - state.iter_num


def of_jaxopt(name: str) -> Callable[..., Outcome]:
    """A solver of jaxopt with its defaults."""

    def solve(loss: Loss, x0: jax.Array, tol: float, max_evals: int) -> Outcome:
        x, claimed, evals = jaxopt_run(getattr(jaxopt, name), loss, x0, tol, max_evals)
        return Outcome(x, bool(claimed), int(evals), "gradient" if claimed else "limit or NaN")

    return solve


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def optimistix_run(solver: Any, loss: Loss, x0: jax.Array, limit: int) -> tuple[jax.Array, ...]:
    """To rtol = atol = 1e-8 (1e-5 in float32) on the changes of value and parameters: it has no gradient test."""
    tol = 1e-8 if x0.dtype == jnp.float64 else 1e-5
    solution = optimistix.minimise(lambda x, _: loss(x), solver(tol, tol), x0, max_steps=limit, throw=False)
    claimed = solution.result == optimistix.RESULTS.successful
    return solution.value, claimed, solution.stats["num_steps"]


def of_optimistix(name: str) -> Callable[..., Outcome]:
    """A solver of optimistix with its defaults; one evaluation a step."""

    def solve(loss: Loss, x0: jax.Array, tol: float, max_evals: int) -> Outcome:
        x, claimed, evals = optimistix_run(getattr(optimistix, name), loss, x0, max_evals)
        return Outcome(x, bool(claimed), int(evals), "successful" if claimed else "not successful")

    return solve


@functools.lru_cache(maxsize=1)
def compiled(loss: Loss) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Value with gradient, and Hessian product, for callers that are not traced."""
    product = lambda x, v: jax.jvp(jax.grad(loss), (x,), (v,))[1]
    return jax.jit(jax.value_and_grad(loss)), jax.jit(product)


def of_scipy(name: str, hessian: bool = False, **options: Any) -> Callable[..., Outcome]:
    """A method of scipy.optimize.minimize, which works in float64 whatever the loss is in."""

    def solve(loss: Loss, x0: jax.Array, tol: float, max_evals: int) -> Outcome:
        counts = {"evals": 0, "products": 0}

        def value_and_grad(x):
            counts["evals"] += 1
            value, grad = compiled(loss)[0](x.astype(x0.dtype))
            return float(value), np.asarray(grad, np.float64)

        def product(x, v):
            counts["products"] += 1
            return np.asarray(compiled(loss)[1](x.astype(x0.dtype), v.astype(x0.dtype)), np.float64)

        limits = {"maxiter": max_evals} | ({"maxfun": max_evals} if name == "L-BFGS-B" else {})
        r = scipy.optimize.minimize(
            value_and_grad, np.asarray(x0, np.float64), jac=True, hessp=product if hessian else None,
            method=name, options={"gtol": tol} | limits | options,
        )  # fmt: skip
        return Outcome(r.x, bool(r.success), sum(counts.values()), str(r.message), counts["products"])

    return solve


GDJAX = {
    "LBFGS": gdjax.LBFGS(),
    "BFGS": gdjax.BFGS(),
    "ConjugateGradient": gdjax.ConjugateGradient(),
    "TrustRegion": gdjax.TrustRegion(),
    "BarzilaiBorwein": gdjax.GradientDescent(gdjax.BarzilaiBorwein()),
    "Backtracking": gdjax.GradientDescent(gdjax.Backtracking()),
    "AdaptiveStep": gdjax.GradientDescent(gdjax.AdaptiveStep()),
    "AcceleratedGradient": gdjax.AcceleratedGradient(),
}
SOLVERS: dict[str, Callable[..., Outcome]] = {
    **{f"gdjax.{name}": of_gdjax(method) for name, method in GDJAX.items()},
    "optax.lbfgs": optax_lbfgs,
    "jaxopt.LBFGS": of_jaxopt("LBFGS"),
    "jaxopt.BFGS": of_jaxopt("BFGS"),
    "optimistix.LBFGS": of_optimistix("LBFGS"),
    "optimistix.BFGS": of_optimistix("BFGS"),
    "scipy.L-BFGS-B": of_scipy("L-BFGS-B"),
    "scipy.L-BFGS-B ftol=0": of_scipy("L-BFGS-B", ftol=0.0),
    "scipy.BFGS": of_scipy("BFGS"),
    "scipy.CG": of_scipy("CG"),
    "scipy.trust-krylov": of_scipy("trust-krylov", hessian=True),
}
SECOND_ORDER = {"gdjax.TrustRegion", "scipy.trust-krylov"}
