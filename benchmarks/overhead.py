"""`python -m benchmarks overhead`: microseconds an evaluation above the bare value_and_grad, gdjax against its peers.

The chained Rosenbrock function of n variables, from its standard start, with no tolerance. Of each solver two runs are
timed, which differ in nothing but the limit on evaluations; an evaluation costs the difference of their seconds over
that of their counts, so that the call, the set-up and the first evaluation drop out. The bare loop is a fori_loop of
value_and_grad whose gradient, scaled, is the next point.

Gradient descent is compared with loops written by hand; L-BFGS with the work that it needs: its evaluations and,
for each accepted step, two products with W, the 2 m x n matrix of its pairs, one of it and one of its transpose.
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
from benchmarks.measuring import Record, chosen, interleaved, progress, run_or_load, table, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import lines
from benchmarks.programs import PEERS, Answer, Program, by_hand, of_gdjax

SIZES = (10, 100, 1000, 100_000, 1_000_000)
RATE = 2e-4  # at which gradient descent falls steadily
MEMORY = 10  # of every peer
BARE, PRODUCTS = "value_and_grad", f"products with W, memory {MEMORY}"


def bare(loss: Any, x0: jax.Array, tol: Any, limit: Any) -> Answer:
    """Nothing but evaluations, each at a point that the last one gives; both of its results are used."""

    def step(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, total = carry
        value, grad = jax.value_and_grad(loss)(x)
        return -RATE * grad, total + value

    return Answer(*jax.lax.fori_loop(0, limit, step, (x0, jnp.zeros((), x0.dtype))), limit, limit)


def products(loss: Any, start: Any, tol: Any, limit: Any) -> Answer:
    """Nothing but the two products of L-BFGS, W g and W' c, as if each trip were a step.

    (With two right-hand sides in the first, as where W y is computed too, they take about twice as long.)
    """
    g, w = start
    g = jax.lax.fori_loop(0, limit, lambda _, g: (w @ g) @ w, g)
    return Answer(g, True, limit, limit)


SOLVERS: dict[str, Program] = {
    BARE: bare,
    PRODUCTS: products,
    "gdjax.LBFGS, memory 10": of_gdjax(gdjax.LBFGS(memory=MEMORY)),
    "gdjax.LBFGS, memory 20": of_gdjax(gdjax.LBFGS(memory=20)),
    **{name: PEERS[name] for name in ("optax.lbfgs", "jaxopt.LBFGS", "optimistix.LBFGS")},
    "gdjax.GradientDescent": of_gdjax(gdjax.GradientDescent(RATE)),
    "hand-written.GradientDescent": by_hand(RATE, tested=False),
    "hand-written.GradientDescent, |g| test": by_hand(RATE),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--trips", type=int, default=40, help="evaluations of the longer run (default 40)")
    add_common(parser, "overhead", repeats=7)


def start_of(name: str, n: int) -> Any:
    """The standard start; for the products with a W of norm 1, so that they neither grow nor vanish."""
    x0 = losses.rosenbrock_start(n)
    if name != PRODUCTS:
        return x0
    w = np.random.default_rng(0).normal(size=(2 * MEMORY, n))
    return x0, jnp.asarray(w / np.linalg.norm(w, 2))


def runner(name: str, program: Program, start: Any) -> Callable[[int], Answer]:
    """The compiled program as a function of the limit."""
    static = 1 if name.startswith("optimistix") else None
    run = jax.jit(lambda x, limit: program(losses.rosenbrock, x, 0.0, limit), static_argnums=static)
    return lambda limit: run(start, limit)


def limits(name: str, n: int, trips: int) -> tuple[int, int]:
    """The two limits: L-BFGS must not converge before the second, all others go on for as long as one likes."""
    searches = "LBFGS" in name or "lbfgs" in name
    return 1, trips if searches else max(trips, min(25 * trips, 1_000_000 // n))


def measure(solvers: dict[str, Program], n: int, trips: int, repeats: int) -> Iterator[Record]:
    """The two runs of every solver, in rounds."""
    calls: dict[tuple[str, int], Callable[[], Answer]] = {}
    counts: dict[tuple[str, int], tuple[int, int]] = {}
    for name in progress(f"n = {n}", solvers):
        program = runner(name, solvers[name], start_of(name, n))
        for end, limit in enumerate(limits(name, n, trips)):
            calls[name, end] = functools.partial(program, limit)
            answer = calls[name, end]()
            counts[name, end] = int(answer.evals), int(answer.steps)
    times = interleaved(calls, repeats)
    for name in solvers:
        evals, steps = (b - a for a, b in zip(counts[name, 0], counts[name, 1], strict=True))
        yield dict(solver=name, n=n, evals=evals, steps=steps, short=times[name, 0], long=times[name, 1])


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Every solver at every size."""
    for n in options.sizes:
        yield from measure(chosen(options.solvers, SOLVERS), n, options.trips, options.repeats)


def report(header: Record, records: list[Record], path: Path) -> None:
    """Three tables and the picture."""
    found = {(r["solver"], r["n"]): r for r in records}
    names, sizes = (list(dict.fromkeys(r[key] for r in records)) for key in ("solver", "n"))
    each = lambda name, n: 1e6 * seconds(found[name, n])
    above = lambda name, n: each(name, n) - (0 if name in (BARE, PRODUCTS) else each(BARE, n))
    heading = [f"n = {n:g}" for n in sizes]
    print(title(header))
    if BARE in names:
        rows = [[name, *(f"{above(name, n):.3g}" for n in sizes)] for name in names]
        print("\nmicroseconds: a bare evaluation, two products; of all others an evaluation above the bare one")
        print(table([["", *heading], *rows]))
    by_hands = [name for name in names if name.startswith("hand-written")]
    if "gdjax.GradientDescent" in names and by_hands:
        rows = [
            [name, *(f"{each('gdjax.GradientDescent', n) / each(name, n):.2f}" for n in sizes)] for name in by_hands
        ]
        print("\ngdjax.GradientDescent, its evaluations over those of\n" + table([["", *heading], *rows]))
    with_memory = [name for name in names if "LBFGS" in name or "lbfgs" in name if "20" not in name]
    if {BARE, PRODUCTS} <= set(names) and with_memory:
        rows = [[name, *(f"{distance(found, name, n):.2f}" for n in sizes)] for name in with_memory]
        print(f"\nL-BFGS, memory {MEMORY}, over its evaluations and products\n" + table([["", *heading], *rows]))
    curves = {name: ([*sizes], [each(name, n) for n in sizes]) for name in names}
    lines({"": curves}, path, "n", "microseconds an evaluation", note=title(header))


def seconds(r: Record) -> float:
    """Of an evaluation."""
    return (min(r["long"]) - min(r["short"])) / r["evals"]


def distance(found: dict[tuple[str, int], Record], name: str, n: int) -> float:
    """The cost of an evaluation over what the bare evaluation and the products of its share of a step cost.

    optimistix does not say which trips were accepted: all are counted as steps.
    """
    r = found[name, n]
    work = seconds(found[BARE, n]) + r["steps"] / r["evals"] * seconds(found[PRODUCTS, n])
    return seconds(r) / work


def main(options: argparse.Namespace) -> None:
    """Measure or load, print the tables, draw the picture."""
    report(*run_or_load(options, run))
