"""Programs compiled several at a time, and what a trip of each costs."""

import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from benchmarks.gpu.profiling import profile
from benchmarks.gpu.sections import Work
from benchmarks.kernels import count_in_trip
from benchmarks.measuring import Record, interleaved
from benchmarks.programs import Program

SHORT = 2  # evaluations of the shorter of two runs


def compile_all(jobs: dict[Any, Callable[[], Any]], threads: int = 4) -> dict[Any, Any]:
    """Name -> (what the job made of it or the exception, seconds)."""

    def attempt(job: Callable[[], Any]) -> tuple[Any, float]:
        began = time.perf_counter()
        try:
            made = job()
        except Exception as error:  # one that does not compile leaves the others
            made = error
        return made, time.perf_counter() - began

    x64 = jax.config.jax_enable_x64  # such settings are each thread's own

    def in_thread(job: Callable[[], Any]) -> tuple[Any, float]:
        with jax.enable_x64(x64):
            return attempt(job)

    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(jobs, pool.map(in_thread, jobs.values()), strict=True))


def compiled(name: str, program: Program, loss: Any, start: Any, limits: tuple[int, int]) -> list[Callable[[], Any]]:
    """The calls with the shorter and with the longer limit, which is static for optimistix: then they are two."""
    run = lambda x, limit: program(loss, x, 0.0, limit)
    if name.startswith(("optimistix", "static")):
        made = [jax.jit(lambda x, limit=limit: run(x, limit)).lower(start).compile() for limit in limits]
        calls = [functools.partial(each, start) for each in made]
    else:
        made = [jax.jit(run).lower(start, limits[0]).compile()]
        calls = [functools.partial(made[0], start, limit) for limit in limits]
    calls[1].text = made[-1].as_text()  # type: ignore[attr-defined]
    return calls


def measure(
    work: Work, programs: dict[str, tuple[Program, int]], loss: Any, start: Any, threads: int = 4, profiled: Any = ()
) -> Iterator[Record]:
    """Microseconds a trip of each program with so many evaluations; of some also what the profiler sees.

    Some are compiled at a time and then timed, alone.
    """
    jobs = {
        name: functools.partial(compiled, name, program, loss, start, (SHORT, SHORT + trips))
        for name, (program, trips) in programs.items()
    }
    for begin in range(0, len(jobs), threads):
        names = list(jobs)[begin : begin + threads]
        made = {} if work.late() else compile_all({name: jobs[name] for name in names}, threads)
        for name in names:
            yield time_one(name, *made[name], name in profiled) if made else work.skipped(name)


def time_one(name: str, calls: Any, seconds: float, profiled: bool) -> Record:
    """The record of a program, or why there is none."""
    try:
        if isinstance(calls, Exception):
            raise calls
        answers = [call() for call in calls]
        evals = int(answers[1].evals) - int(answers[0].evals)
        del answers
        times = interleaved({"short": calls[0], "long": calls[1]}, 3, 0.02)
        least = min(times["long"]) - min(times["short"])
        record = dict(solver=name, us=1e6 * least / evals, evals=evals, compile=seconds)
        if profiled:
            record |= profile(calls[1], evals + SHORT)
        return record | dict(kernels=count_in_trip(calls[1].text))
    except Exception as error:  # out of memory, say: the others go on
        return dict(solver=name, failed=repr(error)[:500])
