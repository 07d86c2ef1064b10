"""All of the data, a chunk at a time: a regression on a file that is never loaded.

Writes 200 000 rows to a file, as somebody's pipeline would, and fits them from there: `gdjax.mean_over` makes a loss
of all rows that holds one chunk in memory, and `gdjax.minimize` ends at the minimum. The answer is compared with the
normal equations. For data on the device the same call is a compiled scan, whose memory is printed.

Run it with: python examples/more_data_than_memory.py [ROWS]
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import gdjax

FEATURES, CHUNK = 16, 20_000
WEIGHTS = np.linspace(-1, 1, FEATURES)


def write(folder, rows):
    """The data, chunk by chunk: they are never in memory as a whole here either."""
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float32, (rows, FEATURES))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.float32, (rows,))
    random = np.random.default_rng(0)
    for begin in range(0, rows, CHUNK):
        part = slice(begin, min(begin + CHUNK, rows))
        x[part] = random.standard_normal(x[part].shape)
        y[part] = x[part] @ WEIGHTS + 0.1 * random.standard_normal(y[part].shape)
    x.flush()
    y.flush()


def loss(w, rows):
    """Mean squared error of some rows."""
    return jnp.mean((rows["x"] @ w - rows["y"]) ** 2)


def fit(folder):
    """The minimum over all rows, from the file."""
    rows = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("x", "y")}
    return gdjax.minimize(gdjax.mean_over(loss, rows, chunk=CHUNK), jnp.zeros(FEATURES))


def normal_equations(folder):
    """The exact answer, summed up in chunks too."""
    x, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("x", "y"))
    a, b = np.zeros((FEATURES, FEATURES)), np.zeros(FEATURES)
    for begin in range(0, len(y), CHUNK):
        part = x[begin : begin + CHUNK].astype(float)
        a += part.T @ part
        b += part.T @ y[begin : begin + CHUNK]
    return np.linalg.solve(a, b)


def memory(rows, chunk):
    """Bytes that an evaluation needs besides the data, on the device."""
    data = {"x": jax.ShapeDtypeStruct((rows, FEATURES), float), "y": jax.ShapeDtypeStruct((rows,), float)}
    total = lambda w, rows: (gdjax.mean_over(loss, rows, chunk=chunk) if chunk else lambda w: loss(w, rows))(w)
    compiled = jax.jit(jax.value_and_grad(total)).lower(jnp.zeros(FEATURES), data).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def main() -> None:
    """Write, fit, compare."""
    rows = 200_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"{rows} rows, {size:.0f} MB on disk, in chunks of at most {CHUNK}")
        result = fit(folder)
        print(result)
        worst = np.max(np.abs(result.params - normal_equations(folder)))
        print(f"Largest difference from the normal equations: {worst:.1e}")
    for many in (rows, 10 * rows):
        print(f"{many:8d} rows on the device: an evaluation needs {memory(many, CHUNK) / 1e6:.1f} MB in chunks, "
              f"{memory(many, None) / 1e6:.1f} MB at once")  # fmt: skip


if __name__ == "__main__":
    main()
