"""Five weights by gradient descent, and by guessing: why the gradient is worth having.

The loss is the mean over i of (w_i x_i - 25)^2 with x = 1, 2, 3, 4, 5. Its minimum is 0, where every
w_i = 25 / x_i. Shows the way down from a value of 452.564 to below 1e-15, and how far the same number of
random guesses gets.

Run it with: python examples/five_weights.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import gdjax

X = np.arange(1.0, 6.0)
START = np.array([4.2, 3.6, 1.5, 0.7, 0.1])
ANSWER = 25 / X  # 25, 12.5, 8.33, 6.25, 5
# Stop at a value of 1e-15. The test on the gradient would be content earlier, so it is switched off (tol 0).
STOP = gdjax.Stop(target=1e-15, tol=0.0)


def loss(w):
    """Mean squared distance of w_i x_i from 25."""
    return jnp.mean((w * X - 25) ** 2)


def descend(method):
    """Minimise from START, keeping the history."""
    return gdjax.minimize(loss, jnp.asarray(START), method=method, stop=STOP, history=True)


def guess(count, seed=0):
    """The best of ``count`` random weight vectors, each weight between 0 and 30, and its value."""
    guesses = np.random.default_rng(seed).uniform(0, 30, (count, 5))
    values = jax.vmap(loss)(jnp.asarray(guesses))
    best = int(jnp.argmin(values))
    return guesses[best], float(values[best])


def row(name, weights, value, count):
    """A line of the table."""
    return f"{name:18s} {count:11d}  {value:9.3g}  " + "  ".join(f"{w:7.4f}" for w in weights)


def main() -> None:
    """Descend, guess, compare."""
    jax.config.update("jax_enable_x64", True)
    descent = descend(gdjax.GradientDescent(0.15))
    default = descend(None)

    print(f"The loss at the start is {loss(START):.3f}. On the way down by gradient descent it is\n")
    history = descent.history.trim()
    print("step  value")
    for i in [*range(0, 6), *range(25, len(history), 25), len(history) - 1]:
        print(f"{history.step[i]:4d}  {history.value[i]:.3g}")

    evaluations = int(descent.num_evals)
    print("\n                   evaluations      value       w1       w2       w3       w4       w5")
    print(row("start", START, float(loss(START)), 1))
    print(row("gradient descent", descent.params, float(descent.value), evaluations))
    print(row("L-BFGS (default)", default.params, float(default.value), int(default.num_evals)))
    for count in (evaluations, 1000 * evaluations):
        print(row("random guessing", *guess(count), count))
    print(row("exact", ANSWER, 0.0, 0))

    print("(Weights are guessed between 0 and 30. A guess costs a value, an evaluation also a gradient.)")

    print(f"\nGradient descent: {descent}")
    print(f"L-BFGS: {default}")


if __name__ == "__main__":
    main()
