"""`python -m benchmarks again`: what a second call from Python costs, and whether it compiles.

The same call again; with new data of the same shape; with the new data closed over by a new function; with another
tolerance. Milliseconds of Python are those of the call above those of the same solver's call under one jax.jit, made
with the same numbers. The fit has ten parameters and takes a few dozen evaluations.
"""

import argparse
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
import optimistix

import gdjax
from benchmarks.measuring import Record, chosen, interleaved, progress, run_or_load, table, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import bars

LIMIT = 500
Call = Callable[..., Any]  # (loss, start, data, tol)


def of_gdjax(loss: Any, start: Any, data: tuple[Any, ...], tol: Any) -> Any:
    """The front door."""
    return gdjax.minimize(loss, start, *data, tol=tol, max_steps=LIMIT)


def of_optimistix(loss: Any, start: Any, data: tuple[Any, ...], tol: Any) -> Any:
    """optimistix.minimise with BFGS, its cheapest to compile."""
    function = unpacked(loss) if data else loss
    solution = optimistix.minimise(
        function, optimistix.BFGS(tol, tol), start, data or None, max_steps=LIMIT, throw=False
    )
    return solution.value


def of_jaxopt(loss: Any, start: Any, data: tuple[Any, ...], tol: Any) -> Any:
    """jaxopt.LBFGS under jax.jit, without which each call of its `run` compiles its loop anew."""
    return jaxopt_run(loss, tol)(start, *data).params


@functools.lru_cache
def jaxopt_run(loss: Any, tol: Any) -> Any:
    """The solver is made with the loss and the tolerance: once for each."""
    return jax.jit(jaxopt.LBFGS(loss, tol=tol, maxiter=LIMIT).run)


SOLVERS: dict[str, Call] = {
    "gdjax.minimize": of_gdjax,
    "optimistix.minimise": of_optimistix,
    "jaxopt.LBFGS": of_jaxopt,
}


def misfit(p: jax.Array, y: jax.Array) -> jax.Array:
    """Of a nonlinear regression."""
    x = jnp.linspace(-1, 1, y.size)
    powers = x[:, None] ** jnp.arange(p.size)
    return jnp.mean((jnp.tanh(powers @ p) - y) ** 2) + 1e-3 * jnp.sum(p**2)


@functools.lru_cache
def unpacked(loss: Any) -> Any:
    """The loss as optimistix calls it; the same object for the same loss."""
    return lambda p, data: loss(p, *data)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    add_common(parser, "again", repeats=3)


def cases(solve: Call, closed: Any) -> dict[str, Callable[[], Any]]:
    """What is called again and again; ``closed`` makes of data a new function, with the arguments that it takes."""
    rng = np.random.default_rng(0)
    data = itertools.cycle([jnp.asarray(0.5 * rng.normal(size=50)) for _ in range(16)])
    start, first = jnp.zeros(10), next(data)
    tols = (1e-6 * (1 + 1e-9 * k) for k in itertools.count())
    whole = jax.jit(lambda x, y: solve(misfit, x, (y,), 1e-6))
    return {
        "one jax.jit": lambda: whole(start, first),
        "same": lambda: solve(misfit, start, (first,), 1e-6),
        "new data": lambda: solve(misfit, start, (next(data),), 1e-6),
        "new closure": lambda: solve(closed(next(data)), start, (), 1e-6),
        "new tolerance": lambda: solve(misfit, start, (first,), next(tols)),
    }


class Compilations:
    """Counts what XLA is asked to compile."""

    def __init__(self) -> None:
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self)

    def __call__(self, event: str, duration: float, **_: Any) -> None:
        """One event."""
        self.count += event == "/jax/core/compile/backend_compile_duration"

    def of(self, call: Callable[[], Any]) -> int:
        """In one call."""
        before = self.count
        jax.block_until_ready(call())
        return self.count - before


def run(options: argparse.Namespace) -> Iterator[Record]:
    """Every case of every solver, in rounds."""
    counter, calls = Compilations(), {}
    for name in progress("again", chosen(options.solvers, SOLVERS)):
        with_args = name.startswith("optimistix")
        closed = (lambda y: lambda p, _: misfit(p, y)) if with_args else lambda y: lambda p: misfit(p, y)
        for case, call in cases(SOLVERS[name], closed).items():
            calls[name, case] = call
    seconds = interleaved(calls, options.repeats)
    for (name, case), call in calls.items():
        yield dict(solver=name, case=case, seconds=seconds[name, case], compiled=counter.of(call))


def report(header: Record, records: list[Record], path: Path) -> None:
    """The table and the picture."""
    print(title(header))
    compiled = {r["solver"]: min(r["seconds"]) for r in records if r["case"] == "one jax.jit"}
    rows = [["", "case", "ms", "ms of Python", "compilations"]]
    drawn: dict[str, float | None] = {}
    for r in records:
        least = 1e3 * min(r["seconds"])
        above = least - 1e3 * compiled[r["solver"]]
        own = r["case"] == "one jax.jit"
        rows.append([r["solver"], r["case"], f"{least:.3f}", "" if own else f"{above:.3f}", r["compiled"]])
        drawn[f"{r['solver']}, {r['case']}"] = least
    print("\n" + table(rows))
    bars({"milliseconds of a call": drawn}, path, note=title(header), scale="log")


def main(options: argparse.Namespace) -> None:
    """Measure or load, print the table, draw the picture."""
    report(*run_or_load(options, run))
