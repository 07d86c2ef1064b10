"""NIST's Statistical Reference Datasets for nonlinear regression: the models, and how to read the files of data.

The files (``Misra1a.dat`` and 26 others, https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml) are not part of this
repository. Each holds the data, two starts, and certified estimates and standard deviations to eleven digits.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

PI = math.pi


def gauss(b: Any, x: Any) -> Any:
    peak = lambda height, middle, width: height * jnp.exp(-(((x - middle) / width) ** 2))
    return b[0] * jnp.exp(-b[1] * x) + peak(b[2], b[3], b[4]) + peak(b[5], b[6], b[7])


def three_exponentials(b: Any, x: Any) -> Any:
    return b[0] * jnp.exp(-b[1] * x) + b[2] * jnp.exp(-b[3] * x) + b[4] * jnp.exp(-b[5] * x)


def cubic_over_cubic(b: Any, x: Any) -> Any:
    return (b[0] + x * (b[1] + x * (b[2] + x * b[3]))) / (1 + x * (b[4] + x * (b[5] + x * b[6])))


def chwirut(b: Any, x: Any) -> Any:
    return jnp.exp(-b[0] * x) / (b[1] + b[2] * x)


def enso(b: Any, x: Any) -> Any:
    wave = lambda period, cos, sin: cos * jnp.cos(2 * PI * x / period) + sin * jnp.sin(2 * PI * x / period)
    return b[0] + wave(12, b[1], b[2]) + wave(b[3], b[4], b[5]) + wave(b[6], b[7], b[8])


MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": lambda b, x: b[0] * (1 - jnp.exp(-b[1] * x)),
    "Chwirut1": chwirut,
    "Chwirut2": chwirut,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": enso,
    "Eckerle4": lambda b, x: b[0] / b[1] * jnp.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": gauss,
    "Gauss2": gauss,
    "Gauss3": gauss,
    "Hahn1": cubic_over_cubic,
    "Kirby2": lambda b, x: (b[0] + x * (b[1] + x * b[2])) / (1 + x * (b[3] + x * b[4])),
    "Lanczos1": three_exponentials,
    "Lanczos2": three_exponentials,
    "Lanczos3": three_exponentials,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * jnp.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * jnp.exp(-x * b[3]) + b[2] * jnp.exp(-x * b[4]),
    "Misra1a": lambda b, x: b[0] * (1 - jnp.exp(-b[1] * x)),
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x: b[0] - b[1] * x[0] * jnp.exp(-b[2] * x[1]),
    "Rat42": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - jnp.arctan2(b[2], x - b[3]) / PI,
    "Thurber": cubic_over_cubic,
}


class Dataset(NamedTuple):
    """One of them."""

    name: str
    model: Callable[[Any, Any], Any]
    x: np.ndarray
    y: np.ndarray
    starts: np.ndarray  # shape (2, n)
    certified: np.ndarray  # estimates
    errors: np.ndarray  # and their standard deviations

    def digits(self, found: Any, certified: Any) -> float:
        """Decimal digits that agree, of the worst entry: eleven at most, as many as are certified."""
        found = np.asarray(found, np.float64)
        if not np.isfinite(found).all():
            return 0.0
        return float(np.clip(-np.log10(np.maximum(np.abs(found / certified - 1), 1e-11)), 0, 11).min())


def read(folder: Path, name: str) -> Dataset:
    """A data set from its file."""
    lines = (folder / f"{name}.dat").read_text().splitlines()
    rows = [re.match(r"\s*b\d+\s*=(.*)", line) for line in lines[:60]]
    table = np.array([[float(word) for word in row[1].split()] for row in rows if row])
    data = np.array([[float(word) for word in line.split()] for line in lines[60:] if line.strip()])
    y, x = data[:, 0], data[:, 1] if data.shape[1] == 2 else data[:, 1:].T
    y = np.log(y) if name == "Nelson" else y
    return Dataset(name, MODELS[name], x, y, table[:, :2].T, table[:, 2], table[:, 3])
