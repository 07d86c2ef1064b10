"""The cases of `correct`, some at a time: nearly all of their time is the compiler's."""

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

import jax

from benchmarks.gpu.correct import CASES
from benchmarks.gpu.sections import Work
from benchmarks.measuring import Record

THREADS = 6


def run(work: Work) -> Iterator[Record]:
    """Every case in one precision, which the section's name ends with; the last, which take longest, begin."""
    double = work.name.endswith("64")
    with ThreadPoolExecutor(work.pick(THREADS, 2)) as pool:
        tasks = [pool.submit(check, name, case, double, work) for name, case in reversed(CASES.items())]
        yield from (task.result() for task in as_completed(tasks))


def check(name: str, case: Callable[[], None], double: bool, work: Work) -> Record:
    """Whether it is right, and what is wrong."""
    if work.late():
        return work.skipped(name)
    began, wrong = time.perf_counter(), ""
    try:
        with jax.enable_x64(double):
            case()
    except Exception as error:  # whatever it is, it is this case's answer
        wrong = f"{type(error).__name__}: {error}"[:600]
        if not isinstance(error, AssertionError):
            wrong += " | " + traceback.format_exc(limit=-4)[:1500]
    return dict(case=name, dtype="float64" if double else "float32", wrong=wrong, seconds=time.perf_counter() - began)
