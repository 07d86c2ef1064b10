"""What a training is asked for must make sense."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_data(more: tuple[Any, ...]) -> None:
    """Raise TypeError where data are given as several arguments."""
    if more:
        names = ", ".join(["x", "y", "z", *map(str, range(len(more)))][: 1 + len(more)])
        raise TypeError(
            f"data are one pytree: gdjax.train(loss, params, ({names}), ...), and the loss takes a batch of it apart: "
            f"def loss(params, batch): {names} = batch"
        )


def check_loss(loss: Any) -> bool:
    """Whether it takes a key after the batch; TypeError if it is not called as ``loss(params, batch)``."""
    if not callable(loss):
        raise TypeError(f"loss must be a function of (params, batch), got {loss!r}")
    try:
        taken = inspect.signature(loss).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p.name for p in taken if p.kind in (0, 1) and p.default is p.empty]
    if len(needed) not in (2, 3) and not any(p.kind is p.VAR_POSITIONAL for p in taken):
        raise TypeError(
            f"the loss takes {len(needed)} arguments ({', '.join(needed)}); train calls it as loss(params, batch), or "
            "loss(params, batch, key). The batch is like data: take x and y out of it, as in x, y = batch"
        )
    return len(needed) == 3


def check(options: dict[str, Any], services: Any) -> None:
    """Raise TypeError or ValueError for a number that an option cannot have, or one that needs another."""
    whole = lambda x: isinstance(x, int | np.integer) and not isinstance(x, bool) and x >= 1
    for name in ("epochs", "batch_size", "patience"):
        if options[name] is not None and not whole(options[name]):
            raise ValueError(f"{name} must be a whole number, at least 1; got {options[name]!r}")
    if options["patience"] is not None and options["validation"] is None:
        raise ValueError("patience counts epochs without a better validation: give validation=")
    if services.get("callback_every") == "best" and options["validation"] is None:
        raise ValueError("callback_every='best' is after each better validation: give validation=")
    if options["metric"] is not None and (options["validation"] is None or callable(options["validation"])):
        raise ValueError("metric is a function of (params, batch) for validation data: give validation= as data")
    average = options["average"]
    if average is not None and not (isinstance(average, int | float) and 0 < average < 1):
        raise ValueError(f"average must be a decay between 0 and 1, such as 0.999; got {average!r}")


def check_metric(validation: Any) -> None:
    """Raise TypeError if validation data are to be measured by a loss that takes a key."""
    if not callable(validation):
        raise TypeError("the loss takes a key, for training: give metric=, a function of (params, batch), to validate")


def as_key(key: Any) -> jax.Array:
    """A seed, or a random key of the old or the new kind, as one of the new.

    Raises:
        TypeError: if it is none of these.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and np.ndim(key) == 0:
        return key
    if dtype == np.uint32 and np.ndim(key) == 1:
        return jax.random.wrap_key_data(jnp.asarray(key))
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return jax.random.key(key)
    raise TypeError(f"key must be a seed, such as 0, or one jax.random.key(0); got {key!r}")


def note_call(error: Exception, takes_key: bool) -> None:
    """Say how the loss was called, where it failed."""
    how = "loss(params, batch, key), since it takes three arguments" if takes_key else "loss(params, batch)"
    error.add_note(f"gdjax: train calls {how}; the batch is like data: take x and y out of it, as in x, y = batch")


def note_list(error: Exception, data: Any) -> None:
    """Say what a list is taken for."""
    if isinstance(data, list):
        error.add_note(
            "gdjax: data is a list, a pytree of arrays; for a list of batches give data=lambda epoch: batches"
        )


def noted(function: Any, note: str) -> Any:
    """The same function, whose errors say how it was called."""

    def called(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception as error:
            error.add_note(note)
            raise

    return called


def as_number(value: Any) -> float:
    """What a validation is; TypeError if it is no number."""
    try:
        return float(value)
    except TypeError:
        what = f"an array of shape {np.shape(value)}" if np.ndim(value) else repr(value)
        raise TypeError(f"validation as a function of params must return one number; it returned {what}") from None
