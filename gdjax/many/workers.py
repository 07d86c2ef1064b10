"""One thread per core, each with its own lanes, and what they share: the waiting problems and the answers."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.dtypes import canonicalize_dtype

from gdjax.descent.loop import NEVER
from gdjax.descent.stopping import Status
from gdjax.jaxtools.packing import Packed, unpack
from gdjax.many.lanes import NONE, LaneProgram, Lanes, Log, Orders, Page, Report, idle, serve, shapes_of

# What the lanes of a worker carry should stay well inside a core's cache of the second level (1 MB where this was
# measured): Rosenbrock-10 by BFGS (1.4 kB a lane) or L-BFGS with 5 pairs costs a fifth more with 256 lanes than 128.
CACHE = 2**18
LANES = 256  # at most
PAGE = 4  # problems on a page for each lane: Python is entered once a page
# Stragglers go on by themselves, in lanes for a 32nd as many, when they have kept the others waiting for so many trips:
# that is a second program to compile.
STRAGGLERS, PATIENCE = 32, 256
VISIT = 0.2  # seconds in the compiled program at most, about: what Ctrl-C and a time limit have to wait
LISTEN = 0.05  # seconds between two looks of the main thread for signals
# Seconds without a word from the compiled program, when it has been asked to end, after which it counts as stuck; or
# ten times its longest silence before, if that is more: one evaluation cannot be cut short.
SILENCE = 30.0

Compiled = Any  # function of (shared, lanes, page, orders) to (lanes, log, report), with its text


class Plan(NamedTuple):
    """How many lanes each of how many workers has."""

    width: int
    workers: int


def plan(problems: int, lane_bytes: int, batch_size: int | None) -> Plan:
    """Blocks of lanes in cache on all cores."""
    most = min(problems, batch_size or problems)
    workers = min(cores(), most)
    # Powers of two, so that there are few shapes to compile; enough for all problems, but no more than asked for.
    enough = 2 ** math.ceil(math.log2(-(-most // workers)))
    allowed = max(1, (batch_size or enough * workers) // workers)
    width = min(enough, LANES, max(1, CACHE // lane_bytes), allowed)
    return Plan(2 ** int(math.log2(width)), workers)


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class Store:
    """The answers, in the order of the problems."""

    def __init__(self, problems: int) -> None:
        self.problems, self.packed = problems, dict[str, np.ndarray]()

    def put(self, log: Log) -> None:
        """Keep finished answers. Several threads may do this at once: each has its own rows."""
        size = int(log.size)
        rows = np.asarray(log.ids)[:size]
        for name, answers in log.answers.items():
            shape = self.problems, answers.shape[1]
            self.packed.setdefault(name, np.empty(shape, answers.dtype))[rows] = np.asarray(answers)[:size]


class Crew:
    """Workers on one set of problems; ``own`` are the arrays of the problems, along their first axis."""

    def __init__(
        self, program: LaneProgram, shared: list[Any], own: list[np.ndarray], ending: Callable[[], Status]
    ) -> None:
        self.program, self.shared, self.own, self.ending = program, shared, own, ending
        self.problems = own[0].shape[0]
        self.carry, self.like = shapes_of(program, shared, own)
        self.store, self.next, self.lock = Store(self.problems), 0, threading.Lock()
        self.abandoned = False
        self.heard, self.longest = time.perf_counter(), 0.0  # the last word from a worker, the longest silence

    @property
    def lane_bytes(self) -> int:
        """Bytes that one problem carries through the loop."""
        own = sum(x.nbytes for x in self.own) // self.problems
        return own + sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(self.carry))

    def solve(self, plan: Plan) -> Any:
        """All results, as NumPy arrays."""
        few, lanes = plan.width // STRAGGLERS, idle(self.carry, self.own, plan.width)
        workers = plan.workers if plan.workers == 1 or not calls_out(self.compile(lanes)) else 1
        left = self.all([lanes] * workers, workers, PATIENCE if few else NEVER)
        if few and any(taken(lanes).any() for lanes in left):
            self.all([self.narrow(lanes, few) for lanes in left], workers, NEVER)
        return unpack(Packed(self.store.packed, []), self.like)

    def all(self, begun: Sequence[Lanes], workers: int, patience: int) -> list[Lanes]:
        """Let each worker fill its lanes as long as problems wait; the lanes in the end."""
        compiled = self.compile(begun[0])
        x64 = canonicalize_dtype(np.float64) == np.float64  # such settings are each thread's own

        def work(lanes: Lanes) -> Lanes:
            with jax.enable_x64(x64):
                return Worker(self, compiled, lanes).run(workers, patience)

        self.heard = time.perf_counter()
        futures = [in_thread(f"gdjax worker {i}", work, lanes) for i, lanes in enumerate(begun)]
        try:
            # A wait without end may sleep through Ctrl-C: the signal can reach another thread.
            while wait(futures, LISTEN, "FIRST_EXCEPTION").not_done and not any(failed(f) for f in futures):
                self.require_words()
        finally:
            self.abandoned = not all(f.done() and f.exception() is None for f in futures)
        wait(futures, SILENCE)  # where one has raised, the others end their calls first
        return [f.result() for f in sorted(futures, key=failed, reverse=True)]

    def require_words(self) -> None:
        """Raise TimeoutError if the descents should have ended, and no worker has been heard of for too long."""
        silence, allowed = time.perf_counter() - self.heard, max(SILENCE, 10 * self.longest)
        if silence > allowed and (why := self.ending()) != Status.RUNNING:
            raise TimeoutError(
                f"{why.name}, but the compiled program has not come back for {silence:.0f} s: one evaluation of the "
                "loss takes longer than that, or never ends"
            )

    def word(self) -> None:
        """Note that a worker is alive."""
        now = time.perf_counter()
        self.heard, self.longest = now, max(self.longest, now - self.heard)

    def compile(self, lanes: Lanes) -> Compiled:
        """The program for lanes and pages of these shapes, from the cache if it was compiled before."""
        orders = Orders(*map(np.int32, (0, 0, 0, 0, Status.RUNNING)))
        return serve.lower(self.program, self.shared, lanes, self.page(0, 0, PAGE * lanes.ids.size), orders).compile()

    def page(self, first: int, count: int, size: int) -> Page:
        """The problems from ``first`` on, and padding."""
        rows = np.minimum(np.arange(first, first + size, dtype=np.int32), max(first + count - 1, 0))
        cut = lambda x: x[first : first + size] if count == size else x[rows]
        return Page([cut(x) for x in self.own], rows)

    def pages(self, size: int, workers: int) -> Iterator[tuple[Page, int]]:
        """Pages of the waiting problems, and the number on each; the last ones are smaller, so all end together."""
        while True:
            with self.lock:
                first = self.next
                count = min(size, -(-(self.problems - first) // workers))
                self.next += count
            if not count:
                return
            yield self.page(first, count, size), count

    def narrow(self, lanes: Lanes, few: int) -> Lanes:
        """Only the lanes that have a problem."""
        chosen = np.flatnonzero(taken(lanes))
        fill = lambda new, old: np.concatenate([np.asarray(old)[chosen], new[chosen.size :]])
        return jax.tree.map(fill, idle(self.carry, self.own, few), lanes)


_calls_out: dict[bytes, bool] = {}  # by the fingerprint of the program: looking through its text takes 30 ms


def calls_out(compiled: Any) -> bool:
    """Whether a program calls a library or Python: LAPACK's batched kernels wait for threads of the pool that XLA has.

    Two programs that run at the same time can each hold the thread that the other one waits for, for ever (jax 0.10).
    """
    key = getattr(compiled.runtime_executable(), "fingerprint", None)
    if key is None:
        return "custom_call_target=" in compiled.as_text()
    if key not in _calls_out:
        _calls_out[key] = "custom_call_target=" in compiled.as_text()
    return _calls_out[key]


def in_thread(name: str, function: Callable[..., Any], *args: Any) -> Future[Any]:
    """Start the function in a thread that does not keep the process from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def failed(future: Future[Any]) -> bool:
    """Whether a worker has raised."""
    return future.done() and future.exception() is not None


def taken(lanes: Lanes) -> np.ndarray:
    """Which lanes have a problem."""
    return np.asarray(lanes.ids) != NONE


class Worker:
    """One thread with its lanes."""

    def __init__(self, crew: Crew, compiled: Compiled, lanes: Lanes) -> None:
        self.crew, self.compiled, self.lanes = crew, compiled, lanes
        self.width = lanes.ids.shape[0]
        self.trips = 64  # of the next call, which is to take VISIT seconds at most

    def run(self, workers: int, patience: int) -> Lanes:
        """Page after page; then what is still in the lanes, without waiting for a few stragglers."""
        for page, count in self.crew.pages(PAGE * self.width, workers):
            first = 0
            while first < count and not self.crew.abandoned:
                first = int(self.call(page, first, count, self.width, NEVER).first)
        page = self.crew.page(0, 0, PAGE * self.width)
        few = self.width // STRAGGLERS if patience < NEVER else 0
        while taken(self.lanes).sum() > few and not self.crew.abandoned:
            self.call(page, 0, 0, few, NEVER)
        while taken(self.lanes).any() and patience > 0 and not self.crew.abandoned:
            patience -= int(self.call(page, 0, 0, 0, patience).trips)
        return self.lanes

    def call(self, page: Page, first: int, count: int, floor: int, trips: int) -> Report:
        """Run the lanes for a while."""
        began = time.perf_counter()
        orders = Orders(*map(np.int32, (first, count, floor, min(trips, self.trips), self.crew.ending())))
        self.lanes, log, report = jax.block_until_ready(self.compiled(self.crew.shared, self.lanes, page, orders))
        self.crew.store.put(log)
        self.crew.word()
        made, seconds = int(report.trips), time.perf_counter() - began
        self.trips = int(np.clip(made * VISIT / seconds, 1, 8 * self.trips))
        return report
