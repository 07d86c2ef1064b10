"""Every example reaches what its text says."""

import itertools
import pathlib
import sys

import jax
import numpy as np
import pytest

import gdjax
from gdjax import Status

MODES = [True]  # proofs to many digits

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture
def double(x64):
    """The functions of the examples are tested in double precision, as their scripts choose it."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def test_quickstart_agrees_with_scikit_learn(double):
    import quickstart

    x_train, y_train, _, _ = quickstart.load_data()
    truth = quickstart.fit_sklearn(x_train, y_train)
    result, _, _ = quickstart.descend(None, x_train, y_train)
    assert result.status == Status.CONVERGED
    assert quickstart.largest_difference(result.params, truth) < 1e-4


def test_linear_regression_says_too_small_right_and_too_large(double):
    import linear_regression as example

    x, y = example.make_data()
    limit = example.largest_stable_rate(x, y)
    statuses = [example.descend(rate, x, y).status for rate in (1e-5, 0.9 * limit, 1.1 * limit)]
    assert statuses == [Status.MAX_STEPS, Status.CONVERGED, Status.DIVERGED]
    np.testing.assert_allclose(example.descend(0.02, x, y).params, example.exact(x, y), atol=1e-5)
    before, after = example.one_step()
    np.testing.assert_allclose(before.grad, [4, -1])
    np.testing.assert_allclose(after.params - before.params, [-0.4, 0.1])


def test_five_weights_reach_zero_and_guessing_does_not(double):
    import five_weights as example

    assert float(example.loss(example.START)) == pytest.approx(452.564)
    result = example.descend(None)
    assert result.status == Status.TARGET_REACHED
    assert float(result.value) < 1e-15
    np.testing.assert_allclose(result.params, [25, 12.5, 25 / 3, 6.25, 5], atol=1e-6)
    assert example.guess(int(result.num_evals))[1] > 1


@pytest.mark.sweep
def test_fence(double):
    import fence as example

    states = example.climb()
    assert (float(states[0].value), float(states[0].grad)) == (2451, -14)
    assert states[-1].status == Status.CONVERGED
    assert float(states[-1].value) == pytest.approx(2500)
    assert float(example.absolute_error(example.START)) == pytest.approx(6748.5)
    assert 9e4 < example.condition_number() < 1.1e5
    for name, method in example.METHODS.items():
        result = example.fit(method)
        assert (float(result.value) <= 1e-9) == (result.status == Status.TARGET_REACHED), name
        assert result.converged == (result.status == Status.TARGET_REACHED), name


def test_local_minima(double):
    import local_minima as example

    ends = example.from_many_starts(example.descend_curve, np.array([-2.0, 0.0, 1.0, 2.0]))
    assert ends.converged.all()
    np.testing.assert_allclose(ends.params, [-1.473, -1.473, 1.347, 1.347], atol=1e-3)
    at_saddle = example.descend_surface(np.zeros(2))
    assert (at_saddle.status, int(at_saddle.num_steps)) == (Status.CONVERGED, 0)
    assert "a saddle" in str(at_saddle)


@pytest.mark.sweep
def test_learning_rate(double):
    import learning_rate as example

    three, report = example.compare_rates(*example.load_data())
    assert [r.status for r in three.values()] == [Status.MAX_STEPS, Status.CONVERGED, Status.MAX_STEPS]
    assert float(three["too large (1.03)"].history.value[60]) > 100 * report.start_value
    assert report.stable_limit == pytest.approx(1)
    assert report.recommended < 1


def test_saddle(double):
    import saddle as example

    stuck, _ = example.descend()
    free, path = example.descend(escape_saddles=True)
    assert stuck.status == free.status == Status.CONVERGED
    assert float(stuck.value) == pytest.approx(1)
    assert float(free.value) == pytest.approx(0, abs=1e-9)
    assert free.certificate.kind.name == "MINIMUM"
    np.testing.assert_allclose(path[-1].params, free.params, atol=1e-6)


def test_step_by_step(double):
    import step_by_step as example

    states = example.walk()
    assert float(example.by_hand(example.START)) == pytest.approx(float(states[1].params))
    assert all(a.value > b.value for a, b in itertools.pairwise(states))


@pytest.mark.parametrize("name", ["adam(0.05)", "sgd(5e-4, momentum=0.9)"])
def test_iterates_are_those_of_a_loop_by_hand(name, double):
    import compare_optax as example

    assert example.largest_difference(example.OPTIMISERS[name]) < 1e-12


def test_lasso_path_is_scikit_learns(double):
    import lasso_path

    x, y, _ = lasso_path.data()
    strengths = lasso_path.grid(x, y, 5)
    results = lasso_path.path(x, y, strengths)
    assert (results.code == Status.CONVERGED).all()
    theirs = lasso_path.lasso_path(x, y - y.mean(), alphas=strengths, tol=1e-10, max_iter=100_000)[1].T
    np.testing.assert_allclose(results.params["w"], theirs, atol=1e-3)
    np.testing.assert_allclose(results.params["b"], y.mean(), atol=1e-3)


def test_bounded_fit_ends_at_its_bound(double):
    import bounded_fit

    t, y = bounded_fit.measure()
    limited = bounded_fit.fit(t, y, bounded_fit.LIMITS)
    assert limited.status == Status.CONVERGED
    assert float(limited.params["background"]) == 0.15


@pytest.mark.sweep
def test_nonnegative_factors_are_not_negative_and_sparser_with_the_penalty(double):
    import nonnegative_factorization as example

    x = example.data()[:60]
    plain, sparse = example.factorise(x, 0.0), example.factorise(x, 1.0)
    for result in (plain, sparse):
        assert result.status == Status.CONVERGED
        assert all((np.asarray(v) >= 0).all() for v in result.params.values())
    zeros = lambda result: np.mean(np.asarray(result.params["H"]) == 0)
    assert zeros(sparse) > zeros(plain)


@pytest.mark.sweep
def test_strengths_tuned_by_the_gradient_beat_the_grid(double):
    import tune_regularisation as example

    x, y = example.load_data()
    exact, numeric = example.gradients(x, y)
    np.testing.assert_allclose(exact, numeric, rtol=1e-4)
    found = example.tune(x, y)
    best, where = example.grid_search(x, y)
    # The inner fits are exact to their tolerance only, which near the end is all that the outer search sees.
    assert found.status in (Status.CONVERGED, Status.LINE_SEARCH_FAILED)
    assert float(found.grad_norm) < 1e-4
    assert found.value < best
    assert np.abs(found.params - where).max() < float(example.GRID[1] - example.GRID[0])  # the same valley


@pytest.mark.sweep
def test_many_fits_are_those_of_vmap(double):
    import many_fits as example

    _, responses = example.make_data(300)
    result, same = example.fit_all(responses), example.fit_all_by_vmap(responses)
    assert np.mean(result.status == same.status) > 0.99  # near the limit rounding decides
    np.testing.assert_allclose(result.value, same.value, atol=1e-4)
    # The others have no minimum: they flatten for ever, and are on their way to a straight line.
    done = np.asarray(result.status == Status.CONVERGED)
    assert np.mean(done) > 0.97
    assert (np.abs(result.params["low"])[~done] > 10).all()
    assert set(np.unique(result.status)) <= {Status.CONVERGED, Status.MAX_EVALS}
    assert int(result.num_evals.max()) > 10 * np.median(result.num_evals)


@pytest.mark.sweep
def test_multistart_finds_the_deepest_valley_and_the_waves(double):
    import multistart as example

    found = example.search_egg_box(300)
    np.testing.assert_allclose(found.best.params, 0, atol=1e-3)
    assert found.minima.value[1] > 0.1
    waves = example.search_waves(200)
    assert waves.best.status == Status.CONVERGED
    for i in (0, 1):
        frequencies = sorted([float(waves.minima.params["f"][i]), float(waves.minima.params["g"][i])])
        np.testing.assert_allclose(frequencies, [1.7, 4.1], atol=0.01)
    assert waves.minima.value[2] > 10 * waves.minima.value[1]


def test_a_line_search_of_your_own_halves_and_does_as_well_as_ours(double):
    import your_own_pieces as example

    start = np.array([-1.2, 1.0])
    result = example.search_by_halving(start)
    ours = gdjax.minimize(example.rosenbrock, start, method=gdjax.LBFGS(line_search=gdjax.Backtracking()))
    assert result.status == ours.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-5)
    assert int(result.num_evals) <= 2 * int(ours.num_evals)
    halvings = -np.log2(result.history.trim().step_size[2:])  # L-BFGS begins with 1 once it has learnt something
    np.testing.assert_array_equal(halvings, np.round(halvings))
    assert halvings.max() >= 1
    solve = lambda share: gdjax.minimize(
        example.rosenbrock, start, method=gdjax.LBFGS(line_search=example.Halving(share))
    )
    assert (jax.vmap(solve)(np.array([1e-4, 0.1])).status == Status.CONVERGED).all()
    uphill = dict(grad=lambda p: -jax.grad(example.rosenbrock)(p))
    few = gdjax.LBFGS(line_search=example.Halving(max_trials=20))
    assert gdjax.minimize(example.rosenbrock, start, method=few, **uphill).status == Status.LINE_SEARCH_FAILED


@pytest.mark.sweep
def test_a_penalty_of_your_own_has_its_closed_form_and_is_l1_where_both_strengths_are_one(double):
    import your_own_pieces as example

    goal = np.array([3.0, 0.4, -0.4, -3.0])
    result = example.shrink(goal, 0.5, 0.1)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [2.5, 0.0, -0.3, -2.9], atol=1e-6)
    assert gdjax.check_penalty(example.AsymmetricL1(0.5, 0.1), goal).ok
    many = jax.vmap(lambda up, down: example.shrink(goal, up, down))(np.array([0.2, 0.5]), np.array([0.2, 0.1]))
    l1 = gdjax.minimize(lambda x: 0.5 * ((x - goal) ** 2).sum(), 0 * goal, penalty=gdjax.penalties.L1(0.2))
    assert (many.status == Status.CONVERGED).all()
    assert l1.status == Status.CONVERGED
    np.testing.assert_allclose(many.params[0], l1.params, atol=1e-6)
    np.testing.assert_allclose(many.value[0], l1.value, rtol=1e-6)


def test_a_stopping_test_of_your_own_stops_where_a_loop_by_hand_would(double):
    import your_own_pieces as example

    result, stopping, at_end = example.fit_until_validation_rises(patience=5)
    assert result.status == Status.STOPPED_BY_CALLBACK
    (train, (powers, y)) = example.make_polynomials()
    mse = lambda w, powers, y: ((powers @ w - y) ** 2).mean()
    seen = [float(mse(s.params, powers, y)) for s in gdjax.iterate(mse, np.zeros(powers.shape[1]), *train)]
    best = next(k for k, v in enumerate(seen) if v == min(seen[: k + 6]) and len(seen) > k + 5)
    assert int(result.num_steps) == best + 5
    assert stopping.best == pytest.approx(seen[best], rel=1e-9)
    assert stopping.best < at_end


def test_an_observer_of_your_own_sees_every_tenth_step(double):
    import your_own_pieces as example

    start = np.tile([-1.2, 1.0], 5)
    result, rows = example.record(start, every=10)
    whole = gdjax.minimize(example.rosenbrock, start, history=True)
    assert result.status == whole.status == Status.CONVERGED
    steps, values, norms = np.array(rows).T
    np.testing.assert_array_equal(steps, np.arange(0, int(whole.num_steps) + 1, 10))
    history = whole.history.trim()
    np.testing.assert_array_equal(values, history.value[::10])
    np.testing.assert_array_equal(norms, history.grad_norm[::10])


@pytest.mark.sweep
def test_the_frontier_of_a_portfolio_has_its_multipliers_for_slopes(double):
    import portfolio as example

    returns, covariance = example.data()
    top = example.highest(returns)
    targets = np.linspace(0.11, top - 1e-3, 9)
    found = example.frontier(targets, returns, covariance)
    np.testing.assert_array_equal(found.code, Status.CONVERGED)
    np.testing.assert_allclose(found.params.sum(axis=1), 1, atol=2e-6)
    assert (np.diff(found.value) > 0).all()
    slopes, rises = np.asarray(found.multipliers["return"]), np.diff(found.value) / np.diff(targets)
    assert ((slopes[:-1] <= rises + 1e-4) & (rises <= slopes[1:] + 1e-4)).all()  # the frontier is convex
    assert example.least_risk(top + 0.01, returns, covariance).status == Status.INFEASIBLE


@pytest.mark.sweep
def test_the_path_keeps_out_of_the_obstacles(double):
    import obstacle_path as example

    _, result = example.find(count=12)
    assert result.status == Status.CONVERGED
    assert np.min(example.clearance(result.params)) >= -1e-5
    assert 1 < float(result.value) < 1.1
    assert np.asarray(result.active).any()
