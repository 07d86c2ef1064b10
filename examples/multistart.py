"""The best of many starts, and all the minima on the way: a tilted egg box, and a fit with many false answers.

A descent ends in the valley that it began in. `gdjax.multistart` runs many at once, says which distinct minima they
came to and how often each, and keeps the best. How often a minimum is reached says how large its basin is: if the best
was reached once, there may be better ones, and more starts are called for.

Run it with: python examples/multistart.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import gdjax


def egg_box(p):
    """Rastrigin's function in two dimensions, tilted: a hundred valleys, the deepest near (0, 0)."""
    return 20 + jnp.sum(p**2 - 10 * jnp.cos(2 * jnp.pi * p)) + 0.3 * p[0]


def anywhere(key):
    """A start in the square from -5 to 5."""
    return jax.random.uniform(key, (2,), minval=-5.0, maxval=5.0)


def two_waves(p, t, y):
    """Mean squared error of a sum of two sines, whose frequencies have many false answers."""
    model = p["a"] * jnp.sin(p["f"] * t) + p["b"] * jnp.sin(p["g"] * t)
    return jnp.mean((model - y) ** 2)


def guess(key):
    """Amplitudes of one, frequencies up to 6."""
    f, g = jax.random.uniform(key, (2,), maxval=6.0)
    return {"a": jnp.ones(()), "b": jnp.ones(()), "f": f, "g": g}


def waves():
    """What is to be fitted: frequencies 1.7 and 4.1."""
    t = np.linspace(0.0, 6.0, 60)
    noise = 0.05 * np.random.default_rng(0).normal(size=t.size)
    return t, 1.5 * np.sin(1.7 * t) + 0.7 * np.sin(4.1 * t) + noise


def search_egg_box(num_starts):
    """The minima of the egg box."""
    return gdjax.multistart(egg_box, anywhere, num_starts=num_starts, key=0)


def search_waves(num_starts):
    """The fits of the two waves."""
    return gdjax.multistart(two_waves, guess, *waves(), num_starts=num_starts, key=1)


def main() -> None:
    """Egg box, then waves."""
    jax.config.update("jax_enable_x64", True)
    print("1. An egg box, by 300 descents from anywhere in the square\n")
    found = search_egg_box(300)
    print(found)
    x, y = found.best.params
    print(f"\nThe deepest valley found is at ({x:.3f}, {y:.3f}); {found.minima.count[0]} of 300 starts ended there.")

    print("\n2. Two waves of unknown frequencies, from 200 guesses\n")
    found = search_waves(200)
    print(found)
    print("\nThe two best are the same waves in the other order. All the others are false answers, and one descent")
    print(f"from one guess ends in the right one in {found.minima.count[:2].sum()} of 200 cases.")


if __name__ == "__main__":
    main()
