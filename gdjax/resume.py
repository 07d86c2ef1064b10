"""Continue a descent that was saved to a file, or kept in a result."""

import dataclasses
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gdjax.descent.loop import Carry
from gdjax.descent.result import Result
from gdjax.descent.warm_start import signature
from gdjax.doors import DOORS
from gdjax.jaxtools.scalar_kernels import for_cpu
from gdjax.minimize import run
from gdjax.opening import open_call
from gdjax.request import require_concrete
from gdjax.running import checkpoint
from gdjax.running.pieces import Descent
from gdjax.running.programs import WATCHED
from gdjax.running.services import describe
from gdjax.train import run as run_training
from gdjax.train import train
from gdjax.training.outcome import Training

ANOTHER = {"minimize": "another loss", "least_squares": "other residuals", "curve_fit": "another model"}


def resume(
    source: str | os.PathLike[str] | Result,
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    **options: Any,
) -> Any:
    """Continue a run where it stopped: repeat the call that began it, with the path of the checkpoint first.

    That call may have been `minimize`, `maximize`, `least_squares`, `curve_fit` or `train`; the source knows which.

    The result is bitwise the same as that of a run that was never stopped, on the same machine with the same versions.
    Limits, tolerances and learning rates are those of this call, so a run that ended at a limit continues if you give a
    larger one. A finished run is returned unchanged. Checkpoints continue to be written to the same file; pass
    ``checkpoint=None`` to leave it untouched.

    Args:
        source: the path that was given as ``checkpoint``, or a result made with ``keep_state=True``.
        loss, *args: as in the call that began it; for least squares, the residuals or the model instead of the loss.
            The loss is evaluated once at the saved point, to check that it and its data are the same.
            (That of a training on some of its rows; where batches come one by one, not at all.)
        params: a pytree with the structure, shapes and dtypes of the parameters; its numbers do not matter.
        **options: those of the call that began it, such as method, grad, has_aux, robust and sigma. The source knows
            whether to maximise and whether to keep a history. You may add further services.

    Returns:
        The result (a `Fit` of least squares), with the steps, evaluations and history since the first start.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged or cut short, or belongs to another program, version, method, shape, loss or
            other data; if the result has kept no state; inside a trace.

    >>> import gdjax, jax.numpy as jnp
    >>> loss = lambda x: jnp.sum((x - 1) ** 4)
    >>> result = gdjax.minimize(loss, jnp.zeros(3), max_steps=3, keep_state=True)
    >>> result = resume(result, loss, jnp.zeros(3), max_steps=100)
    >>> result.status.name, bool(result.num_steps > 3)
    ('CONVERGED', True)
    """
    if options.pop("history", False):
        raise ValueError("the call that begins a descent decides whether there is a history; leave it out of resume")
    if isinstance(source, Result):
        name, header, saved = "the result", header_of(source), jax.tree.leaves(source.state)
    else:
        name = str(source)
        header, saved = checkpoint.read(Path(source))
        header = {"by": "minimize", **header}  # which files of before this was written do not say
        checkpoint.check_header(name, header)
        options.setdefault("checkpoint", source)
        if header["by"] == "train":
            return train_on(name, header, saved, loss, params, args, options)
    call = open_call(DOORS[header["by"]][1]("resume", loss, params, args, options).toward(header["maximize"]))
    request = dataclasses.replace(call.prepare(), history=header["history"])
    key, arrays = request.split()
    require_concrete(arrays + saved, "resume works in Python")
    method = describe(request.method)
    if header.get("method", method) != method:
        raise ValueError(f"{name} was made with {in_words(header['method'])}, not with {in_words(method)}")
    descent = WATCHED.bind(key, arrays)
    carry = checkpoint.restore(name, header, saved, descent.like())
    check_loss(f"{name} is of {ANOTHER[header['by']]} or other data: at the saved point", descent, carry)
    return run(call, request, descent.reopen(carry))


def train_on(
    name: str,
    header: dict[str, Any],
    saved: Any,
    loss: Any,
    params: Any,
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> Training:
    """Go on with a training."""
    bound = inspect.signature(train).bind(loss, params, *args, **options)
    bound.apply_defaults()
    own, services = dict(bound.arguments), bound.arguments["services"]
    rest = {option: x for option, x in own.items() if option not in ("loss", "params", "data", "services")}
    return run_training(loss, params, own["data"], rest, services, (name, header, saved))


def header_of(result: Result) -> dict[str, Any]:
    """What a checkpoint of a result's state would say."""
    if result.state is None:
        raise ValueError("the result has kept no state; make it with keep_state=True")
    record = result.state.record
    leaves = signature("", result.state)
    history = 0 if record is None else record.capacity
    return dict(by=getattr(result, "by", "minimize"), maximize=result.maximized, history=history, leaves=leaves)


def check_loss(words: str, descent: Descent, carry: Carry) -> None:
    """Raise ValueError if the loss has another value or gradient at the saved point, beyond what rounding can explain.

    The message begins with ``words``.

    Matrix products may round to 3 digits on a GPU (TF32), and this evaluation is compiled by itself. The terms that a
    gradient is a sum of are as large as it was at its largest, or as the value over the parameters.
    """
    found, progress = jax.device_get(descent.check(carry)), jax.device_get(carry.progress)
    was, now, eps = found.value, found.value_now, float(np.finfo(found.value.dtype).eps)
    rounding = eps**0.4 * max(abs(was), abs(now)) + 100 * eps * abs(progress.start_value)
    if np.isfinite(was) and not abs(now - was) <= rounding:
        raise ValueError(f"{words} it was {was:.8g}, here it is {now:.8g}")
    terms = progress.largest_norm + abs(was) / (found.size if found.size > 0 else 1)
    rounding = eps**0.4 * found.grad_norm + (1000 * eps if for_cpu() else eps**0.4) * terms
    if np.isfinite(found.change) and not found.change <= rounding:
        raise ValueError(f"{words} the gradient is another, by {found.change:.3g}")


def in_words(method: dict[str, Any]) -> str:
    """A method as one writes it, such as LBFGS(memory=20, line_search=MoreThuente())."""
    parts = [f"{key}={in_words(v) if isinstance(v, dict) else v}" for key, v in method.items() if key != "name"]
    return f"{method['name']}({', '.join(parts)})"
