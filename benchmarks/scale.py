"""`python -m benchmarks scale`: what an evaluation costs as n, the batch and the memory of L-BFGS grow.

The chained Rosenbrock function with no tolerance. Over n and over the memory an evaluation costs what it does in
`overhead`, over n with ten pairs for all. Over the batch it is a compiled call of so many Rosenbrock-10 problems, each
method with its defaults, with a limit on evaluations, over the evaluations of all lanes.
"""

import argparse
import functools
from collections.abc import Iterator
from pathlib import Path

import optax

import gdjax
from benchmarks import losses, overhead
from benchmarks.batch import SOLVERS as OF_BATCH
from benchmarks.measuring import Record, chosen, interleaved, progress, run_or_load, table, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import lines
from benchmarks.programs import Program, of_gdjax, of_jaxopt, of_optax, of_optimistix

TRIPS = 40  # evaluations of a run
MEMORIES = (5, 10, 20, 40)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--max-n", type=int, default=10_000_000, help="largest n (default 1e7: about 6 GB)")
    parser.add_argument("--max-batch", type=int, default=100_000, help="largest batch (default 1e5)")
    parser.add_argument("--memory-n", type=int, default=10_000, help="n at which the memory grows (default 10000)")
    add_common(parser, "scale", repeats=3)


def of_size() -> dict[str, Program]:
    """What is run over n."""
    names = (overhead.BARE, "optax.lbfgs", "jaxopt.LBFGS", "optimistix.LBFGS", "gdjax.GradientDescent")
    return {"gdjax.LBFGS": of_gdjax(gdjax.LBFGS(memory=10)), **{name: overhead.SOLVERS[name] for name in names}}


def of_memory(m: int) -> dict[str, Program]:
    """What is run over the memory."""
    return {
        "gdjax.LBFGS": of_gdjax(gdjax.LBFGS(memory=m)),
        "optax.lbfgs": of_optax(functools.partial(optax.lbfgs, memory_size=m)),
        "jaxopt.LBFGS": of_jaxopt("LBFGS", history_size=m),
        "optimistix.LBFGS": of_optimistix("LBFGS", history_length=m),
    }


def powers(most: int, least: int) -> list[int]:
    """Of ten, from the least to the most."""
    return [10**k for k in range(20) if least <= 10**k <= most]


def run(options: argparse.Namespace) -> Iterator[Record]:
    """The three parts."""
    for n in powers(options.max_n, 10):
        for r in overhead.measure(chosen(options.solvers, of_size()), n, TRIPS, options.repeats):
            yield dict(part="n", at=n, solver=r["solver"], seconds=overhead.seconds(r))
    for count in powers(options.max_batch, 1):
        yield from over_batch(options, count)
    for m in MEMORIES:
        for r in overhead.measure(chosen(options.solvers, of_memory(m)), options.memory_n, TRIPS, options.repeats):
            yield dict(part="memory", at=m, solver=r["solver"], seconds=overhead.seconds(r))


def over_batch(options: argparse.Namespace, count: int) -> Iterator[Record]:
    """A call of so many lanes."""
    solvers = {name: make for name, make in chosen(options.solvers, OF_BATCH).items() if "jaxopt" not in name}
    starts = losses.rosenbrock_starts(count)
    calls, evals = {}, {}
    for name in progress(f"batch of {count}", solvers):
        calls[name] = functools.partial(solvers[name](losses.rosenbrock, starts, (), 0.0), TRIPS)
        evals[name] = int(calls[name]()[2].sum())
    for name, times in interleaved(calls, options.repeats).items():
        yield dict(part="batch", at=count, solver=name, seconds=min(times) / evals[name])


def report(header: Record, records: list[Record], path: Path) -> None:
    """A table for each part, and the picture."""
    print(title(header))
    panels, along = {}, {"n": "n", "batch": "problems of ten variables at once", "memory": "pairs of L-BFGS"}
    for part in dict.fromkeys(r["part"] for r in records):
        found = {(r["solver"], r["at"]): 1e6 * r["seconds"] for r in records if r["part"] == part}
        names, places = dict.fromkeys(name for name, _ in found), dict.fromkeys(at for _, at in found)
        rows = [[name, *(f"{found[name, at]:.3g}" if (name, at) in found else "" for at in places)] for name in names]
        print(f"\nmicroseconds an evaluation, over {along[part]}\n" + table([["", *places], *rows]))
        along_which = {name: [at for at in places if (name, at) in found] for name in names}
        panels[f"over {part}"] = {name: (at, [found[name, x] for x in at]) for name, at in along_which.items()}
    up = "microseconds an evaluation"
    lines(panels, path, [along[heading.removeprefix("over ")] for heading in panels], up, note=title(header))


def main(options: argparse.Namespace) -> None:
    """Measure or load, print the tables, draw the picture."""
    report(*run_or_load(options, run))
