"""Where a descent cannot begin because its loss is not finite: which of the data are NaN or infinite.

They are looked at only then, and only where their numbers are known.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.jaxtools.pytrees import as_data, is_concrete, named_leaves


class Datum(NamedTuple):
    """An array among the data."""

    name: str
    array: Any
    axis: int | None = None  # of problems; None: all share it


def named_data(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Iterable[Datum]:
    """The data of ``function(params, *args, **kwargs)``, by the names it has for them."""
    trees = [*zip(names_of(function, len(args)), args, strict=True), *(kwargs or {}).items()]
    for name, tree in trees:
        for leaf_name, leaf in named_leaves(name, as_data(name, tree)):
            yield Datum(leaf_name, leaf)


def data_of_many(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None, inputs: Iterable[Any]
) -> Iterable[Datum]:
    """The same for many problems; ``inputs`` are (name, array, axis of problems), named ``args[i]...``."""
    names = {f"args[{i}": name for i, name in enumerate(names_of(function, len(args)))}
    for name, array, axis in inputs:
        first, _, rest = name.partition("]")
        if first in names:
            yield Datum(names[first] + rest, array, axis)
    yield from named_data(function, (), kwargs)


def names_of(function: Callable[..., Any], count: int) -> list[str]:
    """The names that a function gives to the arguments after its first; ``args[i]`` where it has none."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        parameters = []
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in named][:count]
    return names + [f"args[{i}]" for i in range(len(names), count)]


def with_nonfinite_data(result: Result, data: Iterable[Datum]) -> Result:
    """The result; with status NONFINITE_START it says how many entries of each datum are not finite."""
    if not is_concrete(result.code) or not np.any(np.asarray(result.code) == Status.NONFINITE_START):
        return result
    found = {}
    for name, array, axis in data:
        if not is_concrete(array) or not jnp.issubdtype(jnp.asarray(array).dtype, jnp.inexact):
            continue
        bad = ~np.isfinite(np.asarray(jax.device_get(array)))
        if bad.any():
            rows = bad[None] if axis is None else np.moveaxis(bad, axis, 0)
            counts = rows.sum(axis=tuple(range(1, rows.ndim)))
            pairs = np.stack([counts, np.full_like(counts, rows[0].size)], axis=-1).astype(np.int32)
            pairs = np.broadcast_to(pairs, (*result.code.shape, 2)) if result.code.ndim else pairs[0]
            found[name] = jax.device_put(pairs)
    return dataclasses.replace(result, nonfinite_data=found or None)
