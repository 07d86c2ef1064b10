"""Thousands of curve fits at once, some easy and some hard, and what became of each.

A dose-response curve has four parameters (the four-parameter logistic of pharmacology): the response without drug and
at full effect, the dose of half the effect and how steep the curve is there. 2000 of them are measured at 12 doses,
with noise. Shows `gdjax.minimize_many` against `jax.vmap` of `minimize`, to the same answers, and how to look at what
did not converge: under vmap every fit waits for the slowest, here a fit that is done makes room for the next.

Run it with: python examples/many_fits.py
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

import gdjax

DOSES = np.linspace(-3.0, 3.0, 12)  # decimal logarithms
START = {"low": 0.0, "high": 1.0, "middle": 0.0, "steepness": 1.0}


def curve(p, dose):
    """The response to a dose."""
    return p["low"] + (p["high"] - p["low"]) * jax.nn.sigmoid(p["steepness"] * (dose - p["middle"]))


def loss(p, response):
    """Mean squared error over the doses."""
    return jnp.mean((curve(p, DOSES) - response) ** 2)


def make_data(count, seed=0):
    """Curves and what is measured of them: from flat to as steep as a step, the middle often beyond the doses."""
    random = np.random.default_rng(seed)
    truth = {
        "low": random.normal(0.0, 0.3, count),
        "high": random.normal(2.0, 1.0, count),
        "middle": random.normal(0.0, 1.5, count),
        "steepness": np.exp(random.normal(1.0, 1.0, count)),
    }
    exact = jax.vmap(curve, in_axes=(0, None))(truth, DOSES)
    return truth, np.asarray(exact) + random.normal(0.0, 0.02, (count, DOSES.size))


def fit_all(responses, **options):
    """All fits from the same start: a result with a leading axis."""
    return gdjax.minimize_many(loss, START, responses, in_axes=(None, 0), max_evals=2000, **options)


@jax.jit
def fit_all_by_vmap(responses):
    """The same by vmap."""
    return jax.vmap(lambda y: gdjax.minimize(loss, START, y, method=gdjax.BFGS(), max_evals=2000))(responses)


def seconds(function, *args):
    """The result and the wall clock of the second call, when everything is compiled."""
    jax.block_until_ready(function(*args).params)
    begin = time.perf_counter()
    result = function(*args)
    jax.block_until_ready(result.params)
    return result, time.perf_counter() - begin


def main() -> None:
    """Fit, compare, look at the difficult ones."""
    jax.config.update("jax_enable_x64", True)
    truth, responses = make_data(2000)
    result, time_many = seconds(fit_all, responses)
    same, time_vmap = seconds(fit_all_by_vmap, responses)
    print(f"minimize_many: {time_many:.2f} s; vmap of minimize: {time_vmap:.2f} s, for {len(responses)} fits.")
    print(f"The values differ by {np.abs(result.value - same.value).max():.1g} at most, statuses in ", end="")
    print(f"{(result.status != same.status).sum()} cases.\n")
    print(f"print(result) says:\n{result}\n")

    done = np.asarray(result.converged)
    evals = np.asarray(result.num_evals)
    print("How hard they are: evaluations, at quantiles over the fits")
    for q in (0.1, 0.5, 0.9, 0.99, 1.0):
        print(f"  {q:5.0%}  {np.quantile(evals, q):6.0f}")

    inside = done & (np.abs(truth["middle"]) < 2) & (np.abs(truth["high"] - truth["low"]) > 1)
    error = np.abs(np.asarray(result.params["middle"]) - truth["middle"])[inside]
    print(f"\n{inside.sum()} curves with a clear effect whose middle is among the doses: it is found to within")
    print(f"{np.median(error):.3f} (median), {np.quantile(error, 0.9):.3f} (nine of ten).")


if __name__ == "__main__":
    main()
