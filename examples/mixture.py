"""A mixture of three normal distributions: weights on a simplex, scales that are positive, means in order.

The durations of 800 visits come from three kinds of visitors. The model has weights that are positive and sum to 1,
scales that are positive, and means; in which order the three are named is up to us, so the means are kept in order.
With space= none of this has to be written into the loss. Below, the same fit with a softmax and logarithms by hand
reaches the same value; the standard errors of weights and scales then have to be worked out, here they are printed.

Run it with: python examples/mixture.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import gdjax
from gdjax.spaces import Ordered, Positive, Simplex

TRUTH = {"mean": np.array([2.0, 5.0, 9.0]), "scale": np.array([0.5, 1.0, 0.7]), "weight": np.array([0.5, 0.3, 0.2])}
START = {"mean": np.array([1.0, 4.0, 8.0]), "scale": np.ones(3), "weight": np.full(3, 1 / 3)}
SPACE = {"mean": Ordered(), "scale": Positive(), "weight": Simplex()}


def visits(count=800, seed=0):
    """Durations in minutes."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, count, p=TRUTH["weight"])
    return rng.normal(TRUTH["mean"][kind], TRUTH["scale"][kind])


def loss(p, x):
    """The negative log-likelihood."""
    z = (x[:, None] - p["mean"]) / p["scale"]
    logs = jnp.log(p["weight"]) - jnp.log(p["scale"]) - 0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    return -jnp.sum(jax.scipy.special.logsumexp(logs, axis=1))


def by_hand(q, x):
    """The same, of numbers that may be any."""
    p = {"mean": q["mean"], "scale": jnp.exp(q["log_scale"]), "weight": jax.nn.softmax(q["logits"])}
    return loss(p, x)


def fit(x):
    """With spaces, and by hand."""
    inside = gdjax.minimize(loss, START, x, space=SPACE)
    start = {"mean": START["mean"], "log_scale": np.zeros(3), "logits": np.zeros(3)}
    return inside, gdjax.minimize(by_hand, start, x)


def main() -> None:
    """Fit, compare, and print the standard errors."""
    jax.config.update("jax_enable_x64", True)
    x = visits()
    inside, hand = fit(x)
    print(inside)
    print(f"with space= {inside.value:.6f} after {inside.num_evals} evaluations")
    print(f"by hand     {hand.value:.6f} after {hand.num_evals} evaluations\n")
    print(gdjax.uncertainty(loss, inside, x, kind="likelihood"))


if __name__ == "__main__":
    main()
