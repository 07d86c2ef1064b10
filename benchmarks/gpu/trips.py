"""What a trip costs: of each solver and of loops by hand; with several trips a predicate; with conditionals.

The loop of a GPU program reads its predicate on the host, and so does a conditional. A loop of known length does not:
``k trips a predicate`` makes so many guarded trips in one, ``unrolled`` writes them out.
"""

import functools
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import optax

import gdjax
from benchmarks import losses
from benchmarks.gpu.sections import Work
from benchmarks.gpu.timing import measure
from benchmarks.measuring import Record
from benchmarks.overhead import RATE, bare
from benchmarks.programs import Answer, Program, by_hand, of_gdjax, of_optax, of_optimistix
from gdjax.descent.stopping import Status
from gdjax.jaxtools import scalar_kernels
from gdjax.request import prepare
from gdjax.running.programs import make_loop

MEMORY = 10
SEARCHED, STEADY = 40, 400  # evaluations: of what would converge, of all others
LANES = 10_000
LBFGS, DESCENT = gdjax.LBFGS(memory=MEMORY), gdjax.GradientDescent(RATE)
PROFILED = ("gdjax.LBFGS", "gdjax.GradientDescent", "hand-written.GradientDescent, |g| test", "optimistix.LBFGS")


def grouped(method: Any, k: int, how: str) -> Program:
    """The loop of gdjax with k trips in its body; those after the end change nothing."""

    def program(loss: Any, x0: Any, tol: Any, limit: Any) -> Answer:
        request = prepare(loss, x0, (), method=method, tol=tol, max_evals=limit, max_steps=limit)
        loop = make_loop(request)
        running = lambda c: c.status == Status.RUNNING
        keep = lambda c, new: jax.tree.map(lambda a, b: jnp.where(running(c), a, b), new, c)
        trip = loop.trip if k == 1 else lambda c: keep(c, loop.trip(c))

        def body(c: Any) -> Any:
            if how == "unrolled":
                return functools.reduce(lambda c, _: trip(c), range(k), c)
            return jax.lax.fori_loop(0, k, lambda _, c: trip(c), c)

        r = loop.answer(jax.lax.while_loop(running, body, loop.start()))
        return Answer(r.params, r.converged, r.num_evals, r.num_steps)

    return program


def known_length(loss: Any, x0: Any, tol: Any, limit: int) -> Answer:
    """Nothing but evaluations, in a loop whose length is in the program: no predicate is read."""
    return bare(loss, x0, tol, limit)


SOLVERS: dict[str, tuple[Program, int]] = {
    "gdjax.LBFGS": (of_gdjax(LBFGS), SEARCHED),
    "gdjax.GradientDescent": (of_gdjax(DESCENT), STEADY),
    "hand-written.GradientDescent, |g| test": (by_hand(RATE), STEADY),
    "hand-written.GradientDescent": (by_hand(RATE, tested=False), STEADY),
    "optimistix.LBFGS": (of_optimistix("LBFGS", history_length=MEMORY), SEARCHED),
    "optax.lbfgs": (of_optax(functools.partial(optax.lbfgs, memory_size=MEMORY)), SEARCHED),
    "gdjax.BFGS": (of_gdjax(gdjax.BFGS()), SEARCHED),
    "optimistix.BFGS": (of_optimistix("BFGS"), SEARCHED),
    "value_and_grad": (bare, STEADY),
    "static value_and_grad, known length": (known_length, STEADY),
}
GROUPS: dict[str, tuple[Program, int]] = {
    "gdjax.GradientDescent, unrolled 1": (grouped(DESCENT, 1, "unrolled"), STEADY),
    "gdjax.GradientDescent, unrolled 4": (grouped(DESCENT, 4, "unrolled"), STEADY),
    "gdjax.GradientDescent, 4 trips a predicate": (grouped(DESCENT, 4, "loop"), STEADY),
    "gdjax.GradientDescent, 16 trips a predicate": (grouped(DESCENT, 16, "loop"), STEADY),
    "gdjax.LBFGS, unrolled 4": (grouped(LBFGS, 4, "unrolled"), SEARCHED),
}
# With a conditional for each branch, however small; and with a carry of scalars, each by itself.
CONDITIONALS: dict[str, tuple[Program, int]] = {
    "gdjax.GradientDescent, conditionals": (of_gdjax(DESCENT), STEADY),
    "gdjax.LBFGS, conditionals": (of_gdjax(LBFGS), SEARCHED),
}
APART: dict[str, tuple[Program, int]] = {
    "gdjax.GradientDescent, scalars apart": (of_gdjax(DESCENT), STEADY),
    "gdjax.LBFGS, scalars apart": (of_gdjax(LBFGS), SEARCHED),
}


def lanes(method: Any) -> Program:
    """A vmapped descent, whose trips are the evaluations of its slowest lane."""

    def program(loss: Any, starts: Any, tol: Any, limit: Any) -> Answer:
        answer = jax.vmap(lambda x: method(loss, x, tol, limit))(starts)
        return Answer(answer.params, answer.claimed, jnp.max(answer.evals), jnp.max(answer.steps))

    return program


def run(work: Work) -> Iterator[Record]:
    """At n = 100 everything; at a million variables the solvers; 10 000 lanes of the dense methods."""
    small, large = 100, work.pick(1_000_000, 1000)
    start = losses.rosenbrock_start(small)
    for r in measure(work, SOLVERS, losses.rosenbrock, start, profiled=PROFILED):
        yield dict(n=small) | r
    for r in measure(work, GROUPS, losses.rosenbrock, start):
        yield dict(n=small) | r
    variants = (
        (mock.patch.object(scalar_kernels, "BOTH", -1), CONDITIONALS),
        (mock.patch.object(scalar_kernels, "TOGETHER", -1), APART),
    )
    for changed, programs in variants:
        jax.clear_caches()  # what was traced before would be taken again
        with changed:
            for r in measure(work, programs, losses.rosenbrock, start):
                yield dict(n=small) | r
    jax.clear_caches()
    dense = {f"{name}, vmap": (lanes(SOLVERS[name][0]), SEARCHED) for name in ("gdjax.BFGS", "optimistix.BFGS")}
    starts = losses.rosenbrock_starts(work.pick(LANES, 100))
    for r in measure(work, dense, losses.rosenbrock, starts, profiled=("gdjax.BFGS, vmap",)):
        yield dict(n=10, lanes=starts.shape[0]) | r
    if not work.name.endswith("buffers"):
        many = {name: given for name, given in SOLVERS.items() if "BFGS" not in name.replace("LBFGS", "")}
        for r in measure(work, many, losses.rosenbrock, losses.rosenbrock_start(large), profiled=PROFILED[:1]):
            yield dict(n=large) | r
