"""The data of a training: arrays of rows, or batches that come one by one; and what it is validated on."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import as_data, in_words, named_leaves
from gdjax.jaxtools.rows import count_rows, rows_at, rows_from
from gdjax.training.feed import Feed, is_feed


class Material(NamedTuple):
    """What a training works on."""

    data: Any  # arrays of rows, or a `Feed`
    batch: Any  # the first one, for its shapes
    rows: int  # of the data; 0 if batches come one by one
    size: int  # rows of a batch; then 1
    validation: Any  # arrays of rows, a function, or None

    def first(self, count: int) -> Any:
        """The first rows of arrays, for their shapes."""
        return rows_from(self.data, 0, count)


def gather(data: Any, validation: Any, batch_size: int | None, metric: Any, key: jax.Array) -> Material:
    """Check data and validation, and hold rows out if a share of them is to validate on."""
    is_share = isinstance(validation, int | float) or getattr(validation, "shape", None) == ()
    if is_feed(data, batch_size):
        if is_share:
            raise ValueError(
                f"validation={validation!r} holds out a share of the rows of arrays; for batches that come one by one "
                "give data to validate on, validation=(x, y)"
            )
        if batch_size is not None:
            raise ValueError("batch_size is for arrays; batches that come one by one have their own")
        data = Feed(data)
        return Material(data, batch := data.first(), 0, 1, validation_data(validation, batch, metric))
    data = jax.tree.map(jnp.asarray, checked_rows("data", as_data("data", data)))
    rows = count_rows("data", data)
    if batch_size is None:
        raise ValueError(
            f"batch_size is missing: how many of the {rows} rows a batch is to have, such as batch_size={min(32, rows)}"
        )
    if is_share:
        data, validation = held_out(data, rows, validation, key)
        rows = count_rows("data", data)
    size = min(batch_size, rows)
    batch = rows_from(data, 0, size)
    return Material(data, batch, rows, size, validation_data(validation, batch, metric))


def checked_rows(name: str, data: Any) -> Any:
    """The same; TypeError for lists of numbers, which are a pytree of as many arrays."""
    for leaf_name, leaf in named_leaves(name, data):
        if isinstance(leaf, bool | int | float | complex | str):
            raise TypeError(
                f"{leaf_name} is {leaf!r}, not an array with rows along its first axis: make arrays of lists, as with "
                "np.asarray, and let the loss close over what has no rows"
            )
    return data


def held_out(data: Any, rows: int, share: Any, key: jax.Array) -> tuple[Any, Any]:
    """The rows to train on, and a random share of them to validate on: the same ones for the same key."""
    if isinstance(share, bool) or not 0 < share < 1:
        raise ValueError(
            f"validation must be data such as (x, y), a function of params, or a share of the rows to hold out, "
            f"between 0 and 1; got {share!r}"
        )
    count = round(rows * float(share))
    if not 0 < count < rows:
        raise ValueError(f"validation={share!r} of {rows} rows is {count} rows: some must be left on both sides")
    # Of another stream than the shuffles of the epochs.
    order = jax.random.permutation(jax.random.fold_in(key, np.uint32(2**32 - 1)), rows)
    return rows_at(data, jnp.sort(order[count:])), rows_at(data, jnp.sort(order[:count]))


def validation_data(validation: Any, batch: Any, metric: Any) -> Any:
    """Arrays to validate on, which the loss must take as it takes a batch; or what was given.

    Raises:
        ValueError, TypeError: if they have no rows, or, with no metric of their own, another structure.
    """
    if validation is None or callable(validation):
        return validation
    validation = jax.tree.map(jnp.asarray, checked_rows("validation", as_data("validation", validation)))
    count_rows("validation", validation)
    if metric is None:
        compare(validation, batch, "validation", "data")
    return validation


def compare(given: Any, like: Any, name: str, other: str) -> None:
    """ValueError unless the rows of both pytrees of arrays are alike."""
    if (here := in_words(given)) != (there := in_words(like)):
        raise ValueError(f"{name} must be like {other}: it is {here}, {other} is {there}")
    for (leaf_name, x), y in zip(named_leaves(name, given), jax.tree.leaves(like), strict=True):
        if x.shape[1:] != y.shape[1:]:
            raise ValueError(
                f"the rows of {leaf_name} have shape {x.shape[1:]}, those of {other} have {y.shape[1:]}: they must be "
                "alike"
            )
