"""`python -m benchmarks cutest`: gdjax and its peers on CUTEst problems, judged by one rule.

A point is solved if the infinity norm of the gradient, computed anew, is at most tol (1 + |f|); with --bounded that of
x - clip(x - g), for a point in the box (lower and upper bounds on the variables). A false claim is a
success claimed at a point that is neither solved nor as low as the lowest found by any solver of the run.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.bounded import BOUNDED
from benchmarks.measuring import RESULTS, machine
from benchmarks.problems import DEVELOPMENT, DEVELOPMENT_BOUNDED, all_names, read_names
from benchmarks.report import load, profile, table
from benchmarks.saving import Record, Saved, add_resume
from benchmarks.solvers import SOLVERS
from benchmarks.worker import Task, records

TOLERANCES = {"float64": 1e-6, "float32": 1e-3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--names", nargs="+", metavar="NAME", help="problems by name, or all")
    which.add_argument("--acceptance", action="store_true", help="all but those of cutest_dev.txt, used for tuning")
    which.add_argument("--problems", type=Path, help="a file of names, one a line (default: cutest_dev.txt)")
    parser.add_argument("--bounded", action="store_true", help="problems with bounds (default: cutest_bounded_dev.txt)")
    parser.add_argument("--max-n", type=int, default=5000, help="largest number of variables (default 5000)")
    parser.add_argument("--max-evals", type=int, default=20_000, help="limit on evaluations (default 20000)")
    parser.add_argument("--solvers", nargs="+", choices=list(SOLVERS | BOUNDED), metavar="SOLVER")
    parser.add_argument("--dtype", choices=list(TOLERANCES), default="float64")
    parser.add_argument("--time-limit", type=float, default=60.0, help="CPU seconds a problem (default 60)")
    parser.add_argument("--json", type=Path, help="records (default benchmarks/results/cutest_DTYPE.jsonl)")
    parser.add_argument("--jobs", type=int, default=1, help="solvers at the same time, a process each (default 1)")
    add_resume(parser)
    parser.add_argument("--report", type=Path, nargs="+", metavar="FILE", help="show saved records and run nothing")


def main(options: argparse.Namespace) -> None:
    """Run, unless saved records are given; print the table and draw the picture beside the (first) file."""
    name = f"cutest_bounded_{options.dtype}" if options.bounded else f"cutest_{options.dtype}"
    paths = options.report or [options.json or RESULTS / f"{name}.jsonl"]
    if not options.report:
        run(options, paths[0])
    header, found = load(paths)
    print(table(header, found))
    profile(header, found, paths[0].with_suffix(".png"))


def run(options: argparse.Namespace, path: Path) -> None:
    """Every solver on every problem, a line of JSON each as soon as it is known."""
    development = DEVELOPMENT_BOUNDED if options.bounded else DEVELOPMENT
    names = options.names or read_names(options.problems or development)
    solvers = options.solvers or list(BOUNDED if options.bounded else SOLVERS)
    names = all_names() if names == ["all"] or options.acceptance else names
    if options.acceptance:
        names = [name for name in names if name not in read_names(DEVELOPMENT)]
    tol = 1e-5 if options.bounded and options.dtype == "float64" else TOLERANCES[options.dtype]
    task = Task(options.dtype, tol, options.max_evals, options.max_n, options.time_limit, options.bounded)
    header = machine() | task._asdict()
    with Saved(path, header, options.resume) as saved, ThreadPoolExecutor(options.jobs) as pool:

        def all_of(solver: str) -> None:
            for record in records(solver, [name for name in names if saved.lacks(solver, name)], task):
                saved.add(record)
                print(progress(record), flush=True)

        list(pool.map(all_of, solvers))


def progress(record: Record) -> str:
    """One line on one problem."""
    evals, seconds = record.get("evals", ""), record.get("seconds", 0)
    end = record.get("failure", "") + " " + record.get("status", "")
    return f"{record['solver']:22} {record['problem']:12} {evals:>7} {seconds:8.2f} s  {end.strip()}"
