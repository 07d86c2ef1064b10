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


@pytest.mark.sweep
def test_a_bound_that_is_not_reached_changes_nothing():
    quartic = lambda x: x**4 - 4 * x
    result = gdjax.minimize(quartic, 1e4, constraints=Constraint(lambda x: x, lower=0.0))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-6)


@pytest.mark.sweep
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
def test_a_fit_of_growth_is_right(rate):
    """From rate 5 the model is 1e8 times too large."""
    growth = lambda p, t: p[0] * jnp.exp(p[1] * t)
    fit = gdjax.curve_fit(growth, np.array([1.0, rate]), T, Y, constraints=Constraint(lambda p, t: p[0], upper=1.9))
    assert fit.status == Status.CONVERGED
    assert int(fit.num_evals) <= 150
    np.testing.assert_allclose(fit.params, [1.9, 0.714504], rtol=1e-5)
    np.testing.assert_allclose(fit.multipliers, -4.2118, rtol=1e-4)


@pytest.mark.parametrize("start", [10.0, 20.0, 30.0])
def test_a_steep_constraint_is_not_called_infeasible(start):
    result = gdjax.minimize(lambda x: -x, start, constraints=Constraint(jnp.exp, upper=1.0))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 0, atol=2e-6)
    np.testing.assert_allclose(result.multipliers, -1, atol=1e-5)


@pytest.mark.sweep
def test_what_was_steep_at_the_start_is_not_called_infeasible_at_the_answer():
    parabola = Constraint(lambda x: x[0] ** 2 + x[1], lower=1.0, upper=1.0)
    method = gdjax.AugmentedLagrangian(newton=False)  # it leaves a violation of about the tolerance
    start = jnp.array([1e6, 0.5])
    result = gdjax.minimize(lambda x: jnp.sum((x - 2) ** 2), start, constraints=parabola, method=method)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [0.553574, 0.693556], atol=1e-5)


@pytest.mark.sweep
def test_rounding_of_a_gradient_is_no_scale():
    """R. Fletcher's problem: the gradient of its equality at the start is of some roundings."""
    flat = lambda x: (x[0] * x[2] + x[1] * x[3]) ** 2 / (x[0] ** 2 + x[1] ** 2) - x[2] ** 2 - x[3] ** 2 + 1
    rest = lambda x: jnp.stack([x[0] - x[3] - 1, x[1] - x[2] - 1, x[2] - x[3]])
    constraints = [Constraint(flat, lower=0.0, upper=0.0), Constraint(rest, lower=0.0)]
    result = gdjax.minimize(
        lambda x: x[0] * x[1],
        np.ones(4),
        constraints=constraints,
        penalty=gdjax.penalties.Box(jnp.array([-jnp.inf] * 3 + [1.0]), jnp.inf),
    )
    assert result.status == Status.CONVERGED
    assert int(result.num_evals) <= 500


@pytest.mark.sweep
def test_parameters_of_very_different_units_are_no_obstacle():
    """Hock and Schittkowski's problem 54."""

    def loss(x):
        a, b = (x[0] - 1e4) / 8e3, x[1] - 1
        rest = (x[2:] - jnp.array([2e6, 10, 1e-3, 1e8])) / jnp.array([7e6, 50, 0.05, 5e8])
        return -jnp.exp(-((a**2 + 0.4 * a * b + b**2) / 0.96 + rest @ rest) / 2)

    line = Constraint(lambda x: x[0] + 4e3 * x[1], lower=1.76e4, upper=1.76e4)
    low, high = [0, -10, 0, 0, -1, 0], [2e4, 10, 1e7, 20, 1, 2e8]
    box = gdjax.penalties.Box(jnp.array(low, float), jnp.array(high, float))
    result = gdjax.minimize(loss, np.array([6e3, 1.5, 4e6, 2, 3e-3, 5e7]), constraints=line, penalty=box)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.value, -0.908075, rtol=1e-5)
    assert int(result.num_evals) <= 50
