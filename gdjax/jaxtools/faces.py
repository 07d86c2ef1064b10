"""How results show themselves: one line in a console, a small table in a notebook. ``print`` gives the words."""

import html
import inspect
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from gdjax.jaxtools.pytrees import is_concrete

FEW = 6  # numbers that are written out
LONG = 60  # characters of a value in one line

T = TypeVar("T")


class Shown(Protocol):
    """What has a face."""

    def face(self) -> dict[str, Any]:
        """What there is to show, by name."""


def one_line(self: Shown) -> str:
    """``Result(status=CONVERGED, value=0.5, ...)``: to be set as ``__repr__``."""
    parts = [f"{name}={shortened(in_short(value))}" for name, value in self.face().items()]
    return f"{type(self).__name__}({', '.join(parts)})"


def as_table(self: Shown) -> str:
    """A table of two columns, and what ``print`` says: to be set as ``_repr_html_``."""
    rows = [(name.replace("_", " "), in_short(value)) for name, value in self.face().items()]
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    words = html.escape(str(self))
    return f"<table>{cells}</table><pre>{words}</pre>"


def handed_out(cls: type[T]) -> type[T]:
    """Decorator of a class whose objects people are given and do not make: `help` begins with what there is to read.

    Otherwise it begins with all fields, as the arguments of a constructor.
    """
    alone = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    cls.__init__.__signature__ = inspect.Signature([alone])  # type: ignore[attr-defined]
    return cls


def as_frame(columns: dict[str, Any], index: Any = None) -> Any:
    """A `pandas.DataFrame` of columns by name; ``index`` is a list, or makes one of the module pandas.

    Raises:
        ImportError: if pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_pandas needs pandas: pip install pandas") from error
    return pd.DataFrame(columns, index=index(pd) if callable(index) else index)


def in_short(value: Any) -> str:
    """A value in a few characters: few numbers written out, of a larger array the dtype and shape."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {in_short(x)}" for name, x in value.items()) + "}"
    if isinstance(value, tuple | list) and not isinstance(value, np.ndarray):
        return "(" + ", ".join(map(in_short, value)) + ")"
    if not hasattr(value, "dtype"):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    known = is_concrete(value) and np.size(value) <= FEW and not jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended)
    if not known:
        return f"{value.dtype}[{', '.join(map(str, np.shape(value)))}]"
    numbers = [f"{x:.6g}" for x in np.ravel(np.asarray(value)).tolist()]
    return numbers[0] if np.ndim(value) == 0 else f"[{', '.join(numbers)}]"


def shortened(text: str) -> str:
    """A text that fits into a line with others."""
    return text if len(text) <= LONG else text[: LONG - 4] + " ..."
