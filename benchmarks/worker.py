"""One solver on one problem after another, in a process of its own that may be killed."""

import math
import multiprocessing
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.bounded import BOUNDED, measure
from benchmarks.problems import build, build_bounded
from benchmarks.solvers import SOLVERS, Loss, compiled
from gdjax.vectors.vector import max_abs  # XLA's maximum loses NaN among thousands of numbers

WALL = 10  # wall-clock seconds that a CPU second may take
REPEAT_BELOW = 10.0  # CPU seconds: a first call shorter than this is made again, to time it without compiling


class Task(NamedTuple):
    """What every solver is asked for."""

    dtype: str
    tol: float
    max_evals: int
    max_n: int
    time_limit: float  # CPU seconds, for a problem's first call with its compilation: no matter what else runs
    bounded: bool = False  # problems with bounds, and solvers for them
    min_n: int = 0


def records(
    solver: str, names: list[str], task: Task, target: Callable[..., None] | None = None
) -> Iterator[dict[str, Any]]:
    """One record for each problem of at most max_n variables; a worker that hangs or dies is replaced.

    What runs in it is ``target``, which talks as `serve` does, the default.
    """
    worker = None
    for name in names:
        worker = worker or Worker(solver, task, target or serve)
        record = worker.attempt(name)
        if worker.lost:
            worker.kill()
            worker = None
        if record:
            yield {"solver": solver, "problem": name} | record
    if worker:
        worker.kill()


class Worker:
    """A process with one solver in it."""

    def __init__(self, solver: str, task: Task, target: Callable[..., None]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, solver, task), daemon=True)
        self.process.start()
        theirs.close()
        self.limit, self.lost = task.time_limit, False
        self.pipe.recv()  # imports are done

    def attempt(self, name: str) -> dict[str, Any]:
        """Its record of the problem; empty for one that is too large."""
        self.pipe.send(name)
        first = self.answer(WALL * self.limit, {"seconds": self.limit})
        if self.lost or "failure" in first or not first:
            return first
        again = self.answer(2 * WALL * REPEAT_BELOW, {})
        return first | {"run_seconds": again.get("run_seconds")}

    def answer(self, seconds: float, otherwise: dict[str, Any]) -> dict[str, Any]:
        """The next message, or what became of it."""
        try:
            if self.pipe.poll(seconds):
                return self.pipe.recv()
            self.lost = True
            return otherwise | {"failure": "timeout"}
        except EOFError:
            self.lost = True
            self.process.join()
            return (
                otherwise | {"failure": "timeout"} if self.process.exitcode == -signal.SIGPROF else {"failure": "crash"}
            )

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()


def serve(pipe: Connection, solver: str, task: Task) -> None:
    """In the worker: names come in; a record goes out, then the seconds of a second call."""
    warnings.simplefilter("ignore")
    jax.config.update("jax_enable_x64", task.dtype == "float64")
    pipe.send("ready")
    while True:
        loss, x0, *bounds = (build_bounded if task.bounded else build)(pipe.recv())
        if x0.size > task.max_n:
            pipe.send({})
            continue
        signal.setitimer(signal.ITIMER_PROF, task.time_limit)  # ends the process, wherever it is
        record = solve(solver, loss, x0, bounds, task)
        signal.setitimer(signal.ITIMER_PROF, 0)
        pipe.send(record)
        if "failure" not in record:
            repeat = record["seconds"] < REPEAT_BELOW
            pipe.send({"run_seconds": solve(solver, loss, x0, bounds, task)["seconds"]} if repeat else {})
        jax.clear_caches()


def solve(solver: str, loss: Loss, x0: jax.Array, bounds: list[jax.Array], task: Task) -> dict[str, Any]:
    """Run it, and judge the point that it returns by what the loss is there, in the dtype of the run."""
    size = {"n": x0.size}
    began = time.process_time()
    try:
        run = (BOUNDED if task.bounded else SOLVERS)[solver]
        outcome = run(loss, x0, *bounds, task.tol, task.max_evals)
    except Exception as error:
        return size | {"failure": "error", "status": f"{type(error).__name__}: {error}"[:300]}
    seconds = time.process_time() - began
    x, feasible = jnp.asarray(outcome.params, x0.dtype), True
    if task.bounded:
        value, norm, feasible = measure(loss, x, *bounds)
    else:
        value, grad = compiled(loss)[0](x)
        norm = max_abs(grad)
    return size | {
        "dtype": str(outcome.params.dtype),  # what the solver itself worked in
        "value": finite(value),
        "gradient": finite(norm),
        "feasible": feasible,
        "claimed": outcome.claimed,
        "evals": outcome.evals,
        "products": outcome.products,
        "status": outcome.status,
        "seconds": round(seconds, 6),
    }


def finite(x: jax.Array) -> float | None:
    """None for what JSON cannot hold."""
    return float(x) if math.isfinite(x) else None
