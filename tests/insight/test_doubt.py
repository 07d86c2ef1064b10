"""Where rounding ends a descent, the Hessian has the last word: success at a minimum, and nowhere else."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import gdjax
from gdjax import Status

METHODS = {"lbfgs": gdjax.LBFGS(), "bfgs": gdjax.BFGS(), "trust region": gdjax.TrustRegion()}


def line(p, t, y):
    return jnp.sum((p[0] + p[1] * t - y) ** 2) / 0.18


def dated(seed, day):
    """A line over dates that begin at ``day``, and its least value."""
    rng = np.random.default_rng(seed)
    days = rng.uniform(0, 100, 60)
    t, y = np.round(day + days, 1), 3 + 0.02 * days + 0.3 * rng.normal(size=60)
    least = np.linalg.lstsq(np.c_[np.ones(60), t - day], y)[1][0] / 0.18
    return jnp.asarray(t, float), jnp.asarray(y, float), least


@pytest.mark.sample("20000.0-lbfgs")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("day", [2e4, 1e5, 2_459_000.0])
def test_a_line_over_dates_is_right_or_does_not_count_as_right(name, day):
    for seed in range(2):
        t, y, least = dated(seed, day)
        result = gdjax.minimize(line, jnp.zeros(2), t, y, method=METHODS[name])
        right = float(result.value) < least + 0.5
        assert right or not result.converged, (seed, result)
        if name == "trust region" and day == 2e4:  # beyond, the Hessian is singular in float32
            assert result.converged, (seed, result)
        assert result.status in (Status.PRECISION_FLOOR, Status.LINE_SEARCH_FAILED, Status.STALLED, Status.CONVERGED)


def poisson(w, x, counts):
    return jnp.mean(jnp.exp(x @ w) - counts * (x @ w))


def yearly(seed):
    """Counts over years, a raw column."""
    rng = np.random.default_rng(seed)
    years = rng.integers(1990, 2020, 200).astype(float)
    counts = rng.poisson(np.exp(0.4 * (years - years.mean()) / years.std()))
    return np.c_[np.ones(200), years].astype(np.float32), counts.astype(np.float32)


def distance(w, x, counts):
    """From the estimates, in units of log-likelihood, by Newton's method in float64 on a centred column."""
    center = np.array([[1.0, -x[:, 1].mean()], [0.0, 1.0]])
    z, v = x.astype(np.float64) @ center, np.array([np.log(counts.mean()), 0.0])
    for _ in range(20):
        rates = np.exp(z @ v)
        v += np.linalg.solve(z.T @ (rates[:, None] * z), z.T @ (counts - rates))
    value = lambda v: np.sum(np.exp(z @ v) - counts * (z @ v))
    return value(np.linalg.solve(center, np.asarray(w, np.float64))) - value(v)


def test_a_right_answer_on_a_raw_column_is_a_success():
    for seed in range(3, 9):
        x, counts = yearly(seed)
        result = gdjax.minimize(poisson, jnp.zeros(2), x, counts)
        assert result.converged, (seed, result)
        assert distance(result.params, x, counts) < 0.01, seed


@pytest.mark.sweep
def test_many_problems_are_judged_one_by_one():
    data = [yearly(seed) for seed in range(16)]
    x, counts = (np.stack(part) for part in zip(*data, strict=True))
    many = gdjax.minimize_many(poisson, jnp.zeros(2), x, counts, in_axes=(None, 0, 0))
    right = np.array([distance(w, *d) < 0.01 for w, d in zip(many.params, data, strict=True)])
    np.testing.assert_array_equal(many.converged, right)
    assert right.sum() >= 8
    assert (many.code[~right] == Status.LINE_SEARCH_FAILED).all()


def test_a_kink_stays_a_failure():
    result = gdjax.minimize(lambda p: jnp.sum(jnp.abs(p - 1.0)) + 0.5 * jnp.sum((p - 0.5) ** 2), jnp.zeros(3))
    assert result.status in (Status.LINE_SEARCH_FAILED, Status.STALLED)


@pytest.mark.sample("<lambda>0")
@pytest.mark.parametrize("residual", [lambda x: x**2 + 1, lambda x: jnp.cosh(x - 2)])
def test_a_minimum_where_the_jacobian_vanishes_is_a_success(residual):
    fit = gdjax.least_squares(residual, 1.3)
    assert fit.status == Status.PRECISION_FLOOR
    np.testing.assert_allclose(fit.value, 0.5, rtol=1e-6)


def test_residuals_that_round_as_the_model_does_not_as_they_are_small():
    t = np.linspace(0, 2, 50, dtype=np.float32)
    data = 293.15 + 60 * np.exp(-t) + 0.05 * np.random.default_rng(1).normal(size=(100, 50)).astype(np.float32)
    kelvin = lambda p, y: 293.15 + p[0] * jnp.exp(-p[1] * t) - y
    fits = gdjax.least_squares_many(kelvin, jnp.array([30.0, 0.5]), data, in_axes=(None, 0))
    assert set(np.asarray(fits.code)) <= {Status.CONVERGED, Status.PRECISION_FLOOR}
    for i in np.flatnonzero(fits.code == Status.PRECISION_FLOOR)[:3]:
        wide = lambda t, a, b: 293.15 + a * np.exp(-b * t)
        best, cov = scipy.optimize.curve_fit(wide, t.astype(float), data[i].astype(float), [60.0, 1.0])
        assert (np.abs(fits.params[i] - best) <= 0.05 * np.sqrt(np.diagonal(cov))).all()


def test_a_plateau_at_which_a_fit_begins_is_no_answer():
    """Seconds for times of nanoseconds: exp(-t / tau) is 1 whatever tau is, and the residuals are what they were."""
    t = jnp.linspace(0.5e-9, 5e-9, 30, dtype=jnp.float32)
    seen = jnp.exp(-t / 2e-9)
    residuals, long = lambda tau: jnp.exp(-t / tau) - seen, gdjax.LevenbergMarquardt(factor=100.0)
    assert gdjax.least_squares(residuals, jnp.float32(1.0), method=long).status is Status.LINE_SEARCH_FAILED
    assert gdjax.least_squares(residuals, jnp.float32(1e-9), method=long).converged
    np.testing.assert_allclose(gdjax.least_squares(residuals, jnp.float32(1.0)).params, 2e-9, rtol=1e-5)


@pytest.mark.parametrize("start", [1.0, 1e-3, 1e-6])
def test_a_plateau_to_which_a_fit_runs_is_no_answer(start):
    """The size is fitted, the time runs to infinity, where Newton's step promises nothing and is half of the time."""
    t = jnp.linspace(0.0, 5e-9, 50, dtype=jnp.float32)
    seen = jnp.exp(-t / 1.5e-9)
    residuals = lambda p: p["size"] * jnp.exp(-t / p["tau"]) - seen
    fit = gdjax.least_squares(residuals, {"size": jnp.float32(1.0), "tau": jnp.float32(start)})
    assert fit.status is Status.RUNAWAY


@pytest.mark.parametrize("size", [1.0, 2.0, 3.0])
def test_a_start_at_the_answer_is_one(size, x64):
    """Where residuals are roundings, so are the cosines between them and what parameters can change."""
    t = np.linspace(0, 2, 9)
    model = lambda p, t: p["size"] * jnp.exp(-p["rate"] * t)
    for rate in (1.0, 0.7):
        truth = {"size": size, "rate": rate}
        fit = gdjax.curve_fit(model, truth, t, size * np.exp(-rate * t))
        assert fit.status in (Status.CONVERGED, Status.PRECISION_FLOOR)


@pytest.mark.sample("TrustRegion")
@pytest.mark.parametrize("method", [gdjax.LBFGS(), gdjax.TrustRegion()], ids=lambda m: m.name)
def test_a_walk_along_a_plateau_is_no_success(method):
    """The gradient falls by the tolerance, the value does not: the time went from 1 to 50."""
    t = jnp.linspace(0.0, 5e-9, 50, dtype=jnp.float32)
    loss = lambda tau: jnp.mean((jnp.exp(-t / tau) - jnp.exp(-t / 1.5e-9)) ** 2)
    found = gdjax.minimize(loss, jnp.float32(1.0), method=method)
    assert found.status is Status.LINE_SEARCH_FAILED
    assert gdjax.minimize(loss, jnp.float32(1e-8), method=method).converged
    lanes = gdjax.minimize_many(loss, jnp.array([1.0, 1e-8], jnp.float32), method=method)
    assert lanes.converged.tolist() == [False, True]


@pytest.mark.sample("at one", "quartic")
@pytest.mark.parametrize(
    ("loss", "start"),
    [
        (lambda x: 1 + jnp.sum((x - 1) ** 2), [1.001, 0.999]),
        (lambda x: 1 + jnp.sum(x**2), [1e-3, -1e-3]),
        (lambda x: 1 + (x[0] + x[1] - 1) ** 2, [0.5, 0.501]),
        (lambda x: 1 + jnp.sum(x**4), [1e-2, 2e-2]),
    ],
    ids=["at one", "at zero", "along a line", "quartic"],
)
def test_the_last_part_of_a_descent_is_a_success(loss, start):
    """Nearer to the minimum than the value tells."""
    found = gdjax.minimize(loss, jnp.array(start, jnp.float32))
    assert found.converged


T = jnp.linspace(0.0, 3.0, 6)
ROOT = lambda p, t: p["amp"] ** 2 * t + p["b"]
WAVE = lambda p, t: p["amp"] * jnp.cos(p["b"] * t)
DEAD = lambda p, t: jnp.maximum(p["amp"] * t + p["b"], 0)


@pytest.mark.sample("root-None")
@pytest.mark.parametrize("method", [None, gdjax.LBFGS()])
@pytest.mark.parametrize(
    ("model", "amp", "b", "y", "says"),
    [
        (ROOT, 0.0, 0.0, 1 + T, "a saddle"),
        (WAVE, 1.0, 0.0, jnp.cos(T), "a saddle"),
        (DEAD, -1.0, -1.0, 1 + T, "a plateau or a saddle"),
    ],
    ids=["root", "wave", "dead"],
)
def test_a_fit_at_a_saddle_or_on_a_plateau_is_no_success(model, amp, b, y, says, method):
    fit = gdjax.curve_fit(model, {"amp": amp, "b": b}, T, y, method=method)
    assert fit.status == Status.LINE_SEARCH_FAILED
    assert says in fit.message


def test_a_peak_that_starts_far_outside_of_the_data_is_no_success():
    """Height, centre and width have no effect there, to any order; elsewhere they have."""
    peak = lambda p, t: p["a"] * jnp.exp(-0.5 * ((t - p["c"]) / p["w"]) ** 2) + p["b"]
    seen = 2 * jnp.exp(-((T - 1) ** 2))
    starts = dict(a=jnp.ones(2), b=jnp.zeros(2), c=jnp.array([100.0, 1.2]), w=jnp.ones(2))
    fits = gdjax.curve_fit_many(peak, starts, T, jnp.stack([seen, seen]), in_axes=(0, None))
    assert fits.code[0] == Status.LINE_SEARCH_FAILED
    assert fits.converged[1]
    assert "a plateau" in fits[0].message


@pytest.mark.sweep
def test_a_parameter_that_changes_nothing_is_no_saddle():
    fit = gdjax.curve_fit(lambda p, t: p[0] * t + 0 * p[1], jnp.ones(2), T, 2 * T + jnp.cos(T))
    assert fit.converged
    assert "of no effect on the residuals, to first order" in str(fit)


def test_of_many_fits_those_at_a_saddle_are_no_successes():
    starts = {"amp": jnp.array([0.0, 0.5]), "b": jnp.zeros(2)}
    y = jnp.stack([1 + T, 1 + T])
    fits = gdjax.curve_fit_many(ROOT, starts, T, y, in_axes=({"amp": 0, "b": 0}, None))
    np.testing.assert_array_equal(fits.converged, [False, True])


T_LONG, RATES = np.linspace(0, 5, 30), np.linspace(0.8, 3, 12)[:, None]
LONG = 3 * np.exp(-0.5 * T_LONG) + 2 * np.exp(-RATES * T_LONG) + 0.01 * np.cos(11 * T_LONG)


def test_two_terms_that_stay_alike_are_at_a_saddle():
    """In float32 exponentials that begin as one may end as one: their columns are equal, and so are their steps."""
    two = lambda p, t: p["a"] * jnp.exp(-p["b"] * t) + p["c"] * jnp.exp(-p["d"] * t)
    fits = gdjax.curve_fit_many(two, dict.fromkeys("abcd", 1.0), T_LONG, LONG)
    alike = np.isclose(fits.params["b"], fits.params["d"], rtol=1e-3)
    assert alike.any()
    np.testing.assert_array_equal(fits.converged, ~alike)
    assert "to first order, and fall if these change" in fits[int(np.flatnonzero(alike)[0])].message


@pytest.mark.sweep
def test_factors_that_the_data_do_not_tell_apart_are_at_no_saddle(x64):
    factors = lambda p, t: p["a"] * p["b"] * jnp.exp(-p["c"] * p["d"] * t)
    fits = gdjax.curve_fit_many(factors, dict(a=1.0, b=2.0, c=1.0, d=0.5), T_LONG, LONG)
    assert fits.converged.all()


@pytest.mark.float64
def test_residuals_that_vanish_are_a_success_however_they_do():
    fit = gdjax.least_squares(lambda p: p**2, jnp.ones(2))
    assert fit.status == Status.PRECISION_FLOOR
    assert fit.value < 1e-60


def test_a_search_that_fails_beside_a_parameter_that_changes_nothing_is_no_saddle():
    fit = gdjax.least_squares(lambda p: jnp.stack([jnp.abs(p[0] - 1) + 1, 0 * p[1]]), jnp.zeros(2))
    assert fit.status == Status.LINE_SEARCH_FAILED
    assert "saddle" not in fit.message
