"""Bytes that a trip must move over its time, as a share of what a copy on the device reaches; float32.

In vectors of n numbers, each read or written once: a step of gradient descent with a constant rate reads x and writes
x (2). A step of L-BFGS with m pairs evaluates (2), makes a pair (4), multiplies with W (2 m + 1), combines its rows
(2 m + 2) and goes on to a trial point (3): 4 m + 12. What a solver moves beyond that shows as a lower share.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

import gdjax
from benchmarks import losses
from benchmarks.gpu.sections import Work
from benchmarks.gpu.timing import measure
from benchmarks.measuring import Record, interleaved
from benchmarks.overhead import RATE, bare
from benchmarks.programs import Program, by_hand, of_gdjax, of_optax, of_optimistix

MEMORY = 5
PASSES = {"LBFGS": 4 * MEMORY + 12, "lbfgs": 4 * MEMORY + 12}
SOLVERS: dict[str, tuple[Program, int]] = {
    "gdjax.LBFGS": (of_gdjax(gdjax.LBFGS(memory=MEMORY)), 20),
    "gdjax.GradientDescent": (of_gdjax(gdjax.GradientDescent(RATE)), 30),
    "hand-written.GradientDescent, |g| test": (by_hand(RATE), 30),
    "hand-written.GradientDescent": (by_hand(RATE, tested=False), 30),
    "value_and_grad": (bare, 30),
    "optimistix.LBFGS": (of_optimistix("LBFGS", history_length=MEMORY), 20),
    "optax.lbfgs": (of_optax(functools.partial(optax.lbfgs, memory_size=MEMORY)), 20),
}
PROFILED = ("gdjax.LBFGS", "gdjax.GradientDescent", "hand-written.GradientDescent, |g| test", "optimistix.LBFGS")


def passes(solver: str) -> int:
    """Vectors that a trip must move."""
    return next((count for name, count in PASSES.items() if name in solver), 2)


def copy_rate(x: Any) -> float:
    """Bytes a second, read and written, of a copy."""
    copy = jax.jit(lambda x: -x)
    seconds = min(interleaved({"copy": lambda: copy(x)}, 5, 0.02)["copy"])
    return 2 * x.nbytes / seconds


def run(work: Work) -> Iterator[Record]:
    """At both sizes."""
    with jax.enable_x64(False):
        for n in work.pick((10_000_000, 100_000_000), (10_000, 100_000)):
            x = losses.rosenbrock_start(n)
            rate = copy_rate(jnp.concatenate([x] * 2))
            yield dict(n=n, solver="copy", gigabytes=1e-9 * rate)
            for r in measure(work, SOLVERS, losses.rosenbrock, x, threads=2, profiled=PROFILED):
                if "us" in r:
                    moved = 4 * n * passes(r["solver"]) / (1e-6 * r["us"])
                    r |= dict(gigabytes=1e-9 * moved, share=moved / rate, passes=passes(r["solver"]))
                yield dict(n=n) | r
