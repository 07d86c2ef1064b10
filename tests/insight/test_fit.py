"""A fit's errors, intervals, tests and bands: against statsmodels, closed forms and each other."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm
from problems import CompileCounter

import gdjax
from gdjax import Status
from gdjax.insight.fit_words import advice_on

MODES = [True]  # against references with many digits

RNG = np.random.default_rng(0)
N = 40
A = np.column_stack([np.ones(N), RNG.normal(size=(N, 2))])
B = A @ [1.0, 2.0, 0.0] + (0.2 + np.abs(A[:, 1])) * RNG.normal(size=N)  # errors that are not alike


def straight(p, a, b):
    return a @ p - b


def linear(**options):
    fit = gdjax.least_squares(straight, np.zeros(3), A, B, **options)
    assert fit.status == Status.CONVERGED
    return fit


@pytest.fixture(scope="module")
def plain():
    with jax.enable_x64(True):
        return linear()


T = np.linspace(0, 4, 20)
SEEN = 2.5 * np.exp(-1.3 * T) + 0.5 + 0.03 * np.cos(37 * T)


def decay(p, t):
    return p["height"] * jnp.exp(-p["rate"] * t) + p["base"]


def misfit(p, t, y):
    return decay(p, t) - y


START = {"height": 1.0, "rate": 1.0, "base": 0.0}


@pytest.fixture(scope="module")
def curve():
    with jax.enable_x64(True):
        fit = gdjax.least_squares(misfit, START, T, SEEN)
        assert fit.status == Status.CONVERGED
        return fit


@pytest.mark.sample("HC3")
@pytest.mark.parametrize("kind", [None, "HC0", "HC1", "HC2", "HC3"])
def test_covariances_and_tests_are_those_of_statsmodels(kind, plain):
    fit = plain if kind is None else linear(cov_type=kind)
    truth = sm.OLS(B, A).fit(cov_type=kind or "nonrobust", use_t=True)
    np.testing.assert_allclose(fit.covariance, truth.cov_params(), rtol=1e-9)
    np.testing.assert_allclose(fit.standard_errors, truth.bse, rtol=1e-10)
    np.testing.assert_allclose(fit.t_values, truth.tvalues, rtol=1e-9)
    np.testing.assert_allclose(fit.p_values, truth.pvalues, rtol=1e-8)
    np.testing.assert_allclose(np.stack(fit.intervals(0.9), axis=1), truth.conf_int(0.1), rtol=1e-9)
    assert (f"standard errors {kind}" in str(fit)) == (kind is not None)


def test_known_standard_deviations_make_it_normal():
    fit = linear(absolute_sigma=True)
    truth = sm.OLS(B, A).fit(cov_type="fixed scale", cov_kwds=dict(scale=1.0), use_t=False)
    np.testing.assert_allclose(fit.standard_errors, truth.bse, rtol=1e-9)
    np.testing.assert_allclose(fit.p_values, truth.pvalues, rtol=1e-8)
    assert "P>|z|" in str(fit)


@pytest.mark.sample("tukey")
@pytest.mark.parametrize(
    ("norm", "robust"),
    [(sm.robust.norms.HuberT(1.345), gdjax.Huber), (sm.robust.norms.TukeyBiweight(4.685), gdjax.Tukey)],
    ids=["huber", "tukey"],
)
def test_robust_covariances_are_those_of_statsmodels(norm, robust):
    """And a mask is as if the data were not there."""
    truth = sm.RLM(B, A, M=norm).fit(cov="H1", maxiter=500, tol=1e-12)
    scale = truth.scale * (1.345 if robust is gdjax.Huber else 4.685)
    more, use = np.vstack([A, A[:3]]), np.arange(N + 3) < N
    holes = np.append(B, [np.nan] * 3)
    fit = gdjax.curve_fit(lambda p, a: a @ p, truth.params, more, holes, mask=use, robust=robust(scale))
    assert fit.converged
    np.testing.assert_allclose(fit.params, truth.params, rtol=1e-7)
    np.testing.assert_allclose(fit.covariance, truth.cov_params(), rtol=1e-6)


@pytest.mark.sweep
def test_a_robust_sandwich_is_its_formula():
    fit = linear(robust=gdjax.Huber(0.8), cov_type="HC1")
    r = A @ np.asarray(fit.params) - B
    psi, slope = np.clip(r, -0.8, 0.8), np.abs(r) <= 0.8
    bread = np.linalg.inv((A.T * slope) @ A)
    np.testing.assert_allclose(fit.covariance, N / (N - 3) * bread @ (A.T * psi**2) @ A @ bread, rtol=1e-9)


@pytest.mark.sweep
def test_a_datum_that_alone_determines_a_parameter_leaves_no_hc3():
    a = np.column_stack([np.ones(6), np.arange(6) == 2])
    fit = gdjax.least_squares(straight, np.zeros(2), a, np.arange(6.0), cov_type="HC3")
    assert fit.converged
    assert np.isnan(fit.covariance).all()


@pytest.mark.sweep
def test_what_depends_on_determined_changes_alone_is_determined():
    sum_alone = lambda p, t, y: (p["a"] + p["b"]) * t + p["c"] - y
    fit = gdjax.least_squares(sum_alone, dict(a=1.0, b=1.0, c=0.0), T, SEEN)
    assert fit.converged
    assert np.isnan(fit.standard_errors["a"])
    assert np.isnan(fit.standard_errors["b"])
    assert str(fit).count("not determined by the data") == 2
    truth = sm.OLS(SEEN, np.column_stack([T, np.ones(20)])).fit()
    assert int(fit.freedom) == truth.df_resid
    found = fit.derived(lambda p: dict(slope=p["a"] + p["b"], twice=2 * p["c"], lost=p["a"] - p["b"]))
    np.testing.assert_allclose(found.standard_errors["slope"], truth.bse[0], rtol=1e-8)
    np.testing.assert_allclose(found.standard_errors["twice"], 2 * truth.bse[1], rtol=1e-8)
    assert np.isnan(found.standard_errors["lost"])
    again = found.derived(lambda d: d["slope"] / d["twice"])
    direct = fit.derived(lambda p: (p["a"] + p["b"]) / (2 * p["c"]))
    np.testing.assert_allclose(again.standard_errors, direct.standard_errors, rtol=1e-8)
    assert np.isnan(found.derived(lambda d: d["slope"] + d["lost"]).standard_errors)


def test_functions_of_parameters_by_the_delta_method(curve):
    base, height, rate = (float(curve.params[name]) for name in ("base", "height", "rate"))
    cov = np.asarray(curve.covariance)
    both = lambda p: jax.lax.complex(p["base"], p["height"])
    found = curve.derived(lambda p, c: dict(half=jnp.log(c) / p["rate"], z=both(p)), 2.0)
    slopes = np.array([[0, 0, -np.log(2) / rate**2], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(found.covariance, slopes @ cov @ slopes.T, rtol=1e-9)
    np.testing.assert_allclose(found.estimates, [np.log(2) / rate, base, height], rtol=1e-12)
    assert found.names == ("half", "z.real", "z.imag")
    assert found.values["z"] == base + 1j * height
    assert found.to_pandas()["std_error"]["half"] == pytest.approx(float(found.standard_errors["half"]))
    assert str(found).splitlines()[1].split()[0] == "half"
    assert curve.derived(lambda p: p["rate"] ** 2).names == ("value",)
    with pytest.raises(TypeError, match="the function's value must be floating or complex"):
        curve.derived(lambda p: 3)


def test_bands_of_the_line_and_of_new_data(plain):
    new = np.array([[1.0, 0.3, -2.0], [1.0, 4.0, 0.1]])
    truth = sm.OLS(B, A).fit().get_prediction(new).summary_frame(alpha=0.1)
    model = lambda p, a: a @ p
    value, half = plain.band(model, new, level=0.9)
    np.testing.assert_allclose(value, truth["mean"], rtol=1e-9)
    np.testing.assert_allclose(value + half, truth["mean_ci_upper"], rtol=1e-9)
    value, half = plain.band(model, new, level=0.9, prediction=True)
    np.testing.assert_allclose(value - half, truth["obs_ci_lower"], rtol=1e-9)
    sigma = np.where(np.arange(N) < 20, 0.5, 2.0)
    weighted = gdjax.curve_fit(model, np.zeros(3), A, B, sigma=sigma)
    with pytest.raises(ValueError, match="needs the standard deviation of a new datum: give sigma="):
        weighted.band(model, new, prediction=True)
    truth = sm.WLS(B, A, weights=1 / sigma**2).fit().get_prediction(new, weights=1 / 3.0**2).summary_frame()
    value, half = weighted.band(model, new, prediction=True, sigma=3.0)
    np.testing.assert_allclose(value + half, truth["obs_ci_upper"], rtol=1e-9)


def test_information_criteria_are_those_of_the_normal_likelihood(plain):
    """Statsmodels does not count the variance as a parameter; R's nls does."""
    truth = sm.OLS(B, A).fit()
    np.testing.assert_allclose(plain.aic, truth.aic + 2, rtol=1e-12)
    np.testing.assert_allclose(plain.bic, truth.bic + np.log(N), rtol=1e-12)
    np.testing.assert_allclose(plain.aicc, plain.aic + 2 * 4 * 5 / (N - 5), rtol=1e-12)
    known = dataclasses.replace(plain, absolute_sigma=True)
    likelihood = scipy.stats.norm.logpdf(truth.resid).sum()
    np.testing.assert_allclose(known.aic, 2 * 3 - 2 * likelihood, rtol=1e-12)
    np.testing.assert_allclose(known.bic, 3 * np.log(N) - 2 * likelihood, rtol=1e-12)
    with pytest.raises(ValueError, match="a robust loss is not the likelihood of the data"):
        _ = dataclasses.replace(plain, robust=True).aic
    many = jax.tree.map(lambda x: jnp.stack([x, x]), plain)
    np.testing.assert_allclose(many.bic, [plain.bic] * 2, rtol=1e-12)


def test_what_a_bound_holds_is_named_and_taken_as_known():
    box = {"height": None, "rate": gdjax.penalties.Box(0.0, 1.1), "base": None}
    fit = gdjax.least_squares(misfit, START, T, SEEN, penalty=box)
    assert fit.status == Status.CONVERGED
    design = np.column_stack([np.ones(20), np.exp(-1.1 * T)])
    truth = sm.OLS(SEEN, design).fit()
    np.testing.assert_allclose([fit.standard_errors["base"], fit.standard_errors["height"]], truth.bse, rtol=1e-7)
    assert "1.1 held: at its bound" in str(fit).splitlines()[5]
    assert str(fit).splitlines()[-1].startswith("The standard errors take rate as known. If the truth may lie inside")
    fixed = dataclasses.replace(fit, penalty=jax.tree.map(lambda _: jnp.asarray(1.1), fit.penalty))  # equal bounds
    assert "take rate as known" not in str(fixed)
    found = fit.derived(lambda p: dict(at_one=decay(p, 1.0), rate=2 * p["rate"]))
    at_one = np.array([1, np.exp(-1.1)])
    np.testing.assert_allclose(found.standard_errors["at_one"] ** 2, at_one @ truth.cov_params() @ at_one, rtol=1e-7)
    assert np.isnan(found.standard_errors["rate"])
    assert np.isnan(fit.p_values["rate"])


def test_a_fit_is_explained_by_its_residuals(curve):
    found = gdjax.explain(misfit, curve, T, SEEN)
    assert found.point.kind is gdjax.Kind.MINIMUM
    assert found.advice == ["nothing stands out"]
    with pytest.raises(ValueError, match="give the function, data and robust= that it was made with"):
        curve.explain(lambda p, t, y: 0.5 * jnp.sum(misfit(p, t, y) ** 2), T, SEEN)


def test_advice_on_a_fit_names_what_the_data_hardly_tell_apart_and_a_sigma_that_does_not_match(plain):
    assert advice_on(plain) == []
    small = advice_on(dataclasses.replace(plain, absolute_sigma=True, value=100 * plain.value))
    assert small[0].endswith("the model does not describe the data, or sigma is too small")
    shifted = np.column_stack([np.ones(N), 50.0 + A[:, 1]])
    fit = gdjax.least_squares(straight, np.zeros(2), shifted, B)
    assert fit.status == Status.CONVERGED
    assert advice_on(fit)[0].startswith("the correlation of params[0] and params[1] is -0.999")


def test_a_covariance_has_derivatives_where_singular_values_are_equal(curve):
    """Those of singular vectors are NaN there, as for columns that are orthogonal."""

    def of(c):
        linear = curve.squares.linear._replace(triangle=c * jnp.eye(3))
        return dataclasses.replace(curve, squares=curve.squares._replace(linear=linear)).covariance

    np.testing.assert_allclose(jax.jacfwd(of)(1.0), -2 * of(1.0), rtol=1e-9)


@pytest.mark.sweep
def test_names_are_the_parameters_own_or_those_given(curve):
    assert curve.names == ("base", "height", "rate")
    first = [line.split()[0] for line in curve.table().splitlines()[2:5]]
    assert first == ["base", "height", "rate"]
    assert "correlation" in str(curve)
    assert list(curve.to_pandas(names=["b", "h", "r"]).index) == ["b", "h", "r"]
    assert curve.table(names=["b", "h", "r"]).splitlines()[2].startswith("b ")
    with pytest.raises(ValueError, match="names has 2 entries; there are 3 numbers"):
        curve.table(names=["b", "h"])
    with pytest.raises(TypeError, match="names must be a sequence of strings"):
        curve.to_pandas(names="bhr")
    scipys = gdjax.curve_fit(lambda t, height, rate: height * jnp.exp(-rate * t), T, SEEN, p0=[1.0, 1.0])
    assert scipys.converged
    assert scipys.names == ("height", "rate")
    assert gdjax.curve_fit(lambda t, *p: p[0] * t + p[1], T, SEEN, p0=[1.0, 1.0]).names == ("params[0]", "params[1]")


@pytest.mark.sweep
def test_many_fits_have_all_that_one_has():
    ys = SEEN + 0.1 * jnp.arange(3.0)[:, None] * jnp.cos(5 * T)
    options = dict(robust=gdjax.Huber(0.05), cov_type="HC1")
    fits = gdjax.least_squares_many(misfit, START, T, ys, in_axes=(None, None, 0), **options)
    assert fits.converged.all()
    one = fits[1]
    r, j = misfit(one.params, T, ys[1]), jax.jacfwd(misfit)(one.params, T, ys[1])
    j = np.column_stack([j[name] for name in ("base", "height", "rate")])
    bread = np.linalg.inv((j.T * (np.abs(r) <= 0.05)) @ j)
    want = 20 / 17 * bread @ (j.T * np.clip(r, -0.05, 0.05) ** 2) @ j @ bread
    np.testing.assert_allclose(one.covariance, want, rtol=1e-6)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5)
    close(fits.covariance[1], one.covariance)
    close(fits.p_values["rate"][1], one.p_values["rate"])
    close(fits.intervals()[0]["rate"][1], one.intervals()[0]["rate"])
    close(fits.correlation[1], one.correlation)
    half = lambda p: jnp.log(2.0) / p["rate"]
    close(fits.derived(half).standard_errors[1], one.derived(half).standard_errors)
    for a, b in zip(fits.band(decay, T), one.band(decay, T), strict=True):
        assert a.shape == (3, 20)
        close(a[1], b)
    wide = [fit.band(decay, T, prediction=True, sigma=0.1)[1] for fit in (fits, one)]
    close(wide[0][1], wide[1])
    frame = fits.to_pandas()
    assert frame.shape == (9, 6)
    close(frame.loc[(1, "rate"), "std_error"], float(one.standard_errors["rate"]))
    with pytest.raises(ValueError, match=r"a table is of one problem: take one, as fits\[i\]"):
        fits.table()


def test_single_precision_and_small_units(curve):
    """Squares of standard errors of 1e-22 are below the smallest float32."""
    errors, ts = jax.device_get((curve.standard_errors, curve.t_values))
    with jax.enable_x64(False):
        tiny = lambda p, t, y: misfit(jax.tree.map(lambda x: 1e20 * x, p), t, y)
        start = jax.tree.map(lambda x: x * 1e-20, START)
        fit = gdjax.least_squares(tiny, start, jnp.asarray(T), jnp.asarray(SEEN))
        assert fit.converged
        for name in START:
            np.testing.assert_allclose(1e20 * np.asarray(fit.standard_errors[name]), errors[name], rtol=5e-3)
            np.testing.assert_allclose(fit.t_values[name], ts[name], rtol=5e-3)


def test_a_penalty_other_than_bounds_has_no_covariance_and_says_so():
    fit = gdjax.least_squares(straight, np.zeros(3), A, B, penalty=gdjax.penalties.L1(1.0))
    assert fit.converged
    with pytest.raises(ValueError, match=r"no covariance is known: .* a penalty other than bounds"):
        fit.standard_errors  # noqa: B018
    assert str(fit) == fit.message
    assert "standard_errors" not in repr(fit)


@pytest.mark.sweep
def test_a_table_that_does_not_hold_says_so_first(curve):
    assert "valid only at a minimum" not in str(curve)
    early = gdjax.least_squares(misfit, START, T, SEEN, max_steps=1)
    assert early.status == Status.MAX_STEPS
    lines = str(early).splitlines()
    assert (
        lines[1]
        == "Standard errors, p-values and intervals are valid only at a minimum, which the fit has not reached:"
    )
    start = jnp.array([1.0, 1.0, 0.0])
    model = lambda p, t: p[0] * jnp.exp(-p[1] * t) + p[2]
    nothing = jax.jit(lambda mask: gdjax.curve_fit(model, start, T, SEEN, mask=mask))(np.zeros(20, bool))
    assert (nothing.status, nothing.converged) == (Status.NO_DATA, False)
    assert "NO_DATA: the mask leaves no data: nothing is fitted" in str(nothing)
    assert str(nothing).count(" there are no data") == 3
    with pytest.raises(ValueError, match="mask leaves no data"):
        gdjax.curve_fit(model, start, T, SEEN, mask=np.zeros(20, bool))
    holes = gdjax.curve_fit(model, start, T, np.where(T > 3, np.nan, SEEN))
    assert "The sum of squares is not finite, so nothing is known about the estimates." in str(holes)
    assert str(holes).count(" the residuals are not finite") == 3
    huge = gdjax.curve_fit(model, start, T, SEEN * 1e200, sigma=1.0, absolute_sigma=True)
    assert huge.status == Status.NONFINITE_START
    assert np.isnan(huge.flat_errors).all()


@pytest.mark.parametrize("cov_type", [None, "HC1", "HC3"])
def test_where_nothing_but_rounding_is_left_what_lost_its_effect_is_not_determined(cov_type):
    decay = lambda p, t: p["a"] * jnp.exp(-t / p["tau"]) + p["c"]
    fit = gdjax.curve_fit(decay, dict(a=1.0, tau=1.0, c=0.0), T, np.full(T.size, 7.0), cov_type=cov_type)
    assert fit.converged
    assert str(fit).count("not determined by the data") == 1
    errors = fit.standard_errors
    assert np.isnan(errors["tau"])
    assert abs(fit.params["a"]) < 3 * errors["a"] < 1e-13
    assert 0 < errors["c"] < 1e-14
    if cov_type is None:
        fit = gdjax.curve_fit(decay, dict(a=1.0, tau=1.0, c=0.0), T, 3 * np.exp(-T / 2))
        assert np.isfinite(fit.flat_errors).all()


@pytest.mark.sweep
def test_what_holds_a_parameter_is_said_and_counted():
    line = lambda p, t, y: p[0] + p[1] * t - y
    ys = np.stack([T, 5 - T, T + 1])
    options = dict(penalty=gdjax.penalties.Box(0.0, 5.0))
    fit = gdjax.least_squares(line, np.ones(3), T, ys[1], **options)
    assert [text.split(maxsplit=2)[2] for text in (str(fit).splitlines()[i] for i in (4, 5))] == [
        "held: at its bound",
        "not moved: of no effect on the residuals, to first order",
    ]
    fits = gdjax.least_squares_many(line, np.ones(3), T, ys, in_axes=(None, None, 0), **options)
    last = str(fits).splitlines()[-1]
    assert last.startswith("Of these fits ")
    assert "3 have a parameter of no effect on the residuals" in last
    same = lambda p, t, y: (p[0] + p[1]) * t - y
    ys[2] = np.nan
    fits = gdjax.least_squares_many(same, np.ones(2), T, ys, in_axes=(None, None, 0))
    last = "Of these fits 2 have a parameter that the data do not determine, 1 has residuals that are not finite."
    assert str(fits).splitlines()[-1] == last
    few = gdjax.least_squares_many(line, np.ones(2), T[:2], ys[:2, :2], in_axes=(None, None, 0))
    assert str(few).splitlines()[-1] == "Of these fits 2 have no degree of freedom."
    assert [float(one.value) for one in few] == few.value.tolist()


def test_one_fit_is_not_a_pair():
    with pytest.raises(TypeError, match=r"popt = fit\.params and pcov = fit\.covariance"):
        _, _ = gdjax.curve_fit(lambda t, a, b: a * t + b, T, SEEN, p0=[1.0, 1.0])
    with pytest.raises(TypeError, match=r"one result, not a sequence: the point is result\.params"):
        list(gdjax.minimize(lambda p: p**2, 1.0))


def test_scipys_start_in_fourth_place_is_explained():
    with pytest.raises(TypeError, match=r"takes 3 arguments \(t, a, b\), .* curve_fit\(model, x, y, p0="):
        gdjax.curve_fit(lambda t, a, b: a * t + b, T, SEEN, [1.0, 1.0])


@pytest.mark.parametrize("robust", ["huber", gdjax.Huber, 1.0])
def test_a_robust_loss_is_one_with_its_scale(robust):
    hint = "" if robust == 1.0 else r".*; write robust=gdjax\.Huber\(scale\)"
    with pytest.raises(TypeError, match=r"robust must be None for squares, or one of gdjax\.Huber\(scale\)" + hint):
        gdjax.least_squares(straight, np.zeros(3), A, B, robust=robust)
    with pytest.raises(TypeError, match="robust must be None for squares" + hint):
        gdjax.least_squares_many(straight, np.zeros((2, 3)), A, B, in_axes=(0, None, None), robust=robust)


def test_without_pandas_it_says_what_to_install(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_pandas needs pandas: pip install pandas"):
        plain.to_pandas()


def test_a_row_of_the_table_is_the_estimate_its_error_t_p_and_ends():
    x, y = np.arange(6.0), np.array([1.0, 3.1, 4.9, 7.2, 8.8, 11.3])
    fit = gdjax.curve_fit(lambda p, x: p["slope"] * x + p["base"], {"slope": 1.0, "base": 1.0}, x, y)
    assert fit.converged
    lower, upper = fit.intervals()
    parts = (fit.params, fit.standard_errors, fit.t_values, fit.p_values, lower, upper)
    row = next(line for line in str(fit).splitlines() if line.startswith("slope "))
    shown = [float(word) for word in row.replace(" to ", " ").split()[1:]]
    np.testing.assert_allclose(shown, [float(part["slope"]) for part in parts], rtol=5e-3)
    assert list(fit.columns()) == ["estimate", "std_error", "t", "p_value", "lower", "upper"]
    assert float(lower["slope"]) < float(fit.params["slope"]) < float(upper["slope"])


def test_what_a_fit_says_of_itself_compiles_nothing():
    x = jnp.arange(6.0)
    fit = gdjax.curve_fit(lambda p, x: p["slope"] * x + p["base"], {"slope": 1.0, "base": 1.0}, x, jnp.sin(x))
    assert fit.converged
    with CompileCounter() as compiled:
        shown = str(fit), repr(fit), fit.covariance, fit.intervals(0.9), fit.p_values, fit.reduced_chi2
    assert compiled.count == 0
    assert all(isinstance(x, jax.Array) and x.dtype == fit.value.dtype for x in jax.tree.leaves(shown[2:]))
    traced = jax.jit(lambda fit: (fit.covariance, fit.intervals(0.9), fit.p_values, fit.reduced_chi2))(fit)
    for own, other in zip(jax.tree.leaves(shown[2:]), jax.tree.leaves(traced), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4)
