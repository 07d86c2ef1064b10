"""One thread per core, each with its own lanes, and what they share: the waiting problems and the answers."""

import functools
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any

import jax
import numpy as np
from jax.dtypes import canonicalize_dtype

from gdjax.descent.loop import NEVER
from gdjax.descent.stopping import Status
from gdjax.jaxtools.in_turn import can_take_turns
from gdjax.jaxtools.packing import Packed, unpack
from gdjax.jaxtools.pytrees import Static
from gdjax.jaxtools.remembered import Remembered
from gdjax.jaxtools.small_programs import NotSmallError
from gdjax.many import in_turn, side_by_side
from gdjax.many.lanes import NONE, LaneProgram, Lanes, Log, Orders, Page, Report, idle, shapes_of
from gdjax.many.plan import Plan, plan, turns

# Stragglers go on by themselves, in lanes for a 32nd as many, when they have kept the others waiting for so many trips:
# that is a second program to compile.
STRAGGLERS, PATIENCE = 32, 256
VISIT = 0.2  # seconds in the compiled program at most, about: what Ctrl-C and a time limit have to wait
LISTEN = 0.05  # seconds between two looks of the main thread for signals
# Seconds without a word from the compiled program, when it has been asked to end, after which it counts as stuck; or
# ten times its longest silence before, if that is more: one evaluation cannot be cut short.
SILENCE = 30.0

Compiled = Any  # function of (shared, lanes, page, orders) to (lanes, log, report), with its text


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
        shapes = shapes_of(program, shared, own)
        self.carry, self.packed, self.like, self.is_small = shapes.carry, shapes.packed, shapes.result, shapes.is_small
        self.store, self.next, self.lock = Store(self.problems), 0, threading.Lock()
        self.abandoned = False
        self.heard, self.longest = time.perf_counter(), 0.0  # the last word from a worker, the longest silence

    @property
    def lane_bytes(self) -> int:
        """Bytes that one problem carries through the loop."""
        own = sum(x.nbytes for x in self.own) // self.problems
        return own + sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(self.carry))

    def solve(self, batch_size: int | None) -> Any:
        """All results, as NumPy arrays."""
        if self.is_small and can_take_turns() and _are_small.get(self.program.key, True):
            try:
                lane = in_turn.idle(self.packed, self.own)
                return self.run(in_turn.serve, turns(self.problems, batch_size), lane)
            except NotSmallError:
                _are_small[self.program.key], self.next = False, 0
        many = plan(self.problems, self.lane_bytes, batch_size)
        return self.run(side_by_side.serve, many, idle(self.carry, self.own, many.width))

    def run(self, serve: Remembered, plan: Plan, lanes: Lanes) -> Any:
        """All results, by a loop that serves lanes, which are idle."""
        self.serve, self.plan, few = serve, plan, plan.width // STRAGGLERS
        workers = plan.workers if plan.workers == 1 or not calls_out(self.compile(lanes)) else 1
        left = self.all([lanes] * workers, workers, PATIENCE if few else NEVER)
        if few and any(taken(lanes).any() for lanes in left):
            self.all([self.narrow(lanes, few) for lanes in left], workers, NEVER)
        return unpack(Packed(self.store.packed, []), self.like)

    def all(self, begun: Sequence[Lanes], workers: int, patience: int) -> list[Lanes]:
        """Let each worker fill its lanes as long as problems wait; the lanes in the end."""
        alone = self.serve is in_turn.serve and workers == 1  # small descents neither hang nor start threads
        compiled = functools.partial(self.serve, self.program) if alone else self.compile(begun[0])
        x64 = canonicalize_dtype(np.float64) == np.float64  # such settings are each thread's own

        def work(lanes: Lanes) -> Lanes:
            with jax.enable_x64(x64):
                return Worker(self, compiled, lanes).run(workers, patience)

        if alone:
            return [work(begun[0])]
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
        page = self.page(0, 0, self.page_size(lanes.ids.size))
        return self.serve.lower(self.program, self.shared, lanes, page, orders).compile()

    def page_size(self, width: int) -> int:
        """The problems on a page for so many lanes."""
        return self.plan.page * width // self.plan.width

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


_are_small: weakref.WeakKeyDictionary[Static, bool] = weakref.WeakKeyDictionary()  # as has shown
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
        self.trips = crew.plan.trips  # of the next call, which is to take VISIT seconds at most

    def run(self, workers: int, patience: int) -> Lanes:
        """Page after page; then what is still in the lanes, without waiting for a few stragglers."""
        for page, count in self.crew.pages(self.crew.page_size(self.width), workers):
            first = 0
            while first < count and not self.crew.abandoned:
                first = int(self.call(page, first, count, self.width, NEVER).first)
        page = self.crew.page(0, 0, self.crew.page_size(self.width))
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
