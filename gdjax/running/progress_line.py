"""The live line of a descent: a bar in terminals and notebooks, occasional lines in a plain log."""

import math
import sys
import time
from typing import Any

import jax

from gdjax.descent.stopping import Status
from gdjax.running.observers import Observer, Visit

FRAME = 0.1  # seconds between two frames of a bar, at least; in a log:
LINE = 10.0
FORMAT = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}]"


class ProgressLine(Observer):
    """Shows step, value, gradient norm, length of the step, speed, and how far the tolerance is.

    The bar shows the way from the largest gradient norm seen to the one that counts as zero, in logarithms: the rest of
    the bar is about the rest of the work of a linearly convergent method.
    """

    def __init__(self) -> None:
        try:
            from tqdm.auto import tqdm  # a widget in notebooks
        except ImportError as error:
            raise ImportError("progress=True needs tqdm: pip install 'gdjax[progress]'") from error
        notebook = any("notebook" in base.__module__ for base in tqdm.__mro__)
        self.plain = not notebook and not sys.stderr.isatty()
        shape = FORMAT if notebook else FORMAT.replace("{bar}", "{bar:10}")
        self.bar: Any = None if self.plain else tqdm(total=100, bar_format=shape)
        self.due, self.count, self.time = 0.0, 0, math.nan

    def visit(self, visit: Visit) -> Status | None:
        """Draw, unless it was drawn just now."""
        if time.perf_counter() >= self.due:
            self.draw(visit, "")
        return None

    def end(self, visit: Visit) -> None:
        """Draw the last state, with the status."""
        if visit.carry is not None:
            self.draw(visit, f", {visit.status.name}")
        if self.bar is not None:
            self.bar.close()

    def look(self, visit: Visit) -> tuple[str, float, str, int]:
        """What to write, how far it is, and what is counted for the speed."""
        now = jax.device_get(visit.descent.glance(visit.carry))
        return describe(now), share(now), "evaluations", int(now.evals)

    def draw(self, visit: Visit, status: str) -> None:
        """Draw now, and fix the time of the next."""
        (text, way, unit, count), seconds = self.look(visit), visit.clock.seconds
        speed = ""
        if seconds > self.time:
            speed = f", {(count - self.count) / (seconds - self.time):.2g} {unit}/s"
        self.count, self.time = count, seconds
        text = f"{text}{speed}{status}"
        if self.bar is None:
            print(f"gdjax: {text}", file=sys.stderr, flush=True)
        else:
            self.bar.n = round(100 * way)
            self.bar.set_description_str(text)
        self.due = time.perf_counter() + (LINE if self.plain else FRAME)


def describe(now: Any) -> str:
    """The text of the line."""
    norm, zero = float(now.grad_norm), float(now.threshold)
    far = f" = {norm / zero:.2g} tol" if norm > 0 and zero > 0 else ""
    length = float(now.step_length)
    return f"step {int(now.steps)}, value {float(now.value):.6g}, |grad| {norm:.1e}{far}, |step| {length:.1e}"


def share(now: Any) -> float:
    """Fraction of the way to the tolerance, between 0 and 1."""
    norm, zero, most = float(now.grad_norm), float(now.threshold), float(now.largest_norm)
    if norm <= zero:
        return 1.0
    if not (0 < zero < most and norm < most):
        return 0.0
    return math.log(most / norm) / math.log(most / zero)
