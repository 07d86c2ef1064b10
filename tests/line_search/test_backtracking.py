"""Armijo backtracking as a state machine: each trial's verdict and the next trial."""

import jax.numpy as jnp
import numpy as np
import pytest
from problems import quadratic, rosenbrock

import gdjax
from gdjax import Backtracking, GradientDescent, Status
from gdjax.line_search.base import denoise


def feed_all(rule, phi, dphi, alpha, noise=0.0):
    """Feed trials until the search ends: the accepted step (or None) and the trials."""
    real = lambda x: jnp.asarray(x, jnp.float32)
    search = rule.start(real(phi(0.0)), real(dphi(0.0)), real(alpha))
    trials = []
    for _ in range(100):
        a = float(search.step_size)
        trials.append(a)
        search, verdict = rule.feed(search, real(phi(a)), real(dphi(a)), real(noise))
        if verdict.accepted or verdict.failed:
            return (a if verdict.accepted else None), trials
    raise AssertionError("the search does not end")


def test_the_parabola_through_a_quadratic_finds_its_minimum_at_once():
    accepted, trials = feed_all(Backtracking(), lambda a: (a - 0.3) ** 2, lambda a: 2 * (a - 0.3), 1.0)
    assert len(trials) == 2
    assert accepted == pytest.approx(0.3, rel=1e-5)


@pytest.mark.float64
def test_the_step_shrinks_by_a_tenth_to_a_half():
    steep = feed_all(Backtracking(), lambda a: -a + 1e6 * a**2, lambda a: -1 + 2e6 * a, 1.0)[1]
    assert steep[1] == pytest.approx(0.1)
    shallow = feed_all(Backtracking(decrease=0.9), lambda a: -a + 0.2 * a**2, lambda a: -1 + 0.4 * a, 1.0)[1]
    assert shallow[1] == pytest.approx(0.5)


@pytest.mark.float64
def test_values_that_are_not_finite_shorten_the_step_tenfold():
    accepted, trials = feed_all(
        Backtracking(), lambda a: np.inf if a > 0.05 else -a, lambda a: np.nan if a > 0.05 else -1.0, 1.0
    )
    np.testing.assert_allclose(trials, [1, 0.1, 0.01], rtol=1e-5)
    assert accepted == pytest.approx(0.01)


@pytest.mark.float64
def test_an_uphill_loss_fails_after_max_trials():
    accepted, trials = feed_all(Backtracking(max_trials=7), lambda a: a, lambda a: -1.0, 1.0)
    assert accepted is None
    assert len(trials) == 7


@pytest.mark.float64
def test_rounding_is_seen_through_by_the_slopes():
    f0, f = jnp.asarray(1.0), jnp.asarray(1.0 + 1e-7)
    value = denoise(f0, jnp.asarray(-1e-4), jnp.asarray(1e-3), f, jnp.asarray(-5e-5), jnp.asarray(1e-6))
    assert float(value - f0) <= 0
    assert float(denoise(f0, f0, f0, jnp.asarray(2.0), f0, jnp.asarray(1e-6))) == 2.0


@pytest.mark.float64
@pytest.mark.parametrize("grow", [1.0, 2.0, 4.0])
def test_descent_with_any_growth_solves_rosenbrock(grow):
    method = GradientDescent(Backtracking(grow=grow))
    result = gdjax.minimize(rosenbrock, np.array([-1.2, 1.0]), method=method, tol=1e-3, max_steps=50_000)
    assert result.status == Status.CONVERGED


@pytest.mark.float64
def test_values_only_fall():
    method = GradientDescent(Backtracking(), momentum=0.9)
    result = gdjax.minimize(rosenbrock, np.array([-1.2, 1.0]), method=method, tol=1e-3, history=True)
    assert result.status == Status.CONVERGED
    history = result.history.trim()
    rounding = 1e-6 * (np.abs(history.value) + 10 * history.grad_norm)  # of the value, and of params of size 1
    assert np.all(np.diff(history.value) <= rounding[:-1])


@pytest.mark.float64
def test_a_failed_search_is_a_failed_descent():
    wrong = lambda p: -(p - 1) * jnp.linspace(1.0, 10.0, 3, dtype=p.dtype)
    result = gdjax.minimize(quadratic, np.zeros(3), grad=wrong, method=GradientDescent(Backtracking(max_trials=5)))
    assert result.status == Status.LINE_SEARCH_FAILED
    assert "check_gradient" in str(result)
