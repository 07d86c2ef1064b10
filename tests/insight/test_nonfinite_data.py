"""A descent that cannot begin says which of the data are not finite, by the names that the loss has for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

MODES = [False]  # JAX's default: precision is not what these are about

X = np.linspace(0, 1, 12, dtype=np.float32)
SPOILT = X.copy()
SPOILT[[2, 7]] = np.nan, np.inf


def mse(p, x, data, *, weights=1.0):
    return jnp.mean(weights * (p * x - data["y"]) ** 2)


@pytest.mark.parametrize(
    ("x", "y", "weights", "words"),
    [
        (X, SPOILT, X, "Among the data data['y'] has 2 of 12: leave out what is NaN or infinite of the loss."),
        (SPOILT, SPOILT, X, "Among the data data['y'] has 2 of 12, x has 2 of 12: leave out"),
        (X, X, SPOILT, "Among the data weights has 2 of 12: leave out"),
        (jnp.asarray(SPOILT), X, X, "Among the data x has 2 of 12: leave out"),
    ],
)
def test_of_a_loss(x, y, weights, words):
    for solve in (gdjax.minimize, gdjax.maximize):
        result = solve(mse, 1.0, x, {"y": y}, kwargs={"weights": weights})
        assert result.status == Status.NONFINITE_START
        assert words in result.message


def test_arguments_without_names_are_counted():
    result = gdjax.minimize(lambda p, *data: jnp.sum((p * data[0] - data[1]) ** 2), 1.0, X, SPOILT)
    assert result.status == Status.NONFINITE_START
    assert "Among the data args[1] has 2 of 12" in result.message


def test_nothing_is_said_of_data_that_are_sound_or_not_to_blame():
    ended = gdjax.minimize(mse, jnp.nan, X, {"y": X})
    assert ended.status == Status.NONFINITE_START
    assert "Entries that are not finite: params has 1 of 1, grad has 1 of 1." in ended.message
    assert "Among the data" not in ended.message
    careful = lambda p, x: jnp.mean(jnp.where(jnp.isfinite(x), p - jnp.where(jnp.isfinite(x), x, 0), 0) ** 2)
    fine = gdjax.minimize(careful, 0.0, SPOILT)
    assert fine.converged
    assert fine.nonfinite_data is None


def test_of_a_fit_with_the_remedy():
    residuals = lambda p, x, y: p * x - y
    fit = gdjax.least_squares(residuals, 1.0, X, SPOILT)
    assert fit.status == Status.NONFINITE_START
    assert "residuals has 2 of 12. Among the data y has 2 of 12: leave out what is NaN or infinite, or hide it with mask= of gdjax.curve_fit." in fit.message  # fmt: skip # noqa: E501
    model, use = lambda p, x: p * x, np.isfinite(SPOILT)
    hidden = gdjax.curve_fit(model, 1.0, X, SPOILT, mask=use)
    assert hidden.status == Status.CONVERGED
    pair = lambda p, xs: p * xs[0] + 0 * xs[1]
    newton = gdjax.curve_fit(pair, 1.0, np.stack([SPOILT, X]), SPOILT, mask=use, method=gdjax.TrustRegion())
    assert newton.status == Status.NONFINITE_START
    assert "x has 2 of 24: leave out what is NaN or infinite, or hide it with mask= (in x, where" in newton.message  # fmt: skip # noqa: E501
    badly = gdjax.curve_fit(model, 1.0, np.where(use, X, np.nan), SPOILT, mask=use, sigma=np.where(use, 1.0, np.nan))
    assert badly.status in (Status.CONVERGED, Status.NONFINITE_START)
    assert "Among the data y" not in badly.message


@pytest.mark.sweep
def test_of_many_each_says_its_own():
    ys = np.stack([X, SPOILT, X])
    shared = gdjax.minimize_many(mse, 1.0, X, {"y": ys}, in_axes=(None, None, 0))
    assert shared.code.tolist() == [Status.CONVERGED, Status.NONFINITE_START, Status.CONVERGED]
    assert "data['y'] has 2 of 12" in shared[1].message
    assert "data['y'] has 2 of 12" in str(shared)
    fits = gdjax.least_squares_many(lambda p, x, y: p * x - y, 1.0, X, ys, in_axes=(None, None, 0))
    assert fits.code.tolist() == [Status.CONVERGED, Status.NONFINITE_START, Status.CONVERGED]
    assert "Among the data y has 2 of 12" in fits[1].message


def test_inside_a_trace_nothing_is_looked_at():
    result = jax.jit(lambda y: gdjax.minimize(mse, 1.0, X, {"y": y}))(SPOILT)
    assert result.status == Status.NONFINITE_START
    assert result.nonfinite_data is None
