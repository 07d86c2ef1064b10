"""A curve fit whose parameters have limits: penalty=Box(...) with the default method.

The decay of a fluorescent dye is measured with noise: two exponentials on a background,

    y(t) = a1 exp(-t / tau1) + a2 exp(-t / tau2) + background

Amplitudes cannot be negative, the instrument resolves lifetimes from 0.5 to 20 ns, and the background was measured
beforehand to lie between 0.15 and 0.25. Without limits the fit of this noisy measurement runs away: two huge terms that
cancel. With them it stops at a bound, exactly, and says so.

Run it with: python examples/bounded_fit.py
"""

import jax
import jax.numpy as jnp
import numpy as np

import gdjax
from gdjax.penalties import Box

TRUTH = {"amplitude": np.array([2.0, 1.0]), "lifetime": np.array([1.5, 6.0]), "background": np.array(0.2)}
START = {"amplitude": np.array([1.0, 1.0]), "lifetime": np.array([1.0, 10.0]), "background": np.array(0.2)}
LIMITS = Box(
    lower={"amplitude": 0.0, "lifetime": 0.5, "background": 0.15},
    upper={"amplitude": None, "lifetime": 20.0, "background": 0.25},  # None: no limit
)


def curve(p, t):
    """The light at times t in ns."""
    return jnp.sum(p["amplitude"] * jnp.exp(-t[:, None] / p["lifetime"]), axis=1) + p["background"]


def loss(p, t, y):
    """Sum of squares over the variance of the noise, halved."""
    return 0.5 * jnp.sum((curve(p, t) - y) ** 2) / 0.05**2


def measure(seed=4):
    """Times and noisy light."""
    t = np.linspace(0.0, 12.0, 80)
    return t, np.asarray(curve(TRUTH, t)) + 0.05 * np.random.default_rng(seed).standard_normal(80)


def fit(t, y, penalty=None):
    """With or without limits."""
    return gdjax.minimize(loss, START, t, y, penalty=penalty)


def main() -> None:
    """Fit twice and compare."""
    jax.config.update("jax_enable_x64", True)
    t, y = measure()
    free, limited = fit(t, y), fit(t, y, LIMITS)
    print("                    a1        a2      tau1      tau2  background  sum of squares / 2")
    for name, p, value in (
        ("truth", TRUTH, loss(TRUTH, t, y)),
        ("no limits", free.params, free.value),
        ("with limits", limited.params, limited.value),
    ):
        numbers = [*p["amplitude"], *p["lifetime"]]
        print(
            f"{name:12}"
            + "".join(f"{float(v):10.4g}" for v in numbers)
            + f"{float(p['background']):12.4g}{value:20.3f}"
        )
    print("\nWithout limits:", free)
    print("\nWith limits:", limited)
    background = float(limited.params["background"])
    where = "exactly at one of" if background in (0.15, 0.25) else "within"
    print(f"\nThe background is {where} its limits: {background!r}.")
    print(f"The slope of the loss there, {limited.grad['background']:.1f}, says what the limit costs.")


if __name__ == "__main__":
    main()
