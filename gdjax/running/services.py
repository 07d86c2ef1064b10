"""What a descent can do besides finding its answer: be watched, stopped and saved, and keep its state."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np

from gdjax.descent.onward import Escape
from gdjax.descent.result import Result
from gdjax.insight.escape import Saddles
from gdjax.jaxtools.packing import Packed
from gdjax.problem.problem import Problem
from gdjax.running.driver import RESTING, drive
from gdjax.running.observers import Callback, Checkpointer, Interrupt, Observer, TimeLimit
from gdjax.running.pieces import Descent
from gdjax.running.progress_line import ProgressLine


class Services(TypedDict, total=False):
    """Options of `gdjax.minimize` that monitor, stop or save a run, without changing its numbers.

    All except ``keep_state`` need a call from Python, outside of jit, vmap and grad. There the compiled loop runs in
    pieces of a tenth of a second (half a second without services), which does not change any number. Ctrl-C ends the
    run after the current piece, with the best point so far and status INTERRUPTED. (It cannot interrupt an evaluation
    or a compilation.) A second Ctrl-C raises KeyboardInterrupt. So does the first if the run finishes by itself within
    a second of the call, because then you probably meant to stop a loop around it. Without services, a run is one
    compiled call inside a trace, on arrays that several devices share, under `jax.debug_nans` and under
    `jax.transfer_guard`.

    Args:
        progress: show a live line (needs tqdm).
        callback: a function that is called with the iterate, as `gdjax.iterate` yields it. To stop, return True. (If it
            returns an array with several entries in the first call, that is a TypeError; later it ends the run with
            status RAISED, and the best point is kept.)
        callback_every: call it at steps 0, n, 2 n, ... (default 1), or with "best" at each new best point.
        checkpoint: file to write from time to time and at the end, for `gdjax.resume`. A new run overwrites an existing
            file, so a script that may be run again should resume if the file exists. If writing fails, there is a
            RuntimeWarning and another attempt later; the run continues.
        checkpoint_seconds: time between two writes (default 30); at least 20 times what a write takes.
        max_seconds: wall-clock time from the start of the call, including compilation.
        escape_saddles: at a saddle, follow the negative curvature and continue (see ``result.certificate``). Not with a
            penalty.
        keep_state: keep ``result.state``, for `gdjax.resume` and for a warm start, ``gdjax.minimize(loss, result)``.
    """

    progress: bool
    callback: Callable[[Result], Any] | None
    callback_every: int | str
    checkpoint: str | os.PathLike[str] | None
    checkpoint_seconds: float
    max_seconds: float | None
    escape_saddles: bool
    keep_state: bool


def check(services: Services) -> None:
    """Raise TypeError or ValueError, naming the service, for a value that it cannot have."""
    for name in ("progress", "keep_state", "escape_saddles"):
        if not isinstance(services.get(name, False), bool):
            raise TypeError(f"{name} must be True or False, got {services[name]!r}")
    callback, every = services.get("callback"), services.get("callback_every", 1)
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback must be a function of a result, got {callback!r}")
    whole = isinstance(every, int) and not isinstance(every, bool) and every >= 1
    if not (whole or every == "best"):
        raise ValueError(f'callback_every must be a number of steps, at least 1, or "best"; got {every!r}')
    path = services.get("checkpoint")
    if not isinstance(path, str | os.PathLike | None):
        raise TypeError(f"checkpoint must be the path of a file, got {path!r}")
    if path is not None and not Path(path).resolve().parent.is_dir():
        raise FileNotFoundError(f"checkpoint: there is no folder {Path(path).resolve().parent}")
    if path is not None and Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"checkpoint: {path} exists and is not a regular file")
    for name, default in (("checkpoint_seconds", 30.0), ("max_seconds", None)):
        seconds = services.get(name, default)
        if seconds is not None and not (isinstance(seconds, int | float | np.number) and seconds >= 0):
            raise ValueError(f"{name} must be a number of seconds, not negative; got {seconds!r}")


def are_idle(services: Services) -> bool:
    """Whether nothing is asked for that needs the driver."""
    wanted = [services.get(name) for name in ("progress", "callback", "checkpoint", "escape_saddles")]
    return not any(wanted) and services.get("max_seconds") is None


def run(
    descent: Descent,
    problem: Problem,
    services: Services,
    header: dict[str, Any],
    carry: Packed | None = None,
    escapes: tuple[Escape, ...] = (),
) -> Result:
    """Run a descent with its services; ``header`` is what a checkpoint must say about it."""
    if services.get("escape_saddles") and problem.penalty is not None:
        raise ValueError(
            "escape_saddles looks at the Hessian of the loss, which says nothing where a penalty has a kink or a bound "
            "holds: leave one of the two out, or, if the penalty is smooth, add it to the loss instead"
        )
    if services.get("escape_saddles") and problem.constraints is not None:
        raise ValueError("escape_saddles looks at the Hessian of the loss, which says nothing where constraints hold")
    interrupt, idle = Interrupt(), are_idle(services)
    saddles = Saddles(problem) if services.get("escape_saddles") else None
    escapes = escapes if saddles is None else (*escapes, saddles)
    with interrupt.listening():
        result, carry = drive(descent, [*observers(services, header), interrupt], carry, escapes, not idle)
    interrupt.hand_on(result.status)
    if saddles is not None and result.status in RESTING:
        result = dataclasses.replace(result, certificate=saddles.certificate)
    if services.get("keep_state") and carry is not None:
        result = dataclasses.replace(result, state=jax.device_put(descent.open(carry)))
    return dataclasses.replace(result, timing=None) if idle else result


def observers(services: Services, header: dict[str, Any], line: type[ProgressLine] = ProgressLine) -> list[Observer]:
    """The observers that the services ask for; ``line`` is what shows progress."""
    made: list[Observer] = []
    if (seconds := services.get("max_seconds")) is not None:
        made.append(TimeLimit(seconds))
    if (callback := services.get("callback")) is not None:
        made.append(Callback(callback, services.get("callback_every", 1)))
    if (path := services.get("checkpoint")) is not None:
        made.append(Checkpointer(path, services.get("checkpoint_seconds", 30.0), header))
    if services.get("progress"):
        made.append(line())
    return made


def describe(method: Any) -> dict[str, Any]:
    """The structure of a method without its numbers; a checkpoint must agree with it."""
    fields = dataclasses.fields(method) if dataclasses.is_dataclass(method) else ()
    parts = {f.name: getattr(method, f.name) for f in fields}
    static = {f.name: str(parts[f.name]) for f in fields if f.metadata.get("static")}
    inner = {name: describe(part) for name, part in parts.items() if dataclasses.is_dataclass(part)}
    return {"name": type(method).__name__, **static, **inner}
