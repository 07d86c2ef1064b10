"""Units do not matter: the loss and the parameters in small and large ones, all methods."""

import jax.numpy as jnp
import pytest

import gdjax
from gdjax import Status

CENTER, WEIGHTS = (1.0, 2.0, -1.0), (1.0, 3.0, 10.0)
SUCCESS = (Status.CONVERGED, Status.PRECISION_FLOOR)
QUASI_NEWTON = {"LBFGS": gdjax.LBFGS(), "BFGS": gdjax.BFGS(), "trust region": gdjax.TrustRegion()}
METHODS = QUASI_NEWTON | {
    "conjugate gradient": gdjax.ConjugateGradient(),
    "accelerated": gdjax.AcceleratedGradient(),
}
LOSSES = {True: (1e-30, 1e-12, 1e12, 1e30), False: (1e-12, 1e-6, 1e6, 1e12)}


def loss(x, size, units):
    z = x / units - jnp.asarray(CENTER, x.dtype)
    return size * (jnp.sum(jnp.asarray(WEIGHTS, x.dtype) * z**2) + 0.1 * jnp.sum(z**4) + 1.0)


def solve(method, size, units):
    units = jnp.asarray(units, float) * jnp.ones(3)
    result = gdjax.minimize(loss, jnp.zeros(3), jnp.asarray(size, float), units, method=method)
    return result, jnp.abs(result.params / units - jnp.asarray(CENTER, float)).max()


@pytest.mark.parametrize("name", METHODS)
def test_the_scale_of_the_loss_does_not_matter(name, x64):
    for size in LOSSES[x64]:
        result, error = solve(METHODS[name], size, 1.0)
        assert result.status in SUCCESS, (size, result)
        assert error < (1e-4 if x64 else 2e-2), (size, error)


@pytest.mark.parametrize("name", QUASI_NEWTON)
def test_the_scale_of_the_parameters_does_not_matter(name, x64):
    for units in (1e-9, 1e-4, 1e4, 1e9):
        result, error = solve(QUASI_NEWTON[name], 1.0, units)
        assert result.status in SUCCESS, (units, result)
        assert error < (1e-4 if x64 else 2e-2), (units, error)


@pytest.mark.parametrize("name", QUASI_NEWTON)
def test_each_parameter_may_have_its_own_scale(name, x64):
    result, error = solve(QUASI_NEWTON[name], 1.0, [1.0, 1e-3, 1e3])
    assert result.status in SUCCESS, result
    assert error < (1e-4 if x64 else 2e-2)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_that_is_not_stationary_is_a_success_whatever_the_units(name):
    for units in ([1.0, 1e-3, 1e3], [1e-9, 1.0, 1.0]):
        for size in (1e-6, 1.0, 1e6):
            result, error = solve(METHODS[name], size, units)
            assert not result.converged or error < 3e-2, (units, size, error, result)
