"""Derivatives of fits: the closed forms of linear regression, and differences of refits; exact, not Gauss-Newton's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

MODES = [True]  # proofs to many digits

X = np.linspace(0, 4, 20)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.3 * np.cos(37 * X)  # far from the model: Gauss-Newton would be wrong
START = {"height": 1.0, "rate": 1.0, "base": 0.0}
STEP = 1e-5
BUMP = np.eye(20)[3]


def misfit(p, x, y):
    return p["height"] * jnp.exp(-p["rate"] * x) + p["base"] - y


def fit(y, **options):
    return gdjax.least_squares(misfit, START, X, y, **options)


def shown(found):
    """Some numbers of a fit: an estimate, a residual, a standard error."""
    return jnp.stack([found.params["rate"], found.residuals[5], found.standard_errors["height"]])


def by_refits(numbers):
    """The derivative along BUMP, by central differences."""
    return (numbers(Y + STEP * BUMP) - numbers(Y - STEP * BUMP)) / (2 * STEP)


def assert_derivatives(numbers, rtol=1e-6):
    """Both modes agree with refits."""
    want = by_refits(numbers)
    np.testing.assert_allclose(jax.jvp(numbers, (Y,), (BUMP,))[1], want, rtol=rtol, atol=1e-8)
    np.testing.assert_allclose(jax.jacrev(numbers)(Y)[..., 3], want, rtol=rtol, atol=1e-8)


def test_linear_regression_in_closed_form():
    a, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12.0) % 5

    def numbers(a, y):
        found = gdjax.least_squares(lambda b, a, y: a @ b - y, np.zeros(3), a, y)
        return found.params, found.covariance, found.residuals

    def closed(a, y):
        inverse = jnp.linalg.inv(a.T @ a)
        b = inverse @ a.T @ y
        r = a @ b - y
        return b, r @ r / 9 * inverse, r

    for ours, theirs in zip(jax.jacrev(numbers, (0, 1))(a, y), jax.jacrev(closed, (0, 1))(a, y), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.sweep
def test_estimates_residuals_and_errors_against_refits():
    assert fit(Y).status == Status.CONVERGED
    assert_derivatives(lambda y: shown(fit(y)))
    r, a = misfit(fit(Y).params, X, Y), jax.jacfwd(lambda p: misfit(p, X, Y))(fit(Y).params)
    a = np.stack([a["base"], a["height"], a["rate"]], axis=1)
    newton = np.linalg.solve(a.T @ a, a.T)[2, 3]
    exact = jax.grad(lambda y: fit(y).params["rate"])(Y)[3]
    assert abs(newton / exact - 1) > 0.01  # which makes the difference
    assert r.size == 20


@pytest.mark.sweep
def test_a_bound_holds_and_moves():
    box = lambda end: {"rate": gdjax.penalties.Box(0.0, end)}
    held = fit(Y, penalty=box(1.1))
    assert held.status == Status.CONVERGED
    assert float(held.params["rate"]) == 1.1
    numbers = lambda y: shown(fit(y, penalty=box(1.1)))
    assert_derivatives(numbers)
    assert jax.jvp(numbers, (Y,), (BUMP,))[1][0] == 0
    follows = lambda end: jnp.stack(list(fit(Y, penalty=box(end)).params.values()))
    want = (follows(1.1 + STEP) - follows(1.1 - STEP)) / (2 * STEP)
    np.testing.assert_allclose(jax.jacrev(follows)(1.1), want, rtol=1e-6)


@pytest.mark.sweep
def test_of_a_robust_loss():
    solve = lambda y: fit(y, robust=gdjax.SoftL1(0.1))
    assert solve(Y).status == Status.CONVERGED
    assert_derivatives(lambda y: (lambda found: jnp.stack([found.params["rate"], found.value]))(solve(y)), rtol=1e-4)


@pytest.mark.sweep
def test_of_complex_parameters_and_data():
    t = np.linspace(0, 3, 15)
    seen = (1.5 - 0.5j) * np.exp((-0.4 + 2.0j) * t) + 0.2 * np.cos(9 * t)
    start = {"a": jnp.asarray(1.4 - 0.4j), "k": jnp.asarray(-0.3 + 1.9j)}
    model = lambda p, t: p["a"] * jnp.exp(p["k"] * t)

    def numbers(seen):
        found = gdjax.curve_fit(model, start, jnp.asarray(t, complex), seen)
        return jnp.stack([found.params["k"].real, found.params["k"].imag, found.params["a"].real])

    for bump in (np.eye(15)[4], 1j * np.eye(15)[4]):
        want = (numbers(seen + STEP * bump) - numbers(seen - STEP * bump)) / (2 * STEP)
        np.testing.assert_allclose(jax.jvp(numbers, (seen,), (bump.astype(complex),))[1], want, rtol=1e-5, atol=1e-9)


@pytest.mark.sweep
def test_of_second_order_and_of_many_at_once():
    rate = lambda s: fit(Y + s * BUMP).params["rate"]
    second = (rate(1e-3) - 2 * rate(0.0) + rate(-1e-3)) / 1e-6
    np.testing.assert_allclose(jax.jit(jax.grad(jax.grad(rate)))(0.0), second, rtol=1e-4)
    shifts = jnp.array([0.0, 0.1])
    slopes = jax.jit(jax.vmap(jax.grad(rate)))(shifts)
    want = [(rate(s + STEP) - rate(s - STEP)) / (2 * STEP) for s in (0.0, 0.1)]
    np.testing.assert_allclose(slopes, want, rtol=1e-6)


@pytest.mark.sweep
def test_where_there_is_no_minimum_there_is_no_derivative():
    cut = lambda y: fit(y, max_steps=1)
    assert cut(Y).status == Status.MAX_STEPS
    assert np.isnan(jax.jvp(lambda y: shown(cut(y)), (Y,), (BUMP,))[1]).all()
