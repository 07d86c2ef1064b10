"""`least_squares(constraints=)`, `curve_fit(constraints=)`: the answer and the errors of the problem without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Constraint, Status
from gdjax.spaces import Positive

pytestmark = pytest.mark.float64

X = np.linspace(0, 3, 12)
Y = 2 * np.exp(-0.7 * X) + 0.5 + 0.02 * np.cos(37 * X)
START = np.array([1.0, 1.0, 0.0])


def decay(p, x):
    return p[0] * jnp.exp(-p[1] * x) + p[2]


def residuals(p, y):
    return decay(p, X) - y


SUM = Constraint(lambda p, data: p[0] + p[2], lower=2.4, upper=2.4)


def solve(y):
    return gdjax.least_squares(residuals, START, y, constraints=SUM)


@pytest.fixture(scope="module")
def eliminated():
    """With the third parameter written as what the constraint makes it."""
    fit = gdjax.least_squares(lambda p, y: residuals(jnp.array([p[0], p[1], 2.4 - p[0]]), y), START[:2], Y)
    assert fit.status == Status.CONVERGED
    return fit


@pytest.mark.sweep
def test_an_equality_is_as_good_as_eliminating_a_parameter(eliminated):
    fit = solve(Y)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params[:2], eliminated.params, rtol=1e-5)
    assert fit.freedom == eliminated.freedom
    errors = np.asarray(eliminated.standard_errors)
    np.testing.assert_allclose(fit.standard_errors, errors[[0, 1, 0]], rtol=1e-4)
    np.testing.assert_allclose(fit.covariance[0, 2], -(errors[0] ** 2), rtol=1e-3)


@pytest.mark.sweep
def test_a_constraint_that_is_not_reached_changes_nothing():
    free = gdjax.least_squares(residuals, START, Y)
    loose = Constraint(lambda p, y: p[0] + p[2], upper=10.0)
    fit = gdjax.least_squares(residuals, START, Y, constraints=loose)
    assert fit.status == free.status == Status.CONVERGED
    np.testing.assert_allclose(fit.standard_errors, free.standard_errors, rtol=1e-3)
    assert fit.freedom == free.freedom


def test_curve_fit_constrains_the_parameters_and_x(eliminated):
    fit = gdjax.curve_fit(decay, START, X, Y, constraints=Constraint(lambda p, x: decay(p, x)[0], upper=2.4))
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params[:2], eliminated.params, rtol=1e-5)
    np.testing.assert_allclose(fit.standard_errors[:2], eliminated.standard_errors, rtol=1e-4)


@pytest.mark.sweep
def test_inside_jit_and_with_derivatives():
    fit = jax.jit(solve)(Y)
    assert fit.code == Status.CONVERGED
    slope = jax.grad(lambda y: solve(y).params[1])(Y)[5]
    h = 1e-4 * np.eye(Y.size)[5]
    ahead, behind = solve(Y + h), solve(Y - h)
    assert ahead.status == behind.status == Status.CONVERGED
    np.testing.assert_allclose(slope, (ahead.params[1] - behind.params[1]) / 2e-4, rtol=1e-4)


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError, match="plain squares"):
        gdjax.least_squares(residuals, START, Y, constraints=SUM, robust=gdjax.Huber())
    with pytest.raises(ValueError, match="no profile"):
        gdjax.profile(residuals, solve(Y), Y, parameter=0)


LOW = 2 * np.exp(-0.7 * X) - 0.05 + 0.03 * np.cos(37 * X)  # with a constant below 0
BY_NAME = {"a": 1.0, "b": 1.0, "c": 0.1}
ABOUT = {
    "of others": Constraint(lambda p, y: p["a"] - 2 * p["b"], lower=0.5, upper=0.5),
    "of it too": Constraint(lambda p, y: p["a"] + p["c"], upper=1.9),
    "that holds it": Constraint(lambda p, y: p["c"], lower=0.01),
    "not reached": Constraint(lambda p, y: p["a"] + p["c"], upper=9.0),
}


@pytest.mark.sweep
@pytest.mark.parametrize("about", ABOUT)
def test_a_parameter_at_an_end_of_its_space_is_as_one_at_its_bound(about):
    low = lambda p, y: p["a"] * jnp.exp(-p["b"] * X) + p["c"] - y
    every = lambda kind: dict.fromkeys(BY_NAME, kind)
    bounded, inside = (
        gdjax.least_squares(low, BY_NAME, LOW, constraints=ABOUT[about], **option)
        for option in (dict(penalty=every(gdjax.penalties.NonNegative())), dict(space=every(Positive())))
    )
    assert bounded.status == inside.status == Status.CONVERGED
    assert inside.freedom == bounded.freedom
    np.testing.assert_allclose(inside.flat, bounded.flat, atol=1e-6)
    np.testing.assert_allclose(inside.standard_errors["b"], bounded.standard_errors["b"], rtol=1e-4)
    np.testing.assert_array_equal(np.isnan(inside.flat_errors), np.isnan(bounded.flat_errors))


@pytest.mark.sweep
@pytest.mark.parametrize("share", [1.0, 1e-3, 1e-6, 1e-9, 0.0])
def test_what_is_known_by_the_constraint_alone_has_the_error_that_it_gives(share):
    """However little the data tell of a: it is 1 - b, and has the error of b."""
    y = 0.6 * X + 0.1 * np.sin(9 * X)
    line = lambda p, x: p["b"] * x + share * p["a"]
    known = Constraint(lambda p, x: p["a"] + p["b"], 1.0, 1.0)
    fit = gdjax.curve_fit(line, {"a": 0.5, "b": 0.5}, X, y, constraints=known)
    by_hand = gdjax.curve_fit(lambda b, x: line({"a": 1 - b, "b": b}, x), 0.5, X, y)
    assert fit.status == by_hand.status == Status.CONVERGED
    np.testing.assert_allclose(fit.standard_errors["a"], by_hand.standard_errors, rtol=1e-4)
    np.testing.assert_allclose(fit.standard_errors["b"], by_hand.standard_errors, rtol=1e-4)
    np.testing.assert_allclose(fit.correlation[0, 1], -1, rtol=1e-6)
    assert fit.derived(lambda p: p["a"] + p["b"]).standard_errors < 1e-6 * fit.standard_errors["a"]


@pytest.mark.sweep
@pytest.mark.parametrize("rates", [(1.25, 0.15), (5.0, 0.05)])
def test_a_fast_rate_known_by_a_sum_in_single_precision(rates):
    with jax.enable_x64(False):
        t = np.linspace(0, 20, 60, dtype=np.float32)
        model = lambda p, t: 100 * (0.4 * jnp.exp(-p["fast"] * t) + 0.6 * jnp.exp(-p["slow"] * t))
        fast, slow = rates
        y = np.asarray(model({"fast": fast, "slow": slow}, t)) + 0.3 * np.sin(37 * np.arange(60, dtype=np.float32))
        known = Constraint(lambda p, t: p["fast"] + p["slow"], fast + slow, fast + slow)
        start = {"fast": 0.9 * fast, "slow": 1.1 * slow}
        fit = gdjax.curve_fit(model, start, t, y, constraints=known)
        by_hand = gdjax.curve_fit(lambda s, t: model({"fast": fast + slow - s, "slow": s}, t), 1.1 * slow, t, y)
    assert fit.converged
    assert by_hand.converged
    np.testing.assert_allclose(fit.standard_errors["fast"], by_hand.standard_errors, rtol=0.01)
    np.testing.assert_allclose(fit.standard_errors["slow"], by_hand.standard_errors, rtol=0.01)


@pytest.mark.sweep
@pytest.mark.parametrize("second", [1.0, 2.0])
def test_a_constraint_that_another_implies_takes_no_degree_of_freedom(second):
    line = lambda p, x: p[0] + p[1] * x + p[2] * x**2
    known, again = (Constraint(lambda p, x, c=c: c * (p[0] + p[1]), 3.0 * c, 3.0 * c) for c in (1.0, second))
    one, two = (gdjax.curve_fit(line, START, X, Y, constraints=c) for c in ([known], [known, again]))
    assert one.status == two.status == Status.CONVERGED
    assert one.freedom == two.freedom == 10
    np.testing.assert_allclose(two.standard_errors, one.standard_errors, rtol=1e-6)


@pytest.mark.sweep
def test_where_no_point_satisfies_the_constraints_there_are_no_errors():
    line = lambda p, x: p[0] + p[1] * x + p[2] * x**2
    sums = [Constraint(lambda p, x, s=s: p[0] + p[1], s, s) for s in (1.0, 2.0)]
    fit = gdjax.curve_fit(line, START, X, Y, constraints=sums)
    assert fit.status == Status.INFEASIBLE
    assert np.isnan(fit.standard_errors).all()
    assert np.isnan(fit.derived(lambda p: p[2]).standard_errors)
    assert "no point nearby satisfies the constraints" in str(fit)
    many = gdjax.curve_fit_many(line, START, X, np.stack([Y, Y]), constraints=sums)
    assert (many.code == Status.INFEASIBLE).all()
    assert "2 have constraints that no point nearby satisfies" in str(many)
