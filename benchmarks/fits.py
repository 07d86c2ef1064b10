"""`python -m benchmarks fits`: ten thousand small least-squares fits in one call, and one; gdjax against its peers.

A decay ``a exp(-b x) + c`` in 64 points with noise, three parameters, all from the same start. Many: seconds of the
first call, which compiles, and of the next ones, until all answers are there; SciPy's `curve_fit` in a loop. One: of a
call under `jax.jit`, and CPU seconds to trace, lower and compile it with all caches cleared. A fit is solved if its sum
of squares is within 1e-6 of the least that any solver found. Peers are asked for rtol = atol = 1e-8 (jaxopt 1e-8).
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gdjax
from benchmarks.kernels import count_kernels
from benchmarks.measuring import Record, chosen, interleaved, progress, run_or_load, table, timed, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import bars

POINTS = np.linspace(0.0, 4.0, 64)
START = np.array([1.0, 1.0, 0.0])
TOL, MOST = 1e-8, 300
CLOSE = 1e-6  # of the least sum of squares


class Fits(NamedTuple):
    """Answers of many fits, or of one."""

    params: Any
    claimed: Any
    evals: Any


def misfit(p: Any, x: Any, y: Any) -> Any:
    """Residuals of the decay."""
    return p[0] * jnp.exp(-p[1] * x) + p[2] - y


def measured(count: int, dtype: Any) -> np.ndarray:
    """Data of so many decays, shape (count, 64)."""
    rng = np.random.default_rng(0)
    a, b, c = rng.uniform([[1.0], [0.5], [0.0]], [[3.0], [2.0], [1.0]], (3, count))[..., None]
    return (a * np.exp(-b * POINTS) + c + rng.normal(0.0, 0.05, (count, POINTS.size))).astype(dtype)


def by_gdjax(start: Any, x: Any, y: Any) -> Fits:
    fit = gdjax.least_squares(misfit, start, x, y)
    return Fits(fit.params, fit.converged, fit.num_evals)


def by_optimistix(start: Any, x: Any, y: Any) -> Fits:
    import optimistix

    solver = optimistix.LevenbergMarquardt(rtol=TOL, atol=TOL)
    residuals = lambda p, data: misfit(p, *data)
    found = optimistix.least_squares(residuals, solver, start, (x, y), max_steps=MOST, throw=False)
    return Fits(found.value, found.result == optimistix.RESULTS.successful, found.stats["num_steps"])


def by_jaxopt(start: Any, x: Any, y: Any) -> Fits:
    import jaxopt

    found = jaxopt.LevenbergMarquardt(misfit, maxiter=MOST, tol=TOL).run(start, x, y)
    return Fits(found.params, found.state.error <= TOL, found.state.iter_num)


ONE: dict[str, Callable[..., Fits]] = {
    "gdjax.least_squares": by_gdjax,
    "optimistix.LevenbergMarquardt": by_optimistix,
    "jaxopt.LevenbergMarquardt": by_jaxopt,
}


def all_by_gdjax(start: Any, x: Any, y: Any) -> Fits:
    fit = gdjax.least_squares_many(misfit, start, x, y, in_axes=(None, None, 0))
    return Fits(fit.params, fit.converged, fit.num_evals)


def all_by_scipy(start: Any, x: Any, y: Any) -> Fits:
    from scipy.optimize import curve_fit

    model = lambda x, a, b, c: a * np.exp(-b * x) + c
    found = [curve_fit(model, x, row, p0=start, full_output=True) for row in y]
    evals = np.array([info["nfev"] for _, _, info, _, _ in found])
    return Fits(np.stack([p for p, *_ in found]), np.ones(len(y), bool), evals)


def vmapped(one: Callable[..., Fits]) -> Callable[..., Fits]:
    """All in one compiled call."""
    return jax.jit(jax.vmap(one, in_axes=(None, None, 0)))


def many() -> dict[str, Callable[..., Fits]]:
    """Those that fit all, not compiled yet."""
    found = {"gdjax.least_squares_many": all_by_gdjax, "scipy.curve_fit, a loop": all_by_scipy}
    return found | {f"{name}, vmap": vmapped(one) for name, one in ONE.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--count", type=int, default=10_000, help="fits (default 10000)")
    add_common(parser, "fits", repeats=3)


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Many fits and one, each by every solver, in rounds."""
    jax.jit(lambda x: x + 1).lower(1.0).compile()  # the compiler's own start
    data = START.astype(options.dtype), POINTS.astype(options.dtype), measured(options.count, options.dtype)
    kinds = ("many", "one") if options.problems is None else options.problems
    if "many" in kinds:
        yield from all_fits(chosen(options.solvers, many()), data, options.repeats)
    if "one" in kinds:
        yield from one_fit(chosen(options.solvers, ONE), (*data[:2], data[2][0]), options.repeats)


def all_fits(solvers: dict[str, Any], data: tuple[Any, ...], repeats: int) -> Iterator[Record]:
    """First and second calls."""
    first = {name: timed_cpu(lambda name=name: solvers[name](*data)) for name in progress("many", solvers)}
    seconds = interleaved({name: lambda name=name: solvers[name](*data) for name in solvers}, repeats)
    values = {name: sums(fits.params, data) for name, (_, _, fits) in first.items()}
    least = np.fmin.reduce(list(values.values()))
    for name, (wall, cpu, fits) in first.items():
        solved = values[name] <= least * (1 + CLOSE)
        claimed, evals = np.asarray(fits.claimed), np.asarray(fits.evals)
        yield dict(
            kind="many", solver=name, count=len(data[2]), first=wall, first_cpu=cpu, seconds=seconds[name],
            solved=float(solved.mean()), claimed=float(claimed.mean()), false=int((claimed & ~solved).sum()),
            evals=[float(np.mean(evals)), int(np.max(evals))],
        )  # fmt: skip


def one_fit(solvers: dict[str, Any], data: tuple[Any, ...], repeats: int) -> Iterator[Record]:
    """Compiling, and calls of what is compiled."""
    rounds = [{name: compiled(solvers[name], data) for name in progress("one", solvers)} for _ in range(repeats)]
    programs = {name: jax.jit(solve) for name, solve in solvers.items()}
    seconds = interleaved({name: lambda name=name: programs[name](*data) for name in solvers}, repeats)
    for name in solvers:
        cpu = [r[name][0] for r in rounds]
        record = dict(kind="one", solver=name, seconds=seconds[name], compile=cpu, kernels=rounds[0][name][1])
        yield record | dict(evals=int(programs[name](*data).evals))


def compiled(solve: Callable[..., Fits], data: tuple[Any, ...]) -> tuple[float, int]:
    """CPU seconds of compiling with nothing known before, and the kernels of what was made."""
    jax.clear_caches()
    gc.collect()
    began = time.process_time()
    program = jax.jit(lambda *data: solve(*data)).lower(*data).compile()
    return time.process_time() - began, count_kernels(program.as_text())


def timed_cpu(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds of a call, and what it returned."""
    began = time.process_time()
    wall, out = timed(call)
    return wall, time.process_time() - began, out


def sums(params: Any, data: tuple[Any, ...]) -> np.ndarray:
    """Of the squares of the residuals, in float64."""
    a, b, c = np.asarray(params, np.float64).T[..., None]
    return np.sum((a * np.exp(-b * data[1]) + c - data[2]) ** 2, axis=1)


def report(header: Record, records: list[Record], path: Path) -> None:
    """Two tables and a picture."""
    print(title(header))
    panels: dict[str, dict[str, float | None]] = {}
    for kind, tell in (("many", table_of_many), ("one", table_of_one)):
        rows = [r for r in records if r["kind"] == kind]
        if rows:
            print("\n" + tell(rows))
            what = f"{rows[0]['count']} fits, seconds" if kind == "many" else "one fit, milliseconds"
            unit = 1.0 if kind == "many" else 1e3
            panels[f"{what} of a call"] = {r["solver"]: unit * min(r["seconds"]) for r in rows}
    bars(panels, path, note=title(header), scale="log")


def table_of_many(rows: list[Record]) -> str:
    """Seconds and how many are solved."""
    head = ["", "seconds", "first call", "its CPU", "solved", "claimed", "false claims", "evals", "most"]
    line = lambda r: [
        r["solver"], f"{min(r['seconds']):.3f}", f"{r['first']:.2f}", f"{r['first_cpu']:.2f}", f"{r['solved']:.2%}",
        f"{r['claimed']:.2%}", r["false"], f"{r['evals'][0]:.1f}", r["evals"][1],
    ]  # fmt: skip
    return table([[f"{rows[0]['count']} fits", *head[1:]], *map(line, rows)])


def table_of_one(rows: list[Record]) -> str:
    """Milliseconds and compiling."""
    times = lambda r: [f"{1e3 * min(r['seconds']):.3f}", f"{min(r['compile']):.2f}"]
    lines = ([r["solver"], *times(r), r["kernels"], r["evals"]] for r in rows)
    return table([["one fit", "ms", "compile, CPU s", "kernels", "evals"], *lines])


def main(options: argparse.Namespace) -> None:
    """Measure or load, print the tables, draw the picture."""
    report(*run_or_load(options, run))
