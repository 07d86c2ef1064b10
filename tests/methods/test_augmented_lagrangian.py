"""`AugmentedLagrangian`: Newton's steps give the last digits, and lead to minima."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import AugmentedLagrangian, Constraint, Status
from gdjax.methods.parts.merit import own_sizes
from gdjax.methods.parts.newton_kkt import invert, invert_shifted

pytestmark = pytest.mark.float64


def equal(c, bound):
    return Constraint(c, lower=bound, upper=bound)


def solve(newton, **options):
    """Hock and Schittkowski's problem 39; its minimum is (1, 1, 0, 0)."""
    c = equal(lambda x: jnp.stack([x[1] - x[0] ** 3 - x[2] ** 2, x[0] ** 2 - x[1] - x[3] ** 2]), np.zeros(2))
    method = AugmentedLagrangian(newton=newton)
    return gdjax.minimize(lambda x: -x[0], jnp.full(4, 2.0), constraints=c, method=method, **options)


@pytest.mark.sweep
def test_newtons_steps_halve_the_evaluations():
    plain, finished = solve(False), solve(True)
    assert plain.status == finished.status == Status.CONVERGED
    assert 2 * int(finished.num_evals) < int(plain.num_evals)
    assert int(finished.num_evals) <= 25  # SLSQP takes 13


@pytest.mark.sweep
def test_newtons_steps_give_more_digits_for_fewer_evaluations():
    goal, disc = np.arange(1.0, 4.0), Constraint(lambda x: jnp.sum(x**2), upper=1.0)
    loss = lambda x: jnp.sum((x - goal) ** 2)
    solutions = [
        gdjax.minimize(loss, jnp.zeros(3), constraints=disc, method=AugmentedLagrangian(newton=newton))
        for newton in (False, True)
    ]
    plain, finished = solutions
    assert plain.status == finished.status == Status.CONVERGED
    assert 2 * int(finished.num_evals) < int(plain.num_evals)
    want = goal / np.linalg.norm(goal)
    np.testing.assert_allclose(finished.params, want, atol=1e-9)
    np.testing.assert_allclose(plain.params, want, atol=1e-5)


def test_multipliers_of_equalities_are_slopes():
    result = solve(True)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [1, 1, 0, 0], atol=1e-7)
    # x_1^2 - x_1^3 = b_1 + b_2 near 1, so dx_1 = -db, and the loss is -x_1
    np.testing.assert_allclose(result.multipliers, [1, 1], atol=1e-6)


@pytest.mark.sweep
def test_a_tolerance_near_rounding_is_reached():
    result = solve(True, tol=1e-12)
    assert result.status == Status.CONVERGED
    assert float(result.violation) < 1e-11


@pytest.mark.sweep
def test_a_loss_that_runs_away_beyond_the_constraints_is_called_back_soon():
    """Hock and Schittkowski's problem 24, from (1, 0.5): the penalties of the start do not hold the loss."""
    root = 3**0.5
    loss = lambda x: ((x[0] - 3) ** 2 - 9) * x[1] ** 3 / (27 * root)
    rows = lambda x: jnp.stack([x[0] / root - x[1], x[0] + root * x[1], 6 - x[0] - root * x[1]])
    box = gdjax.penalties.Box(0.0, jnp.inf)
    result = gdjax.minimize(loss, jnp.array([1.0, 0.5]), penalty=box, constraints=Constraint(rows, lower=0.0))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [3, root], atol=1e-6)
    assert int(result.num_evals) <= 40


def test_a_loss_that_the_largest_penalties_cannot_hold_ends():
    c, method = Constraint(jnp.tanh, upper=0.4), AugmentedLagrangian(newton=False)
    result = gdjax.minimize(lambda x: -jnp.exp(100 * x), 0.0, constraints=c, method=method, max_evals=1000)
    assert result.status == Status.STALLED
    assert float(result.violation) == 0
    assert int(result.num_evals) < 200  # it went on for ever


def test_a_saddle_of_the_lagrangian_is_left():
    """On the circle the loss has its maximum at (0, 1), where the conditions hold as well, near the start."""
    circle = equal(lambda x: jnp.sum(x**2), 1.0)
    result = gdjax.minimize(lambda x: x[1], jnp.array([0.05, 1.0]), constraints=circle)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [0, -1], atol=1e-4)


def test_a_matrix_that_is_not_positive_definite_is_seen_and_shifted():
    indefinite = jnp.array([[1.0, 2.0], [2.0, 1.0]])
    assert not invert(indefinite)[1]
    sound = indefinite + 2 * jnp.eye(2)
    inverse, definite = invert(sound)
    assert definite
    np.testing.assert_allclose(inverse @ sound, np.eye(2), atol=1e-12)
    shifted = invert_shifted(indefinite, jnp.full(2, 2.0))
    assert (jnp.linalg.eigvalsh(shifted) > 0).all()


@pytest.mark.sweep
def test_the_size_of_a_constraint_does_not_vanish_with_parameters_that_started_at_zero():
    """It was 1e-7, of which a violation of 1e-6 is ten times too much: penalties grew without need."""
    product, x = equal(lambda x: x[0] * x[1:], 0.0), jnp.zeros(3)
    loss = lambda x: (x[0] - 1) ** 2 + 1e-3 * jnp.sum((x[1:] - 1e-7) ** 2)
    state = gdjax.init(loss, x, constraints=product)
    for _ in range(6):
        state = gdjax.step(loss, state)
    np.testing.assert_allclose(state.carry.state.terms.sizes, 1, rtol=1e-3)


def test_a_parameter_that_started_at_zero_has_the_size_of_others():
    sizes = lambda start, x: own_sizes(types.SimpleNamespace(start=jnp.array(start)), jnp.array(x)).tolist()
    assert sizes([0.0, 0.0], [1e-9, 3.0]) == [1.0, 3.0]
    assert sizes([0.0, 2e-9], [1e-12, 1e-10]) == [2e-9, 1e-10]
    assert sizes([0.0, 1e9], [1e-12, 5.0]) == [1.0, 5.0]


@pytest.mark.sweep
def test_large_problems_take_no_newton_steps():
    x = np.zeros(400)
    result = gdjax.minimize(lambda x: jnp.sum((x - 1) ** 2), x, constraints=equal(jnp.sum, 100.0))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 0.25, atol=1e-5)


def test_bounds_and_inequalities_together_are_guessed_right():
    goal = np.array([2.0, -1.0, 0.5, 3.0])
    constraints = [Constraint(jnp.sum, upper=2.0), Constraint(lambda x: x[0] - x[3], lower=-0.5)]
    loss = lambda x: jnp.sum((x - goal) ** 2)
    result = gdjax.minimize(loss, np.ones(4), constraints=constraints, penalty=gdjax.penalties.Box(0.0, 1.5))
    assert result.status == Status.CONVERGED
    assert int(result.num_evals) <= 30
    x = np.asarray(result.params)
    assert (x >= 0).all()
    np.testing.assert_allclose(x[1], 0)
    np.testing.assert_allclose(x.sum(), 2.0, atol=1e-7)
