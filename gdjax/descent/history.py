"""The course of a descent, recorded inside the compiled loop in bounded memory."""

import csv
import dataclasses
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.progress import Progress, Trip
from gdjax.jaxtools.faces import as_frame, as_table, handed_out, one_line
from gdjax.jaxtools.pytrees import is_concrete, pytree_dataclass
from gdjax.jaxtools.scalar_kernels import branch
from gdjax.vectors.vector import with_row

CAPACITY = 1024  # records of ``history=True``


@handed_out
@pytree_dataclass
class History:
    """Records of accepted steps, oldest first: step 0 is the start, the last record is the last step.

    Up to ``capacity`` steps are all kept. After that, every second record is dropped each time the space is
    full, so the kept steps stay evenly spaced. Arrays have shape (capacity + 1,); `trim` keeps the ``size`` records
    that are filled (under `jax.vmap` this number differs between problems, so trimming is left to you).
    """

    step: jax.Array  # number of the step
    value: jax.Array  # of the user's function
    grad_norm: jax.Array  # infinity norm
    step_size: jax.Array  # alpha of the step that led here; for optax |step| / |gradient|
    num_evals: jax.Array  # evaluations up to here
    size: jax.Array  # records that are filled
    violation: Any = None  # with constraints: the largest, of the size of its constraint

    def trim(self) -> "History":
        """Only the filled records, as NumPy arrays (outside of jit, one problem).

        Raises:
            ValueError: for the histories of a batch: take one, ``result[i].history``.
        """
        if np.ndim(self.size) != 0:
            raise ValueError("these are the histories of a batch: take one problem's, as in result[0].history")
        return jax.tree.map(lambda column: np.asarray(column)[: len(self)] if np.ndim(column) else column, self)

    def to_dict(self) -> dict[str, np.ndarray]:
        """The filled records as NumPy columns by name: step, value, grad_norm, step_size, num_evals (and violation)."""
        trimmed = self.trim()
        columns = {f.name: getattr(trimmed, f.name) for f in dataclasses.fields(self) if f.name != "size"}
        return {name: column for name, column in columns.items() if column is not None}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the filled records to a file: a line of names, then a line per record, with all digits."""
        columns = self.to_dict()
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))

    def to_pandas(self) -> Any:
        """The filled records as a `pandas.DataFrame`.

        Raises:
            ImportError: if pandas is not installed.
        """
        return as_frame(self.to_dict())

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        if not is_concrete(self.size) or np.ndim(self.size):
            return dict(value=self.value, size=self.size)
        kept = self.trim()
        ends = {name: tuple(getattr(kept, name)[[0, -1]].tolist()) if len(self) else () for name in ("step", "value")}
        return dict(records=len(self), first_and_last_step=ends["step"], first_and_last_value=ends["value"])

    def __str__(self) -> str:
        return repr(self)

    __repr__ = one_line
    _repr_html_ = as_table

    def __len__(self) -> int:
        return int(self.size)


class HistoryBuffer(NamedTuple):
    """The history while it is written. Row ``size`` is always the newest step, whether it will be kept or not."""

    floats: jax.Array  # (capacity + 1, 3): value, gradient norm, step size; with constraints 4: the violation
    counts: jax.Array  # (capacity + 1, 2): step, evaluations
    size: jax.Array  # rows kept for good
    stride: jax.Array  # steps between two rows
    newest: jax.Array  # whether row `size` holds a step beyond the kept ones

    @classmethod
    def empty(cls, capacity: int, dtype: jnp.dtype, columns: int = 3) -> "HistoryBuffer":
        """No steps yet. ``capacity`` is even."""
        zero = jnp.asarray(0, jnp.int32)
        floats, counts = jnp.zeros((capacity + 1, columns), dtype), jnp.zeros((capacity + 1, 2), jnp.int32)
        return cls(floats, counts, zero, zero + 1, jnp.asarray(False))

    def add(self, now: Progress, trip: Trip) -> "HistoryBuffer":
        """Write the step of this pass of the loop, if it was accepted."""
        after, outcome = trip.after, trip.outcome
        value, norm, extra = after.value, after.grad_norm, []
        if outcome.kkt is not None:
            value, norm, extra = after.loss, outcome.kkt.stationarity, [outcome.kkt.violation]
        row = jnp.stack([value, norm, outcome.step_size.astype(value.dtype), *extra])
        count = jnp.stack([now.steps, now.evals])
        return branch(outcome.accepted, lambda record: record.write(row, count), lambda record: record, self)

    def write(self, row: jax.Array, count: jax.Array) -> "HistoryBuffer":
        """Write a row; keep it if its step is a multiple of the stride; thin out when all rows are kept."""
        floats, counts = with_row(self.floats, self.size, row), with_row(self.counts, self.size, count)
        keep = count[0] % self.stride == 0
        size = self.size + keep.astype(jnp.int32)
        full = size == self.capacity
        thin = lambda rows: jnp.concatenate(
            [jax.lax.slice_in_dim(rows, 0, self.capacity, 2), rows[self.capacity // 2 :]]
        )
        floats, counts = (jnp.where(full, thin(rows), rows) for rows in (floats, counts))
        size, stride = jnp.where(full, size // 2, size), jnp.where(full, self.stride * 2, self.stride)
        # A thinned-out history may have lost the step just written: it then stands in the open row again.
        lost = full & (count[0] % stride != 0)
        floats = jnp.where(lost, with_row(floats, size, row), floats)
        counts = jnp.where(lost, with_row(counts, size, count), counts)
        return HistoryBuffer(floats, counts, size, stride, ~keep | lost)

    @property
    def capacity(self) -> int:
        """Rows that may be kept."""
        return self.floats.shape[0] - 1

    def to_history(self, sign: float) -> History:
        """The history that the user sees, with values in the user's sign."""
        size = self.size + self.newest.astype(jnp.int32)
        value = self.floats[:, 0] * jnp.asarray(sign, self.floats.dtype)
        _, norm, step_size, *violation = self.floats.T
        return History(self.counts[:, 0], value, norm, step_size, self.counts[:, 1], size, *violation)
