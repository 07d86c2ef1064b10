"""A training run from Python: epoch after epoch, in pieces of a tenth of a second, and what happens between them."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.stopping import DIVERGED_RISE, Status
from gdjax.jaxtools.pytrees import Static
from gdjax.running import checkpoint
from gdjax.running.clock import Clock
from gdjax.running.driver import GROW, VISIT
from gdjax.running.observers import Interrupt, Observer, Visit
from gdjax.running.progress_line import ProgressLine
from gdjax.training import epoch as programs
from gdjax.training.epoch import Course, Plan
from gdjax.training.feed import Feed
from gdjax.training.outcome import Epochs, Training


class Task(NamedTuple):
    """What a training is to do."""

    key: Static  # with the arrays the request, and the loss of a last, smaller batch
    plan: Plan
    arrays: list[Any]
    data: Any  # arrays of rows, or a `Feed`
    epochs: int
    measure: Callable[[Any], jax.Array] | None  # the validation of the program's parameters
    patience: int | None
    decay: Any  # of the average
    to_user: Callable[[Any], Any]  # the parameters of the program as those of the user
    request_for: Callable[[Any], tuple[Static, list[Any]]]  # batches of another shape


@dataclasses.dataclass
class Book:
    """What is known of the epochs, and the parameters to return. What a checkpoint keeps beside the course."""

    loss: list[float] = dataclasses.field(default_factory=list)
    validation: list[float] = dataclasses.field(default_factory=list)
    skipped: list[int] = dataclasses.field(default_factory=list)
    start: float = np.nan  # loss of the first batch that was finite
    best: float = np.inf  # lowest validation
    best_epoch: int = 0
    steps: int = 0  # at the end of the last epoch, or when it was last looked at

    def enter(self, loss: float, validation: float, skipped: int) -> bool:
        """An epoch is over; whether its validation is the best."""
        self.loss.append(loss)
        self.validation.append(validation)
        self.skipped.append(skipped)
        better = validation < self.best
        if better:
            self.best, self.best_epoch = validation, len(self.loss)
        return better

    def status(self, task: Task) -> Status:
        """Whether a training ends here."""
        done, lately = len(self.loss), self.loss[-2:]
        if lately[-1] != lately[-1]:
            return Status.NONFINITE
        size = max(abs(self.start), self.start - min(x for x in self.loss if x == x))
        if len(lately) == 2 and min(lately) - self.start > DIVERGED_RISE * size:
            return Status.DIVERGED
        if done >= task.epochs:
            return Status.EPOCHS_DONE
        since = done - self.best_epoch
        late = task.patience is not None and since >= task.patience
        return Status.EARLY_STOPPED if late else Status.RUNNING


class Run:
    """A training on its way. Observers see it as a descent whose steps are epochs."""

    def __init__(self, task: Task, course: Course, kept: Any, book: Book, header: dict[str, Any]) -> None:
        self.task, self.course, self.kept, self.book, self.header = task, course, kept, book, header
        self.clock, self.trips = Clock(time.perf_counter()), 1
        self.begun = False  # whether the feed is read

    def call(self, program: Any, *rest: Any) -> Any:
        """One of the compiled programs."""
        return program(self.task.key, self.task.plan, self.task.arrays, *rest)

    def show(self, course: Course) -> Training:
        """As it stands: what a callback sees."""
        return self.training(self.call(programs.weights, course), Status.RUNNING)

    def open(self, course: Course) -> Any:
        """What a checkpoint keeps; the rest goes into its header."""
        self.header |= dict(book=dataclasses.asdict(self.book), witness=self.witness(course))
        return course, self.kept

    def witness(self, course: Course) -> list[float]:
        """Numbers that tell another loss, or other arrays; none of batches that come one by one."""
        if isinstance(self.task.data, Feed):
            return []
        return [float(x) for x in self.call(programs.witness, self.task.data, course)]

    def glance(self, course: Course) -> tuple[str, float, str, int]:
        """For a progress line."""
        counts = course.batch, course.total, course.rows, course.carry.progress.steps
        batch, total, rows, steps = jax.device_get(counts)
        done, of_all, book = len(self.book.loss), self.task.plan.batches if self.task.plan.rows else 0, self.book
        text = f"epoch {min(done + 1, self.task.epochs)}/{self.task.epochs}, loss "
        text += f"{total / rows if rows else (book.loss or [np.nan])[-1]:.6g}"
        if book.validation and self.task.measure is not None:
            text += f", validation {book.validation[-1]:.6g} (best {book.best:.6g}, epoch {book.best_epoch})"
        share = (done + (batch / of_all if of_all else 0)) / self.task.epochs
        return text, float(min(share, 1.0)), "steps", int(steps) + 1

    def advance(self) -> bool:
        """A piece; whether the epoch is over."""
        task, began = self.task, time.perf_counter()
        if not isinstance(task.data, Feed):
            before = int(self.course.batch)
            self.course = self.call(programs.piece, task.data, self.course, np.int32(self.trips), task.decay)
            batch = int(self.course.batch)
            self.clock.enter(batch - before, began)
            return batch >= task.plan.batches
        if not self.begun:
            task.data.begin(len(self.book.loss), int(self.course.batch))
            self.begun = True
        for trips, batch in enumerate(task.data, start=1):
            if batch is None:
                return False
            key, arrays = task.request_for(batch)
            self.course = programs.one_batch(key, task.plan, arrays, batch, self.course, task.decay)
            if not self.clock.compiling or time.perf_counter() - began > VISIT:
                jax.block_until_ready(self.course.batch)
                self.clock.enter(trips, began)
                return False
        self.begun = False
        return True

    def close_epoch(self) -> Status:
        """Enter the epoch that is over, keep the parameters if they are to be returned, and go on to the next."""
        total, rows, skipped = jax.device_get((self.course.total, self.course.rows, self.course.skipped))
        if rows == 0 and skipped == 0:  # a generator that is used up
            return Status.EPOCHS_DONE
        params = self.call(programs.weights, self.course)
        validation = np.nan if self.task.measure is None else float(self.task.measure(params))
        self.book.start = float(self.course.carry.progress.start_value)
        better = self.book.enter(float(total / rows) if rows else np.nan, validation, int(skipped))
        if better or self.task.measure is None or self.book.best_epoch == 0:
            self.kept = params
        self.book.steps = int(self.course.carry.progress.steps) + 1
        self.course = self.call(programs.next_epoch, self.course)
        return self.book.status(self.task)

    def training(self, params: Any, status: Status, **rest: Any) -> Training:
        """What is returned with these parameters."""
        book, validated = self.book, self.task.measure is not None
        if self.course is not None:
            book.steps = max(int(self.course.carry.progress.steps) + 1, 0)
        params = self.task.to_user(params)
        value = book.best if validated and book.best_epoch else (book.loss or [np.nan])[-1]
        skipped = sum(book.skipped) + (int(self.course.skipped) if self.course is not None else 0)
        number = lambda x: jnp.asarray(x, jnp.int32)
        return Training(
            params=params,
            value=jnp.asarray(value, float),
            code=number(status),
            num_epochs=number(len(book.loss)),
            best_epoch=number(book.best_epoch),
            num_steps=number(book.steps),
            num_skipped=number(skipped),
            history=Epochs(np.array(book.loss), np.array(book.validation), np.array(book.skipped, np.int32)),
            validated=validated,
            patience=self.task.patience,
            asked=self.task.epochs,
            **rest,
        )

    def answer(self, status: Status, **rest: Any) -> Training:
        """What the whole training returns: the best parameters, or the present ones."""
        best = self.task.measure is not None and self.book.best_epoch > 0
        if best or self.course is None:
            return self.training(self.kept, status, **rest)
        return self.training(self.call(programs.weights, self.course), status, **rest)


class TrainingLine(ProgressLine):
    """Shows epoch, losses and speed."""

    def look(self, visit: Visit) -> tuple[str, float, str, int]:
        """What to write, how far it is, what is counted."""
        return visit.descent.glance(visit.carry)


def drive(run: Run, observers: list[Observer], interrupt: Interrupt) -> Training:
    """Run until the epochs are done or an observer asks to stop."""
    book, status, error = run.book, Status.RUNNING, None
    everyone = [*observers, interrupt]
    for observer in everyone:
        observer.start(len(book.loss), book.best)
    if book.loss:
        status = book.status(run.task)
    while status == Status.RUNNING:
        over, course = False, None  # what the loop raises in has lost it
        try:
            over = run.advance()
            status = run.close_epoch() if over else Status.RUNNING
            course = run.course
            best = run.answer(Status.RUNNING) if over and observers else None
            visit = Visit(run, course, best, status, len(book.loss), book.best, run.clock)  # type: ignore[arg-type]
            asked = [wish for observer in everyone if (wish := observer.visit(visit)) is not None]
        except Exception as raised:
            if not book.loss:
                raise
            run.course, status, error = course, Status.RAISED, raised  # type: ignore[assignment]
            break
        status = asked[0] if asked and status == Status.RUNNING else status
        left = min([VISIT, *(observer.seconds_left() for observer in everyone)])
        run.trips = int(np.clip(left * run.clock.pace, 1, GROW * max(run.trips, 1)))
    for observer in observers:
        observer.end(Visit(run, run.course, None, status, len(book.loss), book.best, run.clock))  # type: ignore[arg-type]
    if status == Status.RAISED and error is None:
        error = next(observer.error for observer in observers if observer.error is not None)
    return run.answer(status, timing=run.clock.timing(), exception=error)


def restored(saved: tuple[Any, ...], header: dict[str, Any], like: Any) -> tuple[Any, Any, Book]:
    """Course, kept parameters and book of a checkpoint.

    Raises:
        ValueError: if it is of another training.
    """
    name, found, arrays = saved
    for part in ("method", "rows", "batch_size", "key", "shuffle", "average"):
        if found.get(part, header[part]) != header[part]:
            raise ValueError(f"{name} was made with another {part}: {found[part]}, here it is {header[part]}")
    course, kept = checkpoint.restore(name, found, arrays, like)
    return course, kept, Book(**found["book"])


def check_witness(saved: tuple[Any, ...], run: Run) -> None:
    """Raise ValueError if the loss has another value or gradient where the checkpoint was written."""
    name, found, _ = saved
    eps = float(jnp.finfo(run.course.total.dtype).eps)
    for was, now in zip(found.get("witness", []), run.witness(run.course), strict=False):
        if np.isfinite(was) and not abs(now - was) <= eps**0.4 * max(abs(was), abs(now)):
            raise ValueError(f"{name} is of another loss or other data: there it was {was:.8g}, here it is {now:.8g}")
