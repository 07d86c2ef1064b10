"""Derivatives of a solution with constraints: against closed forms and against differences of solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Constraint

pytestmark = pytest.mark.float64


def project(goal, radius):
    """The nearest point of a ball."""
    ball = Constraint(lambda p: jnp.sum(p**2), upper=radius**2)
    return gdjax.minimize(lambda p: jnp.sum((p - goal) ** 2), jnp.zeros(3), constraints=ball, tol=1e-10)


GOAL = np.array([1.0, 2.0, 2.0])  # of length 3


@pytest.mark.sweep
def test_a_projection_has_its_jacobian_in_both_modes():
    unit = GOAL / 3
    want = (np.eye(3) - np.outer(unit, unit)) * 2 / 3
    solution = lambda goal: project(goal, 2.0).params
    np.testing.assert_allclose(jax.jacfwd(solution)(jnp.asarray(GOAL)), want, atol=1e-7)
    np.testing.assert_allclose(jax.jacrev(solution)(jnp.asarray(GOAL)), want, atol=1e-7)


def test_the_slope_of_the_value_by_a_bound_is_the_multiplier():
    ball = lambda bound: Constraint(lambda p: jnp.sum(p**2), upper=bound)
    loss = lambda p: jnp.sum((p - GOAL) ** 2)
    solve = lambda bound: gdjax.minimize(loss, jnp.zeros(3), constraints=ball(bound), tol=1e-10)
    slope = jax.grad(lambda bound: solve(bound).value)(4.0)
    np.testing.assert_allclose(slope, solve(4.0).multipliers, rtol=1e-6)
    # f* = (3 - sqrt(b))^2, so that the multiplier is 1 - 3 / sqrt(b), and its slope 1.5 b^-1.5
    np.testing.assert_allclose(jax.grad(lambda bound: solve(bound).multipliers)(4.0), 1.5 / 8, rtol=1e-5)


def test_what_is_not_active_has_no_part():
    inside = jax.jacfwd(lambda goal: project(goal, 5.0).params)(jnp.asarray(GOAL))
    np.testing.assert_allclose(inside, np.eye(3), atol=1e-7)


@pytest.mark.sweep
def test_parameters_at_a_bound_follow_it():
    def solve(bound):
        plane = Constraint(lambda p: jnp.sum(p), lower=4.0, upper=4.0)
        box = gdjax.penalties.Box(-1.0, bound)
        loss = lambda p: jnp.sum((p - GOAL) ** 2)
        return gdjax.minimize(loss, jnp.zeros(3), constraints=plane, penalty=box, tol=1e-10)

    result, moves = solve(1.5), jax.jacfwd(lambda bound: solve(bound).params)(1.5)
    np.testing.assert_allclose(result.params, [1.0, 1.5, 1.5], atol=1e-6)
    np.testing.assert_allclose(moves, [-2.0, 1.0, 1.0], atol=1e-6)


@pytest.mark.sweep
def test_equalities_given_twice_have_the_least_multipliers():
    def solve(bound):
        twice = Constraint(lambda p: jnp.stack([p.sum(), p.sum()]), lower=bound, upper=bound)
        return gdjax.minimize(lambda p: jnp.sum(p**2), jnp.zeros(2), constraints=twice)

    moves, pulls = jax.jacfwd(lambda bound: (solve(bound).params, solve(bound).multipliers))(1.0)
    np.testing.assert_allclose(moves, [0.5, 0.5], atol=1e-9)
    np.testing.assert_allclose(pulls, [0.5, 0.5], atol=1e-9)  # their sum is the bound


@pytest.mark.sweep
def test_no_derivative_is_nan():
    """Of a problem that is infeasible, and of a linear one along whose answers the loss does not change."""

    def none(bound):
        constraints = [Constraint(lambda p: p, lower=bound), Constraint(lambda p: p, upper=0.0)]
        return gdjax.minimize(lambda p: p**2, 0.0, constraints=constraints).params

    assert np.isnan(jax.grad(none)(1.0))

    def flat(bound):
        plane = Constraint(lambda p: jnp.sum(p), lower=bound, upper=bound)
        return gdjax.minimize(lambda p: jnp.sum(p), jnp.zeros(2), constraints=plane).params

    assert np.isnan(jax.jacfwd(flat)(1.0)).all()


@pytest.mark.sweep
def test_under_vmap_and_jit_and_twice():
    radius = jnp.array([1.0, 2.0])
    value = lambda r: project(jnp.asarray(GOAL), r).value  # (3 - r)^2
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(value)))(radius), 2 * (radius - 3), atol=1e-6)
    np.testing.assert_allclose(jax.grad(jax.grad(value))(2.0), 2.0, atol=1e-5)
