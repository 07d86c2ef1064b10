"""Stepping by hand takes the steps of the whole descent, of a loss or of residuals."""

import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Fit, Status

MODES = [True]  # proofs to many digits

X = np.linspace(0, 4, 20)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.01 * np.cos(37 * X)
START = np.array([1.0, 1.0, 0.0])


def decay(p, x):
    return p[0] * jnp.exp(-p[1] * x) + p[2]


def test_the_steps_of_a_fit_are_those_of_the_whole():
    misfit = lambda p, x, y: decay(p, x) - y
    whole = gdjax.least_squares(misfit, START, X, Y, history=16)
    states = list(gdjax.iterate(misfit, START, X, Y, by=gdjax.least_squares, history=16))
    assert whole.status == states[-1].status == Status.CONVERGED
    assert all(type(state) is Fit for state in states)
    assert [int(state.num_steps) for state in states] == list(range(int(whole.num_steps) + 1))
    np.testing.assert_allclose([state.value for state in states], whole.history.trim().value, rtol=1e-14)
    np.testing.assert_allclose(states[-1].params, whole.params, rtol=1e-14)
    np.testing.assert_allclose(states[-1].covariance, whole.covariance, rtol=1e-12)
    np.testing.assert_allclose(states[1].residuals, misfit(states[1].params, X, Y), rtol=1e-12)


def test_a_model_is_stepped_too_and_says_which_data_are_spoilt():
    holes, mask = Y.copy(), np.ones(20, bool)
    holes[3], mask[3] = np.nan, False
    *_, last = gdjax.iterate(decay, START, X, holes, by=gdjax.curve_fit, mask=mask, absolute_sigma=True, sigma=0.1)
    assert last.status == Status.CONVERGED
    assert int(last.freedom) == 16
    (only,) = gdjax.iterate(decay, START, X, holes, by=gdjax.curve_fit, mask=~mask | mask, sigma=0.1)
    assert only.status == Status.NONFINITE_START
    assert "Among the data y has 1 of 20" in only.message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(by=gdjax.multistart), "by must be gdjax.minimize, gdjax.least_squares, gdjax.curve_fit, the function"),
        (dict(by=gdjax.least_squares, maximize=True), "least_squares has no option 'maximize'"),
        (dict(by=gdjax.least_squares, grad=decay), "iterate has no option 'grad'"),
        (dict(by=gdjax.least_squares, sigma=1.0), "iterate has no option 'sigma'"),
        (dict(callback=print), "iterate has no option 'callback'"),
        (dict(robust=gdjax.Huber()), "iterate has no option 'robust'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words):
    with pytest.raises(TypeError, match=words):
        gdjax.iterate(decay, START, X, Y, **options)


def test_the_last_step_does_not_claim_to_be_the_best_point():
    options = dict(method=gdjax.GradientDescent(1.05), max_steps=60)
    whole = gdjax.minimize(lambda x: x**2, 2.0, **options)
    *_, last = gdjax.iterate(lambda x: x**2, 2.0, **options)
    assert whole.status == last.status == Status.DIVERGED
    assert "The best point seen is returned, with value 4." in whole.message
    assert f"The value here is {float(last.value):.6g}; the best one seen was 4." in last.message
