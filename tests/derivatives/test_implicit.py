"""Derivatives of the solution: closed forms, finite differences, both modes, any order; NaN where there are none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import count_primitive

import gdjax
from gdjax import GradientDescent, Status

MODES = [True]  # proofs to many digits

RNG = np.random.default_rng(0)
A, Y = RNG.standard_normal((20, 4)), RNG.standard_normal(20)
LABELS = (RNG.random(20) > 0.5).astype(float)
W = np.array([1.0, -2.0, 0.5, 3.0])


def ridge(w, strength, y):
    return jnp.mean((jnp.asarray(A) @ w - y) ** 2) + strength * jnp.sum(w**2)


METHOD = GradientDescent(0.2)  # compiles fastest


def fit(strength, y, method=METHOD, **options):
    return gdjax.minimize(ridge, jnp.zeros(4), strength, y, method=method, **options)


def exact(strength, y):
    a = jnp.asarray(A)
    return jnp.linalg.solve(a.T @ a / 20 + strength * jnp.eye(4), a.T @ y / 20)


def score(w):
    return jnp.sum(jnp.sin(w) * jnp.asarray(W))


@pytest.fixture
def point():
    """Strength, data, tolerance of the fit and of the comparison."""
    return jnp.asarray(0.1), jnp.asarray(Y), dict(tol=1e-11), 1e-8


@pytest.mark.sample("jacrev")
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_jacobian_of_ridge_is_the_closed_form(mode, point):
    strength, y, options, rtol = point
    ours = jax.jit(mode(lambda s, y: fit(s, y, **options).params, (0, 1)))(strength, y)
    theirs = mode(exact, (0, 1))(strength, y)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.sweep
def test_derivatives_of_second_and_third_order(point):
    strength, y, options, rtol = point
    ours = lambda s: score(fit(s, y, **options).params)
    theirs = lambda s: score(exact(s, y))
    for order in (jax.hessian, lambda f: jax.jit(jax.grad(jax.grad(jax.grad(f))))):
        np.testing.assert_allclose(order(ours)(strength), order(theirs)(strength), rtol=100 * rtol)


def test_what_the_loss_closes_over_has_derivatives_under_jit_and_vmap(point):
    _, y, options, rtol = point

    def total(strength):
        shift = y * strength
        result = gdjax.minimize(lambda w: ridge(w, strength, y + shift), jnp.zeros(4), method=METHOD, **options)
        return score(result.params)

    strengths = jnp.asarray([0.1, 0.3])
    ours = jax.jit(jax.vmap(jax.grad(total)))(strengths)
    theirs = jax.vmap(jax.grad(lambda s: score(exact(s, y + s * y))))(strengths)
    np.testing.assert_allclose(ours, theirs, rtol=10 * rtol)
    np.testing.assert_allclose(jax.grad(total)(strengths[0]), theirs[0], rtol=10 * rtol)


@pytest.mark.sweep
def test_the_value_is_more_exact_than_the_params():
    """tol = 1e-2: the params err by a few 1e-3, the derivative of params alike, that of the value by the square."""
    strength, y = jnp.asarray(0.1), jnp.asarray(Y)
    true_value = lambda s: ridge(exact(s, y), s, y)
    error = jnp.linalg.norm(fit(strength, y, tol=1e-2).params - exact(strength, y))
    wrong = jax.grad(lambda s: fit(s, y, tol=1e-2).value)(strength) - jax.grad(true_value)(strength)
    assert 1e-4 < error < 1e-1
    assert abs(wrong) < 10 * error**2
    tight = lambda s: fit(s, y, tol=1e-6).value
    np.testing.assert_allclose(jax.hessian(tight)(strength), jax.hessian(true_value)(strength), rtol=1e-2)


def test_the_derivative_errs_in_proportion_to_the_params_as_tol_shrinks():
    y = jnp.asarray(Y)
    logistic = lambda w, s: jnp.mean(jnp.logaddexp(0, -jnp.sign(y) * (jnp.asarray(A) @ w))) + s * jnp.sum(w**2)
    method = GradientDescent(0.5)
    solve = jax.jit(lambda s, tol: gdjax.minimize(logistic, jnp.zeros(4), s, tol=tol, method=method).params)
    dot = jax.jit(lambda tol: jax.jvp(lambda s: solve(s, tol), (0.1,), (1.0,)))
    best, true = dot(1e-13)
    tols, errors = [1e-2, 1e-4, 1e-6, 1e-8], []
    for tol in tols:
        params, slope = dot(tol)
        error, wrong = np.linalg.norm(params - best), np.linalg.norm(slope - true)
        assert error <= tol * 2 / 0.1  # |g| / curvature: 2-norm of 4 entries, least curvature 0.2
        assert wrong <= 20 * error
        errors.append(wrong)
    assert errors[0] > 1e5 * errors[-1] > 0


@pytest.mark.sweep
def test_logistic_regression_against_finite_differences():
    labels = jnp.asarray(LABELS)

    def loss(w, x, strength):
        logits = x @ w["w"] + w["b"]
        return jnp.mean(jnp.logaddexp(0, logits) - labels * logits) + strength * jnp.sum(w["w"] ** 2)

    def total(strength, x):
        result = gdjax.minimize(loss, {"w": jnp.zeros(4), "b": 0.0}, x, strength, tol=1e-12)
        return score(result.params["w"]) + result.params["b"] ** 2

    x, h = jnp.asarray(A), 1e-5
    by_strength, by_x = jax.grad(total, (0, 1))(0.05, x)
    np.testing.assert_allclose(by_strength, (total(0.05 + h, x) - total(0.05 - h, x)) / (2 * h), rtol=1e-6)
    bump = jnp.zeros_like(x).at[3, 1].set(h)
    np.testing.assert_allclose(by_x[3, 1], (total(0.05, x + bump) - total(0.05, x - bump)) / (2 * h), rtol=1e-5)


@pytest.mark.sample("lbfgs")
@pytest.mark.parametrize(
    "method",
    [gdjax.LBFGS(), gdjax.BFGS(), gdjax.ConjugateGradient(), gdjax.TrustRegion(), optax.adam(0.05)],
    ids=["lbfgs", "bfgs", "cg", "trust region", "adam"],
)
def test_any_method_has_the_same_derivative(method):
    strength, y = jnp.asarray(0.1), jnp.asarray(Y)
    options = dict(method=method, tol=1e-5, max_steps=3000)

    def total(strength):
        result = fit(strength, y, **options)
        return score(result.params), result.code

    (_, code), ours = jax.jit(jax.value_and_grad(total, has_aux=True))(strength)
    assert code == Status.CONVERGED
    np.testing.assert_allclose(ours, jax.grad(lambda s: score(exact(s, y)))(strength), rtol=2e-3)


def test_in_single_precision():
    expected = jax.grad(lambda s: score(exact(s, jnp.asarray(Y))))(0.1)
    with jax.enable_x64(False):
        ours = jax.grad(lambda s: score(fit(s, jnp.asarray(Y), tol=1e-5).params))(0.1)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-3)


def test_more_unknowns_than_are_factorised():
    n = 100
    scale = jnp.linspace(1.0, 5.0, n)
    loss = lambda w, t: 0.5 * jnp.sum(scale * w**2) - t * jnp.sum(w)
    total = lambda t: jnp.sum(gdjax.minimize(loss, jnp.zeros(n), t, method=METHOD, tol=1e-4).params)
    np.testing.assert_allclose(jax.grad(total)(1.0), jnp.sum(1 / scale), rtol=1e-8)
    np.testing.assert_allclose(jax.jvp(total, (1.0,), (1.0,))[1], jnp.sum(1 / scale), rtol=1e-8)


@pytest.mark.sweep
def test_complex_params_aux_integers_keys_and_mixed_dtypes():
    def loss(p, center, key, count):
        z, w = p["z"] - center, p["w"].astype(jnp.float32) - jax.random.normal(key).astype(jnp.float32)
        return z.real**2 + z.imag**2 + jnp.sum(w**2) + 0 * count.astype(jnp.float32), {
            "twice": 2 * p["z"],
            "count": count,
        }

    def both(center):
        start = {"z": jnp.zeros((), jnp.complex64), "w": jnp.zeros(2, jnp.bfloat16)}
        result = gdjax.minimize(
            loss, start, center, jax.random.key(0), jnp.asarray(3), has_aux=True, method=METHOD, tol=1e-3
        )
        return result.params["z"], result.aux["twice"]

    center, dot = jnp.asarray(1 + 2j, jnp.complex64), jnp.asarray(0.5 - 1j, jnp.complex64)
    values, dots = jax.jvp(both, (center,), (dot,))
    np.testing.assert_allclose(values, [center, 2 * center], rtol=1e-2)
    np.testing.assert_allclose(dots, [dot, 2 * dot], rtol=1e-4)
    grad = jax.grad(lambda c: jnp.abs(both(c)[0]) ** 2)(center)
    np.testing.assert_allclose(grad, jax.grad(lambda c: jnp.abs(c) ** 2)(center), rtol=1e-2)


def test_maximize_and_an_analytic_gradient():
    height = lambda x, top: 3.0 - (x - top) ** 2 * 2.0 + top
    slope = lambda x, top: -4.0 * (x - top)
    hidden = lambda x, top: jax.lax.stop_gradient(height(x, top) - top) + top
    top = jnp.asarray(2.0)
    best = lambda top: gdjax.maximize(hidden, 0.0, top, grad=slope, method=METHOD)
    np.testing.assert_allclose(jax.grad(lambda top: best(top).params)(top), 1, rtol=1e-4)
    np.testing.assert_allclose(jax.grad(lambda top: best(top).value)(top), 1, atol=1e-3)


def test_start_and_settings_have_derivative_zero(point):
    strength, y, _, _ = point
    solve = lambda w, rate, tol: gdjax.minimize(ridge, w, strength, y, method=GradientDescent(rate), tol=tol).params[0]
    grads = jax.grad(solve, (0, 1, 2))(jnp.zeros(4), 0.2, 1e-3)
    assert not np.concatenate([np.ravel(g) for g in grads]).any()


def test_no_stationary_point_no_derivative(point):
    strength, y, _, _ = point
    cut = lambda s: fit(s, y, max_steps=1)
    assert cut(strength).status == Status.MAX_STEPS
    assert np.isnan(jax.grad(lambda s: cut(s).params[0])(strength))
    assert np.isnan(jax.grad(lambda s: cut(s).value)(strength))
    assert np.isnan(jax.jvp(lambda s: cut(s).params, (strength,), (strength,))[1]).all()


def test_a_saddle_and_a_valley_have_no_derivative():
    saddle = lambda p, t: (p[0] - t) ** 2 - (p[1] - t) ** 2
    start = jnp.asarray([1.0, 1.0])
    at_saddle = lambda t: gdjax.minimize(saddle, start, t, method=METHOD)
    assert at_saddle(1.0).status == Status.CONVERGED
    assert np.isnan(jax.grad(lambda t: at_saddle(t).params[0])(1.0))
    valley = lambda t: gdjax.minimize(lambda p: (p[0] + p[1] - t) ** 2, jnp.zeros(2), method=METHOD).params
    assert np.isnan(jax.jacfwd(valley)(1.0)).all()


def test_a_loss_whose_second_derivative_jax_has_wrong_is_no_silent_zero():
    best = lambda c: gdjax.minimize(lambda z: jnp.abs(z - c) ** 2, jnp.zeros((), c.dtype), method=GradientDescent(0.5))
    c = jnp.asarray(1 + 2j, jnp.complex64)  # reached exactly, where JAX takes abs for constant
    assert best(c).params == c
    assert np.isnan(jax.jvp(lambda c: best(c).params, (c,), (c,))[1])


def test_lanes_that_failed_can_be_masked_and_the_rest_differentiated():
    y = jnp.asarray(Y)

    def total(strength, steps):
        result = fit(strength, y, max_steps=steps, tol=1e-4)
        return jnp.where(result.converged, score(result.params), 0)

    strengths = jnp.asarray([0.1, 0.2, 0.3])
    steps = jnp.asarray([100, 1, 100], jnp.int32)
    grads = jax.vmap(jax.grad(total))(strengths, steps)
    true = jax.vmap(jax.grad(lambda s: score(exact(s, y))))(strengths)
    np.testing.assert_allclose(grads, true * jnp.asarray([1.0, 0.0, 1.0]), rtol=1e-2)
    assert grads[1] == 0


@pytest.mark.sweep
def test_a_thousand_problems_at_once(point):
    _, y, _, _ = point
    strengths = jnp.linspace(0.05, 1.0, 1000)
    grads = jax.jit(jax.vmap(jax.grad(lambda s: score(fit(s, y, tol=1e-5).params))))(strengths)
    true = jax.vmap(jax.grad(lambda s: score(exact(s, y))))(strengths)
    np.testing.assert_allclose(grads, true, rtol=5e-3, atol=5e-3)


def test_whoever_does_not_differentiate_pays_nothing():
    solve = lambda s, **options: fit(s, jnp.asarray(Y), **options)
    jaxpr = jax.make_jaxpr(solve)(0.1).jaxpr
    assert count_primitive(jaxpr, "custom_linear_solve") == 0
    assert count_primitive(jaxpr, "dot_general") == 2  # the loss with its gradient, once


def test_a_result_can_be_printed_under_grad(capsys):
    jax.grad(lambda s: (print(fit(s, jnp.asarray(Y))), s)[1])(0.1)
    assert "CONVERGED" in capsys.readouterr().out


def test_only_what_follows_the_minimum_has_a_tangent(point):
    strength, y, options, _ = point
    result, dot = jax.jvp(lambda s: fit(s, y, history=4, **options), (strength,), (jnp.ones_like(strength),))
    assert dataclasses.is_dataclass(dot)
    assert dot.params.any()
    assert dot.value != 0
    assert not dot.grad.any()
    assert not dot.history.value.any()
    assert result.status == Status.CONVERGED
