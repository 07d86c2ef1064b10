"""`LevenbergMarquardt`: no units, no evaluation outside, and an honest word for whatever the residuals are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import gdjax
from gdjax import Status
from gdjax.methods.truncated_gauss_newton import TruncatedGaussNewton
from gdjax.request import prepare

X = np.linspace(0, 4, 20)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.01 * np.cos(37 * X)
START = {"height": 1.0, "rate": 1.0, "base": 0.0}


BENT = gdjax.LevenbergMarquardt(acceleration=True)


def misfit(p, x, y):
    return p["height"] * jnp.exp(-p["rate"] * x) + p["base"] - y


def in_order(p):
    return np.array([p["height"], p["rate"], p["base"]])


@pytest.mark.sample("units0")
@pytest.mark.float64
@pytest.mark.parametrize("units", [(1e-9, 6e7, 1.0), (1e6, 1e-6, 1e6), (1.0, 1.0, 1e-12)])
def test_units_of_parameters_and_residuals_make_no_difference(units):
    a, b, c = units

    def scaled(p, x, y):
        return c * misfit({"height": p[0] / a, "rate": p[1] / b, "base": p[2] / a}, x, y)

    plain = gdjax.least_squares(misfit, START, X, Y)
    fit = gdjax.least_squares(scaled, np.array([a, b, 0.0]), X, Y)
    assert fit.status == Status.CONVERGED
    assert abs(int(fit.num_evals) - int(plain.num_evals)) <= 1
    np.testing.assert_allclose(fit.params / np.array([a, b, a]), in_order(plain.params), rtol=1e-9)


@pytest.mark.float64
def test_residuals_that_vanish_and_a_start_that_is_the_answer():
    rosenbrock = lambda p: (10 * (p[1] - p[0] ** 2), 1 - p[0])
    fit = gdjax.least_squares(rosenbrock, np.array([-1.2, 1.0]))
    assert fit.converged
    assert float(fit.value) < 1e-28
    again = gdjax.least_squares(rosenbrock, fit.params)
    assert again.converged
    assert int(again.num_evals) <= 2
    found = gdjax.least_squares(misfit, gdjax.least_squares(misfit, START, X, Y).params, X, Y)
    assert found.converged
    assert int(found.num_evals) <= 2


@pytest.mark.float64
def test_bounds_hold_and_nothing_outside_is_evaluated():
    def outside_is_nan(p, x, y):
        return jnp.where(p["rate"] <= 1.1, misfit(p, x, y), jnp.nan)

    box = {"height": gdjax.penalties.NonNegative(), "rate": gdjax.penalties.Box(0.0, 1.1), "base": None}
    fit = gdjax.least_squares(outside_is_nan, START, X, Y, penalty=box)
    assert fit.status == Status.CONVERGED
    assert float(fit.params["rate"]) == 1.1
    free = scipy.optimize.least_squares(
        lambda p: p[0] * np.exp(-1.1 * X) + p[1] - Y, [1.0, 0.0], xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    np.testing.assert_allclose([fit.params["height"], fit.params["base"]], free.x, rtol=1e-8)
    assert np.isnan(fit.standard_errors["rate"])
    assert "at its bound" in str(fit)


@pytest.mark.float64
def test_a_step_that_rounds_to_outside_is_not_evaluated_there():
    """x + (u - x) may be above u."""
    starts, upper = np.random.default_rng(0).uniform([[-1], [0]], [[0], [1]], (2, 4000))
    over = np.flatnonzero(starts + (upper - starts) > upper)[:3]
    assert over.size == 3
    for i in over:
        box = gdjax.penalties.Box(-2.0, upper[i])
        outside_is_nan = lambda p, u: jnp.where(p <= u, p - 2.0, jnp.nan)
        method = gdjax.LevenbergMarquardt(factor=100.0)  # whose first step goes all the way
        fit = gdjax.least_squares(outside_is_nan, starts[i], upper[i], penalty=box, method=method)
        assert fit.status == Status.CONVERGED
        assert int(fit.num_evals) == 2
        assert float(fit.params) == upper[i]


@pytest.mark.float64
def test_where_residuals_bend_more_than_the_model_knows_a_fit_ends_at_the_minimum():
    """Decays without height: steps of the model lead away from the minimum, and no sum of squares shows it."""
    times = np.linspace(0, 8, 32)
    light = np.stack([0.2 + np.random.default_rng(seed).normal(0, 0.05, 32) for seed in (17, 24, 50, 164)])
    residuals = lambda p, t, y: p[0] * jnp.exp(-t / p[1]) + p[2] - y
    box = gdjax.penalties.Box(np.array([0.0, 0.05, 0.0]), np.array([np.inf, 50.0, np.inf]))
    start = np.array([1.0, 1.0, 0.0])
    fits = gdjax.least_squares_many(residuals, start, times, light, in_axes=(None, None, 0), penalty=box)
    assert (fits.code == Status.CONVERGED).all()
    assert int(fits.num_evals.max()) <= 60
    for i, y in enumerate(light):
        want = scipy.optimize.least_squares(
            lambda p, y=y: residuals(p, times, y), fits.params[i], bounds=([0, 0.05, 0], [np.inf, 50, np.inf]),
            xtol=1e-14, ftol=1e-14, gtol=1e-14,
        )  # fmt: skip
        assert float(fits.value[i]) <= want.cost * (1 + 1e-12)


def test_a_jacobian_that_is_not_finite_at_the_start_says_so():
    fit = gdjax.least_squares(lambda p: jnp.sqrt(p) - jnp.array([1.0, 2.0]), 0.0)
    assert fit.status == Status.NONFINITE_START


@pytest.mark.sample("robust0-soft_l1")
@pytest.mark.float64
@pytest.mark.parametrize(
    ("robust", "name"), [(gdjax.SoftL1(0.05), "soft_l1"), (gdjax.Huber(0.05), "huber"), (gdjax.Cauchy(0.05), "cauchy")]
)
def test_robust_losses_are_scipys(robust, name):
    y = Y.copy()
    y[[3, 11]] += [4.0, -2.0]
    fit = gdjax.least_squares(misfit, START, X, y, robust=robust)
    other = scipy.optimize.least_squares(
        lambda p: p[0] * np.exp(-p[1] * X) + p[2] - y, [1.0, 1.0, 0.0], loss=name, f_scale=0.05,
        xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=10_000,
    )  # fmt: skip
    assert fit.converged
    np.testing.assert_allclose(fit.value, other.cost, rtol=1e-9)
    np.testing.assert_allclose(in_order(fit.params), other.x, rtol=1e-4)


@pytest.mark.sweep
@pytest.mark.float64
def test_an_outlier_beyond_tukeys_scale_does_not_draw_at_all():
    y = Y.copy()
    y[5] = 1e6
    fit = gdjax.least_squares(misfit, dict(height=2.4, rate=1.2, base=0.4), X, y, robust=gdjax.Tukey(0.5))
    assert fit.converged
    clean = np.arange(20) != 5
    without = gdjax.least_squares(misfit, START, X[clean], Y[clean], robust=gdjax.Tukey(0.5))
    np.testing.assert_allclose(in_order(fit.params), in_order(without.params), rtol=1e-7)


@pytest.mark.sweep
@pytest.mark.float64
def test_parameters_of_very_different_size_and_a_start_far_too_small():
    """A Lorentzian with parameters of 6e7 and 0.02, and a start at 1e-9: SciPy's issues 19459 and 10767."""
    x = np.linspace(5.9e7, 6.1e7, 60)
    peak = lambda p, x: p[0] / (1 + ((x - p[1]) / p[2]) ** 2)
    truth = np.array([0.02, 6e7, 2e5])
    fit = gdjax.curve_fit(peak, np.array([0.01, 6.01e7, 1e5]), x, peak(truth, x))
    assert fit.converged
    np.testing.assert_allclose(fit.params, truth, rtol=1e-9)
    small = gdjax.least_squares(lambda p: jnp.array([1e-3, 1e-9, 1.0]) * p - jnp.array([1e3, 1e-18, 1.0]), 1e-9)
    assert small.status == Status.CONVERGED
    np.testing.assert_allclose(small.params, 2.0, rtol=1e-5)


def test_beyond_the_domain_of_the_residuals_it_takes_shorter_steps(x64):
    """log and sqrt are NaN there; the first step from this start leads to a negative p[0]."""
    x = jnp.arange(1.0, 6.0)
    model = lambda p, x: jnp.sqrt(p[0]) * jnp.log(p[1] * x)
    fit = gdjax.least_squares(lambda p, x: model(p, x) - model(jnp.array([0.04, 2.0]), x), jnp.array([9.0, 30.0]), x)
    assert fit.converged
    np.testing.assert_allclose(fit.params, [0.04, 2.0], rtol=1e-7 if x64 else 1e-3)


@pytest.mark.float64
def test_a_valley_without_end_is_no_minimum():
    """log p grows for ever; the columns were once so long that p seemed to be lost in its rounding."""
    x = jnp.arange(1.0, 6.0)
    fit = gdjax.least_squares(lambda p, x: jnp.log(p[0] * x) * jnp.sqrt(p[1]) - 1.7, jnp.array([30.0, 0.01]), x)
    assert not fit.converged


@pytest.mark.float64
def test_single_precision_parameters_of_residuals_in_double():
    line = lambda p, x: p.astype(float) * x - 0.3 * x**2
    for penalty in (None, gdjax.penalties.Box(0.0, 5.0)):
        fit = gdjax.least_squares(line, np.float32(1.0), np.arange(5.0), penalty=penalty)
        assert fit.converged
        assert fit.params.dtype == np.float32
        np.testing.assert_allclose(fit.params, 1.0, rtol=1e-6)


@pytest.mark.float64
def test_a_parameter_without_effect_stays_where_it_is():
    fit = gdjax.least_squares(lambda p: jnp.array([p[0] - 1, 2 * p[0] - 3]) + 0 * p[1], np.array([0.0, 7.0]))
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params, [1.4, 7.0], rtol=1e-12)


@pytest.mark.sample("small")
@pytest.mark.float64
@pytest.mark.parametrize("shape", [(3, 6), (40, 60)], ids=["small", "by a library"])
def test_few_residuals_are_solved_in_their_own_space(shape):
    """The step is the shortest, so from 0 the answer is in the row space of a linear model."""
    a = np.random.default_rng(1).normal(size=shape)
    fit = gdjax.least_squares(lambda p, a: a @ p - 1.0, np.zeros(shape[1]), a)
    assert fit.converged
    scale = np.linalg.norm(a, axis=0)
    np.testing.assert_allclose(fit.params, np.linalg.lstsq(a / scale, np.ones(shape[0]))[0] / scale, rtol=1e-9)
    assert int(fit.num_evals) <= 3
    assert fit.covariance.shape == (shape[1], shape[1])
    assert np.isnan(fit.standard_errors).all()


def test_few_residuals_that_cannot_all_vanish(x64):
    both = lambda p: jnp.stack([p.sum() - 1, p.sum() - 2])
    fit = gdjax.least_squares(both, jnp.zeros(3))
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params, 0.5, rtol=1e-6)


@pytest.mark.sweep
def test_few_nonlinear_residuals_end_at_their_rounding(x64):
    a = np.random.default_rng(0).normal(size=(8, 20))
    solve = lambda target: gdjax.least_squares(lambda p, a: jnp.tanh(a @ p) - target, jnp.zeros(20), jnp.asarray(a))
    fits = jax.jit(jax.vmap(solve))(jnp.array([0.3, 0.5]))
    assert fits.converged.all()
    assert (fits.num_evals <= 8).all()
    assert (fits.value <= (1e-30 if x64 else 1e-12)).all()


@pytest.mark.sweep
@pytest.mark.float64
def test_few_residuals_in_a_box():
    a = np.random.default_rng(2).uniform(size=(3, 6))
    outside_is_nan = lambda p, a: jnp.where((p >= 0).all() & (p <= 0.2).all(), a @ p - 0.3, jnp.nan)
    fit = gdjax.least_squares(outside_is_nan, np.full(6, 0.1), a, penalty=gdjax.penalties.Box(0.0, 0.2))
    assert fit.status == Status.CONVERGED
    best = scipy.optimize.lsq_linear(a, np.full(3, 0.3), (0.0, 0.2), tol=1e-14)
    np.testing.assert_allclose(fit.value, best.cost, rtol=1e-9)
    np.testing.assert_allclose(fit.params, best.x, atol=1e-7)


@pytest.mark.float64
def test_geodesic_acceleration_follows_the_bend_of_a_valley():
    """Rosenbrock's: the residuals are quadratic, so the bent step sees all of them. It comes to the same answer."""
    rosenbrock = lambda p: jnp.stack([100 * (p[1] - p[0] ** 2), 1 - p[0]])
    solve = lambda bent: gdjax.least_squares(
        rosenbrock, np.array([-1.2, 1.0]), method=gdjax.LevenbergMarquardt(acceleration=bent)
    )
    plain, bent = solve(False), solve(True)
    assert plain.converged
    assert bent.converged
    assert int(bent.num_steps) < int(plain.num_steps)
    assert int(bent.num_evals) > int(bent.num_steps) + 1  # the second derivatives count
    np.testing.assert_allclose(bent.params, 1.0, rtol=1e-9)


@pytest.mark.sweep
def test_geodesic_acceleration_with_bounds_and_robust_losses(x64):
    box = {"rate": gdjax.penalties.Box(0.0, 1.1)}
    x, y = jnp.asarray(X), jnp.asarray(Y)
    for options in (dict(penalty=box), dict(robust=gdjax.Cauchy(0.05))):
        bent, plain = (gdjax.least_squares(misfit, START, x, y, method=m, **options) for m in (BENT, None))
        assert bent.converged
        assert plain.converged
        np.testing.assert_allclose(in_order(bent.params), in_order(plain.params), rtol=1e-7 if x64 else 1e-3)


def many(p, like):
    return jnp.tanh(jnp.sum(p)) + like


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (dict(), TruncatedGaussNewton),
        (dict(method=gdjax.LevenbergMarquardt(solver="qr")), gdjax.LevenbergMarquardt),
        (dict(penalty=gdjax.penalties.NonNegative()), gdjax.LevenbergMarquardt),
        (dict(jac=jax.jacfwd(many)), gdjax.LevenbergMarquardt),
    ],
)
def test_conjugate_gradients_are_for_jacobians_that_do_not_fit(options, method):
    params = np.zeros(6000, np.float32)
    for count, found in ((5000, gdjax.LevenbergMarquardt), (6000, method)):  # 2^25 entries are 5793 squared
        like = np.zeros(count, np.float32)
        assert type(prepare(many, params, (like,), squares=True, **options).method) is found


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gdjax.LevenbergMarquardt(factor=0.0), "factor must be positive"),
        (lambda: gdjax.LevenbergMarquardt(solver="lu"), "solver must be one of auto, qr, cg, got 'lu'"),
        (lambda: gdjax.LevenbergMarquardt(solver="cg", acceleration=True), "needs the Jacobian"),
        (
            lambda: gdjax.least_squares(
                lambda p: p[:1], np.ones(2), method=gdjax.LevenbergMarquardt(acceleration=True)
            ),
            r"no fewer residuals \(1\) than parameters \(2\)",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def fit_in_units(scale, **options):
    """An exponential, all residuals in other units."""
    y = 2 * np.exp(-3 * X) + 0.1 * np.cos(37 * X)
    tiny = lambda p, scale: scale * (p[0] * jnp.exp(-p[1] * X) - y)
    return gdjax.least_squares(tiny, jnp.ones(2), jnp.asarray(scale, jnp.float32), **options)


def test_squares_that_underflow_are_named_and_no_success():
    assert fit_in_units(1.0).status == Status.CONVERGED
    for scale in (1e-17, 1e-19, 1e-21):
        lost = fit_in_units(scale)
        assert lost.status == Status.LINE_SEARCH_FAILED
        assert not lost.converged
        assert "the squares of such residuals underflow in float32" in lost.message
        assert (np.asarray(lost.standard_errors) > 0).all()


@pytest.mark.sweep
def test_nor_are_they_one_of_robust_losses_and_other_methods():
    for scale in (1e-17, 1e-19, 1e-21):
        robust = fit_in_units(scale, robust=gdjax.SoftL1(scale))
        assert not robust.converged
        assert not (np.asarray(robust.standard_errors) == 0).any()
    for method in (gdjax.LBFGS(), gdjax.BFGS(), gdjax.TrustRegion()):
        other = fit_in_units(1e-21, method=method)
        assert other.status == Status.LINE_SEARCH_FAILED
        assert "underflow in float32" in other.message


@pytest.mark.sweep
def test_held_parameters_have_no_errors_in_batches_of_any_size():
    x, y = jnp.arange(6.0), jnp.array([4.3, 2.4, 1.1, 0.5, -0.1, -0.2])
    many, penalty = jnp.tile(y, (600, 1)), {"base": gdjax.penalties.NonNegative()}
    start = {"height": 1.0, "rate": 1.0, "base": 0.5}
    fits = gdjax.least_squares_many(misfit, start, x, many, in_axes=(None, None, 0), penalty=penalty)
    assert set(np.asarray(fits.code)) == {Status.CONVERGED}
    assert np.isnan(fits.standard_errors["base"]).all()
    assert np.isfinite(fits.standard_errors["rate"]).all()


WALKS = {
    "an exponential becomes a line": (
        lambda p, x: p["a"] * jnp.exp(-p["b"] * x) + p["c"],
        {"a": -1.0, "b": -1.0, "c": 2.0},
        lambda x: 2 * np.exp(-0.7 * x) + 0.3,
        {"a", "c"},
    ),
    "two rates become one": (
        lambda p, x: p["a"] * jnp.exp(-p["b"] * x) + p["c"] * jnp.exp(-p["d"] * x),
        {"a": 1.0, "b": 0.5, "c": 2.0, "d": 3.0},
        lambda x: x * np.exp(-x),
        {"a", "c"},
    ),
    "a saturation that is not seen": (
        lambda p, x: p["a"] * x / (p["b"] + x),
        {"a": 1.0, "b": 1.0},
        lambda x: 0.3 * x + 0.02 * x**2,
        {"a", "b"},
    ),
    "a decay that is none": (
        lambda p, x: p["a"] * jnp.exp(-x / p["b"]),
        {"a": 1.0, "b": 5.0},
        lambda x: 2 + 0.01 * x,
        {"b"},
    ),
}


@pytest.mark.sample("an exponential becomes a line")
@pytest.mark.float64
@pytest.mark.parametrize("case", WALKS)
def test_parameters_that_run_to_infinity_are_named_and_end_soon(case):
    model, start, truth, named = WALKS[case]
    x = np.linspace(0, 5, 40)
    y = truth(x) + 0.01 * np.cos(11 * x)
    fit = gdjax.curve_fit(model, start, x, y)
    assert fit.status == Status.RUNAWAY, fit.message
    assert not fit.converged
    assert int(fit.num_evals) < 2000  # without the test some thousands
    said = fit.message.replace("runs", "run").split(" run away while")[0].split("evaluations) ")[1]
    assert named <= set(said.replace(" and ", ", ").split(", ")), fit.message
    fits = gdjax.curve_fit_many(model, start, x, np.stack([y, y]))
    assert np.asarray(fits.code).tolist() == [Status.RUNAWAY] * 2


@pytest.mark.sweep
@pytest.mark.float64
def test_what_creeps_towards_nothing_without_noise_runs_away_too():
    x = np.linspace(0.2, 5, 20)
    model = lambda p, x: p[0] * x ** p[2] / (p[1] ** p[2] + x ** p[2])
    fit = gdjax.curve_fit(model, np.array([2.0, 1.5, 2.0]), x, 2 * x**0.7)
    assert fit.status == Status.RUNAWAY, fit.message
    assert int(fit.num_evals) < 2000  # without the test all of 10 000 steps
    line = 0.5 * x + 0.01 * np.cos(11 * x)  # of a logarithm, whose columns stay while its terms run apart
    fit = gdjax.curve_fit(lambda p, x: p[0] * jnp.log(p[1] + x) + p[2], np.array([1.0, 1.0, 0.0]), x, line)
    assert fit.status == Status.RUNAWAY, fit.message
    assert int(fit.num_evals) < 2000


@pytest.mark.sample("None-rows0")
@pytest.mark.parametrize(("robust", "rows"), [(None, [88, 170, 336, 360]), (gdjax.Huber(0.5), [78, 266])])
def test_a_spike_at_one_datum_and_a_straight_line_are_no_answers(robust, rows):
    rng, many = np.random.default_rng(0), 400
    x = np.sort(rng.uniform(5, 500, (many, 20)), axis=1)
    truth = np.array([300, 0.01, 80]) * np.exp(rng.normal(0, 0.3, (many, 3)))
    y = truth[:, :1] * np.exp(-truth[:, 1:2] * x) + truth[:, 2:] + 0.5 * rng.normal(size=x.shape)
    starts = truth * np.exp(rng.normal(0, 1.5, (many, 3)))
    model = lambda p, x: p[0] * jnp.exp(-p[1] * x) + p[2]
    begun = jnp.asarray(np.concatenate([starts[rows], truth[rows]]), jnp.float32)
    xs, ys = (jnp.asarray(np.concatenate([a[rows], a[rows]]), jnp.float32) for a in (x, y))
    fits = gdjax.curve_fit_many(model, begun, xs, ys, in_axes=0, robust=robust)
    far, near = fits[: len(rows)], fits[len(rows) :]
    assert near.converged.all(), near.message
    assert (~far.converged | (far.value < 1.01 * near.value)).all(), far.message


@pytest.mark.sweep
def test_a_long_step_of_a_parameter_with_little_effect_is_no_short_one():
    t = np.linspace(0, 1e-8, 50).astype(np.float32)
    decay = lambda p, t: p["a"] * jnp.exp(-t / p["tau"])
    start = {"a": jnp.float32(1), "tau": jnp.float32(1)}
    space = {"tau": gdjax.spaces.Positive()}
    fit = gdjax.curve_fit(decay, start, t, 3 * np.exp(-t / 2e-9) + 0.01 * np.cos(1e10 * t), space=space)
    assert fit.converged, fit.message
    np.testing.assert_allclose(fit.params["tau"], 2e-9, rtol=0.02)


@pytest.mark.sweep
@pytest.mark.float64
def test_far_and_slow_ways_to_a_minimum_are_no_runaways():
    x = np.linspace(0, 4, 20)
    for start in (np.array([1e-9, 1e-9]), np.array([1e-12, 3.0]), np.array([1e9, 1e-6])):
        fit = gdjax.least_squares(lambda p: p[0] * jnp.exp(-p[1] * x) - 2e3 * np.exp(-0.5 * x), start)
        assert fit.converged, (start, fit.message)
        np.testing.assert_allclose(fit.params, [2e3, 0.5], rtol=1e-6)
    flat = gdjax.least_squares(lambda p: jnp.stack([(p[0] - 1e6) ** 2, p[1] - 1.0]), np.array([1.0, 0.0]))
    assert flat.status != Status.RUNAWAY


@pytest.mark.sweep
def test_two_equal_exponentials_are_an_answer(x64):
    x = np.linspace(0, 5, 40)
    rng = np.random.default_rng(1)
    starts, clean = rng.uniform(0.1, 3, (24, 4)), 2 * np.exp(-x)
    model = lambda p, x: p[0] * jnp.exp(-p[1] * x) + p[2] * jnp.exp(-p[3] * x)
    y = clean + 0.01 * np.random.default_rng(4).normal(size=40)
    single = gdjax.curve_fit(lambda p, x: p[0] * jnp.exp(-p[1] * x), np.ones(2), x, y)
    fits = gdjax.curve_fit_many(model, starts, x, np.tile(y, (24, 1)), in_axes=(0, None))
    same = np.abs(fits.value - single.value) < 1e-4 * single.value
    alike = same & (np.abs(fits.params[:, 1] - fits.params[:, 3]) < 0.01)
    assert alike.any()
    assert fits.converged[alike].all(), fits.code[alike]
    assert not np.isin(np.asarray(fits.code), [Status.STALLED, Status.MAX_STEPS]).any()
