"""Derivatives of a solution with a penalty, through the prox-gradient fixed point; NaN where there are none."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status
from gdjax.derivatives import hessian_solve
from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.penalties import (
    L1,
    Box,
    BoxSection,
    ElasticNet,
    GroupLasso,
    L2Ball,
    NonNegative,
    NuclearNorm,
    Simplex,
    TotalVariation1D,
    by_leaf,
)

MODES = [True]  # finite differences

RNG = np.random.default_rng(0)
A = RNG.standard_normal((12, 4))
Y = A @ np.array([1.0, 0.1, -2.0, 0.0]) + RNG.standard_normal(12)
W = np.array([1.0, -2.0, 0.5, 3.0])
METHOD = gdjax.ProximalGradient()  # compiles fastest


def halves(w, y):
    return 0.5 * jnp.sum((jnp.asarray(A) @ w - y) ** 2)


def fit(penalty, y, **options):
    return gdjax.minimize(halves, jnp.zeros(4), y, penalty=penalty, **options)


def score(w):
    return jnp.sum(jnp.sin(w) * jnp.asarray(W).reshape(w.shape))


@pytest.fixture
def point():
    """Data, tolerance of the fit and of the comparison."""
    return jnp.asarray(Y), dict(tol=1e-12, method=METHOD), 1e-7


def active_set(w, strength, y):
    """The lasso in closed form where the signs of w are known; zeros stay."""
    signs, on = jnp.sign(w), w != 0
    a = jnp.where(on, jnp.asarray(A), 0)
    h = a.T @ a + jnp.diag(jnp.where(on, 0, 1).astype(w.dtype))
    return jnp.linalg.solve(h, a.T @ y - strength * signs)


@pytest.mark.sample("jacrev")
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_lasso_is_differentiated_on_its_active_set(mode, point):
    y, options, rtol = point
    strength = jnp.asarray(4.0)
    result = fit(L1(strength), y, **options)
    w = result.params
    assert result.status in (Status.CONVERGED, Status.PRECISION_FLOOR)
    assert 0 < np.sum(w == 0) < 4
    ours = jax.jit(mode(lambda s, y: fit(L1(s), y, **options).params, (0, 1)))(strength, y)
    theirs = mode(lambda s, y: active_set(w, s, y), (0, 1))(strength, y)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
        assert not np.asarray(a)[np.asarray(w == 0)].any()


def test_in_single_precision(point):
    y, options, _ = point
    w = fit(L1(jnp.asarray(4.0)), y, **options).params
    expected = jax.grad(lambda s: score(active_set(w, s, y)))(4.0)
    with jax.enable_x64(False):
        small = jnp.asarray(Y)
        ours = jax.grad(lambda s: score(fit(L1(s), small, tol=1e-5, method=METHOD).params))(4.0)
    assert ours.dtype == jnp.float32
    np.testing.assert_allclose(ours, expected, rtol=1e-3)


def test_value_loss_penalty_and_gradient_follow(point):
    y, options, rtol = point
    strength = jnp.asarray(4.0)
    result, dot = jax.jvp(lambda s: fit(L1(s), y, **options), (strength,), (jnp.ones_like(strength),))
    w, dw = result.params, dot.params
    np.testing.assert_allclose(dot.value, jnp.sum(jnp.abs(w)), rtol=rtol)  # the envelope theorem
    np.testing.assert_allclose(dot.loss_value, result.grad @ dw, rtol=rtol)
    np.testing.assert_allclose(dot.penalty_value, dot.value - dot.loss_value, rtol=rtol)
    np.testing.assert_allclose(dot.grad, jax.hessian(halves)(w, y) @ dw, rtol=rtol, atol=10 * rtol)
    assert dot.penalty.strength == 1
    ours = jax.grad(lambda s: fit(L1(s), y, **options).value)(strength)
    np.testing.assert_allclose(ours, jnp.sum(jnp.abs(w)), rtol=rtol)


def in_both_modes(function):
    """Of t and weights: outputs, aux, their derivative by t forward, and that of weights @ outputs in reverse.

    One program, in which the problem is solved once.
    """

    @jax.jit
    def derive(t, weights):
        outputs, push, aux = jax.linearize(function, t, has_aux=True)
        return outputs, aux, push(jnp.ones_like(t)), jax.linear_transpose(push, t)(weights)[0]

    return derive


PENALTIES = {
    "box": lambda t: Box(-0.1 * t, 0.2 * t),
    "elastic net": lambda t: ElasticNet(t, 3 * t),
    "groups of two": lambda t: GroupLasso(3 * t),
    "ball": lambda t: L2Ball(0.3 * t),
    "simplex": lambda t: Simplex(t),
    "total variation": lambda t: TotalVariation1D(t),
    "section of a box": lambda t: BoxSection(jnp.asarray([1.0, 2.0, 1.0, 0.0]), 0.3 * t, -0.5 * t, 0.8),
    "nuclear norm of a matrix": lambda t: NuclearNorm(6 * t),
}


@pytest.mark.sample("box")
@pytest.mark.parametrize("name", PENALTIES)
def test_by_strength_and_bound_and_data_against_finite_differences(name):
    shape = (2, 2) if "groups" in name or "matrix" in name else (4,)

    def outputs(t):
        loss = lambda w: halves(w.reshape(4), (1 + t) * jnp.asarray(Y))
        result = gdjax.minimize(loss, jnp.zeros(shape), penalty=PENALTIES[name](t), method=METHOD, tol=1e-12)
        return jnp.append(result.params.reshape(4), result.value), result.converged

    t, h, weights = jnp.asarray(1.0), 1e-5, jnp.arange(1.0, 6.0)
    both = in_both_modes(outputs)
    _, converged, forward, reverse = both(t, weights)
    assert converged
    slopes = (both(t + h, weights)[0] - both(t - h, weights)[0]) / (2 * h)
    assert np.abs(slopes).max() > 1e-2
    np.testing.assert_allclose(forward, slopes, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(reverse, weights @ slopes, rtol=1e-6)


def test_at_active_bounds_the_data_do_nothing_and_the_bound_is_followed(point):
    y, options, rtol = point
    upper = jnp.asarray([2.0, 0.02, 0.3, 0.5])
    solve = lambda u, y: fit(Box(-0.5, u), y, **options).params
    w = solve(upper, y)
    held = np.asarray((w == upper) | (w == -0.5))
    assert 0 < held.sum() < 4
    by_bound, by_data = jax.jacrev(solve, (0, 1))(upper, y)
    assert not np.asarray(by_data)[held].any()
    at_upper = np.asarray(w == upper)
    np.testing.assert_allclose(np.asarray(by_bound)[at_upper], np.eye(4)[at_upper], atol=rtol)
    assert not np.asarray(by_bound)[:, ~at_upper].any()  # bounds that hold nothing
    h = np.asarray(A.T @ A)
    free = ~held
    expected = np.linalg.solve(h[np.ix_(free, free)], A.T[free])
    np.testing.assert_allclose(np.asarray(by_data)[free], expected, rtol=100 * rtol, atol=rtol)


@pytest.mark.sweep
def test_second_derivatives_batches_and_what_the_loss_closes_over(point):
    y, options, rtol = point
    strengths = jnp.asarray([3.0, 4.0])

    def total(s):
        return score(gdjax.minimize(lambda w: halves(w, y * s), jnp.zeros(4), penalty=L1(4 * s), **options).params)

    signs = jax.vmap(lambda s: gdjax.minimize(halves, jnp.zeros(4), y * s, penalty=L1(4 * s), **options).params)(
        strengths
    )
    theirs = lambda s, w: score(active_set(w, 4 * s, y * s))
    for order in (jax.grad, jax.hessian):
        ours = jax.jit(jax.vmap(order(total)))(strengths)
        np.testing.assert_allclose(ours, jax.vmap(order(theirs))(strengths, signs), rtol=100 * rtol, atol=100 * rtol)


@pytest.mark.sweep
def test_a_maximum_over_a_pytree_with_a_penalty_for_each_leaf(point):
    y, options, rtol = point

    def solve(strength, top):
        height = lambda p: 3 - halves(p["w"], y) - jnp.sum((p["b"] - top) ** 2)
        penalty = by_leaf({"w": L1(strength), "b": NonNegative()})
        return gdjax.maximize(height, {"w": jnp.zeros(4), "b": jnp.zeros(2)}, penalty=penalty, **options)

    strength, top = jnp.asarray(4.0), jnp.asarray([1.0, -1.0])
    result = solve(strength, top)
    slopes = jax.jacrev(lambda s, top: solve(s, top).params, (0, 1))(strength, top)
    expected = jax.jacobian(lambda s: active_set(result.params["w"], s, y))(strength)
    np.testing.assert_allclose(slopes["w"][0], expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(slopes["b"][1], np.diag([1.0, 0.0]), atol=rtol)
    slope = jax.grad(lambda s: solve(s, top).value)(strength)
    np.testing.assert_allclose(slope, -jnp.sum(jnp.abs(result.params["w"])), rtol=rtol)


@pytree_dataclass
class Bisected:
    """The simplex; its prox halves an interval for the threshold, in a loop that JAX cannot transpose."""

    total: Any

    def value(self, x):
        return jnp.where(jnp.all(x >= 0) & (jnp.abs(jnp.sum(x) - self.total) < 1e-9), 0, jnp.inf)

    def prox(self, x, step):
        def body(ends):
            middle = 0.5 * (ends[0] + ends[1])
            below = jnp.sum(jnp.maximum(x - middle, 0)) > self.total
            return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

        low, _ = jax.lax.while_loop(lambda e: e[1] - e[0] > 1e-6, body, (jnp.min(x) - self.total, jnp.max(x)))
        on = x > low  # the threshold itself from what it leaves
        return jnp.maximum(x - (jnp.sum(jnp.where(on, x, 0)) - self.total) / jnp.sum(on).astype(x.dtype), 0)


@pytest.mark.sweep
def test_a_prox_that_cannot_be_transposed_has_derivatives_in_both_modes(point):
    y, options, rtol = point
    score_of = lambda penalty: lambda s, t: score(fit(penalty(s), t * y, **options).params)
    ours, theirs = (jax.jit(score_of(penalty)) for penalty in (Bisected, Simplex))
    at = jnp.asarray(1.5), jnp.asarray(1.0)
    expected = jax.grad(theirs, (0, 1))(*at)
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(jax.grad(ours, (0, 1))(*at), expected, rtol=rtol)
    forward = jax.jvp(ours, at, (jnp.asarray(1.0), jnp.asarray(2.0)))[1]
    np.testing.assert_allclose(forward, expected[0] + 2 * expected[1], rtol=rtol)


def test_no_fixed_point_no_derivative(point):
    y, _, _ = point
    cut = lambda s: fit(L1(s), y, max_steps=1, method=METHOD)
    strength = jnp.asarray(1.0)
    assert cut(strength).status == Status.MAX_STEPS
    assert np.isnan(jax.grad(lambda s: cut(s).params[0])(strength))
    assert np.isnan(jax.grad(lambda s: cut(s).value)(strength))


def test_a_valley_has_none_unless_a_bound_closes_it():
    valley = lambda p, t: (p[0] + p[1] - t) ** 2 + p[1]
    slope = jax.jacrev(lambda t, penalty: gdjax.minimize(valley, jnp.ones(2), t, penalty=penalty).params)
    np.testing.assert_allclose(slope(2.0, NonNegative()), [1.0, 0.0], atol=1e-3)
    flat = lambda p, t: (p[0] + p[1] - t) ** 2
    assert np.isnan(jax.jacfwd(lambda t: gdjax.minimize(flat, jnp.ones(2), t, penalty=NonNegative()).params)(3.0)).all()


@pytest.mark.sweep
def test_more_unknowns_than_are_factorised():
    n = 100
    assert n > hessian_solve.DENSE
    scale, target = jnp.linspace(1.0, 5.0, n), jnp.sin(jnp.arange(1.0, n + 1.0))
    loss = lambda w, t: 0.5 * jnp.sum(scale * (w - t * target) ** 2)
    groups = by_leaf([L1(0.5), GroupLasso(0.5, axis=None)])
    both = lambda p, t: loss(p[0], t) + loss(p[1], t)

    def solve(t):
        start = [jnp.zeros(n), jnp.zeros(n)]
        return gdjax.minimize(both, start, t, penalty=groups, method=METHOD, tol=1e-13).params

    t, h = jnp.asarray(1.0), 1e-4
    dot = jax.jvp(solve, (t,), (jnp.ones_like(t),))[1]
    on = jnp.abs(target * scale) > 0.5
    np.testing.assert_allclose(dot[0], jnp.where(on, target, 0), atol=1e-8)
    numbers = (solve(t + h)[1] - solve(t - h)[1]) / (2 * h)
    np.testing.assert_allclose(dot[1], numbers, atol=1e-6)
    grad = jax.grad(lambda t: jnp.sum(solve(t)[1] * target))(t)
    np.testing.assert_allclose(grad, dot[1] @ target, rtol=1e-6)


@pytest.mark.sweep
def test_whatever_the_step_the_fixed_point_moves_alike_also_matrix_free(monkeypatch):
    h = A.T @ A
    p = np.asarray(RNG.standard_normal((4, 2)))
    p = p @ np.linalg.solve(p.T @ p, p.T) @ np.eye(4)
    h, p, b = jnp.asarray(h), jnp.asarray(0.8 * p), jnp.asarray(W)
    inverse = jnp.linalg.inv(jnp.eye(4) - p @ (jnp.eye(4) - 0.1 * h))
    solve = lambda h, *b: hessian_solve.solve_proximal(lambda v: h @ v, lambda v: p @ v, jnp.asarray(0.1), *b)
    for dense in (hessian_solve.DENSE, 0):
        monkeypatch.setattr(hessian_solve, "DENSE", dense)
        np.testing.assert_allclose(solve(h, b, 2 * b), inverse @ (b + 2 * p @ b), rtol=1e-9)
        by_moved, by_pushed = jax.jacrev(solve, (1, 2))(h, b, b)
        np.testing.assert_allclose(by_moved, inverse, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(by_pushed, inverse @ p, rtol=1e-9, atol=1e-9)
        assert np.isnan(solve(-h, b, b)).all()
