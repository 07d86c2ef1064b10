"""Batches that come from Python: read ahead, and put on the device, by a thread."""

import inspect
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import jax

from gdjax.jaxtools.pytrees import as_data, in_words
from gdjax.jaxtools.rows import count_rows
from gdjax.running.driver import VISIT

AHEAD = 2  # batches that wait on the device
END = object()


class Feed:
    """The batches of each epoch, from an iterable (a loader, a generator) or a function of the epoch to one."""

    def __init__(self, source: Any) -> None:
        self.source, self.structure = source, ""
        if callable(source):
            check_function(source)

    def begin(self, epoch: int, skip: int) -> None:
        """Start to read an epoch, from its batch ``skip`` on."""
        made = self.source(epoch) if callable(self.source) else self.source
        self.batches = ahead(iter(made), skip)

    def __iter__(self) -> Iterator[Any]:
        """The batches that follow; None where the next one has not come for some time."""
        for batch in self.batches:
            if batch is not None and (found := in_words(batch)) != self.structure:
                raise ValueError(f"all batches must be alike: one is {found}, the first was {self.structure}")
            yield batch

    def first(self) -> Any:
        """The first batch of the first epoch, for its shapes; it is not lost to the epoch."""
        made = self.source(0) if callable(self.source) else self.source
        if iter(made) is made and not callable(self.source):  # a generator gives each batch once
            found = next(made, END)
            self.source = chained(found, made)
        else:
            found = next(iter(made), END)
        if found is END:
            raise ValueError("data gave no batch")
        batch = on_device(found)
        self.structure = in_words(batch)
        return batch


def check_function(source: Any) -> None:
    """Raise TypeError unless it can be called with an epoch."""
    try:
        inspect.signature(source).bind(0)
    except TypeError as error:
        raise TypeError(
            "data as a function is called with the epoch 0, 1, ... and returns the batches of it; for one that takes "
            f"nothing write data=lambda epoch: function() ({error})"
        ) from None
    except ValueError:
        return  # it has no signature


class chained:  # noqa: N801
    """A generator from whose front a batch was taken."""

    def __init__(self, first: Any, rest: Iterator[Any]) -> None:
        self.front, self.rest = [first], rest

    def __iter__(self) -> Iterator[Any]:
        while self.front:
            yield self.front.pop()
        yield from self.rest


def on_device(batch: Any) -> Any:
    """A batch as arrays of JAX: what has ``__array__``, as torch's tensors have, becomes one."""
    arrays = as_data("batch", batch)
    count_rows("batch", arrays)
    return jax.tree.map(jax.device_put, arrays)


def ahead(batches: Iterator[Any], skip: int) -> Iterator[Any]:
    """The same batches, read by a thread while the last ones are worked on; what it raises is raised here.

    Where nothing has come for some time, None: a source that hangs must not keep anybody from an interrupt.
    """
    ready: queue.Queue[Any] = queue.Queue(AHEAD)
    over = threading.Event()

    def put(thing: Any) -> None:
        while not over.is_set():
            try:
                return ready.put(thing, timeout=0.1)
            except queue.Full:
                continue

    def read() -> None:
        try:
            for i, batch in enumerate(batches):
                if over.is_set():
                    return
                if i >= skip:
                    put(on_device(batch))
            put(END)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, name="gdjax reads", daemon=True)
    thread.start()
    try:
        while (found := patiently(ready)) is not END:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        over.set()


def patiently(ready: queue.Queue[Any]) -> Any:
    """What comes next; None if nothing does for some time."""
    try:
        return ready.get(timeout=VISIT)
    except queue.Empty:
        return None


def is_feed(data: Any, batch_size: int | None) -> bool:
    """Whether data come batch by batch, not as arrays of rows."""
    if callable(data) or hasattr(data, "__next__"):
        return True
    if isinstance(data, dict | str) or (isinstance(data, list | tuple) and batch_size is not None):
        return False  # arrays, or a mistake that will be named
    leaves = jax.tree.leaves(data)
    if not isinstance(data, Iterable) and hasattr(data, "__getitem__") and not hasattr(data, "__array__"):
        raise TypeError(
            f"data of type {type(data).__name__} gives items by their index, not batches one after the other: put a "
            "loader around it (torch.utils.data.DataLoader, grain), or give data=lambda epoch: an iterable of batches"
        )
    arrays = bool(leaves) and all(hasattr(x, "shape") or hasattr(x, "__array__") for x in leaves)
    return not arrays and isinstance(data, Iterable)
