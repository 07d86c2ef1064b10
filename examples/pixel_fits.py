"""One fit for each pixel: ten thousand decays with bounds and error bars in one call.

A camera takes 32 pictures while the light of each pixel decays. The lifetime of each is wanted, with its standard
error, and the pixels that say nothing are to be known. Shows `gdjax.curve_fit_many`: a `Fit` with a leading axis.

Run it with: python examples/pixel_fits.py
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import gdjax

TIMES = np.linspace(0.0, 8.0, 32)
START = {"height": 1.0, "lifetime": 1.0, "background": 0.0}
BOUNDS = {
    "height": gdjax.penalties.NonNegative(),
    "lifetime": gdjax.penalties.Box(0.05, 50.0),
    "background": gdjax.penalties.NonNegative(),
}


def decay(p, times):
    """The light of one pixel."""
    return p["height"] * jnp.exp(-times / p["lifetime"]) + p["background"]


def make_pictures(side, seed=0):
    """Lifetimes and light, shapes (side^2,) and (side^2, 32); one pixel in fifty is dark."""
    random = np.random.default_rng(seed)
    lifetime = random.uniform(0.5, 3.0, side * side)
    height = np.where(random.uniform(size=side * side) < 0.02, 0.0, random.uniform(1.0, 3.0, side * side))
    exact = height[:, None] * np.exp(-TIMES / lifetime[:, None]) + 0.2
    return lifetime, height, exact + random.normal(0.0, 0.05, exact.shape)


def fit_pixels(light):
    """All fits."""
    return gdjax.curve_fit_many(decay, START, TIMES, light, penalty=BOUNDS)


def main() -> None:
    """Fit twice (the first call compiles), and look at what came out."""
    jax.config.update("jax_enable_x64", True)
    lifetime, height, light = make_pictures(100)
    for call in ("first", "second"):
        begin = time.perf_counter()
        fits = fit_pixels(light)
        fits.params["lifetime"].block_until_ready()
        print(f"{call} call: {time.perf_counter() - begin:.2f} s for {len(light)} fits")
    print(fits)
    bright = (height > 0) & np.asarray(fits.converged)
    error = np.asarray(fits.standard_errors["lifetime"])
    off = np.abs(np.asarray(fits.params["lifetime"]) - lifetime) / error
    print(f"Of the bright pixels {np.mean(off[bright] < 1.96):.1%} lie within 1.96 standard errors (95% should).")
    unknown = np.isnan(error) | (error > np.asarray(fits.params["lifetime"]))
    print(f"Of the dark pixels {np.mean(unknown[height == 0]):.0%} are known by an error bar as long as the lifetime.")


if __name__ == "__main__":
    main()
