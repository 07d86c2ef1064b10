"""`python -m benchmarks compile`: what it costs to compile a whole minimisation, gdjax against its peers.

Seconds of `jax.jit(solve).trace(x).lower().compile()` in one process, before each of which all of JAX's caches are
cleared and the loss is a new function: CPU seconds of the process, which other work on the machine hardly moves, beside
wall-clock seconds, the least of the rounds. Kernels are functions that are launched by themselves
(`benchmarks.kernels`). Copies of the loss are counted in the traced program by the network's tanh, of which one value
with its gradient has two.
"""

import argparse
import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

import gdjax
from benchmarks import losses
from benchmarks.kernels import count_kernels
from benchmarks.measuring import Record, chosen, progress, run_or_load, table, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import bars
from benchmarks.programs import PEERS, Program, by_hand, of_jaxopt

TOL, LIMIT = 1e-6, 1000
REFERENCE = "optimistix.LBFGS"  # whose compile time is the measure


def whole(method: Any) -> Program:
    """A method of gdjax with all that it returns."""
    return lambda loss, x0, *_: gdjax.minimize(loss, x0, method=method)


SOLVERS: dict[str, Program] = {
    "gdjax.LBFGS": whole(gdjax.LBFGS()),
    "gdjax.BFGS": whole(gdjax.BFGS()),
    "gdjax.compat.jaxopt.LBFGS": of_jaxopt("LBFGS", "gdjax.compat.jaxopt"),
    "gdjax.GradientDescent": whole(gdjax.GradientDescent(1e-3)),
    "hand-written.GradientDescent": by_hand(1e-3),
} | PEERS


def problems() -> dict[str, tuple[Any, Any]]:
    """Name -> loss and start."""
    return {"Rosenbrock-100": (losses.rosenbrock, losses.rosenbrock_start(100)), "MLP, six leaves": losses.mlp()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    add_common(parser, "compile", repeats=3)


def copies(jaxpr: Any, primitive: str) -> int:
    """How often a primitive stands in a traced program, at any depth."""
    if isinstance(jaxpr, ClosedJaxpr):
        return copies(jaxpr.jaxpr, primitive)
    if isinstance(jaxpr, tuple | list):
        return sum(copies(item, primitive) for item in jaxpr)
    if not isinstance(jaxpr, Jaxpr):
        return 0
    inner = sum(copies(value, primitive) for eqn in jaxpr.eqns for value in eqn.params.values())
    return inner + sum(eqn.primitive.name == primitive for eqn in jaxpr.eqns)


def compile_once(program: Program, loss: Any, start: Any) -> Record:
    """CPU and wall-clock seconds with nothing known before, and what was made."""
    jax.clear_caches()
    gc.collect()
    new = lambda x: loss(x)
    cpu, wall = time.process_time(), time.perf_counter()
    traced = jax.jit(lambda x: program(new, x, TOL, LIMIT)).trace(start)
    lowered = traced.lower()
    front = time.process_time() - cpu
    compiled = lowered.compile()
    return dict(
        cpu=time.process_time() - cpu, tracing=front, wall=time.perf_counter() - wall,
        kernels=count_kernels(compiled.as_text()), tanh=copies(traced.jaxpr, "tanh"),
    )  # fmt: skip


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Every solver on every problem, in rounds."""
    solvers = chosen(options.solvers, SOLVERS)
    jax.jit(lambda x: x + 1).lower(1.0).compile()  # the compiler's own start
    for problem, (loss, start) in chosen(options.problems, problems()).items():
        rounds = [
            {name: compile_once(solvers[name], loss, start) for name in progress(problem, solvers)}
            for _ in range(options.repeats)
        ]
        for name in solvers:
            made = [r[name] for r in rounds]
            yield dict(
                solver=name, problem=problem, kernels=made[0]["kernels"], copies=made[0]["tanh"] / 2 or None,
                **{key: [m[key] for m in made] for key in ("cpu", "tracing", "wall")},
            )  # fmt: skip


def report(header: Record, records: list[Record], path: Path) -> None:
    """The table and the picture."""
    print(title(header))
    for problem in dict.fromkeys(r["problem"] for r in records):
        of_problem = [r for r in records if r["problem"] == problem]
        reference = next((r for r in of_problem if r["solver"] == REFERENCE), None)
        rows = [[problem, "CPU s", "of it tracing", "wall s", f"ratio to {REFERENCE}", "kernels", "copies of the loss"]]
        for r in of_problem:
            seconds = [f"{min(r[key]):.2f}" for key in ("cpu", "tracing", "wall")]
            compared = f"{min(r['cpu']) / min(reference['cpu']):.2f}" if reference else ""
            rows.append([r["solver"], *seconds, compared, r["kernels"], f"{r['copies']:g}" if r["copies"] else ""])
        print("\n" + table(rows))
    bars(
        {f"{problem}: CPU seconds to compile": {
            r["solver"]: min(r["cpu"]) for r in records if r["problem"] == problem
        } for problem in dict.fromkeys(r["problem"] for r in records)},
        path, note=title(header),
    )  # fmt: skip


def main(options: argparse.Namespace) -> None:
    """Measure or load, print the table, draw the picture."""
    report(*run_or_load(options, run))
