"""A fit whose parameters run to infinity is RUNAWAY whatever the method; one whose minimum is far out is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

pytestmark = pytest.mark.float64
X = np.linspace(0.1, 5, 40)
NOISE = 0.01 * np.cos(11 * X)
METHODS = {"lbfgs": gdjax.LBFGS(), "trust region": gdjax.TrustRegion(), "cg": gdjax.LevenbergMarquardt(solver="cg")}


def decay(p, x):
    return p["a"] * jnp.exp(-x / p["b"])


def saturation(p, x):
    return p["a"] * x / (p["b"] + x)


@pytest.mark.sample("a decay that is none-lbfgs")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("model", "y", "named"),
    [(decay, 2 + 0.01 * X + NOISE, " b runs away"), (saturation, 0.3 * X + 0.02 * X**2 + NOISE, "run away")],
    ids=["a decay that is none", "a saturation that is not seen"],
)
def test_what_runs_to_infinity_is_no_success_by_any_method(name, model, y, named):
    fit = gdjax.curve_fit(model, {"a": 1.0, "b": 5.0}, X, y, method=METHODS[name])
    assert fit.status == Status.RUNAWAY, fit.message
    assert named in fit.message
    assert np.isnan(fit.standard_errors["b"])
    assert str(fit).count("not known: the fit runs to infinity") == 2


def test_what_shrinks_to_a_point_of_symmetry_is_not_said_to_run_away():
    """The best r^2 would be negative; of a curve that bends upward a and b grow without end."""
    model = lambda p, x: saturation(p, x) + p["r"] ** 2
    fit = gdjax.curve_fit(model, {"a": 1.0, "b": 1.0, "r": 1.0}, X, 0.3 * X + 0.02 * X**2 - 1)
    assert fit.status == Status.RUNAWAY, fit.message
    assert " a and b run away" in fit.message


@pytest.mark.sweep
def test_so_it_is_told_inside_jit_and_of_many():
    fits = gdjax.curve_fit_many(
        decay, {"a": 1.0, "b": 5.0}, X, np.stack([2 + 0.01 * X, 2 * np.exp(-X)]), method=METHODS["lbfgs"]
    )
    assert fits.code.tolist() == [Status.RUNAWAY, Status.CONVERGED]
    code = jax.jit(lambda y: gdjax.curve_fit(decay, {"a": 1.0, "b": 5.0}, X, y, method=METHODS["lbfgs"]).code)
    assert code(2 + 0.01 * X) == Status.RUNAWAY


@pytest.mark.parametrize("start", [{"a": 1.0, "b": 1.0}, {"a": 1e-3, "b": 1e-2}])
def test_a_minimum_far_out_is_an_answer(start):
    """A time of 30 000, of which data up to 5 tell a thousandth."""
    fit = gdjax.curve_fit(decay, start, X, 2 * np.exp(-X / 3e4) + 1e-5 * NOISE, method=METHODS["lbfgs"])
    assert fit.status == Status.CONVERGED, fit.message
    np.testing.assert_allclose(fit.params["b"], 3e4, rtol=0.05)


@pytest.mark.sweep
def test_a_parameter_without_effect_or_at_zero_does_not_run_away():
    residuals = lambda p: jnp.stack([p[0] - 3, 1e-3 * p[1], p[0] + p[1] - 3, 0 * p[2]])
    fit = gdjax.least_squares(residuals, np.zeros(3), method=METHODS["lbfgs"])
    assert fit.status == Status.CONVERGED, fit.message
