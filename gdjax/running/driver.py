"""A descent run from Python: the compiled loop in pieces, and what happens on the host between them.

Pieces grow until the host is visited about ten times a second; a visit costs a fraction of a millisecond. The program
remembers how many passes of the loop that takes, so the next descent that nobody watches may be a single piece.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.loop import Until
from gdjax.descent.onward import Escape
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.jaxtools.packing import Packed
from gdjax.running.clock import Clock
from gdjax.running.observers import Observer, Visit
from gdjax.running.pieces import Descent, Report

VISIT, ALONE = 0.1, 0.4  # seconds between two visits, and where Ctrl-C alone is waited for (a large carry is copied)
RESTING = (Status.CONVERGED, Status.PRECISION_FLOOR)  # where the gradient is as good as zero
GROW = 8  # a piece has at most this many times the trips of the one before, whose time may be chance
KEPT = 2**20  # numbers of a carry that is kept while a piece runs, in case that it raises
RAISED = RuntimeError, ValueError  # as what an error of a compiled program comes out: jax.errors.JaxRuntimeError is one


class Walk:
    """A descent on its way."""

    def __init__(self, descent: Descent, carry: Packed | None) -> None:
        self.descent = descent
        self.carry: Any = carry  # None: lost when the loss raised
        self.fresh = carry is None  # whether the start is still to be evaluated
        self.answer: Result | None = None  # the best point after the last piece
        self.status = Status.RUNNING  # after it
        self.raises = 0  # within so many trips the loss has raised; 0 if it has not

    def advance(self, until: Until) -> Report | Exception:
        """Run a piece; also what the loss has raised, if anything.

        If a piece raises, its first half is tried instead, and so on, to keep everything before the pass that raises.

        Raises:
            RuntimeError, ValueError: at the very first evaluation, and while the loss is traced for it.
        """
        while True:
            kept, fresh = self.kept(), self.fresh
            trips = until.trips if not self.raises else np.int32(max(1, min(until.trips, self.raises // 2)))
            try:
                carry, report, answer = self.descent.run(self.carry, until._replace(trips=trips), np.bool_(fresh))
                report = jax.device_get(report)
            except RAISED as error:
                if "KeyboardInterrupt" in str(error):  # Ctrl-C in a function of the user's, which XLA had called
                    raise KeyboardInterrupt from error
                self.carry, self.raises = kept, int(trips)
                if trips > 1 and (fresh or kept is not None):
                    continue
                if self.answer is None:
                    raise
                return error
            self.carry, self.fresh, self.answer = carry, False, answer
            self.status = Status(int(report.counts[1]))
            self.raises = max(0, self.raises - int(report.counts[0]))
            return report

    def kept(self) -> Packed | None:
        """The carry to return to after an error, as far as memory allows; begins the descent if necessary."""
        if self.fresh:
            self.carry, self.fresh = self.descent.begin()
            return None
        size = sum(x.size for x in jax.tree.leaves(self.carry))
        return jax.tree.map(jnp.copy, self.carry) if size <= KEPT else None


def drive(
    descent: Descent, observers: Sequence[Observer], carry: Packed | None, escapes: Sequence[Escape], watched: bool
) -> tuple[Result, Packed | None]:
    """Run until a test fires, an observer asks to stop or the loss raises: the result, and the carry, to go on with.

    At least one evaluation is made, or there would be no point to return. A ``carry`` that is given is used up. Where
    the descent comes to rest, one of ``escapes`` may know where to go on. If somebody has ``watched`` it, the first
    piece is the first evaluation; otherwise the pace of the last descent tells how long it may be.
    """
    clock, walk = Clock(time.perf_counter()), Walk(descent, carry)
    start = descent.open(carry).progress if carry is not None else None
    for observer in observers:
        observer.start(-1 if start is None else int(start.steps), np.inf if start is None else np.asarray(start.lowest))
    every = VISIT if watched else ALONE
    trips = 1 if watched else max(1, int(every * descent.memory.pace.get("trips", 0.0)))
    visit, error = Visit(descent, carry, None, Status.RUNNING, -1, np.inf, clock), None
    while True:
        began = time.perf_counter()
        report = walk.advance(until(trips, observers, descent))
        if isinstance(report, Exception):
            visit, error = visit._replace(carry=walk.carry, status=Status.RAISED), report
            break
        count, _, steps = (int(x) for x in report.counts)
        clock.enter(count, began)
        visit = Visit(descent, walk.carry, walk.answer, walk.status, steps, report.lowest, clock)
        asked = [wish for observer in observers if (wish := observer.visit(visit)) is not None]
        if not asked and visit.status in (*RESTING, Status.INFEASIBLE):
            onward = next((to for escape in escapes if (to := escape(visit.answer)) is not None), None)
            if onward is not None:
                walk.carry = descent.jump(
                    walk.carry, onward.params, np.int32(onward.evals), np.float32(onward.steepest)
                )
                continue
        if asked or visit.status != Status.RUNNING:
            visit = visit._replace(status=asked[0] if visit.status == Status.RUNNING else visit.status)
            break
        left = min([every, *(observer.seconds_left() for observer in observers)])
        trips = int(np.clip(left * clock.pace, 1, GROW * max(count, 1)))
    for observer in observers:
        observer.end(visit)
    if clock.pace:
        descent.memory.pace["trips"] = clock.pace
    if visit.status == Status.RAISED and error is None:
        error = next(observer.error for observer in observers if observer.error is not None)
    result = dataclasses.replace(descent.reviewed(visit.answer), timing=clock.timing(), exception=error)
    if visit.status != walk.status:
        result = dataclasses.replace(result, code=jax.device_put(np.int32(visit.status)))
    return result, walk.carry


def until(trips: int, observers: Sequence[Observer], descent: Descent) -> Until:
    """When the next piece ends: after so many passes, or when an observer wants to see it."""
    steps = min(observer.next_step for observer in observers)
    below = max(observer.below for observer in observers)
    return Until(np.int32(trips), np.int32(steps), np.asarray(below, descent.memory.like.progress.lowest.dtype))
