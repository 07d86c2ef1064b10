"""One descent: seconds to a gradient norm on Rosenbrock-100 (float64), and a network of a million weights (float32).

A GPU multiplies float32 matrices in ten bits of mantissa (TF32) unless the loss asks for more: the network is trained
both ways. Its solvers make the same number of evaluations; what they reach is judged in the higher precision.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gdjax
from benchmarks import losses
from benchmarks.gpu.sections import Work
from benchmarks.gpu.timing import compile_all
from benchmarks.measuring import Record, timed
from benchmarks.programs import PEERS, Answer, Program, of_gdjax, of_optax, of_optimistix
from benchmarks.solve import loosest
from gdjax.vectors.vector import max_abs  # XLA's maximum loses NaN among thousands of numbers

LIMIT, EVALS, MEMORY, NORM = 5000, 200, 10, 1e-5
SHORT: dict[str, Program] = {
    "gdjax.LBFGS": of_gdjax(gdjax.LBFGS()),
    "gdjax.BFGS": of_gdjax(gdjax.BFGS()),
    "gdjax.TrustRegion": of_gdjax(gdjax.TrustRegion()),
    **{name: PEERS[name] for name in ("optax.lbfgs", "optimistix.LBFGS", "optimistix.BFGS")},
}
NETWORK: dict[str, Program] = {
    "gdjax.LBFGS": of_gdjax(gdjax.LBFGS(memory=MEMORY)),
    "optax.lbfgs": of_optax(functools.partial(optax.lbfgs, memory_size=MEMORY)),
    "optimistix.LBFGS": of_optimistix("LBFGS", history_length=MEMORY),
}


def network(sizes: tuple[int, ...], rows: int) -> tuple[Any, Any, Any]:
    """Cross-entropy of a network (tanh) that learns what another says: loss(layers, data, precision), start, data."""
    rng = np.random.default_rng(0)
    draw = lambda scale: [
        dict(w=jnp.asarray(scale * rng.normal(size=(m, n)) / m**0.5, jnp.float32), b=jnp.zeros(n, jnp.float32))
        for m, n in itertools.pairwise(sizes)
    ]
    inputs, teacher, start = jnp.asarray(rng.normal(size=(rows, sizes[0])), jnp.float32), draw(2.0), draw(1.0)

    def outputs(layers: Any, x: Any, precision: str) -> jax.Array:
        for i, layer in enumerate(layers):
            x = jnp.matmul(x if i == 0 else jnp.tanh(x), layer["w"], precision=precision) + layer["b"]
        return x

    labels = jnp.argmax(outputs(teacher, inputs, "highest"), axis=1)

    def loss(layers: Any, data: Any, precision: str) -> jax.Array:
        x, y = data
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs(layers, x, precision), y))

    return loss, start, (inputs, labels)


def run(work: Work) -> Iterator[Record]:
    """Rosenbrock's function, then the network."""
    yield from to_norm(work)
    with jax.enable_x64(False):
        yield from train(work)


def to_norm(work: Work) -> Iterator[Record]:
    """Each solver with the loosest tolerance of its own that reaches the norm, as `benchmarks solve` does."""
    start, slope = losses.rosenbrock_start(100), jax.jit(jax.grad(losses.rosenbrock))
    norm_of = lambda x: float(max_abs(slope(x)))
    runs = {name: jax.jit(functools.partial(of_rosenbrock, program)) for name, program in SHORT.items()}
    firsts = compile_all({name: functools.partial(run, start, 1e-5) for name, run in runs.items()}, threads=2)
    for name, run in runs.items():
        if work.late() or isinstance(firsts[name][0], Exception):
            yield work.skipped(name) | dict(why=repr(firsts[name][0])[:300] if not work.late() else "time")
            continue
        answer = lambda tol, run=run: jax.block_until_ready(run(start, tol))
        tol = loosest(lambda tol: tuple(answer(tol)[:2]), norm_of, NORM)  # noqa: B023
        if tol is None:
            yield dict(problem="Rosenbrock-100", solver=name, failed="does not reach the norm")
            continue
        seconds = min(timed(answer, tol)[0] for _ in range(5))
        found = answer(tol)
        yield dict(
            problem="Rosenbrock-100", solver=name, seconds=seconds, first=firsts[name][1], evals=int(found.evals),
            gradient=norm_of(found.params), tol=tol,
        )  # fmt: skip


def of_rosenbrock(program: Program, x: Any, tol: Any) -> Any:
    """The program on the function."""
    return program(losses.rosenbrock, x, tol, LIMIT)


def train(work: Work) -> Iterator[Record]:
    """So many evaluations by each, in both precisions; and so many of the loss alone.

    One precision after the other, so that what one needs to compile takes no time from what was measured before.
    """
    loss, start, data = network(work.pick((512, 1024, 448, 32), (8, 16, 4)), work.pick(4096, 64))
    size = sum(leaf.size for leaf in jax.tree.leaves(start))
    judge = jax.jit(jax.value_and_grad(functools.partial(loss, data=data, precision="highest")))
    for precision in ("highest", "default"):
        problem = dict(problem=f"network, {size} weights, {precision}")
        jobs = {name: functools.partial(trained(program, loss, precision), start, data)
                for name, program in (NETWORK | {"value_and_grad": alone}).items()}  # fmt: skip
        made = {} if work.late() else compile_all(jobs, threads=4)
        for name, call in jobs.items():
            if name not in made or work.late():
                yield problem | dict(solver=name) | work.skipped(name)
                continue
            answer, first = made[name]
            if isinstance(answer, Exception):
                yield problem | dict(solver=name, failed=repr(answer)[:500])
                continue
            seconds, evals = min(timed(call)[0] for _ in range(2)), int(answer.evals)
            value, grad = judge(answer.params)
            norm = float(optax.tree.norm(grad, ord=jnp.inf))
            yield problem | dict(
                solver=name, seconds=seconds, evals=evals, value=float(value), gradient=norm, first=first
            )  # fmt: skip


def trained(program: Program, loss: Any, precision: str) -> Any:
    """The compiled program on the network; its data are arguments, since constants would be folded."""
    return jax.jit(lambda start, data: program(lambda p: loss(p, data, precision), start, 0.0, EVALS))


def alone(loss: Any, start: Any, tol: Any, limit: int) -> Answer:
    """Evaluations in a loop of known length."""
    step = lambda _, x: jax.tree.map(lambda a, g: a - 1e-6 * g, x, jax.grad(loss)(x))
    count = jnp.asarray(limit)
    return Answer(jax.lax.fori_loop(0, limit, step, start), jnp.asarray(True), count, count)
