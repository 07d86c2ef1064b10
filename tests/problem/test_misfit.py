"""Data, their errors and masks: what is refused, and what a trace makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.problem.misfit import check_sigma

X = np.arange(5.0)
Y = np.array([1.0, 3.0, 5.0, 7.0, 9.5])
LOWER = np.eye(5) + np.tril(np.ones((5, 5)), -1)


def line(p, x):
    return p[0] * x + p[1]


@pytest.mark.parametrize("weights", [[1, 1, 0.5, 1, 1], [1, 1, -1.0, 1, 1], [1, 1, np.nan, 1, 1], [1, 1, 2, 1, 1]])
def test_weights_are_no_mask(weights):
    with pytest.raises(ValueError, match=r"mask must be True.* for weights give sigma=1/sqrt\(weight\)"):
        gdjax.curve_fit(line, jnp.zeros(2), X, Y, mask=weights)


def test_a_mask_of_ones_and_zeros_is_one_of_true_and_false():
    fits = [gdjax.curve_fit(line, jnp.zeros(2), X, Y, mask=np.array([1, 1, 0, 1, 1], t)) for t in (bool, int, float)]
    for fit in fits:
        assert fit.converged
        assert fit.freedom == 2
        np.testing.assert_array_equal(fit.params, fits[0].params)


@pytest.mark.parametrize("sigma", [LOWER, LOWER.T])
def test_a_covariance_that_is_not_symmetric_is_refused(sigma):
    with pytest.raises(ValueError, match="must be symmetric"):
        gdjax.curve_fit(line, jnp.zeros(2), X, Y, sigma=sigma)


@pytest.mark.float64
def test_a_product_that_rounds_is_symmetric():
    a = np.random.default_rng(0).normal(size=(5, 5)) * 10.0 ** np.arange(-4, 6, 2)[:, None]
    factor = check_sigma(a @ np.diag(np.arange(1.0, 6)) @ a.T, jnp.asarray(Y))
    assert jnp.all(jnp.isfinite(factor))


@pytest.mark.float64
def test_in_a_trace_a_sigma_that_would_be_refused_is_no_start():
    fit = jax.jit(lambda sigma, mask: gdjax.curve_fit(line, jnp.zeros(2), X, Y, sigma=sigma, mask=mask))
    every, but_last = np.ones(5, bool), np.arange(5) < 4
    for last in (-1.0, 0.0, np.inf, np.nan):
        sigma = np.array([1, 1, 1, 1, last])
        assert fit(sigma, every).status == gdjax.Status.NONFINITE_START
        left_out = fit(sigma, but_last)
        assert left_out.converged
        assert left_out.freedom == 2
    traced = jax.jit(lambda sigma: check_sigma(sigma, jnp.asarray(Y)))
    assert jnp.all(jnp.isnan(traced(LOWER)))
