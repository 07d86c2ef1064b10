"""`python -m benchmarks train`: epochs of mini-batches by gdjax.train and by hand, and the memory of sums over chunks.

The same network, optimiser, batch size and number of steps for all, shuffled anew in each epoch: a jitted step in a
Python loop, as most tutorials write it; a jitted epoch with a scan, by hand; and gdjax.train, of which the whole call
is timed, programs being compiled. On digits all look at the accuracy on the test images after each epoch. Memory is
what an evaluation with its gradient needs besides the data, as XLA counts it.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import gdjax
from benchmarks.measuring import Record, chosen, interleaved, progress, run_or_load, table, title
from benchmarks.measuring import add_arguments as add_common
from benchmarks.pictures import bars

ADAM = optax.adam(3e-3)
GOAL = 0.97


def network(hidden: int) -> Any:
    """Weights of 64-hidden-10."""
    k1, k2 = jax.random.split(jax.random.key(0))
    w, v = jax.random.normal(k1, (64, hidden)) / 8, jax.random.normal(k2, (hidden, 10)) / hidden**0.5
    return jax.tree.map(lambda x: x.astype(jnp.result_type(float)), {"w": w, "v": v, "b": jnp.zeros(hidden)})


def scores(p: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ p["w"] + p["b"]) @ p["v"]


def loss(p: Any, batch: Any) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(scores(p, batch[0]), batch[1]))


@jax.jit
def accuracy(p: Any, batch: Any) -> jax.Array:
    return jnp.mean(jnp.argmax(scores(p, batch[0]), axis=1) == batch[1])


def one_step(carry: Any, batch: Any) -> tuple[Any, jax.Array]:
    params, state = carry
    value, grad = jax.value_and_grad(loss)(params, batch)
    updates, state = ADAM.update(grad, state, params)
    return (optax.apply_updates(params, updates), state), value


jitted_step = jax.jit(one_step, donate_argnums=0)


@functools.partial(jax.jit, donate_argnums=0, static_argnums=3)
def jitted_epoch(carry: Any, data: Any, key: jax.Array, size: int) -> tuple[Any, jax.Array]:
    rows = jax.random.permutation(key, data[0].shape[0]).reshape(-1, size)
    return jax.lax.scan(lambda carry, i: one_step(carry, jax.tree.map(lambda x: x[i], data)), carry, rows)


def python_loop(start: Any, data: Any, size: int, epochs: int, look: Any) -> list[float]:
    """Batches from NumPy, as a loader makes them."""
    carry, seen, host = copied(start), [], jax.tree.map(np.asarray, data)
    for epoch in range(epochs):
        rows = np.random.default_rng(epoch).permutation(len(host[0]))
        for i in range(0, len(rows), size):
            carry, value = jitted_step(carry, jax.tree.map(lambda x, chosen=rows[i : i + size]: x[chosen], host))
        seen.append(float(value if look is None else look(carry[0])))
    return seen


def scan_by_hand(start: Any, data: Any, size: int, epochs: int, look: Any) -> list[float]:
    """The epoch under one jit."""
    carry, seen = copied(start), []
    for epoch in range(epochs):
        carry, values = jitted_epoch(carry, data, jax.random.key(epoch), size)
        seen.append(float(values[-1] if look is None else look(carry[0])))
    return seen


def of_gdjax(start: Any, data: Any, size: int, epochs: int, look: Any) -> list[float]:
    """The front door."""
    validation = None if look is None else lambda p: -look(p)
    done = gdjax.train(loss, start, data, batch_size=size, epochs=epochs, method=ADAM, validation=validation)
    return (done.history.loss if look is None else -done.history.validation).tolist()


SOLVERS: dict[str, Callable[..., list[float]]] = {
    "hand-written.step, Python loop": python_loop,
    "hand-written.epoch, scan": scan_by_hand,
    "gdjax.train": of_gdjax,
}


def copied(start: Any) -> Any:
    """Params and state that may be donated."""
    return jax.tree.map(jnp.copy, (start, ADAM.init(start)))


def synthetic(rows: int) -> Any:
    x = jax.random.normal(jax.random.key(1), (rows, 64))
    return x, jnp.argmax(x[:, :10], axis=1)


def digits() -> tuple[Any, Any]:
    """1344 images to train on, 453 to test on."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = jnp.asarray(x[order] / 16), jnp.asarray(y[order])
    return (x[:1344], y[:1344]), (x[1344:], y[1344:])


def problems(scale: float) -> dict[str, tuple[Any, ...]]:
    """Hidden units, data, batch size, epochs, what to look at after each."""
    data, test = digits()
    rows = lambda n, size: max(size, int(n * scale) // size * size)
    return {
        "small network, batches of 32": (32, synthetic(rows(32_000, 32)), 32, max(1, int(10 * scale)), None),
        "batches of 4096": (256, synthetic(rows(1_000_000, 4096)), 4096, 1, None),
        "digits": (32, data, 32, max(1, int(40 * scale)), lambda p: accuracy(p, test)),
    }


def memory(rows: int, chunk: int | None) -> int:
    """Bytes of an evaluation with its gradient."""
    data = jax.ShapeDtypeStruct((rows, 64), jnp.result_type(float)), jax.ShapeDtypeStruct((rows,), jnp.int32)
    total = lambda p, data: (gdjax.mean_over(loss, data, chunk=chunk) if chunk else lambda p: loss(p, data))(p)
    compiled = jax.jit(jax.value_and_grad(total)).lower(network(32), data).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    add_common(parser, "train", repeats=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of rows and epochs")


def run(options: argparse.Namespace) -> Iterator[Record]:
    """The records."""
    solvers = chosen(options.solvers, SOLVERS)
    cases = chosen(options.problems, problems(options.scale))
    for name in progress("train", cases):
        hidden, data, size, epochs, look = cases[name]
        calls = {s: functools.partial(f, network(hidden), data, size, epochs, look) for s, f in solvers.items()}
        repeats = min(options.repeats, 2) if size > 1000 else options.repeats  # an epoch takes seconds
        seconds = interleaved(calls, repeats)
        for solver, call in calls.items():
            seen = call()
            reached = next((i + 1 for i, share in enumerate(seen) if share >= GOAL), None) if look else None
            rows = data[0].shape[0]
            record = dict(problem=name, solver=solver, rows=rows, batch_size=size, epochs=epochs, last=seen[-1])
            yield record | dict(seconds=[s / epochs for s in seconds[solver]], reached=reached)
    for rows in (2**14, 2**16, 2**18):  # of 2**20 XLA folds a constant for 10 s
        rows = max(4096, int(rows * options.scale))
        for solver, chunk in (("gdjax.mean_over, chunk=4096", 4096), ("all rows at once", None)):
            yield dict(problem="memory", solver=solver, rows=rows, bytes=memory(rows, chunk))


def main(options: argparse.Namespace) -> None:
    """Run, or show what was saved."""
    header, records, picture = run_or_load(options, run)
    print(title(header))
    timed = [r for r in records if "seconds" in r]
    best = {r["problem"]: min(r["seconds"]) for r in timed if r["solver"] == "hand-written.step, Python loop"}
    rows: list[list[Any]] = [["", "rows", "batch", "ms an epoch", "of a Python loop", "epochs to 97%"]]
    for r in timed:
        least = min(r["seconds"])
        share = f"{least / best[r['problem']]:.2f}" if r["problem"] in best else ""
        rows.append([f"{r['problem']}: {r['solver']}", r["rows"], r["batch_size"], f"{1e3 * least:.3g}", share,
                     r["reached"] or ""])  # fmt: skip
    print(table(rows))
    sizes = [[f"{r['rows']} rows: {r['solver']}", f"{r['bytes'] / 1e6:.2f} MB"] for r in records if "bytes" in r]
    print(table([["memory of an evaluation", ""], *sizes]))
    panels: dict[str, dict[str, float | None]] = {}
    for r in timed:
        panels.setdefault(f"{r['problem']}: ms an epoch", {})[r["solver"]] = 1e3 * min(r["seconds"])
    bars(panels, picture, title(header))
