"""With a penalty, too, a minimum that rounding blurs is a success, and short steps far behind do not end a descent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import PANOC, AcceleratedProximalGradient, Status
from gdjax.penalties import L1, Box, Simplex

SUCCESS = (Status.CONVERGED, Status.PRECISION_FLOOR)
TIMES = np.linspace(0, 10, 40)


def mixture(seed):
    """Data of three Gaussians."""
    rng = np.random.default_rng(seed)
    which = rng.choice(3, p=[0.5, 0.3, 0.2], size=400)
    return np.array([-3, 0, 4.0])[which] + np.array([0.7, 0.5, 1.2])[which] * rng.standard_normal(400)


def negative_log_likelihood(p, x):
    z = (x[:, None] - p["mean"]) / p["sigma"]
    return -jnp.mean(jax.scipy.special.logsumexp(jnp.log(p["weight"] / p["sigma"]) - 0.5 * z**2, axis=1))


def by_softmax(q, x):
    return negative_log_likelihood(
        {"mean": q["mean"], "weight": jax.nn.softmax(q["weight"]), "sigma": jnp.exp(q["sigma"])}, x
    )


@pytest.mark.sweep
def test_a_mixture_on_the_simplex_ends_as_low_as_by_softmax(x64):
    mean, penalty = jnp.array([-4.0, -2.0, 0.0, 3.0]), {"weight": Simplex(lower=1e-6), "sigma": Box(1e-2)}
    start = {"mean": mean, "weight": jnp.full(4, 0.25), "sigma": jnp.ones(4)}
    # (In float32 rounding decides how the first of these ends: on a long valley, above its bottom, and saying so.)
    for seed in (1, 2, 3) if x64 else (2, 3, 5):
        x = jnp.asarray(mixture(seed), float)
        result = gdjax.minimize(negative_log_likelihood, start, x, penalty=penalty)
        again = gdjax.minimize(negative_log_likelihood, result.params, x, penalty=penalty)
        free = gdjax.minimize(by_softmax, {"mean": mean, "weight": jnp.zeros(4), "sigma": jnp.zeros(4)}, x)
        assert result.status in SUCCESS, (seed, result)
        assert again.status in SUCCESS, (seed, again)
        assert again.value <= result.value * (1 + 8 * jnp.finfo(x.dtype).eps)
        assert result.value < free.value + (1e-5 if x64 else 2e-3), (seed, result, free)


def test_a_candidate_that_misled_panoc_does_not_come_again(x64):
    rng = np.random.default_rng(0)
    parts = rng.normal(-2, 0.5, 150), rng.normal(0.5, 1.0, 250), rng.normal(4, 0.3, 100)
    x, mean = jnp.asarray(np.concatenate(parts), float), jnp.asarray(rng.normal(0, 2, 3), float)
    start = {"mean": mean, "weight": jnp.full(3, 1 / 3), "sigma": jnp.ones(3)}
    penalty = {"weight": Simplex(lower=1e-6), "sigma": Box(1e-2)}
    result = gdjax.minimize(negative_log_likelihood, start, x, penalty=penalty, method=PANOC())
    assert result.status in SUCCESS
    np.testing.assert_allclose(result.value, 0.9726808, rtol=1e-6)  # as by softmax, to which L-BFGS takes 29
    assert int(result.num_evals) <= 300


def decay(p, y, units=1.0):
    t = jnp.asarray(TIMES, y.dtype) * units
    return jnp.mean((p["a"] * jnp.exp(-t / p["tau"]) + p["b"] - y) ** 2)


def decays(count):
    rng = np.random.default_rng(3)
    a, tau, b = rng.uniform(50, 500, count), rng.uniform(0.3, 9, count), rng.uniform(0, 20, count)
    clean = a[:, None] * np.exp(-TIMES / tau[:, None]) + b[:, None]
    return jnp.asarray(clean + rng.normal(0, 5, clean.shape), float)


def limits(units=1.0):
    return {"a": Box(0.0, 1000.0), "tau": Box(0.1 * units, 10.0 * units), "b": Box(0.0, 100.0)}


@pytest.mark.sweep
def test_decays_between_bounds_are_fitted_by_panoc_as_by_lbfgs(x64):
    start, ys = {"a": 200.0, "tau": 2.0, "b": 5.0}, decays(16)
    fit = lambda method: gdjax.minimize_many(decay, start, ys, in_axes=(None, 0), penalty=limits(), method=method)
    panoc, lbfgs = fit(PANOC()), fit(gdjax.LBFGS())
    for code in np.concatenate([panoc.code, lbfgs.code]):
        assert Status(int(code)) in SUCCESS, (panoc, lbfgs)
    np.testing.assert_allclose(panoc.value, lbfgs.value, rtol=1e-6 if x64 else 1e-3)
    assert int(panoc.num_evals.max()) < 200


def test_parameters_of_very_different_units_between_bounds(x64):
    y = decays(1)[0]
    plain = gdjax.minimize(decay, {"a": 200.0, "tau": 2.0, "b": 5.0}, y, penalty=limits())
    units = 1e-7
    start = {"a": 200.0, "tau": 2.0 * units, "b": 5.0}
    result = gdjax.minimize(decay, start, y, jnp.asarray(units, float), penalty=limits(units))
    assert result.status in SUCCESS, result
    np.testing.assert_allclose(result.value, plain.value, rtol=1e-6 if x64 else 1e-3)
    np.testing.assert_allclose(result.params["tau"] / units, plain.params["tau"], rtol=1e-4 if x64 else 2e-2)


def test_a_divergence_with_a_penalty_speaks_of_the_steps():
    method = AcceleratedProximalGradient(learning_rate=1.0)
    result = gdjax.minimize(lambda x: jnp.sum(9 * x**2), jnp.array([1.0, -1.0]), penalty=L1(0.1), method=method)
    assert result.status == Status.DIVERGED
    words = str(result)
    assert "the steps are too long" in words
    assert "PANOC()" in words
    assert "about inf" not in words
    assert "about 0 " not in words
