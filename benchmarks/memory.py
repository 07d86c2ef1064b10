"""`python -m benchmarks memory`: peak bytes of a compiled minimisation against what the method needs.

Counted by XLA, not run: arguments, outputs and temporaries of the compiled program, for the chained Rosenbrock function
of --size variables, as multiples of one vector of them (of one matrix for dense methods, at --dense variables). A
method needs the vectors that it carries from one evaluation to the next: x, g and the direction where it searches, the
velocity or the moments where it has them, the 2 m pairs of L-BFGS, the n x n matrix of BFGS.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import gdjax
from benchmarks import losses
from benchmarks.measuring import Record, chosen, progress, run_or_load, table, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.overhead import bare
from benchmarks.pictures import bars
from benchmarks.programs import PEERS, Program, by_hand, of_gdjax


class Case(NamedTuple):
    """A solver and what its method needs: vectors (for dense methods beside one matrix)."""

    program: Program
    vectors: int
    dense: bool = False


SOLVERS = {
    "value_and_grad": Case(bare, 2),
    "hand-written.GradientDescent": Case(by_hand(1e-3), 2),
    "gdjax.GradientDescent": Case(of_gdjax(gdjax.GradientDescent(1e-3)), 2),
    "gdjax.GradientDescent, momentum": Case(of_gdjax(gdjax.GradientDescent(1e-3, momentum=0.9)), 3),
    "gdjax.Optax, adam": Case(of_gdjax(optax.adam(1e-3)), 4),
    "gdjax.BarzilaiBorwein": Case(of_gdjax(gdjax.GradientDescent(gdjax.BarzilaiBorwein())), 3),
    "gdjax.ConjugateGradient": Case(of_gdjax(gdjax.ConjugateGradient()), 3),
    "gdjax.LBFGS, memory 10": Case(of_gdjax(gdjax.LBFGS(memory=10)), 23),
    "gdjax.LBFGS, memory 20": Case(of_gdjax(gdjax.LBFGS(memory=20)), 43),
    **{name: Case(PEERS[name], 23) for name in ("optax.lbfgs", "jaxopt.LBFGS", "optimistix.LBFGS")},
    "gdjax.BFGS": Case(of_gdjax(gdjax.BFGS()), 3, True),
    **{name: Case(PEERS[name], 3, True) for name in ("jaxopt.BFGS", "optimistix.BFGS")},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--size", type=int, default=1_000_000, help="variables (default 1e6)")
    parser.add_argument("--dense", type=int, default=1000, help="variables of dense methods (default 1000)")
    add_common(parser, "memory", repeats=1)


def peak(program: Program, n: int) -> dict[str, int]:
    """Bytes of the compiled program, without an array of it being made."""
    start = jax.ShapeDtypeStruct((n,), jnp.zeros(()).dtype)
    compiled = jax.jit(lambda x: program(losses.rosenbrock, x, 1e-6, 1000)).lower(start).compile()
    used: Any = compiled.memory_analysis()
    total = used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes
    return dict(peak=total - used.alias_size_in_bytes, temporaries=used.temp_size_in_bytes)


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Every solver."""
    cases = chosen(options.solvers, SOLVERS)
    for name in progress("memory", cases):
        case = cases[name]
        n = options.dense if case.dense else options.size
        vector = n * jnp.zeros(()).dtype.itemsize
        need = vector * (case.vectors + n * case.dense)
        yield dict(solver=name, n=n, vector=vector, need=need, dense=case.dense, **peak(case.program, n))


def report(header: Record, records: list[Record], path: Path) -> None:
    """The table and the picture."""
    print(title(header))
    panels = {}
    for dense, unit in ((False, "vectors"), (True, "matrices")):
        of_kind = [r for r in records if r["dense"] == dense]
        if not of_kind:
            continue
        n = of_kind[0]["n"]
        rows = [[f"n = {n}", f"{unit} needed", f"{unit} at peak", "peak MB", "of it temporaries", "peak / need"]]
        for r in of_kind:
            one = r["vector"] * (n if dense else 1)
            counts = [f"{r['need'] / one:.3g}", f"{r['peak'] / one:.3g}"]
            bytes_ = [f"{r['peak'] / 1e6:.1f}", f"{r['temporaries'] / 1e6:.1f}"]
            rows.append([r["solver"], *counts, *bytes_, f"{r['peak'] / r['need']:.2f}"])
        print("\n" + table(rows))
        panels[f"peak bytes over need, n = {n}"] = {r["solver"]: r["peak"] / r["need"] for r in of_kind}
    bars(panels, path, note=title(header))


def main(options: argparse.Namespace) -> None:
    """Count or load, print the table, draw the picture."""
    report(*run_or_load(options, run))
