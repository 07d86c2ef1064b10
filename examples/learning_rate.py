"""Which learning rate? Too small, right and too large, for real data; and why: the curvature.

Fits a straight line to the diabetes data (scikit-learn) by gradient descent with thirteen rates in one vmapped call.
Gradient descent is stable below 2 / L, L the largest curvature of the loss, which gdjax measures. Draws
learning_rate.png.

Run it with: python examples/learning_rate.py [FOLDER FOR THE PICTURE, by default pictures]
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from pictures import save
from sklearn.datasets import load_diabetes

import gdjax


def load_data():
    """Body mass index, standardised, and the progression of the disease a year later, in hundreds."""
    data = load_diabetes()
    x, y = data.data[:, 2], data.target / 100
    return jnp.asarray((x - x.mean()) / x.std()), jnp.asarray(y)


def loss(line, x, y):
    """Mean squared error of a line."""
    return jnp.mean((line["intercept"] + line["slope"] * x - y) ** 2)


START = {"intercept": 0.0, "slope": 0.0}


def compare_rates(x, y):
    """Three descents, and the sweep."""
    three = {
        f"{word} ({rate:g})": gdjax.minimize(
            loss, START, x, y, method=gdjax.GradientDescent(rate), max_steps=60, history=True
        )
        for word, rate in {"too small": 0.01, "right": 0.3, "too large": 1.03}.items()
    }
    return three, gdjax.learning_rate_range(loss, START, x, y, max_steps=60)


def main() -> None:
    """Sweep, print, draw."""
    jax.config.update("jax_enable_x64", True)
    three, report = compare_rates(*load_data())
    print("Thirteen rates, each allowed 60 steps:\n")
    print(report)
    print("\nThree of them, in the words of their results:\n")
    for name, result in three.items():
        print(f"{name}: {result}\n")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    gdjax.plot.learning_rates(report, ax=left)
    gdjax.plot.history(three, against="steps", ax=right)
    save(figure, "learning_rate.png")


if __name__ == "__main__":
    main()
