"""`python -m benchmarks composite`: the lasso path of the diabetes data, gdjax against scikit-learn and jaxopt.

100 strengths, from where every coefficient is zero down to a thousandth of that, in float64, the JAX solvers by one
vmapped call. Every answer is judged by its relative duality gap, computed anew. All are run at tolerances that reach
gaps below 1e-6 or as near as they come; seconds are the least of several second calls, compiling apart.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import lasso_path

import gdjax
from benchmarks.measuring import timed

RESULTS = Path(__file__).with_name("results") / "composite.json"
GAP = 1e-6  # what counts as solved


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--strengths", type=int, default=100, help="problems on the path (default 100)")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls (default 3)")
    parser.add_argument("--json", type=Path, default=RESULTS)


def loss(w: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Half the mean squared error."""
    return 0.5 * jnp.mean((x @ w - y) ** 2)


def of_gdjax(method: Any, tol: float) -> Callable[..., tuple[Any, Any]]:
    """A method of gdjax, all strengths at once: coefficients and evaluations."""

    @jax.jit
    def path(x: jax.Array, y: jax.Array, strengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        def solve(strength: jax.Array) -> Any:
            start = jnp.zeros(x.shape[1])
            return gdjax.minimize(loss, start, x, y, penalty=gdjax.penalties.L1(strength), method=method, tol=tol)

        result = jax.vmap(solve)(strengths)
        return result.params, result.num_evals

    return path


def of_jaxopt(acceleration: bool, tol: float) -> Callable[..., tuple[Any, Any]]:
    """jaxopt.ProximalGradient, all strengths at once; it counts steps, not evaluations."""

    @jax.jit
    def path(x: jax.Array, y: jax.Array, strengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        solver = jaxopt.ProximalGradient(
            loss, jaxopt.prox.prox_lasso, maxiter=10_000, tol=tol, acceleration=acceleration
        )
        solve = lambda s: solver.run(jnp.zeros(x.shape[1]), hyperparams_prox=s, x=x, y=y)
        return jax.vmap(lambda s: (solve(s).params, solve(s).state.iter_num))(strengths)

    return path


def scikit_learn(x: np.ndarray, y: np.ndarray, strengths: np.ndarray) -> tuple[Any, Any]:
    """Coordinate descent, warm-started from strength to strength; it counts sweeps."""
    _, w, _, sweeps = lasso_path(x, y, alphas=strengths, tol=1e-7, max_iter=100_000, return_n_iter=True)
    return w.T, np.asarray(sweeps)


SOLVERS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "gdjax.PANOC": of_gdjax(gdjax.PANOC(), 1e-8),
    "gdjax.ProximalGradient": of_gdjax(gdjax.ProximalGradient(), 1e-8),
    "gdjax.AcceleratedProximalGradient": of_gdjax(gdjax.AcceleratedProximalGradient(), 1e-8),
    "jaxopt.ProximalGradient": of_jaxopt(True, 1e-6),
    "jaxopt.ProximalGradient, plain": of_jaxopt(False, 1e-6),
    "sklearn.lasso_path": scikit_learn,
}


def gap(w: np.ndarray, x: np.ndarray, y: np.ndarray, strength: float) -> float:
    """Primal minus dual value over the primal value."""
    n, residual = y.size, y - x @ w
    primal = 0.5 * residual @ residual / n + strength * np.abs(w).sum()
    theta = residual / max(n * strength, np.abs(x.T @ residual).max())
    dual = strength * (theta @ y) - 0.5 * n * strength**2 * (theta @ theta)
    return float((primal - dual) / primal)


def main(options: argparse.Namespace) -> None:
    """Run all, print the table, save the records."""
    jax.config.update("jax_enable_x64", True)
    x, y = load_diabetes(return_X_y=True)
    x, y = (x - x.mean(0)) / x.std(0), y - y.mean()
    strengths = np.abs(x.T @ y).max() / y.size * np.logspace(0, -3, options.strengths)
    records = {}
    print(f"{'':34} {'solved':>8} {'worst gap':>9} {'median':>7} {'most':>6} {'first s':>8} {'again s':>8}")
    for name, solve in SOLVERS.items():
        first, (w, counts) = timed(solve, x, y, strengths)
        again = min(timed(solve, x, y, strengths)[0] for _ in range(options.repeats))
        gaps = [gap(np.asarray(w[k]), x, y, s) for k, s in enumerate(strengths)]
        records[name] = dict(
            solved=sum(g <= GAP for g in gaps), worst_gap=max(gaps), median=float(np.median(counts)),
            most=int(np.max(counts)), first_seconds=first, seconds=again,
        )  # fmt: skip
        r = records[name]
        print(
            f"{name:34} {r['solved']:4}/{len(gaps):3} {r['worst_gap']:9.1e} {r['median']:7.0f} {r['most']:6} "
            f"{first:8.3f} {again:8.4f}"
        )
    print(f"solved: gap <= {GAP:g}; median, most: evaluations of gdjax, steps of jaxopt, sweeps of scikit-learn")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(records, indent=1) + "\n")
