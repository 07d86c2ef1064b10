"""Robust losses: squares where residuals are small, to the last digit; less where they are large."""

import jax.numpy as jnp
import numpy as np
import pytest

import gdjax

LOSSES = (gdjax.Huber, gdjax.SoftL1, gdjax.Cauchy, gdjax.Tukey)


@pytest.mark.parametrize("loss", LOSSES)
def test_residuals_far_below_the_scale_are_squared(loss):
    r = jnp.asarray([1e-3, 1e-2, 1.0])
    np.testing.assert_allclose(loss(1e5).of(r), r * r, rtol=1e-6)


@pytest.mark.parametrize(("loss", "slope"), list(zip(LOSSES, (0.1, 0.0995, 0.0099, 0.0), strict=True)))
def test_what_an_outlier_draws(loss, slope):
    first, _ = loss(2.0).slopes(jnp.asarray([20.0]))
    np.testing.assert_allclose(first, slope, rtol=1e-3, atol=1e-7)
