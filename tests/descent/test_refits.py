"""A start that is already the minimum is a success, for the status and for the derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import Status

# Least squares begun at its exact solution: nothing but rounding is left of the gradient.
X = np.linspace(-1, 1, 20)
RNG = np.random.default_rng(0)
DATA, LABELS = RNG.normal(size=(50, 10)), RNG.normal(size=50) > 0
SUCCESS = (Status.CONVERGED, Status.PRECISION_FLOOR)
METHODS = {
    "LBFGS": gdjax.LBFGS(),
    "BFGS": gdjax.BFGS(),
    "conjugate gradient": gdjax.ConjugateGradient(),
    "trust region": gdjax.TrustRegion(),
    "Barzilai-Borwein": gdjax.GradientDescent(gdjax.BarzilaiBorwein()),
    "accelerated": gdjax.AcceleratedGradient(),
    "Adam": optax.adam(1e-2),
}


def parabola(p, y):
    x = jnp.asarray(X, p.dtype)
    return jnp.mean((p[0] + p[1] * x**2 - y) ** 2)


def observed():
    x = jnp.asarray(X, float)
    return 1 + x**2 + 0.01 * x**3


def ridge(w, strength):
    return jnp.mean((jnp.asarray(DATA, w.dtype) @ w - jnp.asarray(LABELS, w.dtype)) ** 2) + strength * jnp.sum(w**2)


@pytest.mark.sample("LBFGS", "Adam")
@pytest.mark.parametrize("name", METHODS)
def test_a_start_at_the_minimum_is_a_success(name, x64):
    result = gdjax.minimize(parabola, jnp.ones(2), observed(), method=METHODS[name])
    assert result.status in SUCCESS, result
    assert jnp.abs(result.params - 1).max() < (1e-6 if x64 else 2e-3)
    assert result.value <= parabola(jnp.ones(2), observed()) * (1 + 8 * jnp.finfo(float).eps)


@pytest.mark.sample("x32-LBFGS")
@pytest.mark.parametrize(
    "name", [name for name in METHODS if name != "Adam"]
)  # whose steps do not settle by themselves
def test_a_chain_of_refits_is_a_chain_of_successes(name, x64):
    w, seen = jnp.zeros(10), []
    for _ in range(10 if name in ("LBFGS", "BFGS") else 4):
        result = gdjax.minimize(ridge, w, 0.1, method=METHODS[name])
        seen.append(result.status)
        w = result.params
    assert all(status in SUCCESS for status in seen), seen


@pytest.mark.sweep
def test_the_derivative_of_such_a_fit_is_defined(x64):
    fitted = lambda t: gdjax.minimize(parabola, jnp.ones(2), observed() * t).params.sum()
    assert jnp.isclose(jax.grad(fitted)(1.0), 2.0, rtol=1e-3)  # the solution is linear in the data


def test_warm_starts_in_a_scan_are_successes():
    def refit(w, _):
        result = gdjax.minimize(ridge, w, 0.1)
        return result.params, result.code

    codes = jax.jit(lambda w: jax.lax.scan(refit, w, length=4)[1])(jnp.zeros(10))
    assert all(Status(int(code)) in SUCCESS for code in codes), codes


def test_parameters_in_small_units_end_in_success(x64):
    if not x64:
        units, close = 1e-6, 1e-2
    else:
        units, close = 1e-9, 1e-6
    rosenbrock = lambda p: (1 - p[0] / units) ** 2 + 100 * (p[1] / units - (p[0] / units) ** 2) ** 2
    result = gdjax.minimize(rosenbrock, jnp.array([-1.2, 1.0]) * units)
    assert result.status in SUCCESS
    assert jnp.abs(result.params / units - 1).max() < close


@pytest.mark.sweep
def test_uncertainty_takes_a_fit_that_was_begun_at_its_minimum():
    result = gdjax.minimize(parabola, jnp.ones(2), observed())
    found = gdjax.uncertainty(parabola, result, observed(), kind="least_squares", num_data=20)
    assert np.isfinite(found.covariance).all()
