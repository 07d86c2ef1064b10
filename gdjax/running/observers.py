"""Observers watch a descent from Python, and may ask it to stop."""

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gdjax.descent.loop import NEVER
from gdjax.descent.stopping import Status
from gdjax.running import checkpoint
from gdjax.running.clock import Clock
from gdjax.running.pieces import Descent

SHORT = 1.0  # seconds of a descent whose result is easily had again
WRITING = 0.05  # largest share of the time that may go into writing checkpoints


class Visit(NamedTuple):
    """What an observer gets to see between two pieces of the run."""

    descent: Descent
    carry: Any  # packed; None if the loss has raised, and it was too large to be kept
    answer: Any  # the best point, a result
    status: Status
    steps: int  # accepted steps; -1 if not even the start could be accepted
    lowest: Any  # lowest value seen, in the minimiser's sign
    clock: Clock


class Observer:
    """Sees the descent about ten times a second, and when it reaches the step or the value that was asked for."""

    next_step: int = NEVER  # wants to be visited once this step is accepted
    below: Any = -np.inf  # or once a lower value than this is seen
    error: Exception | None = None  # why it asked to stop, with the status RAISED

    def start(self, steps: int, lowest: Any) -> None:
        """Called before the first visit, with steps and lowest value of a resumed descent; -1 and inf for a new one."""

    def seconds_left(self) -> float:
        """The time within which it wants to be visited."""
        return np.inf

    def visit(self, visit: Visit) -> Status | None:
        """Look at the descent; a status asks to stop."""

    def end(self, visit: Visit) -> None:
        """The last visit, with the status that ended the descent."""


class TimeLimit(Observer):
    """Stops when so much time has passed since it was made."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.perf_counter() + seconds

    def seconds_left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.perf_counter()

    def visit(self, visit: Visit) -> Status | None:
        """Stop at the deadline."""
        return Status.MAX_SECONDS if self.seconds_left() <= 0 else None


class Interrupt(Observer):
    """Stops after Ctrl-C (SIGINT); the second Ctrl-C raises KeyboardInterrupt at once.

    Whether a loop around short descents was meant, or one long descent, the time tells: a descent may run for SHORT
    seconds from the call on, however early the key was pressed. If it ends by then, KeyboardInterrupt is raised.
    """

    def __init__(self) -> None:
        self.pressed, self.short_until = False, time.perf_counter() + SHORT

    def seconds_left(self) -> float:
        """Until the descent is no short one, once the key was pressed."""
        return self.short_until - time.perf_counter() if self.pressed else np.inf

    def visit(self, visit: Visit) -> Status | None:
        """Stop if the key was pressed, and the descent is no short one."""
        return Status.INTERRUPTED if self.seconds_left() <= 0 else None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the place of Python's own handler; a handler of the user's is left alone."""
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self.press)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def hand_on(self, status: Status) -> None:
        """Raise KeyboardInterrupt if the key was pressed in a short descent, which has ended: its loop was meant."""
        if status != Status.INTERRUPTED and 0 < self.seconds_left() < np.inf:
            raise KeyboardInterrupt

    def press(self, number: int, frame: Any) -> None:
        """Remember that Ctrl-C was pressed; the second time, raise."""
        if self.pressed:
            signal.default_int_handler(number, frame)
        self.pressed = True


class Callback(Observer):
    """Calls a function of the user's with a result: at steps 0, n, 2 n, ... or at each new best point."""

    def __init__(self, function: Callable[[Any], Any], every: int | str) -> None:
        self.function, self.every, self.calls = function, every, 0

    def start(self, steps: int, lowest: Any) -> None:
        """Set when to call first."""
        if self.every == "best":
            self.below = lowest
        else:
            self.next_step = self.multiple_after(steps)

    def multiple_after(self, steps: int) -> int:
        """The next step to call at."""
        return (steps // int(self.every) + 1) * int(self.every)

    def visit(self, visit: Visit) -> Status | None:
        """Call the function if it is time."""
        if self.every == "best":
            if not visit.lowest < self.below:
                return None
            self.below, state = visit.lowest, visit.answer
        else:
            if visit.steps < self.next_step:
                return None
            self.next_step, state = self.multiple_after(visit.steps), visit.descent.show(visit.carry)
        answer, self.calls = self.function(state), self.calls + 1
        try:
            return Status.STOPPED_BY_CALLBACK if means_yes(answer) else None
        except TypeError as error:
            if self.calls == 1:  # there is nothing to lose yet
                raise
            self.error = error
            return Status.RAISED


def means_yes(answer: Any) -> bool:
    """What a callback returned, as a bool; also from an array of one number.

    Raises:
        TypeError: for an array of any other size.
    """
    if not hasattr(answer, "__array__"):
        return bool(answer)
    array = np.asarray(answer)
    if array.size != 1:
        raise TypeError(
            f"the callback must return True to stop, or False or None; it returned an array of shape {array.shape}: "
            "reduce it with .all() or .any()"
        )
    return bool(array.reshape(()))


class Checkpointer(Observer):
    """Writes the descent to a file from time to time, and at its end. If the disk refuses, it warns and tries again."""

    def __init__(self, path: str | os.PathLike[str], seconds: float, header: dict[str, Any]) -> None:
        self.path, self.seconds, self.header = Path(path).resolve(), seconds, header
        self.due = 0.0

    def visit(self, visit: Visit) -> Status | None:
        """Write if it is time, first after the first evaluation."""
        if time.perf_counter() >= self.due:
            self.write(visit)
        return None

    def end(self, visit: Visit) -> None:
        """Write the end. A descent that was asked to stop is saved as still running, so that it can go on."""
        if visit.carry is not None:
            self.write(visit)

    def write(self, visit: Visit) -> None:
        """Write now, and fix the time of the next."""
        begin = time.perf_counter()
        try:
            checkpoint.save(self.path, self.header, visit.descent.open(visit.carry))
        except OSError as error:  # a full disk is no reason to lose the descent
            warnings.warn(f"checkpoint: {self.path} could not be written: {error}", RuntimeWarning, stacklevel=2)
        end = time.perf_counter()
        self.due = end + max(self.seconds, (end - begin) / WRITING if self.seconds > 0 else 0.0)
