"""What is at an end of its space is taken as known, as at a bound: it has no error, and those of others are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status
from gdjax.penalties import NonNegative
from gdjax.spaces import (
    Above,
    Below,
    CorrelationCholesky,
    CovarianceCholesky,
    Interval,
    Ordered,
    Positive,
    Simplex,
    Stack,
)

RNG = np.random.default_rng(0)
X = np.linspace(0, 3, 40)
Y = 2 * np.exp(-1.3 * X) - 0.05 + 0.02 * RNG.normal(size=40)  # whose background is negative
START = {"a": 1.0, "k": 1.0, "c": 0.1}
SUCCESS = (Status.CONVERGED, Status.PRECISION_FLOOR)


def model(p, x):
    return p["a"] * jnp.exp(-p["k"] * x) + p["c"]


@pytest.fixture(scope="module")
def at_bound():
    fit = gdjax.curve_fit(model, START, X, Y, penalty={"c": NonNegative()})
    assert fit.status == Status.CONVERGED
    assert fit.params["c"] == 0
    return fit


def errors(fit):
    return np.array([fit.standard_errors["a"], fit.standard_errors["k"]])


@pytest.mark.sample("Above(lower=0.0)-1-0.1")
@pytest.mark.parametrize(
    ("space", "sign", "start"),
    [
        (Positive(), 1, 0.1),
        (Above(0.0), 1, 0.1),
        (Below(0.0), -1, -0.1),
        (Interval(0.0, 1.0), 1, 0.1),
        (Interval(-3.0, 0.0), -1, -0.1),
    ],
    ids=repr,
)
def test_errors_at_an_end_are_those_at_a_bound(at_bound, space, sign, start):
    signed = lambda p, x: model(dict(p, c=sign * p["c"]), x)
    fit = gdjax.curve_fit(signed, dict(START, c=start), X, Y, space={"c": space})
    assert fit.status in SUCCESS
    assert fit.held.tolist() == [False, True, False]
    assert fit.freedom == at_bound.freedom == 38
    assert np.isnan(fit.standard_errors["c"])
    np.testing.assert_allclose(errors(fit), errors(at_bound), rtol=1e-4)
    assert "held: at an end of its space" in str(fit)
    assert "At an end of its space: params['c']." in str(fit)


def test_where_the_descent_stops_does_not_matter(at_bound):
    """Half way or at the last rounding, the errors are the same."""
    for tol in (1e-2, 1e-4):
        method = gdjax.LBFGS()
        fit = gdjax.curve_fit(model, START, X, Y, space={"c": Positive()}, method=method, tol=tol * 1e-2)
        assert fit.status in SUCCESS
        assert fit.held.tolist() == [False, True, False]
        np.testing.assert_allclose(errors(fit), errors(at_bound), rtol=0.1)


@pytest.mark.sweep
@pytest.mark.parametrize(
    "options", [dict(cov_type="HC1"), dict(robust=gdjax.Huber(0.02)), dict(robust=gdjax.Huber(0.02), cov_type="HC0")]
)
def test_other_covariances_are_those_at_a_bound(options):
    bound = gdjax.curve_fit(model, START, X, Y, penalty={"c": NonNegative()}, **options)
    fit = gdjax.curve_fit(model, START, X, Y, space={"c": Positive()}, **options)
    assert bound.converged
    assert fit.status in SUCCESS
    np.testing.assert_allclose(errors(fit), errors(bound), rtol=1e-3)


@pytest.mark.sweep
def test_of_many_fits_each_has_its_own(at_bound):
    fits = gdjax.curve_fit_many(model, START, X, np.stack([Y, Y + 0.2]), space={"c": Positive()})
    assert np.isin(fits.code, SUCCESS).all()
    assert fits.held[:, 1].tolist() == [True, False]
    assert fits.freedom.tolist() == [38, 37]
    np.testing.assert_allclose(errors(fits[0]), errors(at_bound), rtol=1e-4)
    assert "1 has a parameter held at an end of its space" in str(fits)


@pytest.mark.sweep
def test_an_entry_of_a_stack_is_held(at_bound):
    listed = lambda p, x: p[0] * jnp.exp(-p[1] * x) + p[2]
    space = Stack([None, Positive(), Positive()])
    fit = gdjax.curve_fit(listed, jnp.array([1.0, 1.0, 0.1]), X, Y, space=space)
    assert fit.status in SUCCESS
    assert fit.held.tolist() == [False, False, True]
    np.testing.assert_allclose(fit.standard_errors[:2], errors(at_bound), rtol=1e-4)


@pytest.mark.sweep
def test_a_weight_of_zero_leaves_the_others_their_errors():
    y = 1.4 * np.exp(-0.5 * X) + 0.6 * np.exp(-2 * X) - 0.1 * np.exp(-20 * X) + 0.02 * RNG.normal(size=40)
    rates = jnp.array([0.5, 2.0, 20.0])
    mixed = lambda p, x: p["a"] * (jnp.exp(-x[:, None] * rates) @ p["w"])
    fit = gdjax.curve_fit(mixed, {"a": 1.0, "w": jnp.full(3, 1 / 3)}, X, y, space={"w": Simplex()})
    two = lambda p, x: p["a"] * (jnp.exp(-x[:, None] * rates[:2]) @ p["w"])
    plain = gdjax.curve_fit(two, {"a": 1.0, "w": jnp.full(2, 0.5)}, X, y, space={"w": Simplex()})
    assert fit.status in SUCCESS
    assert plain.status == Status.CONVERGED
    assert fit.held.tolist() == [False, False, False, True]
    assert fit.freedom == plain.freedom == 38
    np.testing.assert_allclose(fit.standard_errors["a"], plain.standard_errors["a"], rtol=1e-3)
    np.testing.assert_allclose(fit.standard_errors["w"][:2], plain.standard_errors["w"], rtol=1e-3)


@pytest.mark.sweep
def test_equal_neighbours_have_one_error():
    y = X + 0.8 * np.sqrt(X) + 0.02 * RNG.normal(size=40)
    line = lambda p, x: p[0] * x + p[1] * jnp.sqrt(x)
    fit = gdjax.curve_fit(line, jnp.array([0.1, 1.0]), X, y, space=Ordered())
    one = gdjax.curve_fit(lambda p, x: p * (x + jnp.sqrt(x)), 1.0, X, y)
    assert fit.status in SUCCESS
    assert one.status == Status.CONVERGED
    assert fit.freedom == one.freedom == 39
    assert not fit.held.any()
    np.testing.assert_allclose(fit.standard_errors, jnp.full(2, one.standard_errors), rtol=1e-4)


@pytest.mark.sweep
@pytest.mark.float64
@pytest.mark.parametrize("space", [CovarianceCholesky(), CorrelationCholesky()], ids=repr)
def test_a_factor_of_lower_rank(space):
    """The last entry of the diagonal is best at 0: the others have the errors of a factor without it."""
    truth = (
        jnp.array([[1.0, 0.0], [1.0, 0.0]]) if isinstance(space, CorrelationCholesky) else jnp.tril(jnp.ones((2, 2)))
    )
    rows = RNG.normal(size=(30, 4))
    rows[:, 3] = np.abs(rows[:, 3])
    y = rows @ np.asarray(truth).ravel() - 1.5 * rows[:, 3] + 0.1 * RNG.normal(size=30)
    fit = gdjax.curve_fit(lambda L, a: a @ L.ravel(), jnp.eye(2), rows, y, space=space)
    assert fit.status in SUCCESS
    assert bool(fit.held[3])
    if isinstance(space, CorrelationCholesky):
        assert fit.freedom == 30
        assert fit.held.tolist() == [False, False, True, True]
    else:
        assert fit.freedom == 28
        assert np.isfinite(fit.flat_errors[jnp.array([0, 2])]).all()


@pytest.mark.sweep
@pytest.mark.float64
@pytest.mark.parametrize("seed", range(2))
def test_an_end_at_infinity_is_reached_beside_another_parameter(seed):
    """Where nothing of a factor is left to change, the rest of the fit is what says whether it is done."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, 3))
    y = rows @ np.array([1.0, -1.5, 0.5]) + 0.1 * rng.normal(size=30)
    weighted = lambda p, a: a[:, 0] * p["L"][1, 0] + jnp.abs(a[:, 1]) * p["L"][1, 1] + a[:, 2] * p["s"]
    start, data = {"L": jnp.eye(2), "s": 0.0}, (rows, y - 9 * np.abs(rows[:, 1]))
    fit = gdjax.curve_fit(weighted, start, *data, space={"L": CorrelationCholesky()})
    assert fit.status in SUCCESS
    assert fit.held.tolist() == [False, False, True, True, False]
    assert "the minimum lies within a few roundings of the parameters" in fit.message
    end = jnp.sign(fit.params["L"][1, 0])  # there are two
    known = gdjax.curve_fit(lambda s, a: a[:, 0] * end + a[:, 2] * s, 0.0, *data)
    assert known.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params["s"], known.params, rtol=1e-9)
    np.testing.assert_allclose(fit.standard_errors["s"], known.standard_errors, rtol=1e-6)


def test_a_small_parameter_inside_keeps_its_error():
    """1e-6 in a space of positive numbers, from a start of 1, is no end."""
    y = 1e-6 * (X + 1) * (1 + 0.05 * RNG.normal(size=40))
    fit = gdjax.curve_fit(lambda p, x: p * (x + 1), 1.0, X, y, sigma=1e-6, space=Positive())
    plain = gdjax.curve_fit(lambda p, x: 1e-6 * p * (x + 1), 1.0, X, y, sigma=1e-6)
    assert fit.converged
    assert plain.converged
    assert not fit.held.any()
    np.testing.assert_allclose(1e6 * fit.standard_errors, plain.standard_errors, rtol=1e-3)
    assert "At an end" not in str(fit)


@pytest.mark.sweep
def test_errors_have_derivatives_at_an_end():
    error = lambda y: gdjax.curve_fit(model, START, X, y, space={"c": Positive()}).standard_errors["k"]
    slope = jax.grad(error)(jnp.asarray(Y))
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0


@pytest.mark.sweep
@pytest.mark.float64
@pytest.mark.parametrize("entries", [None, [0, 1, 2]])
def test_errors_from_a_hessian_are_those_at_a_bound(entries):
    loss = lambda p, x, y: jnp.mean((model(p, x) - y) ** 2)
    known = dict(kind="least_squares", num_data=40, entries=entries)
    bound = gdjax.minimize(loss, START, X, Y, penalty={"c": NonNegative()}, tol=1e-10)
    ended = gdjax.minimize(loss, START, X, Y, space={"c": Positive()}, tol=1e-10)
    assert bound.converged
    assert ended.converged
    right, found = (gdjax.uncertainty(loss, r, X, Y, **known) for r in (bound, ended))
    assert found.freedom == right.freedom
    assert found.held.tolist() == [False, True, False]
    np.testing.assert_allclose(found.flat_errors, right.flat_errors, rtol=1e-4)
    assert "held: at an end of its space" in str(found)


@pytest.mark.sweep
@pytest.mark.float64
@pytest.mark.parametrize("entries", [None, [0, 1, 2]])
def test_a_class_without_counts_has_no_error(entries):
    counts = jnp.array([20.0, 20.0, 0.0])
    loss = lambda w: -jnp.sum(jnp.where(counts > 0, counts * jnp.log(w), 0))
    result = gdjax.minimize(loss, jnp.full(3, 1 / 3), space=Simplex(), tol=1e-10)
    assert result.converged
    found = gdjax.uncertainty(loss, result, kind="likelihood", entries=entries)
    assert found.held.tolist() == [False, False, True]
    np.testing.assert_allclose(found.flat_errors[:2], (0.25 / 40) ** 0.5, rtol=1e-5)
