"""Pictures show what they are given: points lie on the curve, the path ends at the result, lines hold the history."""

import dataclasses
import importlib
import math
import sys

import matplotlib

matplotlib.use("agg")

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from problems import quadratic, rosenbrock

import gdjax
from gdjax import GradientDescent, Status, plot

MODES = [False]  # JAX's default: precision is not what these are about

RATE = GradientDescent(0.1)
curve = lambda x: x**4 - 4 * x**2 + x


@pytest.fixture(autouse=True)
def figures():
    """Each test's own, drawn once so that what only fails when rendering fails here."""
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


def lines(ax):
    """By label: x and y of what is drawn."""
    return {line.get_label(): np.asarray(line.get_data(), float) for line in ax.get_lines()}


@pytest.fixture
def two():
    """Results of two methods with histories."""
    make = lambda method: gdjax.minimize(
        quadratic, np.zeros(3), method=method, history=True, max_steps=30, max_seconds=math.inf
    )
    results = {"slow": make(GradientDescent(0.01)), "fast": make(RATE)}
    assert {r.status for r in results.values()} == {Status.MAX_STEPS}
    return results


def test_history_shows_the_histories(two):
    for quantity in ("value", "grad_norm"):
        for against, column in (("evaluations", "num_evals"), ("steps", "step")):
            drawn = lines(plot.history(two, quantity, against))
            for label, result in two.items():
                history = result.history.to_dict()
                np.testing.assert_allclose(drawn[label][0], history[column])
                np.testing.assert_allclose(drawn[label][1], history[quantity])
    drawn = lines(plot.history(two["fast"], against="seconds"))
    (x, _), timing = next(iter(drawn.values())), two["fast"].timing
    assert x[-1] == pytest.approx(timing.seconds - timing.compiling)


def test_series_differ_in_more_than_colour(two):
    ax = plot.history(two)
    looks = {(line.get_linestyle(), line.get_marker()) for line in ax.get_lines()}
    assert len(looks) == 2
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("evaluations of the loss", "value", "log")


def test_values_that_are_not_positive_are_drawn_as_distances_from_the_best():
    down = gdjax.minimize(lambda p: quadratic(p) - 7, np.zeros(3), method=RATE, history=True, max_steps=30)
    up = gdjax.maximize(lambda p: 7 - quadratic(p), np.zeros(3), method=RATE, history=True, max_steps=30)
    for result, label in ((down, "-7"), (up, "7")):
        ax = plot.history(result)
        y = next(iter(lines(ax).values()))[1]
        assert "distance from the best" in ax.get_ylabel()
        assert label in ax.get_ylabel() or label.replace("7", "6.99") in ax.get_ylabel()
        np.testing.assert_allclose(y[:3], np.abs(result.history.value[:3] - result.value), rtol=1e-3)


def test_compare_shows_evaluations_and_status(two):
    ax = plot.compare(two)
    assert [bar.get_width() for bar in ax.patches] == [31, 31]
    assert all("MAX_STEPS" in text.get_text() for text in ax.texts)
    assert all(bar.get_hatch() == "///" for bar in ax.patches)


def test_points_of_a_descent_lie_on_the_curve(x64):
    path = list(gdjax.iterate(curve, 2.0, method=GradientDescent(0.02), max_steps=20))
    ax = plot.slice(curve, path[-1], path=path)
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["descent"][0], [float(s.params) for s in path])
    np.testing.assert_allclose(drawn["descent"][1], curve(drawn["descent"][0]), rtol=1e-4)
    np.testing.assert_allclose(drawn["loss"][1], curve(drawn["loss"][0]), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(drawn["params"][:, 0], [float(path[-1].params), float(path[-1].value)], rtol=1e-6)
    assert drawn["loss"][0].min() < 1.4 < 2 < drawn["loss"][0].max()


def test_a_slice_along_a_named_weight_a_number_and_a_direction():
    params = {"w": jnp.array([[0.5, 1.0], [2.0, 3.0]]), "z": jnp.array([1j], jnp.complex64)}
    loss = lambda p: jnp.sum(p["w"] ** 2) + jnp.sum(jnp.abs(p["z"]) ** 2).astype(p["w"].dtype)
    by_name, by_number = plot.slice(loss, params, along="params['w'][1][0]"), plot.slice(loss, params, along=2)
    assert by_name.get_xlabel() == by_number.get_xlabel() == "params['w'][1][0]"
    x, y = lines(by_name)["loss"]
    np.testing.assert_allclose(y, 0.25 + 1 + 9 + 1 + x**2, rtol=1e-5)
    assert plot.slice(loss, params, along=-1).get_xlabel() == "params['z'][0].imag"
    direction = jax.tree.map(jnp.zeros_like, params) | {"w": jnp.full((2, 2), 5.0)}
    x, y = lines(plot.slice(loss, params, along=direction))["loss"]
    np.testing.assert_allclose(y, np.sum((np.array([0.5, 1, 2, 3]) + x[:, None] / 2) ** 2, axis=1) + 1, rtol=1e-4)


def test_surface_shows_the_path_to_its_end_and_the_loss_under_it():
    path = list(gdjax.iterate(rosenbrock, np.array([-1.2, 1.0]), method=gdjax.BFGS()))
    ax = plot.surface(rosenbrock, path[-1], path=path, marks={"saddle": np.array([0.0, 0.5])})
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["descent"].T, [np.asarray(s.params) for s in path], rtol=1e-5)
    np.testing.assert_allclose(drawn["params"][:, 0], path[-1].params, rtol=1e-6)
    np.testing.assert_allclose(drawn["start"][:, 0], [-1.2, 1.0])
    np.testing.assert_allclose(drawn["saddle"][:, 0], [0.0, 0.5], atol=1e-7)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("params[0]", "params[1]")


def test_the_plane_of_a_path_keeps_its_distances():
    path = list(gdjax.iterate(quadratic, np.linspace(-3, 2, 6), method=RATE, max_steps=12))
    drawn = lines(plot.surface(quadratic, path[-1], path=path))["descent"]
    np.testing.assert_allclose(drawn[:, -1], 0, atol=1e-6)
    true = [np.linalg.norm(np.asarray(s.params - path[-1].params)) for s in path]
    shown = np.linalg.norm(drawn, axis=0)
    assert np.all(shown <= np.array(true) + 1e-5)
    assert shown[0] > 0.95 * true[0]


def test_learning_rates_and_gradient_check():
    report = gdjax.learning_rate_range(quadratic, np.zeros(3), max_steps=60)
    drawn = lines(plot.learning_rates(report))
    shown = np.concatenate([drawn[v][0] for v in ("too small", "right", "too large")])
    np.testing.assert_allclose(np.sort(shown), report.rates)
    assert drawn[f"recommended: {report.recommended:.2g}"][0] == report.recommended
    check = gdjax.check_gradient(lambda w: w[0] * w[1] ** 2, jnp.array([2.0, 3.0]), grad=lambda w: w)
    ax = plot.gradient_check(check)
    assert ax.get_title() == "gradient check: WRONG"
    np.testing.assert_allclose(lines(ax)["analytic against jax.grad"][0], check.leaves[0].analytic_error)


@pytest.mark.sweep
def test_a_fit_shows_data_model_bands_and_residuals():
    x = np.linspace(0.0, 3.0, 12, dtype=np.float32)
    y = np.array([2, 1.6, 1.4, 0.9, 0.9, 0.6, 0.6, 0.3, 0.4, 0.2, np.nan, 0.2], np.float32)
    model = lambda p, x: p[0] * jnp.exp(-p[1] * x)
    fit = gdjax.curve_fit(model, jnp.ones(2), x, y, sigma=0.1, mask=np.isfinite(y))
    assert fit.converged
    above, below = plot.fit(fit, model, x, y, sigma=0.1, prediction=True, points=50)
    drawn = lines(above)
    np.testing.assert_allclose(drawn["model"][1], model(fit.params, drawn["model"][0]), rtol=1e-5)
    half = fit.band(model, drawn["model"][0].astype(np.float32))[1]
    band = above.collections[1].get_paths()[0].vertices
    np.testing.assert_allclose(band[:, 1].max(), (drawn["model"][1] + half).max(), rtol=1e-4)
    wide = fit.band(model, drawn["model"][0].astype(np.float32), prediction=True, sigma=0.1)[1]
    np.testing.assert_allclose(drawn["95% of new data"][1], drawn["model"][1] - wide, rtol=1e-4)
    left = below.get_lines()[0].get_ydata()
    np.testing.assert_allclose(left, (y - model(fit.params, x)) / 0.1, rtol=1e-4, atol=1e-4)
    labels = [text.get_text() for text in above.get_legend().get_texts()]
    assert labels == ["data", "model", "95% band", "95% of new data"]
    axes = plt.subplots(2, 1)[1]
    assert plot.fit(fit, model, x, y, ax=axes)[0] is axes[0]
    for wrong, message in (
        (dict(ax=axes[0]), "ax must be two axes"),
        (dict(prediction=True), "give sigma="),
    ):
        with pytest.raises(ValueError, match=message):
            plot.fit(fit, model, x, y, **wrong)
    with pytest.raises(ValueError, match="with one axis of the same length"):
        plot.fit(fit, model, x, y[:3])


def test_a_fit_of_many_with_errors_of_each_datum_shows_one():
    x = np.linspace(0.0, 3.0, 12, dtype=np.float32)
    model = lambda p, x: p[0] * jnp.exp(-p[1] * x)
    y = np.array([[1.0], [2.0]], np.float32) * np.exp(-x) + 0.05 * np.cos(7 * x)
    sigma = np.linspace(0.02, 0.1, 12, dtype=np.float32)
    fits = gdjax.curve_fit_many(model, jnp.ones(2), x, y, sigma=sigma)
    assert fits.converged.all()
    above, _ = plot.fit(fits[1], model, x[::-1], y[1, ::-1], sigma=sigma[::-1], prediction=True, points=12)
    wide = fits[1].band(model, x, prediction=True, sigma=sigma)[1]
    np.testing.assert_allclose(
        lines(above)["95% of new data"][1], model(fits.params[1], x) - wide, rtol=1e-3, atol=1e-4
    )
    with pytest.raises(ValueError, match=r"the fit is of 2 problems: draw one, as plot\.fit\(fits\[i\]"):
        plot.fit(fits, model, x, y)


@pytest.mark.sweep
def test_a_profile_shows_its_interval_and_the_straight_line():
    x, y = np.array([1.0, 2, 3, 4, 5, 7]), np.array([8.3, 10.3, 19.0, 16.0, 15.6, 19.8])
    demand = lambda p, x, y: p["limit"] * (1 - jnp.exp(-p["rate"] * x)) - y
    fit = gdjax.least_squares(demand, {"limit": 20.0, "rate": 0.5}, x, y)
    assert fit.converged
    found = gdjax.profile(demand, fit, x, y, parameter="rate")
    ax = plot.profile(found)
    drawn = lines(ax)
    at, t = drawn["profile t"]
    assert ax.get_xlabel() == "rate"
    np.testing.assert_allclose(np.interp(found.interval, at, t), [-found.quantile, found.quantile], rtol=0.02)
    np.testing.assert_allclose(drawn["of a linear model"][1], (at - found.estimate) / found.standard_error, rtol=1e-5)
    assert [text.get_text() for text in ax.get_legend().get_texts()][-1] == "95% interval"
    open_end = dataclasses.replace(found, upper=np.inf, standard_error=np.nan)
    assert "of a linear model" not in lines(plot.profile(open_end, ax=plt.subplots()[1]))


def test_it_draws_on_the_axes_given(two):
    _, ax = plt.subplots()
    assert plot.history(two, ax=ax) is ax
    assert plot.slice(curve, 1.0, ax=ax) is ax


def test_errors_say_what_is_missing(two):
    plain = gdjax.minimize(quadratic, np.zeros(3), method=RATE)
    kept = gdjax.minimize(quadratic, np.zeros(3), method=RATE, history=True)
    for call, message in (
        (lambda: plot.history(plain), "the result has no history; make it with history=True"),
        (lambda: plot.history({"a": kept}, against="seconds"), "result 'a' has no timing; make it with max_seconds"),
        (lambda: plot.history(kept, "loss"), "quantity must be"),
        (lambda: plot.history(kept, against="days"), "against must be one of"),
        (lambda: plot.surface(quadratic, np.zeros(3)), "with more than two weights give along="),
        (
            lambda: plot.slice(quadratic, np.zeros(3), along="w"),
            r"there is no weight 'w'; the first ones are params\[0\]",
        ),
        (lambda: plot.slice(quadratic, np.zeros(3), along=3), "there is no weight number 3 among 3"),
        (lambda: plot.slice(quadratic, np.zeros(3), along=np.zeros(3)), "a direction must be"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for name in ("gdjax.plot", *(f"gdjax.plot.{name}" for name in ("style", "curves", "fits", "losses"))):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"pip install 'gdjax\[plot\]'"):
        importlib.import_module("gdjax.plot")


@pytest.mark.sweep
def test_a_loss_of_a_model_is_drawn_by_what_is_fitted():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(1, 1, 2, 1, key=jax.random.key(0))
    x = jnp.linspace(0.0, 1.0, 8)[:, None]
    loss = lambda model, x: jnp.mean((jax.vmap(model)(x) - x**2) ** 2)
    found = gdjax.minimize(loss, model, x)
    assert found.converged
    ax = gdjax.plot.slice(loss, found, x, along="params.layers[0].weight[0][0]", path=[model], points=5)
    assert ax.get_xlabel() == "params.layers[0].weight[0][0]"
    gdjax.plot.surface(loss, found, x, path=[model, found], along=(0, 1), points=3)
