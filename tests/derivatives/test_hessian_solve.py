"""Solves with a Hessian known by its products: right, hessian_solve, and NaN where there is no minimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.derivatives import hessian_solve

MODES = [True]  # proofs to many digits

SIZES = [5, 80]  # factorised, conjugate gradients
each_size = pytest.mark.parametrize("n", SIZES)


def spread(n, lowest=0.1):
    """A symmetric matrix with eigenvalues from ``lowest`` to 1, and its eigenvectors."""
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))
    values = np.linspace(lowest, 1, n)
    return jnp.asarray((q * values) @ q.T), jnp.asarray(q)


solve = jax.jit(lambda h, b, trusted=True: hessian_solve.solve(lambda v: h @ v, b, trusted))


@each_size
def test_solves_to_the_stated_tolerance(n, x64):
    h, _ = spread(n)
    b = jnp.linspace(1.0, 2.0, n)
    residual = np.linalg.norm(h @ solve(h, b) - b) / np.linalg.norm(b)
    assert residual < (1e-11 if x64 else 5e-5)
    for scale in (1e-30, 1e30):  # of which the squares underflow or overflow in float32
        np.testing.assert_allclose(solve(h, scale * b) / scale, solve(h, b), rtol=1e-4)


@each_size
def test_is_linear_and_symmetric_in_both_directions(n, x64):
    h, _ = spread(n)
    b, w = jnp.linspace(1.0, 2.0, n), jnp.linspace(-1.0, 1.0, n)
    rtol = 1e-9 if x64 else 1e-3
    forward = jax.jvp(lambda b: solve(h, b), (b,), (w,))[1]
    np.testing.assert_allclose(forward, solve(h, w), rtol=rtol, atol=rtol)
    reverse = jax.grad(lambda b: w @ solve(h, b))(b)
    np.testing.assert_allclose(reverse, solve(h, w), rtol=rtol, atol=rtol)


@each_size
def test_an_indefinite_or_singular_matrix_gives_nan(n):
    h, q = spread(n)
    b = jnp.ones(n)
    for value in (-0.5, 0.0):  # in place of the least eigenvalue, 0.1
        wrong = h + (value - 0.1) * jnp.outer(q[:, 0], q[:, 0])
        assert np.isnan(solve(wrong, b)).all()
    assert np.isnan(solve(-h, b)).all()
    assert np.isnan(solve(h * jnp.nan, b)).all()
    assert np.isnan(solve(h, b, False)).all()


@each_size
def test_in_reverse_mode_zero_stays_zero_even_where_there_is_no_solution(n):
    h, _ = spread(n)
    for wrong, trusted in ((-h, True), (h, False)):
        _, pull = jax.vjp(lambda b, wrong=wrong, trusted=trusted: solve(wrong, b, trusted), jnp.ones(n))
        assert not pull(jnp.zeros(n))[0].any()
        assert np.isnan(pull(jnp.ones(n))[0]).all()
        if n == 5 or not trusted:  # conjugate gradients see nothing of H when there is nothing to solve
            assert np.isnan(solve(wrong, jnp.zeros(n), trusted)).all()


def test_the_factorised_solve_does_not_mind_bad_scaling():
    h, _ = spread(5)
    s = jnp.asarray([1e-4, 1e-2, 1.0, 1e2, 1e4])
    x = solve(h * s[:, None] * s, s * (h @ jnp.ones(5)))
    np.testing.assert_allclose(x * s, 1, rtol=1e-4)


def test_no_convergence_gives_nan(monkeypatch):
    monkeypatch.setattr(hessian_solve, "MOST_PRODUCTS", 3)
    h, _ = spread(80)
    assert np.isnan(hessian_solve.solve(lambda v: h @ v, jnp.ones(80))).all()


@pytest.mark.parametrize("n", [3, 80])
def test_the_reverse_mode_has_what_does_not_depend_on_flat_directions(n):
    h = jnp.diag(jnp.arange(n).astype(float))  # flat along the first unknown
    b, asked = jnp.arange(n).astype(float), jnp.ones(n).at[0].set(0.0)
    pull = jax.vjp(lambda b: hessian_solve.solve(lambda v: h @ v, b), b)[1]
    expected = jnp.where(jnp.arange(n) > 0, 1 / jnp.maximum(jnp.arange(n), 1), 0)
    assert jnp.allclose(pull(asked)[0], expected, rtol=1e-4, atol=1e-6)
    assert np.isnan(pull(jnp.ones(n))[0]).all()


def test_at_a_flat_minimum_what_is_well_defined_has_a_derivative():
    valley = lambda t: gdjax.minimize(lambda x: (x[0] + x[1] - t) ** 2, jnp.zeros(2)).params
    assert jnp.isclose(jax.grad(lambda t: valley(t).sum())(1.0), 1.0, rtol=1e-4)
    assert np.isnan(jax.grad(lambda t: valley(t)[0])(1.0))
