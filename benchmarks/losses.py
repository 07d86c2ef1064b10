"""The losses that are measured for their speed, and where they start; in JAX's present default precision."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

START = (-1.2, 1.0)  # of Rosenbrock's function, repeated
LAYERS = (8, 32, 32, 1)


def rosenbrock(x: jax.Array) -> jax.Array:
    """Chained, of any length."""
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_start(n: int) -> jax.Array:
    """The standard start."""
    return jnp.resize(jnp.asarray(START), n)


def mlp(rows: int = 256) -> tuple[Any, Any]:
    """Mean squared error of a network with two hidden layers (tanh) on fixed random data; six leaves."""
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(rows, LAYERS[0])))
    outputs = jnp.asarray(rng.normal(size=(rows, LAYERS[-1])))
    start = [
        dict(weights=jnp.asarray(rng.normal(size=(m, n)) / m**0.5), bias=jnp.zeros(n))
        for m, n in itertools.pairwise(LAYERS)
    ]

    def loss(layers: Any) -> jax.Array:
        hidden = inputs
        for layer in layers[:-1]:
            hidden = jnp.tanh(hidden @ layer["weights"] + layer["bias"])
        return jnp.mean((hidden @ layers[-1]["weights"] + layers[-1]["bias"] - outputs) ** 2)

    return loss, start


def logistic_regression(strength: float = 1e-3) -> tuple[Any, Any]:
    """Of scikit-learn's breast cancer data, 569 x 30, standardised, with strength |w|^2 / 2."""
    from sklearn.datasets import load_breast_cancer

    data, labels = load_breast_cancer(return_X_y=True)
    x = jnp.asarray((data - data.mean(0)) / data.std(0))
    signs = jnp.asarray(2.0 * labels - 1)

    def loss(w: jax.Array) -> jax.Array:
        return jnp.mean(jax.nn.softplus(-signs * (x @ w[1:] + w[0]))) + 0.5 * strength * jnp.sum(w[1:] ** 2)

    return loss, jnp.zeros(x.shape[1] + 1)


def rosenbrock_starts(count: int, n: int = 10) -> jax.Array:
    """Standard normal around the standard start, shape (count, n)."""
    noise = np.random.default_rng(0).normal(size=(count, n))
    return rosenbrock_start(n) + jnp.asarray(noise)


TIMES = np.linspace(0, 10, 25)


def curve(p: Any, times: Any) -> Any:
    """a exp(-b t) + c exp(-d t) with p = (a, log b, c, log d)."""
    return p[0] * jnp.exp(-jnp.exp(p[1]) * times) + p[2] * jnp.exp(-jnp.exp(p[3]) * times)


def curve_misfit(p: jax.Array, data: jax.Array, noise: jax.Array) -> jax.Array:
    """Half the mean squared distance of the curve to data at `TIMES`, in units of the noise."""
    return 0.5 * jnp.mean(((curve(p, jnp.asarray(TIMES)) - data) / noise) ** 2)


def curves(count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Starts, all the same, data (count, 25) and their noise.

    The nearer the two rates and the smaller the noise, the harder a curve is to fit.
    """
    rng = np.random.default_rng(0)
    slow, apart = rng.uniform(-2.5, -0.5, count), rng.uniform(0.4, 2.5, count)
    heights, noise = rng.uniform(0.5, 2.0, (2, count)), 10 ** rng.uniform(-4, -2, count)
    truth = np.stack([heights[0], slow, heights[1], slow + apart])
    data = np.asarray(curve(truth[:, :, None], TIMES)) + noise[:, None] * rng.normal(size=(count, TIMES.size))
    return jnp.tile(jnp.asarray([1.0, -1.5, 1.0, 0.5]), (count, 1)), jnp.asarray(data), jnp.asarray(noise)
