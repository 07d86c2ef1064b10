"""`python -m benchmarks solve`: seconds of a compiled call that reaches one gradient norm, gdjax against its peers.

Rosenbrock-100, a logistic regression (breast cancer data, 569 x 30) and a network with six leaves. Solvers stop by
different tests, so each is given the loosest tolerance of its own, of 1 and 3 times the powers of ten (by bisection),
for which the point that it returns has a gradient of infinity norm <= --gradient. The tolerance is traced: the call
that is timed is the program that was tried, by its second and later calls. Dense BFGS is left out of the network, which
has 1377 parameters.
"""

import argparse
import functools
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from benchmarks import losses
from benchmarks.measuring import Record, chosen, interleaved, progress, run_or_load, table, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import bars
from benchmarks.programs import GDJAX, PEERS
from benchmarks.solvers import SOLVERS as OF_CUTEST

DENSE = 500  # variables: more are no problem for a method with an n x n matrix, whose every step costs n^2
LIMIT = 5000  # evaluations (steps of jaxopt)
TOLERANCES = [float(f"{digit}e-{power}") for power in range(1, 15) for digit in (3, 1)]  # the loosest first
MAIN = "gdjax.LBFGS"  # whose distance to the best peer is the figure
TRACED = GDJAX | PEERS
EAGER = ("scipy.L-BFGS-B ftol=0",)  # with the loss compiled, on raveled parameters
Run = Callable[[float], tuple[Any, Any]]  # of a tolerance: params and evaluations


def problems() -> dict[str, tuple[Any, Any]]:
    """Name -> loss and start."""
    return {
        "Rosenbrock-100": (losses.rosenbrock, losses.rosenbrock_start(100)),
        "logistic regression": losses.logistic_regression(),
        "MLP, six leaves": losses.mlp(),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--gradient", type=float, help="the norm to reach (default 1e-5, in float32 1e-3)")
    add_common(parser, "solve", repeats=7)


def runner(name: str, loss: Any, start: Any) -> Run:
    """A solver on a problem."""
    if name in TRACED:
        program = jax.jit(lambda x, tol: TRACED[name](loss, x, tol, LIMIT))

        def traced(tol: float) -> tuple[Any, Any]:
            answer = program(start, tol)
            return answer.params, answer.evals

        return traced
    flat, unravel = ravel_pytree(start)
    flat_loss = lambda v: loss(unravel(v))

    def eager(tol: float) -> tuple[Any, Any]:
        outcome = OF_CUTEST[name](flat_loss, flat, tol, LIMIT)
        return unravel(jnp.asarray(outcome.params, flat.dtype)), outcome.evals

    return eager


def loosest(run: Run, norm_of: Callable[[Any], float], gradient: float) -> float | None:
    """The loosest tolerance that reaches the gradient norm, if one does."""
    low, high = 0, len(TOLERANCES)  # it is among these, or there is none
    while low < high:
        middle = (low + high) // 2
        reached = norm_of(run(TOLERANCES[middle])[0]) <= gradient
        low, high = (low, middle) if reached else (middle + 1, high)
    return TOLERANCES[low] if low < len(TOLERANCES) else None


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Every solver on every problem."""
    gradient = options.gradient or (1e-5 if options.dtype == "float64" else 1e-3)
    for problem, (loss, start) in chosen(options.problems, problems()).items():
        size = sum(leaf.size for leaf in jax.tree.leaves(start))
        wanted = chosen(options.solvers, dict.fromkeys([*TRACED, *EAGER]))
        solvers = [name for name in wanted if size <= DENSE or not name.endswith(".BFGS")]
        slope = jax.jit(lambda x, loss=loss: optax.tree.norm(jax.grad(loss)(x), ord=jnp.inf))
        norm_of = lambda x, slope=slope: float(slope(x))
        runs = {name: runner(name, loss, start) for name in solvers}
        tols = {name: loosest(runs[name], norm_of, gradient) for name in progress(problem, solvers)}
        calls = {name: functools.partial(runs[name], tol) for name, tol in tols.items() if tol is not None}
        seconds = interleaved(calls, options.repeats)
        for name, tol in tols.items():
            record: Record = dict(solver=name, problem=problem, target=gradient, tol=tol)
            if tol is not None:
                params, evals = calls[name]()
                record |= dict(seconds=seconds[name], evals=int(evals), gradient=norm_of(params))
                record |= dict(value=float(jax.jit(loss)(params)))
            yield record


def report(header: Record, records: list[Record], path: Path) -> None:
    """A table for each problem, the geometric mean of the distance to the best peer, and the picture."""
    print(f"{title(header)}\nseconds until |g| <= {records[0]['target']:g}")
    names = list(dict.fromkeys(r["problem"] for r in records))
    distances, panels = [], {}
    for problem in names:
        of_problem = {r["solver"]: r for r in records if r["problem"] == problem}
        timed = {name: r for name, r in of_problem.items() if r["tol"] is not None}
        least = {name: min(r["seconds"]) for name, r in timed.items()}
        peers = [name for name in timed if not name.startswith("gdjax")]
        best = min(peers, key=least.__getitem__, default=None)
        rows = [[problem, "ms", f"ratio to {best}", "us/eval", "evals", "tolerance", "|g|", "value"]]
        for name, r in of_problem.items():
            if name not in timed:
                rows.append([name, "not reached", *[""] * 6])
                continue
            compared = f"{least[name] / least[best]:.2f}" if best else ""
            rows.append([
                name, f"{1e3 * least[name]:.3f}", compared, f"{1e6 * least[name] / r['evals']:.2f}", r["evals"],
                f"{r['tol']:g}", f"{r['gradient']:.1e}", f"{r['value']:.6g}",
            ])  # fmt: skip
        print("\n" + table(rows))
        panels[f"{problem}: ms"] = {name: least.get(name) and 1e3 * least[name] for name in of_problem}
        if best and MAIN in timed:
            distances.append(least[MAIN] / least[best])
    if distances:
        mean = statistics.geometric_mean(distances)
        print(f"\n{MAIN} over the best peer of each: geometric mean {mean:.2f} of {len(distances)} problems")
    bars(panels, path, note=title(header), scale="log")


def main(options: argparse.Namespace) -> None:
    """Measure or load, print the tables, draw the picture."""
    report(*run_or_load(options, run))
