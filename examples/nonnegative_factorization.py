"""Images as sums of parts: nonnegative matrix factorisation, a problem that is not convex, with a sparse penalty.

    minimise  |X - W H|^2 / 2 + strength * sum H   with   W >= 0, H >= 0 (and W <= 1)

X holds 500 handwritten digits (8 x 8 pixels each) in its rows, H the parts that they are made of, W how much of each.
Each of the two has a penalty of its own: by_leaf. Nonnegative and L1 together are one penalty, written here in five
lines. The factors are compared with those of scikit-learn's NMF from the same start.

Run it with: python examples/nonnegative_factorization.py
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF

import gdjax
from gdjax.penalties import Box, NonNegative, by_leaf

PARTS = 8


class NonNegativeL1(NamedTuple):
    """``strength * sum x_i`` for x >= 0, infinite elsewhere."""

    strength: float

    def value(self, x):
        """strength * sum x, or inf."""
        return jnp.where(jnp.all(x >= 0), self.strength * jnp.sum(x), jnp.inf)

    def prox(self, x, step):
        """Shift down and clip."""
        return jnp.maximum(x - step * self.strength, 0)


def loss(p, x):
    """Half the squared distance."""
    return 0.5 * jnp.sum((x - p["W"] @ p["H"]) ** 2)


def data():
    """500 digits, pixels between 0 and 1."""
    return load_digits().data[:500] / 16


def start(x, seed=0):
    """Random numbers of the right size."""
    rng, size = np.random.default_rng(seed), np.sqrt(x.mean() / PARTS)
    return {
        "W": size * rng.random((x.shape[0], PARTS)),
        "H": size * rng.random((PARTS, x.shape[1])),
    }


def factorise(x, strength, method=None):
    """From the start; the strength is that of the penalty on H."""
    penalty = by_leaf({"W": NonNegative(), "H": NonNegative()})
    if strength:  # the amounts must be bounded then, or W grows and H shrinks without end
        penalty = by_leaf({"W": Box(0.0, 1.0), "H": NonNegativeL1(strength)})
    return gdjax.minimize(loss, start(x), x, penalty=penalty, method=method, tol=1e-4, max_evals=3000)


def main() -> None:
    """Factorise and compare."""
    jax.config.update("jax_enable_x64", True)
    x = data()
    plain = factorise(x, 0.0)
    print("Nonnegative factors alone (two boxes: L-BFGS between bounds):")
    print(plain)
    first = start(x)
    nmf = NMF(PARTS, init="custom", solver="cd", tol=1e-8, max_iter=3000)
    w = nmf.fit_transform(x, W=first["W"].copy(), H=first["H"].copy())
    print(f"scikit-learn's coordinate descent from the same start: {0.5 * np.sum((x - w @ nmf.components_) ** 2):.4f}")

    sparse = factorise(x, 1.0)
    print("\nWith an L1 penalty on the parts H (PANOC):")
    print(sparse)
    for name, result in (("plain", plain), ("sparse", sparse)):
        h = np.asarray(result.params["H"])
        print(f"{name:7} {np.mean(h == 0):4.0%} of the pixels of the parts are exactly zero, none is below: {h.min()}")

    print("\nThe first two parts:")
    for row in range(8):
        pictures = [np.asarray(sparse.params["H"])[k].reshape(8, 8)[row] for k in (0, 1)]
        print(
            "   ".join("".join(" .:*#"[int(4 * v / p.max())] * 2 for v in p) if p.max() else " " * 16 for p in pictures)
        )


if __name__ == "__main__":
    main()
