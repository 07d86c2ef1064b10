"""Constraints from a start where loss or constraint is steep: what was there is no scale for what is left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Constraint, Status

MODES = [True]
T = np.linspace(0, 4, 20)
Y = 2 * np.exp(0.7 * T) + 0.01 * np.sin(37 * T)
SUCCESS = Status.CONVERGED, Status.PRECISION_FLOOR


def test_a_bound_that_is_not_reached_changes_nothing():
    quartic = lambda x: x**4 - 4 * x
    result = gdjax.minimize(quartic, 1e4, constraints=Constraint(lambda x: x, lower=0.0))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-6)


@pytest.mark.parametrize("start", [30.0, 100.0, 1000.0])
def test_nor_in_single_precision(start):
    with jax.enable_x64(False):
        loss = lambda p: p[0] ** 4 - 4 * p[0] + p[1]
        begin = jnp.array([start, 5.0], jnp.float32)
        result = gdjax.minimize(loss, begin, constraints=Constraint(lambda p: p[1], lower=0.0))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [1, 0], atol=1e-3)
    np.testing.assert_allclose(result.multipliers, 1, atol=1e-3)


@pytest.mark.parametrize("rate", [0.5, 3.0, 5.0, 8.0])
def test_a_fit_of_growth_is_right_or_none(rate):
    """From rate 5 the model is 1e8 times too large, and crawls; that is no success."""
    growth = lambda p, t: p[0] * jnp.exp(p[1] * t)
    fit = gdjax.curve_fit(growth, np.array([1.0, rate]), T, Y, constraints=Constraint(lambda p, t: p[0], upper=1.9))
    if rate < 4:
        assert fit.status == Status.CONVERGED
    if fit.status in SUCCESS:
        np.testing.assert_allclose(fit.params, [1.9, 0.714504], rtol=1e-5)
        np.testing.assert_allclose(fit.multipliers, -4.2118, rtol=1e-4)


@pytest.mark.parametrize("start", [10.0, 20.0, 30.0])
def test_a_steep_constraint_is_not_called_infeasible(start):
    result = gdjax.minimize(lambda x: -x, start, constraints=Constraint(jnp.exp, upper=1.0))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 0, atol=2e-6)
    np.testing.assert_allclose(result.multipliers, -1, atol=1e-5)
