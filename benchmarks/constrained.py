"""`python -m benchmarks constrained`: gdjax and SciPy on CUTEst problems with constraints, judged by one rule.

A point is solved if constraints and bounds are violated by at most 1e-6 and the residual of stationarity, computed anew
with the best multipliers of the right signs, is at most 1e-5 (each of the length of the gradients, if that is above 1).
A problem that is unbounded as sif2jax codes it is solved by whoever says so at a feasible point of value below -1e10;
one whose linear constraints and bounds contradict each other, as HiGHS proves, by whoever says that it is infeasible.
A false claim is a success claimed at a point that is not solved. Problems that sif2jax cannot build alone are left out.
"""

import argparse
import signal
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

import gdjax
from benchmarks.constrained_problems import DEVELOPMENT, VIOLATION, Problem, build, is_impossible, judge
from benchmarks.measuring import RESULTS, load, machine
from benchmarks.problems import read_names
from benchmarks.saving import Record, Saved, add_resume
from benchmarks.solvers import Outcome
from benchmarks.worker import Task, records

RESIDUAL, BOTTOM = 1e-5, -1e10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--names", nargs="+", metavar="NAME", help="problems by name (default: constrained_dev.txt)")
    parser.add_argument("--problems", type=Path, default=DEVELOPMENT, help="a file of names, one a line")
    parser.add_argument("--min-n", type=int, default=0, help="smallest number of variables")
    parser.add_argument("--max-n", type=int, default=100, help="largest number of variables (default 100)")
    parser.add_argument("--max-evals", type=int, default=20_000, help="limit on evaluations (default 20000)")
    parser.add_argument("--solvers", nargs="+", choices=list(SOLVERS), metavar="SOLVER")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--time-limit", type=float, default=60.0, help="CPU seconds a problem (default 60)")
    parser.add_argument("--json", type=Path, default=RESULTS / "constrained.jsonl", help="records")
    parser.add_argument("--jobs", type=int, default=1, help="solvers at the same time, a process each (default 1)")
    add_resume(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="show saved records and run nothing")


def of_gdjax(**options: Any) -> Callable[[Problem, Task], Outcome]:
    """gdjax with its defaults, or others."""

    def solve(p: Problem, task: Task) -> Outcome:
        pairs = [(p.equal, dict(lower=0.0, upper=0.0)), (p.positive, dict(lower=0.0))]
        constraints = [gdjax.Constraint(c, **sides) for c, sides in pairs if c]
        box = gdjax.penalties.Box(p.lower, p.upper) if p.has_bounds else None
        r = gdjax.minimize(
            p.loss, p.x0, constraints=constraints or None, penalty=box, max_evals=task.max_evals,
            max_steps=task.max_evals, **options,
        )  # fmt: skip
        return Outcome(r.params, r.converged, int(r.num_evals), r.status.name)

    return solve


def of_scipy(method: str, **options: Any) -> Callable[[Problem, Task], Outcome]:
    """A method of scipy.optimize.minimize, with the derivatives that JAX finds."""

    def solve(p: Problem, task: Task) -> Outcome:
        evals, both = 0, jax.jit(jax.value_and_grad(p.loss))

        def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal evals
            evals += 1
            value, grad = both(x)
            return float(value), np.asarray(grad)

        pairs = [(p.equal, "eq"), (p.positive, "ineq")]
        options_of = dict(options, maxiter=task.max_evals)
        if method == "SLSQP":
            constraints: Any = [
                {"type": kind, "fun": numpy_of(jax.jit(c)), "jac": numpy_of(jax.jit(jax.jacrev(c)))}
                for c, kind in pairs
                if c
            ]
        else:
            constraints = [
                scipy.optimize.NonlinearConstraint(
                    numpy_of(jax.jit(c)), 0.0, 0.0 if kind == "eq" else np.inf, jac=numpy_of(jax.jit(jax.jacrev(c))),
                    hess=numpy_of(jax.jit(jax.hessian(lambda x, v, c=c: c(x) @ v))),
                )
                for c, kind in pairs
                if c
            ]  # fmt: skip
            options_of["hess"] = None
        hess = numpy_of(jax.jit(jax.hessian(p.loss))) if options_of.pop("hess", 0) is None else None
        bounds = scipy.optimize.Bounds(np.asarray(p.lower), np.asarray(p.upper)) if p.has_bounds else None
        r = scipy.optimize.minimize(
            loss, np.asarray(p.x0), jac=True, hess=hess, method=method, bounds=bounds, constraints=constraints,
            options=options_of,
        )  # fmt: skip
        claimed = bool(r.success) if method == "SLSQP" else r.status in (1, 2) and r.constr_violation <= 1e-6
        return Outcome(jnp.asarray(r.x), claimed, evals, str(r.message))

    return solve


def numpy_of(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """The same for SciPy."""
    return lambda *x: np.asarray(function(*x))


SOLVERS: dict[str, Callable[[Problem, Task], Outcome]] = {
    "gdjax": of_gdjax(),
    "gdjax newton=False": of_gdjax(method=gdjax.AugmentedLagrangian(newton=False)),
    "scipy.SLSQP": of_scipy("SLSQP"),
    "scipy.SLSQP ftol=1e-12": of_scipy("SLSQP", ftol=1e-12),
    "scipy.trust-constr": of_scipy("trust-constr"),
}


def serve(pipe: Connection, solver: str, task: Task) -> None:
    """In the worker: names come in; a record goes out, then the seconds of a second call, which is not made."""
    warnings.simplefilter("ignore")
    jax.config.update("jax_enable_x64", task.dtype == "float64")
    pipe.send("ready")
    while True:
        try:
            problem = build(pipe.recv())
        except (ImportError, ValueError):  # which sif2jax does not have, or not apart from all others
            pipe.send({})
            continue
        if not (task.min_n <= problem.x0.size <= task.max_n and (problem.equal or problem.positive)):
            pipe.send({})
            continue
        signal.setitimer(signal.ITIMER_PROF, task.time_limit)  # ends the process, wherever it is
        record: Record = {"n": problem.x0.size}
        began = time.process_time()
        try:
            outcome = SOLVERS[solver](problem, task)
        except Exception as error:
            pipe.send(record | {"failure": "error", "status": f"{type(error).__name__}: {error}"[:300]})
            continue
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        seconds = time.process_time() - began
        value, violation, residual = judge(problem, outcome.params)
        finite = lambda x: x if np.isfinite(x) else None
        pipe.send(
            record
            | dict(value=finite(value), violation=finite(violation), residual=finite(residual), seconds=seconds)
            | dict(claimed=outcome.claimed, evals=outcome.evals, status=outcome.status)
            | dict(impossible=not outcome.claimed and says_infeasible(outcome.status) and is_impossible(problem))
        )
        pipe.send({})
        jax.clear_caches()


def main(options: argparse.Namespace) -> None:
    """Run, unless saved records are given; print the table."""
    path = options.report or options.json
    if not options.report:
        run(options, path)
    found: dict[str, dict[str, Record]] = {}
    for record in load(path)[1]:
        found.setdefault(record["solver"], {})[record["problem"]] = record
    print(table(found))


def run(options: argparse.Namespace, path: Path) -> None:
    """Every solver on every problem, a line of JSON each as soon as it is known."""
    names = options.names or read_names(options.problems)
    task = Task(options.dtype, 0.0, options.max_evals, options.max_n, options.time_limit, min_n=options.min_n)
    header = machine() | task._asdict()
    with Saved(path, header, options.resume) as saved, ThreadPoolExecutor(options.jobs) as pool:

        def all_of(solver: str) -> None:
            for record in records(solver, [name for name in names if saved.lacks(solver, name)], task, serve):
                saved.add(record)
                print(line(record), flush=True)

        list(pool.map(all_of, options.solvers or list(SOLVERS)))


def says_infeasible(status: str) -> bool:
    """Whether gdjax or SLSQP says that the constraints contradict each other."""
    return status == "INFEASIBLE" or "constraints incompatible" in status


def is_solved(r: Record) -> bool:
    """Whether a point is, or whether it was found, and is proved, that the problem has none."""
    if r.get("impossible"):
        return True
    known = None not in (r.get("value"), r.get("violation"), r.get("residual"))
    if not known or r["violation"] > VIOLATION * max(1.0, abs(r["value"]) * (r["value"] < BOTTOM)):
        return False
    return r["residual"] <= RESIDUAL or is_bottomless(r)


def is_bottomless(r: Record) -> bool:
    """Whether it shows that a problem is unbounded, and says so."""
    return r["value"] < BOTTOM and (r["status"] == "UNBOUNDED" or not r["claimed"])


def is_false(r: Record) -> bool:
    """Whether success is claimed that is none."""
    return bool(r.get("claimed")) and not is_solved(r)


def line(r: Record) -> str:
    """One line on one problem."""
    number = lambda name, form: format(r[name], form) if r.get(name) is not None else ""
    word = "solved" if is_solved(r) else "-"
    return (
        f"{r['solver']:22} {r['problem']:10} {r.get('n', ''):>5} {word:6} {r.get('evals', ''):>6} "
        f"f {number('value', '.8g'):>14} violation {number('violation', '.1e'):>8} "
        f"residual {number('residual', '.1e'):>8} "
        f"{number('seconds', '.1f'):>5} s  {r.get('failure', '')} {r.get('status', '')}"
    )


def table(found: dict[str, dict[str, Record]]) -> str:
    """One line a solver, then what gdjax did not solve."""
    solved = {solver: {p for p, r in of.items() if is_solved(r)} for solver, of in found.items()}
    common = set.intersection(*([names for names in solved.values() if names] or [set()]))
    lines = [f"{'':24} {'solved':>11} {'claimed':>7} {'false':>5} {'evals':>6}  failures"]
    for solver, of in found.items():
        share = f"{len(solved[solver])} ({len(solved[solver]) / len(of):.0%})"
        false = sum(is_false(r) for r in of.values())
        claimed = sum(bool(r.get("claimed")) for r in of.values())
        evals = statistics.median([of[p]["evals"] for p in common] or [0])
        failures = [r["failure"] for r in of.values() if "failure" in r]
        kinds = ", ".join(f"{failures.count(kind)} {kind}" for kind in sorted(set(failures)))
        lines.append(f"{solver:24} {share:>11} {claimed:7} {false:5} {evals:6.0f}  {kinds}")
    impossible = {p for of in found.values() for p, r in of.items() if r.get("impossible")}
    lines += [f"evals: median over the {len(common)} problems that all solve", ""]
    if impossible:
        lines += [f"infeasible as they are coded: {', '.join(sorted(impossible))}", ""]
    return "\n".join(lines + [line(r) for p, r in found.get("gdjax", {}).items() if not is_solved(r)])
