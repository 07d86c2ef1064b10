"""Where constraints and spaces meet: a gradient that vanishes only because a map is flat is no minimum there either."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Constraint, Status
from gdjax.spaces import Interval, Positive, Simplex

pytestmark = pytest.mark.float64
TARGET = np.array([0.74, 0.16, 0.10])


def apart(p):
    return (p["a"] - 2) ** 2 + (p["b"] - 0.5) ** 2


def solve(start, **options):
    budget = Constraint(lambda p: p["a"] + p["b"], upper=2.0)
    return gdjax.minimize(apart, start, space={"b": Interval(0.0, 1.0)}, constraints=budget, **options)


@pytest.mark.parametrize("b", [1e-3, 1 - 1e-7])
def test_the_minimum_is_found_from_near_an_end(b):
    """The multipliers there belonged to the end, and the Lagrangian falls on the way inside."""
    result = solve({"a": 1.0, "b": b})
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose([result.params["a"], result.params["b"]], [1.75, 0.25], atol=1e-5)


def test_inside_jit_the_end_is_no_success():
    assert jax.jit(solve)({"a": 1.0, "b": 1 - 1e-7}).status == Status.AT_EDGE


def test_a_step_to_a_corner_of_the_simplex_is_left():
    loss = lambda w: jnp.sum((w - TARGET) ** 2)
    start = jnp.array([0.22805081, 0.46900267, 0.30294652])
    result = gdjax.minimize(loss, start, space=Simplex(), constraints=Constraint(lambda w: w[2], upper=0.08))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [0.75, 0.17, 0.08], atol=1e-5)


def test_a_minimum_at_the_end_is_a_success():
    loss = lambda p: (p["a"] - 2) ** 2 + (p["b"] + 1) ** 2
    budget = Constraint(lambda p: p["a"] + p["b"], upper=1.5)
    result = gdjax.minimize(loss, {"a": 1.0, "b": 0.5}, space={"b": Interval(0.0, 1.0)}, constraints=budget)
    assert result.status == Status.CONVERGED
    assert 0 < result.params["b"] < 1e-5


def test_what_only_a_flat_map_makes_infeasible_is_not():
    bound = lambda lower, upper: Constraint(lambda b: b, lower, upper)
    result = gdjax.minimize(lambda b: b**2, 1e-12, space=Positive(), constraints=bound(0.5, 0.6))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 0.5, atol=1e-6)
    none = gdjax.minimize(lambda b: b**2, 0.1, space=Positive(), constraints=bound(None, -1.0))
    assert none.status == Status.INFEASIBLE
