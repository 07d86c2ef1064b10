"""`python -m benchmarks counts`: from one problem to ten thousand, gdjax with nothing chosen by hand and its peers.

Rosenbrock-10 from normal starts around the standard one, and fits of three parameters to 64 points. Milliseconds of a
call when all is compiled, and seconds of the first call, with nothing compiled before. `gdjax.minimize_many` and
`least_squares_many` are called from Python, the others are one compiled call of a vmapped solver. Peers are asked for
rtol = atol = 1e-8.
"""

import argparse
import functools
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import gdjax
from benchmarks import fits, losses
from benchmarks.measuring import Record, chosen, interleaved, progress, run_or_load, table, timed, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import lines

MOST = 4000  # steps
Solve = Callable[[], Any]


def vmapped(one: Callable[..., Any], *own: Any) -> Solve:
    """One compiled call of all problems."""
    program = jax.jit(jax.vmap(one))
    return lambda: program(*own)


def by_optimistix(start: Any) -> Any:
    import optimistix

    solver = optimistix.BFGS(fits.TOL, fits.TOL)
    return optimistix.minimise(lambda p, _: losses.rosenbrock(p), solver, start, max_steps=MOST, throw=False).value


def minima(count: int, _: Any) -> dict[str, Solve]:
    """Of Rosenbrock's function."""
    starts = losses.rosenbrock_starts(count)
    by_gdjax = lambda method: lambda start: gdjax.minimize(losses.rosenbrock, start, method=method).params
    return {
        "gdjax.minimize_many": lambda: gdjax.minimize_many(losses.rosenbrock, starts).params,
        "gdjax.minimize, vmap": vmapped(by_gdjax(None), starts),
        "gdjax.LBFGS, vmap": vmapped(by_gdjax(gdjax.LBFGS()), starts),
        "optimistix.BFGS, vmap": vmapped(by_optimistix, starts),
    }


def curves(count: int, dtype: Any) -> dict[str, Solve]:
    """Fits of a decay."""
    start, x = (a.astype(dtype) for a in (fits.START, fits.POINTS))
    data = fits.measured(count, dtype)
    one = lambda by: lambda y: by(start, x, y).params
    return {
        "gdjax.least_squares_many": lambda: fits.all_by_gdjax(start, x, data).params,
        "gdjax.least_squares, vmap": vmapped(one(fits.by_gdjax), data),
        "optimistix.LevenbergMarquardt, vmap": vmapped(one(fits.by_optimistix), data),
        "scipy.curve_fit, a loop": lambda: fits.all_by_scipy(start, x, data).params,
    }


PROBLEMS = {"Rosenbrock-10": minima, "fits": curves}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--most", type=int, default=10_000, help="problems (default 10000)")
    add_common(parser, "counts", repeats=5)


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Every number of problems by every solver, in rounds."""
    jax.jit(lambda x: x + 1).lower(1.0).compile()  # the compiler's own start
    counts = [10**k for k in range(20) if 10**k <= options.most]
    for problem, solvers in chosen(options.problems, PROBLEMS).items():
        for count in counts:
            calls = chosen(options.solvers, solvers(count, np.dtype(options.dtype)))
            first = {name: first_call(calls[name]) for name in progress(f"{problem}, {count}", calls)}
            for name, seconds in interleaved(calls, options.repeats).items():
                yield dict(problem=problem, count=count, solver=name, first=first[name], seconds=seconds)


def first_call(call: Solve) -> float:
    """Its seconds, with nothing compiled."""
    jax.clear_caches()
    gc.collect()
    return timed(call)[0]


def report(header: Record, records: list[Record], path: Path) -> None:
    """A table for each problem, and the picture."""
    print(title(header))
    panels: dict[str, dict[str, Any]] = {}
    for problem in dict.fromkeys(r["problem"] for r in records):
        rows = [r for r in records if r["problem"] == problem]
        names = dict.fromkeys(r["solver"] for r in rows)
        counts = dict.fromkeys(r["count"] for r in rows)
        cell = {(r["solver"], r["count"]): f"{1e3 * min(r['seconds']):.3g} ({r['first']:.2g})" for r in rows}
        lines_ = ([f"{n}", *(cell.get((name, n), "") for name in names)] for n in counts)
        print(f"\n{problem}: ms of a call (seconds of the first)\n" + table([["problems", *names], *lines_]))
        per = functools.partial(series, rows)
        panels[problem] = {name: per(name) for name in names}
    lines(panels, path, "problems", "ms of a call", note=title(header))


def series(rows: list[Record], name: str) -> tuple[list[int], list[float]]:
    """Over the number of problems, a solver's milliseconds."""
    mine = [r for r in rows if r["solver"] == name]
    return [r["count"] for r in mine], [1e3 * min(r["seconds"]) for r in mine]


def main(options: argparse.Namespace) -> None:
    """Measure or load, print the tables, draw the picture."""
    report(*run_or_load(options, run))
