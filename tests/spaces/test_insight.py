"""What is said of an answer is said of the user's parameters: errors, profiles, curvature, checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Kind, Status
from gdjax.spaces import Above, Below, Fixed, Interval, Positive, Scaled, Simplex

pytestmark = pytest.mark.float64
X = np.linspace(0, 3, 40)
Y = 2 * np.exp(-1.3 * X) + 0.1 + 0.05 * np.random.default_rng(0).normal(size=40)
START, SPACE = {"a": 1.0, "c": 0.1, "k": 1.0}, {"a": Scaled(1e-3), "c": Fixed(), "k": Positive()}


def model(p, x):
    return p["a"] * jnp.exp(-p["k"] * x) + p["c"]


def by_hand(p, x):
    return model(dict(p, c=0.1), x)


@pytest.fixture(scope="module")
def fits():
    with jax.enable_x64(True):
        plain = gdjax.curve_fit(by_hand, {"a": 1.0, "k": 1.0}, X, Y)
        inside = gdjax.curve_fit(model, START, X, Y, space=SPACE)
    assert plain.status == inside.status == Status.CONVERGED
    return plain, inside


def test_errors_of_a_fit_go_through_the_maps(fits):
    plain, inside = fits
    np.testing.assert_allclose(inside.covariance[::2, ::2], plain.covariance, rtol=1e-6)
    assert np.isnan(inside.standard_errors["c"])
    assert inside.held.tolist() == [False, True, False]
    assert inside.freedom == plain.freedom == 38
    rows = inside.table().splitlines()
    assert rows[3].split() == ["c", "0.1", "fixed"]
    for function in (lambda p: p["a"] * p["k"], lambda p: p["k"]):
        a, b = inside.derived(function), plain.derived(function)
        np.testing.assert_allclose(a.standard_errors, b.standard_errors, rtol=1e-6)
    np.testing.assert_allclose(inside.band(model, X)[1], plain.band(by_hand, X)[1], rtol=1e-6)


@pytest.mark.sweep
def test_errors_of_many_fits(fits):
    many = gdjax.curve_fit_many(model, START, X, jnp.stack([Y, 2 * Y]), space=SPACE)
    assert (many.code == Status.CONVERGED).all()
    np.testing.assert_allclose(many[0].standard_errors["k"], fits[0].standard_errors["k"], rtol=1e-5)
    np.testing.assert_allclose(many.standard_errors["k"][0], fits[0].standard_errors["k"], rtol=1e-5)


def test_a_bound_beside_a_space(fits):
    box = {"a": gdjax.penalties.Box(0.0, 1.5)}
    fit = gdjax.curve_fit(model, START, X, Y, space=SPACE, penalty=box)
    assert fit.converged
    words = [row.split(maxsplit=2)[2] for row in fit.table().splitlines()[2:4]]
    assert words == ["held: at its bound", "fixed"]


@pytest.mark.sweep
def test_a_given_jacobian_is_by_the_parameters(fits):
    jac = jax.jacfwd(model)
    fit = gdjax.curve_fit(model, START, X, Y, space=SPACE, jac=jac, check_jac=True)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params["k"], fits[0].params["k"], rtol=1e-8)
    wrong = lambda p, x: dict(jac(p, x), k=1.1 * jac(p, x)["k"])
    found = gdjax.curve_fit(model, START, X, Y, space=SPACE, jac=wrong)
    assert found.status == Status.WRONG_GRADIENT
    assert "params['k']" in str(found)


@pytest.mark.sweep
@pytest.mark.parametrize("entries", [None, [0, 1, 2]])
def test_uncertainty_goes_through_the_maps(entries):
    mean = lambda p, x, y: jnp.mean((model(p, x) - y) ** 2)
    plain_mean = lambda p, x, y: jnp.mean((by_hand(p, x) - y) ** 2)
    space = {"a": Positive(), "c": Fixed(), "k": Interval(0.0, 9.0)}
    inside = gdjax.minimize(mean, START, X, Y, space=space, tol=1e-10)
    plain = gdjax.minimize(plain_mean, {"a": 1.0, "k": 1.0}, X, Y, tol=1e-10)
    assert inside.converged
    assert plain.converged
    found = gdjax.uncertainty(mean, inside, X, Y, kind="least_squares", num_data=40, entries=entries)
    true = gdjax.uncertainty(plain_mean, plain, X, Y, kind="least_squares", num_data=40)
    np.testing.assert_allclose(found.covariance[::2, ::2], true.covariance, rtol=1e-4)
    assert "fixed" in str(found)
    assert np.isnan(found.covariance[1, 1])


@pytest.mark.sweep
def test_errors_of_shares_are_the_multinomial_ones():
    counts = jnp.array([20.0, 10.0, 10.0])
    loss = lambda w: -counts @ jnp.log(w)
    result = gdjax.minimize(loss, jnp.full(3, 1 / 3), space=Simplex(), tol=1e-10)
    assert result.converged
    found = gdjax.uncertainty(loss, result, kind="likelihood")
    share = np.asarray(counts / 40)
    truth = (np.diag(share) - np.outer(share, share)) / 40
    np.testing.assert_allclose(found.covariance, truth, rtol=1e-6, atol=1e-12)


@pytest.mark.sweep
def test_a_profile_is_on_the_scale_of_the_parameter():
    x, y = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0]), jnp.array([8.3, 10.3, 19.0, 16.0, 15.6, 19.8])
    plain = lambda p, x, y: p["limit"] * (1 - jnp.exp(-p["rate"] * x)) - y
    more = lambda p, x, y: p["c"] + plain(p, x, y)
    start = {"limit": 20.0, "rate": 0.5}
    space = {"c": Fixed(), "limit": Positive(), "rate": Below(3.0)}
    a = gdjax.least_squares(plain, start, x, y)
    b = gdjax.least_squares(more, dict(start, c=0.0), x, y, space=space)
    assert a.converged
    assert b.converged
    for name in start:
        one, other = (gdjax.profile(f, fit, x, y, parameter=name) for f, fit in ((plain, a), (more, b)))
        np.testing.assert_allclose(other.interval, one.interval, rtol=1e-5)
        assert (np.diff(other.values) > 0).all()
        assert other.params["c"].shape == other.values.shape
        np.testing.assert_allclose(other.params[name], other.values, rtol=1e-9)
    with pytest.raises(ValueError, match="c is fixed"):
        gdjax.profile(more, b, x, y, parameter="c")


def floor(p, x, y):
    return p["a"] * jnp.exp(-p["k"] * x) + p["c"] - y


@pytest.fixture(scope="module")
def bounded():
    """A fit whose best c is at its bound 0, and data."""
    x = np.linspace(0, 4, 30)
    y = 2 * np.exp(-0.7 * x) - 0.05 + 0.03 * np.cos(17 * x)
    bound = gdjax.penalties.NonNegative()
    with jax.enable_x64(True):
        fit = gdjax.least_squares(floor, START, x, y, penalty={"a": bound, "c": bound, "k": bound})
    assert fit.status == Status.CONVERGED
    return fit, (x, y)


# The same parameter, in spaces with the end below and above; c = sign (p - shift).
ENDED = [(Positive(), 1.0, 0.0), (Above(1.0), 1.0, 1.0), (Below(0.0), -1.0, 0.0), (Interval(-3.0, 0.0), -1.0, 0.0)]


@pytest.mark.sweep
@pytest.mark.parametrize(("kind", "sign", "shift"), ENDED)
def test_profiles_with_a_parameter_at_an_end_are_those_with_a_bound_there(bounded, kind, sign, shift):
    fit, data = bounded
    own = lambda p, x, y: floor(dict(p, c=sign * (p["c"] - shift)), x, y)
    space = {"a": Positive(), "c": kind, "k": Positive()}
    inside = gdjax.least_squares(own, dict(START, c=shift + 0.1 * sign), *data, space=space)
    assert inside.status == Status.PRECISION_FLOOR
    want = gdjax.profile(floor, fit, *data, parameter="a")
    found = gdjax.profile(own, inside, *data, parameter="a")
    np.testing.assert_allclose(found.interval, want.interval, rtol=1e-6)
    assert found.notes == ()
    # Of the one at the end itself: one end is there.
    want = gdjax.profile(floor, fit, *data, parameter="c")
    found = gdjax.profile(own, inside, *data, parameter="c")
    np.testing.assert_allclose(sorted(sign * (np.array(found.interval) - shift)), want.interval, rtol=1e-5, atol=1e-14)
    assert found.notes == (f"{'lower' if sign > 0 else 'upper'} end: is at the end of its space",)
    assert "held: at an end of its space" in str(found)


@pytest.mark.sweep
@pytest.mark.parametrize("kind", ["HC0", "HC1", "HC2", "HC3"])
def test_errors_of_a_sandwich_leave_out_what_is_at_an_end_as_what_is_at_a_bound(bounded, kind):
    fit, (x, y) = bounded
    two = gdjax.least_squares(lambda p, x, y: floor(dict(p, c=0.0), x, y), {"a": 1.0, "k": 1.0}, x, y, cov_type=kind)
    held = gdjax.least_squares(floor, START, x, y, penalty=fit.penalty, cov_type=kind)
    space = dict.fromkeys(START, Positive())
    inside = gdjax.least_squares(floor, START, x, y, space=space, cov_type=kind)
    for found in (held, inside):
        assert found.converged
        np.testing.assert_allclose(found.standard_errors["a"], two.standard_errors["a"], rtol=1e-6)
        np.testing.assert_allclose(found.standard_errors["k"], two.standard_errors["k"], rtol=1e-6)


@pytest.mark.sweep
def test_both_ends_of_a_narrow_space_may_end_the_interval(bounded):
    space = {"a": Positive(), "c": Interval(0.0, 0.005), "k": Positive()}
    inside = gdjax.least_squares(floor, dict(START, c=0.003), *bounded[1], space=space)
    assert inside.converged
    found = gdjax.profile(floor, inside, *bounded[1], parameter="c")
    np.testing.assert_allclose(found.interval, (0, 0.005), atol=1e-14)


@pytest.mark.sweep
def test_curvature_and_checks_know_the_space():
    loss = lambda p: (p["b"] ** 2 - 1) ** 2 + jnp.log(p["s"]) + 2 / p["s"] ** 2
    start, space = {"b": 0.0, "s": 2.0}, {"s": Positive()}
    found = gdjax.classify_critical_point(loss, start, space=space)
    assert found.kind is Kind.SADDLE
    assert abs(found.direction["b"]) == pytest.approx(1)
    escaped = gdjax.minimize(loss, start, space=space, escape_saddles=True)
    assert escaped.converged
    assert abs(escaped.params["b"]) == pytest.approx(1, rel=1e-4)
    words = str(escaped.explain(loss))
    assert "a minimum" in words
    assert "params['s'] in Positive()" in words
    assert gdjax.check_gradient(loss, start, space=space).ok
    wrong = lambda p: dict(jax.grad(loss)(p), s=1.0)
    assert not gdjax.check_gradient(loss, start, space=space, grad=wrong).ok
    assert gdjax.learning_rate_range(loss, {"b": 0.5, "s": 1.0}, space=space, max_steps=60).recommended > 0
