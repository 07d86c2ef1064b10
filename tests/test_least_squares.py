"""`least_squares` and `curve_fit`: right answers with right error bars, in any units, and honest words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import statsmodels.api

import gdjax
from gdjax import Status

X = np.linspace(0, 4, 20)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.01 * np.cos(37 * X)


def decay(p, x):
    return p["height"] * jnp.exp(-p["rate"] * x) + p["base"]


START = {"height": 1.0, "rate": 1.0, "base": 0.0}


def misfit(p, x, y):
    return decay(p, x) - y


@pytest.fixture(scope="module")
def scipys():
    model = lambda x, a, b, c: a * np.exp(-b * x) + c
    return scipy.optimize.curve_fit(model, X, Y, p0=[1.0, 1.0, 0.0], xtol=1e-15, ftol=1e-15, gtol=1e-15)


def in_order(p):
    return np.array([p["height"], p["rate"], p["base"]])


@pytest.mark.float64
def test_estimates_and_covariance_are_scipys(scipys):
    fit = gdjax.least_squares(misfit, START, X, Y)
    assert fit.status == Status.CONVERGED
    assert int(fit.num_evals) <= 12
    np.testing.assert_allclose(in_order(fit.params), scipys[0], rtol=1e-9)
    np.testing.assert_allclose(in_order(fit.standard_errors), np.sqrt(np.diag(scipys[1])), rtol=1e-6)
    order = [1, 2, 0]  # base, height, rate: leaves come in the order of their names
    np.testing.assert_allclose(np.asarray(fit.covariance)[np.ix_(order, order)], scipys[1], rtol=1e-5)
    np.testing.assert_allclose(fit.residuals, misfit(fit.params, X, Y), atol=1e-14)
    np.testing.assert_allclose(fit.chi2, np.sum(fit.residuals**2), rtol=1e-12)


def test_single_precision_gets_what_it_can(scipys):
    fit = gdjax.least_squares(misfit, START, jnp.asarray(X), jnp.asarray(Y))
    assert fit.converged
    np.testing.assert_allclose(in_order(fit.params), scipys[0], rtol=2e-4)
    np.testing.assert_allclose(in_order(fit.standard_errors), np.sqrt(np.diag(scipys[1])), rtol=2e-3)


@pytest.mark.float64
def test_a_linear_model_is_solved_in_one_step_with_statsmodels_errors():
    rng = np.random.default_rng(0)
    a, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    fit = gdjax.least_squares(lambda b, a, y: a @ b - y, np.zeros(4), a, y)
    other = statsmodels.api.OLS(y, a).fit()
    assert fit.status == Status.CONVERGED
    assert int(fit.num_evals) == 2
    np.testing.assert_allclose(fit.params, other.params, rtol=1e-10)
    np.testing.assert_allclose(fit.standard_errors, other.bse, rtol=1e-9)
    np.testing.assert_allclose(np.stack(fit.intervals(), axis=1), other.conf_int(), rtol=1e-8)


@pytest.mark.float64
def test_what_the_data_do_not_determine_is_named():
    fit = gdjax.least_squares(lambda p, x, y: (p["a"] + p["b"]) * x + p["c"] - y, dict(a=1.0, b=1.0, c=0.0), X, Y)
    assert fit.converged
    assert np.isnan(fit.standard_errors["a"])
    assert np.isnan(fit.standard_errors["b"])
    slope = np.polyfit(X, Y, 1)
    np.testing.assert_allclose(fit.params["a"] + fit.params["b"], slope[0], rtol=1e-9)
    np.testing.assert_allclose(fit.params["c"], slope[1], rtol=1e-9)
    assert str(fit).count("not determined by the data") == 2
    flat = gdjax.least_squares(lambda p, x, y: p[0] * x + 0 * p[1] - y, np.array([1.0, 7.0]), X, Y)
    assert flat.converged
    assert float(flat.params[1]) == 7.0
    assert "of no effect on the residuals" in str(flat)


@pytest.mark.float64
def test_complex_residuals_and_parameters():
    t = np.linspace(0, 3, 25)
    signal = (1.5 - 0.5j) * np.exp((-0.4 + 2.0j) * t)
    model = lambda p, t: p["a"] * jnp.exp(p["k"] * t.astype(p["k"].dtype))
    start = dict(a=jnp.asarray(1.0 + 0j), k=jnp.asarray(-0.2 + 1.8j))
    fit = gdjax.curve_fit(model, start, t, signal)
    assert fit.converged
    np.testing.assert_allclose(fit.params["a"], 1.5 - 0.5j, rtol=1e-9)
    np.testing.assert_allclose(fit.params["k"], -0.4 + 2.0j, rtol=1e-9)
    assert int(fit.freedom) == 46


@pytest.mark.sweep
@pytest.mark.float64
def test_sigma_mask_and_scipys_way_to_call(scipys):
    rng = np.random.default_rng(2)
    sigma = rng.uniform(0.5, 2.0, X.size)
    model = lambda x, a, b, c: a * jnp.exp(-b * x) + c
    plain = lambda x, a, b, c: a * np.exp(-b * x) + c
    for absolute in (False, True):
        want = scipy.optimize.curve_fit(plain, X, Y, p0=[1.0, 1.0, 0.0], sigma=sigma, absolute_sigma=absolute)
        fit = gdjax.curve_fit(model, X, Y, p0=[1.0, 1.0, 0.0], sigma=sigma, absolute_sigma=absolute)
        assert fit.status == Status.CONVERGED
        np.testing.assert_allclose(fit.params, want[0], rtol=1e-6)
        np.testing.assert_allclose(fit.covariance, want[1], rtol=1e-4)
    matrix = np.diag(sigma**2) + 0.1
    want = scipy.optimize.curve_fit(plain, X, Y, p0=[1.0, 1.0, 0.0], sigma=matrix)
    fit = gdjax.curve_fit(model, X, Y, p0=[1.0, 1.0, 0.0], sigma=matrix)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params, want[0], rtol=1e-6)
    np.testing.assert_allclose(fit.covariance, want[1], rtol=1e-4)
    holes, use = Y.copy(), np.ones(20, bool)
    use[[2, 9]], holes[[2, 9]] = False, np.nan
    masked = gdjax.curve_fit(decay, START, X, holes, mask=use)
    left_out = gdjax.curve_fit(decay, START, X[use], Y[use])
    assert masked.status == left_out.status == Status.CONVERGED
    assert int(masked.freedom) == int(left_out.freedom) == 15
    np.testing.assert_allclose(masked.covariance, left_out.covariance, rtol=1e-8)
    for nothing in (0.0, -1.0, np.nan):
        some = gdjax.curve_fit(decay, START, X, holes, mask=use, sigma=np.where(use, 0.1, nothing))
        assert some.status == Status.CONVERGED
        np.testing.assert_allclose(some.covariance, left_out.covariance, rtol=1e-8)
    with pytest.raises(ValueError, match="sigma must be positive where the mask lets data count"):
        gdjax.curve_fit(decay, START, X, holes, mask=use, sigma=np.where(use, 0.0, 0.1))


@pytest.mark.sweep
@pytest.mark.float64
def test_derivatives_batches_and_jit():
    slope = lambda shift: gdjax.least_squares(misfit, START, X, Y + shift).params["base"]
    np.testing.assert_allclose(jax.grad(slope)(0.0), 1.0, rtol=1e-6)
    shifts = jnp.array([0.0, 0.1, 0.2])
    fits = jax.jit(jax.vmap(lambda s: gdjax.least_squares(misfit, START, X, Y + s)))(shifts)
    assert fits.converged.all()
    one = gdjax.least_squares(misfit, START, X, Y + 0.1)
    np.testing.assert_allclose(fits.params["rate"][1], one.params["rate"], rtol=1e-9)
    np.testing.assert_allclose(fits.covariance[1], one.covariance, rtol=1e-6)
    np.testing.assert_allclose(fits.standard_errors["rate"][1], one.standard_errors["rate"], rtol=1e-6)


@pytest.mark.sweep
@pytest.mark.float64
def test_the_other_methods_take_residuals_too():
    want = gdjax.least_squares(misfit, START, X, Y)
    for method in (gdjax.LBFGS(), gdjax.BFGS(), gdjax.TrustRegion()):
        fit = gdjax.least_squares(misfit, START, X, Y, method=method, tol=1e-9)
        assert fit.converged
        np.testing.assert_allclose(in_order(fit.params), in_order(want.params), rtol=1e-4)
        np.testing.assert_allclose(fit.covariance, want.covariance, rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gdjax.least_squares(lambda p: None, 1.0), "there are no residuals"),
        (lambda: gdjax.least_squares(lambda p: jnp.arange(3), 1.0), "residuals has dtype"),
        (lambda: gdjax.least_squares(lambda p: p, 1.0, grad=lambda p: p), "no option 'grad'"),
        (lambda: gdjax.curve_fit(decay, START, X), "SciPy's way"),
        (lambda: gdjax.curve_fit(decay, START, X, Y[:3]), "y has shape"),
        (lambda: gdjax.curve_fit(decay, START, X, Y, sigma=-1.0), "sigma must be positive"),
        (lambda: gdjax.curve_fit(decay, START, X, Y, sigma=-np.eye(20)), "positive definite"),
        (lambda: gdjax.least_squares(lambda p: p, 1.0, check_grad=True), "no option 'check_grad'"),
        (lambda: gdjax.least_squares(lambda p: p, 1.0, cov_type="HC9"), "cov_type must be None or one of HC0, HC1"),
        (lambda: gdjax.curve_fit(decay, START, X, Y, cov_type="HC3", robust=gdjax.Huber(1.0)), "is for squares"),
        (lambda: gdjax.Huber(0.0), "scale must be positive"),
        (lambda: gdjax.minimize(lambda p: p**2, 1.0, method=gdjax.LevenbergMarquardt()), "least_squares"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


@pytest.mark.sweep
@pytest.mark.parametrize("method", [None, gdjax.TrustRegion()], ids=["LM", "trust region"])
def test_what_a_mask_hides_is_hidden_in_x_of_the_same_shape(method):
    x = np.linspace(0, 3, 12, dtype=np.float32)
    y = 2 * np.exp(-x) + 0.1 * np.cos(9 * x)
    use = np.arange(12) != 4
    model = lambda p, x: p[0] * jnp.exp(-p[1] * x["t"])
    want = gdjax.curve_fit(model, jnp.ones(2), {"t": x[use]}, y[use], method=method)
    spoilt = {"t": np.where(use, x, np.nan)}
    fit = gdjax.curve_fit(model, jnp.ones(2), spoilt, np.where(use, y, np.nan), mask=use, method=method)
    assert want.status == fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params, want.params, rtol=1e-3)
    rows = np.tile(y, (2, 1))
    for given, axes in ((spoilt, None), ({"t": np.stack([spoilt["t"], x])}, (None, 0))):
        masks = use if axes is None else np.stack([use, use | True])
        fits = gdjax.curve_fit_many(model, jnp.ones(2), given, rows, in_axes=axes, mask=masks, method=method)
        assert fits.code.tolist() == [Status.CONVERGED] * 2
        np.testing.assert_allclose(fits.params[0], want.params, rtol=1e-3)


def test_a_model_may_return_aux_and_what_is_no_array_is_named():
    x = np.linspace(0, 3, 12, dtype=np.float32)
    y = 2 * np.exp(-x)
    model = lambda p, x: (p[0] * jnp.exp(-p[1] * x), {"area": p[0] / p[1]})
    fit = gdjax.curve_fit(model, jnp.ones(2), x, y, has_aux=True)
    assert fit.converged
    np.testing.assert_allclose(fit.aux["area"], 2, rtol=1e-3)
    with pytest.raises(TypeError, match="one array like y; it returned a tuple; what else it returns is aux"):
        gdjax.curve_fit(model, jnp.ones(2), x, y)
    with pytest.raises(TypeError, match=r"has_aux=True needs a model that returns \(array, aux\)"):
        gdjax.curve_fit(lambda p, x: p[0] * x, jnp.ones(2), x, y, has_aux=True)


def test_data_of_more_digits_than_float32_are_noticed(x64):
    x = np.linspace(0, 3, 30)
    y = 1e6 + 2 * np.exp(-x) + 0.05 * np.cos(9 * x)
    model = lambda p, x: p["a"] * jnp.exp(-p["b"] * x) + p["c"]
    fit = gdjax.curve_fit(model, {"a": 1.0, "b": 1.0, "c": 1e6}, x, y)
    assert fit.converged
    assert ("jax_enable_x64" in str(fit)) is not x64
    assert "jax_enable_x64" not in str(gdjax.curve_fit(model, {"a": 1.0, "b": 1.0, "c": 0.0}, x, y - 1e6))


def test_an_error_about_a_large_array_shows_one_entry():
    with pytest.raises(ValueError, match=r"lower must not be NaN, got nan at \[7\]"):
        gdjax.penalties.Box(np.where(np.arange(200) == 7, np.nan, 0.0), np.ones(200))
    with pytest.raises(ValueError, match=r"got 2.0 at \[7\] and 1.0 at \[7\]"):
        gdjax.penalties.Box(np.where(np.arange(200) == 7, 2.0, 0.0), 1.0)


def test_what_strangers_write_first_works_or_is_answered():
    x = np.linspace(0, 3, 12, dtype=np.float32)
    y = 2 * np.exp(-x) + 0.1 * np.cos(9 * x)
    model = lambda p, x: p[0] * jnp.exp(-p[1] * x)
    listed = gdjax.curve_fit(model, np.ones(2), x.tolist(), y.tolist())
    assert listed.status == Status.CONVERGED
    np.testing.assert_allclose(listed.params, gdjax.curve_fit(model, np.ones(2), x, y).params, rtol=1e-4)
    with pytest.raises(jax.errors.TracerArrayConversionError) as raised:
        gdjax.curve_fit(lambda p, x: p[0] * np.exp(-p[1] * x), np.ones(2), x, y)
    assert "write the function with jax.numpy" in " ".join(raised.value.__notes__)
    with pytest.raises(ValueError, match=r"sigma must be positive, got 0.0 at \[3\]"):
        gdjax.curve_fit(model, np.ones(2), x, y, sigma=np.where(np.arange(12) == 3, 0.0, 1.0))
