"""What a training returns."""

import os
from typing import Any

import jax
import numpy as np

from gdjax.descent.result import Timing
from gdjax.descent.stopping import Status
from gdjax.jaxtools.faces import as_frame, as_table, handed_out, one_line
from gdjax.jaxtools.pytrees import pytree_dataclass, static_field


@pytree_dataclass
class Epochs:
    """What was recorded of each epoch, the first one first: arrays of shape (epochs,)."""

    loss: np.ndarray  # mean over the rows of the epoch, each with the parameters of its step; NaN if none was finite
    validation: np.ndarray  # after the epoch; NaN without validation
    skipped: np.ndarray  # batches whose loss or gradient was not finite, int32

    def to_dict(self) -> dict[str, np.ndarray]:
        """Columns by name: epoch (from 1), loss, validation, skipped."""
        epoch = np.arange(1, len(self.loss) + 1)
        return dict(epoch=epoch, loss=self.loss, validation=self.validation, skipped=self.skipped)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write them to a file: a line of names, then a line an epoch, with all digits."""
        columns = self.to_dict()
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, ""]))

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row an epoch."""
        return as_frame(self.to_dict())

    def __len__(self) -> int:
        return len(self.loss)


@handed_out
@pytree_dataclass
class Training:
    """What `gdjax.train` returns; ``print`` it for the words. A pytree.

    With validation, params are those of the best epoch; without, the last ones. A training is never called converged:
    the gradient of a batch proves nothing (`gdjax.minimize` of `gdjax.mean_over` can go on from its params).
    """

    params: Any  # like the params given; averaged, if an average was asked for
    value: jax.Array  # validation of params; without it the mean loss of the last epoch
    code: jax.Array  # the status as an int32
    num_epochs: jax.Array  # finished, int32
    best_epoch: jax.Array  # of the lowest validation, from 1; 0 if there is none
    num_steps: jax.Array  # of the method, int32
    num_skipped: jax.Array  # batches that were not finite, int32
    history: Epochs
    validated: bool = static_field(False)
    patience: int | None = static_field(None)
    asked: int = static_field(0)  # epochs that were asked for
    timing: Timing | None = None
    exception: Exception | None = static_field(None)

    @property
    def status(self) -> Status:
        """How it ended."""
        return Status(int(self.code))

    @property
    def message(self) -> str:
        """How it ended, in a few sentences with their numbers."""
        return f"{self.status.name}: {WORDS[self.status](self)} {self.losses}{self.left_out}"

    @property
    def after(self) -> str:
        """How much was done."""
        count = lambda n, what: f"{int(n)} {what}{'s' * (int(n) != 1)}"
        return f"{count(self.num_epochs, 'epoch')} ({count(self.num_steps, 'step')})"

    @property
    def losses(self) -> str:
        """The first and the last loss, and the validation."""
        if not len(self.history):
            return "No epoch was finished."
        loss = self.history.loss
        course = f"The mean loss of an epoch went from {loss[0]:.6g} to {loss[-1]:.6g}."
        if not self.validated:
            return f"{course} The last parameters are returned; without validation nobody knows the best ones."
        if not int(self.best_epoch):
            return f"{course} The validation was never finite: the last parameters are returned."
        best = f"epoch {int(self.best_epoch)}, with the lowest validation, {float(self.value):.6g}"
        return f"{course} Returned are those of {best}."

    @property
    def left_out(self) -> str:
        """What was skipped."""
        count = int(self.num_skipped)
        return f" {count} batch{'es' * (count != 1)} with a loss or gradient that was not finite left out." * bool(
            count
        )

    def __str__(self) -> str:
        return self.message

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name."""
        shown = dict(status=str(self.status), value=self.value, num_epochs=self.num_epochs, best_epoch=self.best_epoch)
        return shown | dict(num_steps=self.num_steps, params=self.params)

    __repr__ = one_line
    _repr_html_ = as_table


def raised(t: Training) -> str:
    """An error while it ran."""
    lines = [line.strip() for line in str(t.exception).splitlines() if line.strip()]
    error = (lines[-1] if lines else type(t.exception).__name__).rstrip(".")
    return f"the loss, the data or a callback raised an error after {t.after}: {error}."


def done(t: Training) -> str:
    """All epochs are; or the data had no more."""
    if int(t.num_epochs) >= t.asked:
        return f"all that was asked for, {t.after}."
    return (
        f"the data were used up after {t.after}, and {t.asked} epochs were asked for. (A generator gives its "
        "batches once; data=lambda epoch: ... makes them in each epoch.)"
    )


WORDS: Any = {
    Status.RUNNING: lambda t: f"after {t.after}.",
    Status.EPOCHS_DONE: done,
    Status.EARLY_STOPPED: lambda t: f"{t.patience} epochs brought no better validation, after {t.after}.",
    Status.DIVERGED: lambda t: f"the loss ran away, after {t.after}: lower the learning rate, or clip gradients.",
    Status.NONFINITE: lambda t: (
        f"no batch of the last epoch had a finite loss and gradient, after {t.after}: look for NaN in the data, lower "
        "the learning rate, or clip gradients."
    ),
    Status.MAX_SECONDS: lambda t: f"the time was up after {t.after}.",
    Status.INTERRUPTED: lambda t: f"interrupted from the keyboard after {t.after}.",
    Status.STOPPED_BY_CALLBACK: lambda t: f"the callback asked to stop after {t.after}.",
    Status.RAISED: raised,
}
