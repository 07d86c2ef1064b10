"""`python -m benchmarks batch`: thousands of small problems at once, gdjax against its peers under jax.vmap.

Rosenbrock-10 from normal starts around the standard one, and fits of two exponentials (four parameters, 25 points) of
very different difficulty. Seconds of a compiled call until all lanes have ended; for the share done by a time each
solver is run again with the limits on evaluations at which a tenth, a quarter, ... of its lanes end. A lane is solved
if the infinity norm of its gradient, computed anew, is at most tol (1 + |f|): tol is what gdjax, optax and jaxopt are
asked for (optimistix: rtol = atol = 1e-8). It is lowest if no solver found a value lower by more than tol (1 + |f|).
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gdjax
from benchmarks import losses
from benchmarks.measuring import Record, chosen, interleaved, progress, run_or_load, table, timed, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import lines
from benchmarks.programs import GDJAX, PEERS, Program, claimed_tol
from gdjax.vectors.vector import largest  # XLA's maximum loses NaN among thousands of numbers

TOLERANCES = {"float64": 1e-6, "float32": 1e-3}
SLOW = ("jaxopt.LBFGS",)  # waits minutes for one straggler
Run = Callable[[int], tuple[Any, Any, Any]]  # of a limit: params, claims and evaluations of the lanes


def problems(count: int) -> dict[str, tuple[Any, Any, tuple[Any, ...]]]:
    """Name -> loss(params, *data), and starts and data with a leading axis of ``count``."""
    starts, *data = losses.curves(count)
    return {
        "Rosenbrock-10": (losses.rosenbrock, losses.rosenbrock_starts(count), ()),
        "curve fits": (losses.curve_misfit, starts, tuple(data)),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--count", type=int, default=10_000, help="problems (default 10000)")
    parser.add_argument("--max-evals", type=int, default=2000, help="limit on evaluations a lane (default 2000)")
    parser.add_argument("--slow", action="store_true", help=f"also {', '.join(SLOW)}, which takes minutes")
    add_common(parser, "batch", repeats=3)


def vmapped(name: str, program: Program) -> Callable[..., Run]:
    """A program over lanes, in one compiled call; the limit of optimistix is static."""

    def runner(loss: Any, starts: Any, data: tuple[Any, ...], tol: float) -> Run:
        def run(starts: Any, data: tuple[Any, ...], limit: Any) -> tuple[Any, Any, Any]:
            lane = lambda x, *lane_data: program(lambda p: loss(p, *lane_data), x, tol, limit)
            answer = jax.vmap(lane)(starts, *data)
            return answer.params, answer.claimed, answer.evals

        compiled = jax.jit(run, static_argnums=2 if name.startswith("optimistix") else None)
        return lambda limit: compiled(starts, data, limit)

    return runner


def many(method: Any) -> Callable[..., Run]:
    """gdjax.minimize_many, a call from Python."""

    def runner(loss: Any, starts: Any, data: tuple[Any, ...], tol: float) -> Run:
        def run(limit: int) -> tuple[Any, Any, Any]:
            r = gdjax.minimize_many(loss, starts, *data, method=method, tol=tol, max_evals=limit, max_steps=limit)
            return r.params, r.converged, r.num_evals

        return run

    return runner


MANY = {"gdjax.minimize_many, LBFGS": gdjax.LBFGS(), "gdjax.minimize_many, BFGS": gdjax.BFGS()}
LANES = (*GDJAX, "optax.lbfgs", "optimistix.LBFGS", "optimistix.BFGS", *SLOW)
SOLVERS: dict[str, Callable[..., Run]] = {
    **{name: many(method) for name, method in MANY.items()},
    **{f"{name}, vmap": vmapped(name, (GDJAX | PEERS)[name]) for name in LANES},
}


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Every solver on every problem, in rounds; then with lower limits."""
    solvers = {n: s for n, s in chosen(options.solvers, SOLVERS).items() if options.slow or not n.startswith(SLOW)}
    tol = TOLERANCES[options.dtype]
    for problem, (loss, starts, data) in chosen(options.problems, problems(options.count)).items():
        judge = Judge(loss, data, tol)
        runs = {
            name: make(loss, starts, data, claimed_tol(name, starts.dtype) or tol) for name, make in solvers.items()
        }
        calls = {name: functools.partial(run, options.max_evals) for name, run in runs.items()}
        first = {name: timed(calls[name]) for name in progress(problem, calls)}  # with its compilation
        seconds = interleaved(calls, options.repeats)
        values = {name: judge(params)[0] for name, (_, (params, _, _)) in first.items()}
        lowest = functools.reduce(np.fmin, values.values())
        for name in progress(f"{problem}, lower limits", calls):
            params, claimed, evals = first[name][1]
            low = values[name] <= lowest + tol * (1 + np.abs(lowest))
            yield dict(
                solver=name, problem=problem, count=options.count, max_evals=options.max_evals, tol=tol,
                first=first[name][0], seconds=seconds[name], solved=judge(params)[1], claimed=share(claimed),
                lowest=share(low), evals=np.quantile(evals, [0.5, 0.9, 1]).tolist(),
                curve=[*curve(runs[name], judge, evals, options.repeats), (min(seconds[name]), judge(params)[1])],
            )  # fmt: skip


class Judge:
    """Values of the lanes' answers and the share of them that is solved, both computed anew."""

    def __init__(self, loss: Any, data: tuple[Any, ...], tol: float) -> None:
        self.evaluate, self.data, self.tol = jax.jit(jax.vmap(jax.value_and_grad(loss))), data, tol

    def __call__(self, params: Any) -> tuple[np.ndarray, float]:
        """Of all lanes."""
        value, grad = self.evaluate(params, *self.data)
        return np.asarray(value), share(largest(jnp.abs(grad), axis=1) <= self.tol * (1 + jnp.abs(value)))


def share(flags: Any) -> float:
    """Of those that are true."""
    return float(np.mean(np.asarray(flags)))


def curve(run: Run, judge: Judge, evals: Any, repeats: int) -> Iterator[tuple[float, float]]:
    """Seconds and the share solved, with limits on evaluations at which these shares of the lanes end."""
    for limit in sorted({int(np.quantile(evals, q)) for q in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)}):
        _, (params, _, _) = timed(run, limit)
        yield min(timed(run, limit)[0] for _ in range(repeats)), judge(params)[1]


def report(header: Record, records: list[Record], path: Path) -> None:
    """A table for each problem, and the picture."""
    print(title(header))
    panels: dict[str, dict[str, Any]] = {}
    for problem in dict.fromkeys(r["problem"] for r in records):
        of_problem = [r for r in records if r["problem"] == problem]
        least = {r["solver"]: min(r["seconds"]) for r in of_problem}
        best = min((s for s in least if not s.startswith("gdjax")), key=least.__getitem__, default=None)
        r = of_problem[0]
        print(f"\n{problem}: {r['count']} lanes, at most {r['max_evals']} evaluations each, tol {r['tol']:g}")
        judged = ("solved", "claimed", "lowest")
        rows = [["", "seconds", f"ratio to {best}", "first call", *judged, "evals", "90 %", "most"]]
        for r in of_problem:
            shares = [f"{r[key]:.2%}" for key in judged]
            compared = f"{least[r['solver']] / least[best]:.2f}" if best else ""
            seconds = [f"{least[r['solver']]:.3f}", compared, f"{r['first']:.2f}"]
            rows.append([r["solver"], *seconds, *shares, *(f"{e:.0f}" for e in r["evals"])])
        print(table(rows))
        panels[f"{r['count']} {problem}"] = {r["solver"]: done_by(r["curve"]) for r in of_problem}
    print("\nevals: of the median lane")
    lines(panels, path, "seconds", "share solved", note=title(header), yscale="linear")


def done_by(curve: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Seconds and shares to draw: a run with a higher limit that took no longer shows what the lower one needs."""
    seconds, shares = zip(*curve, strict=True)
    return np.minimum.accumulate(seconds[::-1])[::-1].tolist(), list(shares)


def main(options: argparse.Namespace) -> None:
    """Measure or load, print the tables, draw the picture."""
    report(*run_or_load(options, run))
