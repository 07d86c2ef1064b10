"""The surface that a descent walks on: two weights, and two principal directions of many.

Left: Rosenbrock's curved valley with the path of L-BFGS. Right: a small neural network with 33 weights, seen in the
plane of its path: the two directions in which the weights moved most. Draws loss_surface.png.

Run it with: python examples/loss_surface.py [FOLDER FOR THE PICTURE, by default pictures]
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from pictures import save

import gdjax


def rosenbrock(p):
    """A valley along p[1] = p[0]^2 with its lowest point at (1, 1)."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def network(p, x):
    """Eleven hidden units, each with a weight, a bias and a weight of what it adds."""
    return jnp.tanh(x[:, None] * p["w1"] + p["b1"]) @ p["w2"]


def fit(p, x, y):
    """Mean squared error, with a little weight decay."""
    decay = 1e-3 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p))
    return jnp.mean((network(p, x) - y) ** 2) + decay


def walk_valley():
    """All steps of L-BFGS through the valley."""
    return list(gdjax.iterate(rosenbrock, jnp.array([-1.2, 1.0])))


def walk_network():
    """All steps of Adam, fitting a sine."""
    x = jnp.linspace(-3, 3, 40)
    keys = jax.random.split(jax.random.key(0), 3)
    names = ("w1", "b1", "w2")
    start = {name: jax.random.normal(key, (11,)) for name, key in zip(names, keys, strict=True)}
    data = (x, jnp.sin(x))
    return data, list(gdjax.iterate(fit, start, *data, method=optax.adam(0.05), max_steps=150))


def main() -> None:
    """Walk twice, draw both."""
    jax.config.update("jax_enable_x64", True)
    valley, (data, steps) = walk_valley(), walk_network()
    print(f"Rosenbrock's valley, L-BFGS: {valley[-1]}\n")
    print(f"The network, Adam: {steps[-1]}\n")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    gdjax.plot.surface(rosenbrock, valley[-1], path=valley, ax=left)
    gdjax.plot.surface(fit, steps[-1], *data, path=steps, ax=right)
    save(figure, "loss_surface.png")


if __name__ == "__main__":
    main()
