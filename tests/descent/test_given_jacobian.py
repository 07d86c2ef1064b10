"""A wrong Jacobian never ends a fit as converged, and a right one is never accused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

X = np.linspace(0, 4, 20)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.01 * np.cos(37 * X)
START = {"height": 1.0, "rate": 1.0, "base": 0.0}


def misfit(p, x, y, factors):
    return p["height"] * jnp.exp(-p["rate"] * x) + p["base"] - y


def slopes(p, x, y, factors):
    """The Jacobian with its columns multiplied: by 1 it is right."""
    e = jnp.exp(-p["rate"] * x)
    right = dict(height=e, rate=-p["height"] * x * e, base=jnp.ones_like(e))
    return {name: factors[name] * column for name, column in right.items()}


def fit_with(factors, **options):
    x, y = jnp.asarray(X), jnp.asarray(Y)
    return gdjax.least_squares(
        misfit, START, x, y, dict(height=1.0, rate=1.0, base=1.0) | factors, jac=slopes, **options
    )


@pytest.mark.parametrize(
    "factors",
    [dict(rate=1.01), dict(rate=0.0), dict(rate=-1.0), dict(height=2.0, rate=2.0, base=2.0), dict(base=1e12)],
    ids=["a hundredth", "forgotten", "sign", "all twice", "enormous"],
)
def test_a_wrong_jacobian_is_never_called_converged(factors, x64):
    fit = fit_with(factors)
    assert fit.status == Status.WRONG_GRADIENT
    assert not fit.converged


def test_a_right_one_is_never_accused(x64):
    fit = fit_with({})
    assert fit.converged
    plain = gdjax.least_squares(misfit, START, jnp.asarray(X), jnp.asarray(Y), 0.0)
    assert plain.converged
    assert abs(int(fit.num_evals) - int(plain.num_evals)) <= 1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3), fit.standard_errors, plain.standard_errors)
    rounding = dict(height=1 + 1e-9, rate=1 - 1e-9) if x64 else dict(height=1 + 1e-6, rate=1 - 1e-6)
    assert fit_with(rounding).converged


@pytest.mark.float64
def test_the_worst_entry_is_named():
    fit = fit_with(dict(rate=0.5))
    row, entry = int(fit.entry.row), fit.entry
    assert f"for residual {row} and params['rate'] it is {float(entry.given):.6g}, jax's" in fit.message
    np.testing.assert_allclose(entry.given, 0.5 * entry.other, rtol=1e-9)
    exact = jax.jacfwd(misfit)(fit.params, X, Y, None)["rate"]
    np.testing.assert_allclose(entry.other, exact[row], rtol=1e-9)
    assert row == np.argmax(np.abs(exact))


@pytest.mark.float64
def test_how_wrong_it_may_be_is_the_tolerance_of_the_cosine_test():
    assert fit_with(dict(rate=1 + 1e-6)).status == Status.WRONG_GRADIENT
    assert fit_with(dict(rate=1 + 1e-6), tol=1e-6).status == Status.CONVERGED
    assert fit_with(dict(rate=1.01), tol=0.1).status == Status.WRONG_GRADIENT  # the covariance would be


@pytest.mark.sweep
@pytest.mark.float64
def test_each_of_many_is_judged_by_itself():
    factors = dict(height=1.0, rate=jnp.array([1.0, 1.1, 1.0]), base=1.0)
    codes = [Status.CONVERGED, Status.WRONG_GRADIENT, Status.CONVERGED]
    axes = dict(height=None, rate=0, base=None)
    many = gdjax.least_squares_many(misfit, START, X, Y, factors, jac=slopes, in_axes=(None, None, None, axes))
    assert many.code.tolist() == codes
    assert "rate" in many[1].message
    solve = lambda rate: gdjax.least_squares(misfit, START, X, Y, dict(factors, rate=rate), jac=slopes).code
    assert jax.jit(jax.vmap(solve))(factors["rate"]).tolist() == codes


@pytest.mark.float64
def test_where_jaxs_derivative_is_the_wrong_one_the_residuals_have_the_last_word():
    half = lambda p, x, y: (p + jax.lax.stop_gradient(p)) * x - y  # jax sees half of the slope
    fit = gdjax.least_squares(half, 1.0, X, 3 * X + 0.1, jac=lambda p, x, y: 2 * x)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params, 0.5 * np.dot(X, 3 * X + 0.1) / np.dot(X, X), rtol=1e-9)


def ask(function, *shape):
    """What JAX cannot differentiate."""

    def host(p, s):
        return np.asarray(function(np.asarray(p, np.float64), np.asarray(s, np.float64)), np.float32)

    return lambda p, s: jax.pure_callback(host, jax.ShapeDtypeStruct(shape, p.dtype), p, s, vmap_method="sequential")


def test_residuals_that_jax_cannot_differentiate():
    f = lambda p, s: p[0] * np.exp(-p[1] * X) + p[2] - Y
    j = lambda p, s: np.stack([np.exp(-p[1] * X), -s * p[0] * X * np.exp(-p[1] * X), np.ones(20)], 1)
    solve = lambda s: gdjax.least_squares(ask(f, 20), jnp.array([1.0, 1.0, 0.0]), s, jac=ask(j, 20, 3))
    assert solve(1.0).converged
    wrong = solve(1.05)
    assert wrong.status == Status.WRONG_GRADIENT
    assert "and params[1] it is -0.7" in wrong.message
    assert "that of differences -0.7" in wrong.message


def test_with_many_parameters_differences_look_along_a_few_directions():
    a = np.random.default_rng(0).normal(size=(30, 12))
    f = lambda p, s: np.tanh(a @ p) - 0.3
    j = lambda p, s: (1 - np.tanh(a @ p)[:, None] ** 2) * a * s
    solve = lambda s: gdjax.least_squares(ask(f, 30), jnp.zeros(12), jnp.asarray(s, jnp.float32), jac=ask(j, 30, 12))
    ones = np.ones(12)
    assert solve(ones).converged
    wrong = solve(np.where(np.arange(12) == 5, 1.2, ones))
    assert wrong.status == Status.WRONG_GRADIENT
    assert "along some directions" in wrong.message


@pytest.mark.sweep
@pytest.mark.float64
def test_bounds_other_methods_and_derivatives_go_with_it():
    box = {"rate": gdjax.penalties.Box(0.0, 1.1)}
    assert fit_with({}, penalty=box).status == Status.CONVERGED
    assert fit_with(dict(height=1.1), penalty=box).status == Status.WRONG_GRADIENT
    right = dict(height=1.0, rate=1.0, base=1.0)
    shift = lambda s: gdjax.least_squares(misfit, START, X, Y + s, right, jac=slopes).params["base"]
    np.testing.assert_allclose(jax.grad(shift)(0.0), 1.0, rtol=1e-6)
    assert fit_with({}, method=gdjax.LBFGS()).status == Status.CONVERGED
    assert fit_with(dict(rate=1.01), method=gdjax.LBFGS()).status == Status.WRONG_GRADIENT


@pytest.mark.sweep
@pytest.mark.float64
@pytest.mark.parametrize("method", [gdjax.LevenbergMarquardt(), gdjax.LBFGS()], ids=["LM", "L-BFGS"])
def test_a_jacobian_in_single_precision_is_judged_at_its_own(method):
    x, y = jnp.asarray(X), jnp.asarray(Y)
    single = lambda *given: jax.tree.map(lambda column: column.astype(jnp.float32), slopes(*given))
    right, wrong = dict(height=1.0, rate=1.0, base=1.0), dict(height=1.0, rate=1.01, base=1.0)
    fit = gdjax.least_squares(misfit, START, x, y, right, jac=single, method=method, check_jac=True)
    assert fit.status == Status.CONVERGED, fit.message
    assert "less precise than float64" in fit.message
    assert float(fit.stop.tol) > 1e-5
    plain = gdjax.least_squares(misfit, START, x, y, right)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3), fit.params, plain.params)
    assert gdjax.least_squares(misfit, START, x, y, wrong, jac=single).status == Status.WRONG_GRADIENT
