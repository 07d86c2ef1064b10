"""`profile`: intervals of the likelihood, found and not read off a grid; and honest words where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import gdjax

# Biochemical oxygen demand, of Bates and Watts (1988), table A1.4.
DAYS = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0])
DEMAND = np.array([8.3, 10.3, 19.0, 16.0, 15.6, 19.8])


def misfit(p, x, y):
    return p["limit"] * (1 - jnp.exp(-p["rate"] * x)) - y


START = {"limit": 20.0, "rate": 0.5}


def of_rate(rate):
    """The limit for a rate, in closed form, and the sum of squares."""
    shape = 1 - np.exp(-rate * DAYS)
    limit = shape @ DEMAND / (shape @ shape)
    return limit, np.sum((limit * shape - DEMAND) ** 2)


def fitted():
    fit = gdjax.least_squares(misfit, START, DAYS, DEMAND)
    assert fit.converged
    return fit


def test_the_ends_are_where_the_likelihood_crosses_its_level(x64):
    fit = fitted()
    found = gdjax.profile(misfit, fit, DAYS, DEMAND, parameter="rate", level=0.9)
    best = scipy.optimize.minimize_scalar(lambda b: of_rate(b)[1], (0.3, 0.6), tol=1e-12)
    level = best.fun * (1 + scipy.stats.t.ppf(0.95, 4) ** 2 / 4)
    ends = [scipy.optimize.brentq(lambda b: of_rate(b)[1] - level, *ab) for ab in ((0.05, 0.5), (0.6, 5.0))]
    np.testing.assert_allclose(found.interval, ends, rtol=1e-6 if x64 else 1e-3)
    good = np.isfinite(found.t)
    assert good.sum() >= 16
    rise = np.array([of_rate(b)[1] for b in found.values[good]]) - best.fun
    want = np.sign(found.values[good] - best.x) * np.sqrt(np.maximum(rise, 0) / (best.fun / 4))
    np.testing.assert_allclose(found.t[good], want, atol=1e-6 if x64 else 2e-3)
    np.testing.assert_allclose(found.params["rate"], found.values, rtol=1e-6)
    limits = np.array([of_rate(b)[0] for b in found.values[good]])
    np.testing.assert_allclose(np.asarray(found.params["limit"])[good], limits, rtol=1e-5 if x64 else 2e-2)
    assert "90% interval" in str(found)
    assert list(found.to_pandas().columns) == ["rate", "t"]
    # Another parameter, by its place; and an end that is open: with a small rate any limit will do.
    other = gdjax.profile(misfit, fit, DAYS, DEMAND, parameter=0, level=0.99)
    assert other.name == "limit"
    assert other.upper == np.inf
    assert "upper end: is open" in str(other)


@pytest.mark.sweep
@pytest.mark.float64
def test_of_a_linear_model_it_is_the_interval_of_the_standard_error():
    """Also of one parameter alone, with a known sigma, data by name and aux."""
    line = lambda p, x, *, y: (p * x - y, p)
    options = dict(kwargs=dict(y=DEMAND), has_aux=True)
    fit = gdjax.least_squares(line, 1.0, DAYS, absolute_sigma=True, **options)
    found = gdjax.profile(line, fit, DAYS, parameter="params", **options)
    np.testing.assert_allclose(found.interval, fit.intervals(), rtol=1e-9)
    assert found.quantile == pytest.approx(scipy.stats.norm.ppf(0.975))
    np.testing.assert_allclose(found.t, (found.values - fit.params) / found.standard_error, atol=1e-8)
    assert found.notes == ()


@pytest.mark.sweep
@pytest.mark.float64
def test_bounds_hold_and_end_the_interval():
    box = {"limit": gdjax.penalties.Box(0.0, 22.0), "rate": gdjax.penalties.NonNegative()}
    fit = gdjax.least_squares(misfit, START, DAYS, DEMAND, penalty=box)
    found = gdjax.profile(misfit, fit, DAYS, DEMAND, parameter="limit")
    assert found.upper == pytest.approx(22.0)
    assert "upper end: is at the bound of the parameter" in str(found)
    assert found.values.max() <= 22.0
    found = gdjax.profile(misfit, fit, DAYS, DEMAND, parameter="rate")
    assert np.asarray(found.params["limit"]).max() <= 22.0
    assert found.values.min() >= 0.0
    low = scipy.optimize.minimize_scalar(lambda b: of_rate(b)[1], (0.3, 0.6)).fun * (1 + found.quantile**2 / 4)
    held = lambda b: np.sum((min(22.0, of_rate(b)[0]) * (1 - np.exp(-b * DAYS)) - DEMAND) ** 2) - low
    np.testing.assert_allclose(found.lower, scipy.optimize.brentq(held, 0.05, 0.5), rtol=1e-5)


@pytest.mark.sweep
@pytest.mark.float64
def test_an_end_before_zero_is_not_jumped_over():
    """A standard error of 15 estimates leads across zero, beyond which values are as good again."""
    t = np.linspace(0, 2, 25)
    y = 0.5 * t + 0.1 * np.random.default_rng(5).normal(size=25)
    bent = lambda p, y: p[0] * (1 - jnp.exp(-p[1] * t)) - y
    fit = gdjax.least_squares(bent, jnp.ones(2), y)
    assert fit.converged
    found = gdjax.profile(bent, fit, y, parameter=0)
    least = lambda a: scipy.optimize.minimize_scalar(lambda b: np.sum(np.asarray(bent([a, b], y)) ** 2), (0.1, 1.0)).fun
    level = float(fit.chi2) * (1 + found.quantile**2 / 23)
    assert found.lower == pytest.approx(scipy.optimize.brentq(lambda a: least(a) - level, 1.0, 3.0), rel=1e-4)
    assert found.upper == np.inf


@pytest.mark.sweep
@pytest.mark.float64
def test_where_refits_cannot_begin_is_said():
    """A logarithm has its end before zero; what is 0 / 0 at zero alone does not matter."""
    x = np.linspace(0, 1, 12)
    wave = np.cos(40 * x)
    of_log = lambda p, y: p["b"] * x + jnp.log(p["a"]) - y
    y = 2 * x + 0.4 * wave + 0.3
    fit = gdjax.least_squares(of_log, {"a": 1.0, "b": 1.0}, y)
    found = gdjax.profile(of_log, fit, y, parameter="a", level=1 - 1e-6)
    reach = found.quantile * found.standard_error / found.estimate
    np.testing.assert_allclose(found.interval, found.estimate * np.exp([-reach, reach]), rtol=1e-5)
    assert "had nowhere to begin: the residuals are not finite with a between -6." in str(found)
    ratio = lambda p, y: p["c"] * (jnp.exp(p["a"] * x) - 1) / p["a"] - y
    y = x + 0.1 * wave
    fit = gdjax.least_squares(ratio, {"a": 1.0, "c": 1.0}, y)
    found = gdjax.profile(ratio, fit, y, parameter="a")
    assert found.lower < -0.9
    assert found.upper == pytest.approx(0.6753, abs=1e-3)
    assert "had nowhere to begin: the residuals are not finite with a at 0" in str(found)


@pytest.mark.sweep
@pytest.mark.float64
def test_a_lower_minimum_on_the_way_is_said():
    """(p^2 - 1)^2 has two wells; the second residual makes the left one lower."""
    wells = lambda p: jnp.stack([5 * (p["a"] ** 2 - 1), p["a"] + 1.3, p["b"] - p["a"], 0.5 * p["b"]])
    fit = gdjax.least_squares(wells, {"a": 1.0, "b": 1.0})
    assert fit.converged
    assert float(fit.params["a"]) > 0.5
    found = gdjax.profile(wells, fit, parameter="a", level=0.99)
    assert np.isnan(found.interval).all()
    assert "the fit is not the minimum: with a at -" in str(found)
    better = gdjax.least_squares(wells, found.better)
    assert better.converged
    assert float(better.value) < float(fit.value)


@pytest.mark.sweep
@pytest.mark.float64
def test_robust_losses_have_profiles():
    """Of Huber's loss beyond all residuals they are those of squares."""
    fit = gdjax.least_squares(misfit, START, DAYS, DEMAND, robust=gdjax.Huber(1e3))
    found = gdjax.profile(misfit, fit, DAYS, DEMAND, parameter="rate", level=0.9, robust=gdjax.Huber(1e3))
    plain = gdjax.profile(misfit, fitted(), DAYS, DEMAND, parameter="rate", level=0.9)
    np.testing.assert_allclose(found.interval, plain.interval, rtol=1e-5)


@pytest.mark.float64
def test_what_cannot_be_profiled_is_refused():
    fit = fitted()
    call = lambda fit=fit, y=DEMAND, **options: gdjax.profile(misfit, fit, DAYS, y, **dict(parameter="rate") | options)
    with pytest.raises(ValueError, match="there is no parameter 'slope'; the first ones are limit, rate"):
        call(parameter="slope")
    with pytest.raises(ValueError, match="there is no parameter 2"):
        call(parameter=2)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        call(level=95)
    with pytest.raises(ValueError, match="give the function, data and robust= that it was made with"):
        call(y=DEMAND + 1)
    with pytest.raises(TypeError, match="profile has no option 'penalty': the fit knows its bounds"):
        call(penalty=gdjax.penalties.NonNegative())
    with pytest.raises(
        TypeError, match="profile has no option 'space': the fit knows its bounds and spaces; leave it out"
    ):
        call(space={"rate": gdjax.spaces.Positive()})
    with pytest.raises(TypeError, match="profile has no option 'points'"):
        call(points=3)
    with pytest.raises(TypeError, match=r"fit must be what gdjax\.least_squares returned, got a dict"):
        call(START)
    with pytest.raises(TypeError, match="profile has no option 'jac': its refits use the Jacobian that JAX finds"):
        call(jac=jax.jacfwd(misfit))
    with pytest.raises(TypeError, match="robust must be None for squares"):
        call(robust="huber")
    with pytest.raises(ValueError, match="made with cov_type='HC3', for errors that are not alike"):
        call(gdjax.least_squares(misfit, START, DAYS, DEMAND, cov_type="HC3"))
    with pytest.raises(ValueError, match="has not ended in a minimum"):
        call(gdjax.least_squares(misfit, START, DAYS, DEMAND, max_evals=1))
    with pytest.raises(ValueError, match="profile is of one fit: take one, fits"):
        call(jax.tree.map(lambda x: jnp.stack([x, x]), fit))
    exact = gdjax.least_squares(misfit, START, DAYS, 20 * (1 - np.exp(-0.5 * DAYS)))
    with pytest.raises(ValueError, match=r"the standard error of rate .*there is no unit to profile it in"):
        call(exact, 20 * (1 - np.exp(-0.5 * DAYS)))


@pytest.mark.sweep
@pytest.mark.float64
def test_a_parameter_at_its_bound_has_one_end_there():
    """Beyond it, where the likelihood crosses its level; also for one whose column is not independent of others."""
    x = np.linspace(0, 4, 30)
    y = 2 * np.exp(-0.7 * x) - 0.05 + 0.03 * np.cos(17 * x)
    decay = lambda p, x, y: p["a"] * jnp.exp(-p["b"] * x) + p["c"] - y
    box = {"a": gdjax.penalties.NonNegative(), "b": gdjax.penalties.NonNegative(), "c": gdjax.penalties.NonNegative()}
    fit = gdjax.least_squares(decay, {"a": 1.0, "b": 1.0, "c": 0.1}, x, y, penalty=box)
    assert fit.status == gdjax.Status.CONVERGED
    assert float(fit.params["c"]) == 0
    found = gdjax.profile(decay, fit, x, y, parameter="c")
    of_c = lambda c: scipy.optimize.least_squares(lambda p: p[0] * np.exp(-p[1] * x) + c - y, [2.0, 0.7], xtol=1e-15)
    level = scipy.stats.t.ppf(0.975, int(fit.freedom)) ** 2 * float(fit.reduced_chi2) + float(fit.chi2)
    end = scipy.optimize.brentq(lambda c: 2 * of_c(c).cost - level, 0, 0.5)
    np.testing.assert_allclose(found.interval, (0, end), rtol=1e-5)
    assert "lower end: is at the bound of the parameter" in str(found)
    assert "c: estimate 0, held: at its bound" in str(found)


@pytest.mark.float64
def test_an_estimate_that_runs_to_infinity_has_an_interval_with_an_open_end():
    x, y = np.array([0.1, 0.2, 0.4, 0.6, 0.8, 1.0]), np.array([0.11, 0.19, 0.42, 0.63, 0.83, 1.06])
    saturation = lambda p, x, y: p["most"] * x / (p["half"] + x) - y
    fit = gdjax.least_squares(saturation, {"most": 2.0, "half": 2.0}, x, y)
    assert float(fit.params["half"]) > 1e6
    found = gdjax.profile(saturation, fit, x, y, parameter="half")

    def rise(half):
        shape = x / (half + x)
        return np.sum((shape @ y / (shape @ shape) * shape - y) ** 2) - float(fit.chi2)

    level = scipy.stats.t.ppf(0.975, int(fit.freedom)) ** 2 * float(fit.reduced_chi2)
    assert found.lower == pytest.approx(scipy.optimize.brentq(lambda h: rise(h) - level, 1.0, 1e3), rel=1e-5)
    assert found.upper == np.inf
    assert "half: estimate" in str(found)
    assert "not known: the fit runs to infinity" in str(found)
    assert "upper end: is open" in str(found)


@pytest.mark.sweep
def test_parameters_that_enter_as_a_sum_have_no_ends(x64):
    fit = gdjax.least_squares(lambda p, x, y: (p["a"] + p["b"]) * x - y, {"a": 1.0, "b": 2.0}, DAYS, DEMAND)
    found = gdjax.profile(lambda p, x, y: (p["a"] + p["b"]) * x - y, fit, DAYS, DEMAND, parameter="a")
    assert found.interval == (-np.inf, np.inf)
