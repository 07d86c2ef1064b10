"""A whole model as the parameters: a dataclass with functions and sizes in it, some of it fixed.

A small network learns y = sin(3 x) from 60 noisy points. It is a plain dataclass: two layers, the function between
them and a name. Nothing has to be taken apart for the fit: what is no floating array stays as it is, and the answer is
such a model again. Then its first layer is frozen, and only the rest is fitted to other data, as one does with a model
that has been trained before. (An Equinox module or a Flax NNX model goes in the same way.)

Run it with: python examples/fit_a_model.py
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import gdjax
from gdjax.spaces import Fixed


@dataclasses.dataclass
class Layer:
    """``W x + b``."""

    weight: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        """Of rows x."""
        return x @ self.weight + self.bias


@dataclasses.dataclass
class Network:
    """Two layers with a function between them."""

    first: Layer
    last: Layer
    activation: Callable = jnp.tanh
    name: str = "network"

    def __call__(self, x: jax.Array) -> jax.Array:
        """Of single numbers."""
        return self.last(self.activation(self.first(x[:, None])))[:, 0]


def network(width=8, seed=0):
    """One with random weights."""
    rng = np.random.default_rng(seed)
    layer = lambda n, m: Layer(jnp.asarray(rng.normal(size=(n, m)) / n**0.5), jnp.asarray(rng.normal(size=m)))
    return Network(layer(1, width), layer(width, 1))


def error(model, x, y):
    """The mean squared error."""
    return jnp.mean((model(x) - y) ** 2)


def data(function, seed=1):
    """Sixty points with noise."""
    x = np.linspace(-1.0, 1.0, 60)
    return x, function(x) + 0.05 * np.random.default_rng(seed).standard_normal(60)


def fit():
    """A network for one set of data, and what becomes of it with its first layer frozen, for another."""
    x, y = data(lambda x: np.sin(3 * x))
    trained = gdjax.minimize(error, network(), x, y, tol=1e-4)
    x, y = data(lambda x: np.cos(3 * x))
    return trained, gdjax.minimize(error, trained.params, x, y, space={"first": Fixed()}, tol=1e-4)


def main() -> None:
    """Fit twice, and look at what came back."""
    jax.config.update("jax_enable_x64", True)
    trained, tuned = fit()
    print(trained)
    print(f"root mean square error {float(trained.value) ** 0.5:.4f}; it is a {type(trained.params).__name__}\n")
    print(tuned)
    print(f"root mean square error {float(tuned.value) ** 0.5:.4f} on the other data")
    same = bool((tuned.params.first.weight == trained.params.first.weight).all())
    print("the first layer is", "as it was" if same else "another")


if __name__ == "__main__":
    main()
