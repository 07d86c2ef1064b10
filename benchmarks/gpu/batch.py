"""Many Rosenbrock-10 problems at once, and `minimize_many` with other numbers of lanes; float64."""

import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import gdjax
from benchmarks import losses
from benchmarks.batch import Judge, many, share, vmapped
from benchmarks.gpu.sections import Work
from benchmarks.gpu.timing import compile_all
from benchmarks.measuring import Record, timed
from benchmarks.programs import GDJAX, PEERS, claimed_tol
from gdjax.many import chunks

TOL, LIMIT = 1e-6, 2000
COUNTS = (10_000, 100, 100_000, 1000, 1_000_000)
MOST = {"gdjax.LBFGS, vmap": 100_000, "optax.lbfgs, vmap": 100_000}  # of the largest there would be minutes of them
LANES = (2**14, 2**20)  # instead of chunks.LANES

SOLVERS: dict[str, Callable[..., Any]] = {
    "gdjax.minimize_many": many(None),
    "gdjax.minimize_many, LBFGS": many(gdjax.LBFGS(memory=10)),
    "gdjax.BFGS, vmap": vmapped("gdjax.BFGS", GDJAX["gdjax.BFGS"]),
    "gdjax.LBFGS, vmap": vmapped("gdjax.LBFGS", GDJAX["gdjax.LBFGS"]),
    "optimistix.BFGS, vmap": vmapped("optimistix.BFGS", PEERS["optimistix.BFGS"]),
    "optax.lbfgs, vmap": vmapped("optax.lbfgs", PEERS["optax.lbfgs"]),
}


def pieces_of(run: Callable[[], Any]) -> Record:
    """Calls of the compiled descent by `minimize_many`, trips in them, lanes."""
    made: list[tuple[int, int]] = []
    advance = chunks.advance

    def counted(*args: Any) -> Any:
        carry, trips, running = advance(*args)
        made.append((int(trips), carry.status.size))
        return carry, trips, running

    with mock.patch.object(chunks, "advance", counted):
        run()
    trips, lanes = zip(*made, strict=True)
    return dict(calls=len(made), trips=sum(trips), lanes=max(lanes))


def timing(name: str, run: Callable[[], Any], judge: Judge, made: tuple[Any, float]) -> Record:
    """Seconds of the faster of two calls after the first; what came out."""
    first, seconds = made
    if isinstance(first, Exception):
        return dict(solver=name, failed=repr(first)[:500])
    params, claimed, evals = first
    times = [timed(run)[0] for _ in range(2)]
    record = dict(
        solver=name, seconds=min(times), first=seconds, solved=judge(params)[1], claimed=share(claimed),
        evals=float(evals.mean()), most=int(evals.max()),
    )  # fmt: skip
    return record | (pieces_of(run) if "many" in name else {})


def run(work: Work) -> Iterator[Record]:
    """All solvers, the most interesting number of problems first; then other numbers of lanes."""
    for count in work.pick(COUNTS, (100, 10)):
        starts = losses.rosenbrock_starts(count)
        judge = Judge(losses.rosenbrock, (), TOL)
        runs = {
            name: functools.partial(make(losses.rosenbrock, starts, (), claimed_tol(name, starts.dtype) or TOL), LIMIT)
            for name, make in SOLVERS.items()
            if count <= MOST.get(name, count)
        }
        made = {} if work.late() else compile_all(runs, threads=6)
        for name, call in runs.items():
            yield dict(count=count) | (work.skipped(name) if work.late() else timing(name, call, judge, made[name]))
    count = work.pick(1_000_000, 100)
    starts, judge = losses.rosenbrock_starts(count), Judge(losses.rosenbrock, (), TOL)
    run = functools.partial(many(None)(losses.rosenbrock, starts, (), TOL), LIMIT)
    for lanes in LANES:
        name = f"gdjax.minimize_many, {lanes} lanes"
        if work.late():
            yield work.skipped(name)
            continue
        with mock.patch.object(chunks, "LANES", lanes):
            yield dict(count=count) | timing(name, run, judge, compile_all({name: run})[name])
