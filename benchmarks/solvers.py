"""The solvers: name -> solve(loss, x0, tol, max_evals), each run as its own documentation says.

An evaluation is one value with its gradient. A second call with the same loss compiles nothing.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.optimize

import gdjax
from benchmarks.programs import PEERS, claimed_tol

Loss = Callable[[jax.Array], jax.Array]


class Outcome(NamedTuple):
    """What a solver says of its run."""

    params: Any
    claimed: bool  # that it succeeded
    evals: int  # values with gradients, and Hessian products
    status: str  # in its own words
    products: int = 0  # Hessian products, of those


def of_gdjax(method: Any, **options: Any) -> Callable[..., Outcome]:
    """A method of gdjax with its defaults."""

    def solve(loss: Loss, x0: jax.Array, tol: float, max_evals: int) -> Outcome:
        r = gdjax.minimize(loss, x0, method=method, tol=tol, max_evals=max_evals, max_steps=max_evals, **options)
        return Outcome(r.params, r.converged, int(r.num_evals), r.status.name)

    return solve


def of_peer(name: str) -> Callable[..., Outcome]:
    """A peer with its defaults."""
    run = jax.jit(PEERS[name], static_argnums=(0, 3))

    def solve(loss: Loss, x0: jax.Array, tol: float, max_evals: int) -> Outcome:
        x, claimed, evals, _ = run(loss, x0, claimed_tol(name, x0.dtype) or tol, max_evals)
        return Outcome(x, bool(claimed), int(evals), "success" if claimed else "limit or NaN")

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
    **{f"gdjax.{name} scale=auto": of_gdjax(GDJAX[name], scale="auto") for name in ("LBFGS", "BFGS")},
    **{name: of_peer(name) for name in PEERS},
    "scipy.L-BFGS-B": of_scipy("L-BFGS-B"),
    "scipy.L-BFGS-B ftol=0": of_scipy("L-BFGS-B", ftol=0.0),
    "scipy.BFGS": of_scipy("BFGS"),
    "scipy.CG": of_scipy("CG"),
    "scipy.trust-krylov": of_scipy("trust-krylov", hessian=True),
}
SECOND_ORDER = {"gdjax.TrustRegion", "scipy.trust-krylov"}
