"""QR factorisations: right for every size, for columns that depend on others, and alone as in a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax.methods.parts.triangular import factor, lengths, norms, solve_lower, solve_upper

SIZES = [1, 3, 8, 12, 40]  # single columns up to 8, a loop over them up to 32, LAPACK beyond


def problem(n, m=50):
    rng = np.random.default_rng(n)
    return rng.normal(size=(m, n)), rng.normal(size=m)


@pytest.mark.sample("1", "8", "12")
@pytest.mark.float64
@pytest.mark.parametrize("n", SIZES)
def test_the_factorisation_solves_least_squares(n):
    a, b = problem(n)
    r, q = jax.jit(factor)(a, b)
    np.testing.assert_allclose(np.tril(r, -1), 0, atol=1e-14)
    np.testing.assert_allclose(r.T @ r, a.T @ a, atol=1e-12)
    np.testing.assert_allclose(solve_upper(r, q), np.linalg.lstsq(a, b)[0], rtol=1e-10)
    np.testing.assert_allclose(r.T @ solve_lower(r, q), q, atol=1e-12)


@pytest.mark.sample("3", "12")
@pytest.mark.float64
@pytest.mark.parametrize("n", [3, 8, 12])
def test_no_accuracy_is_lost_to_nearly_equal_columns(n):
    a, b = problem(n)
    a[:, 1] = a[:, 0] + 1e-9 * a[:, 1]
    r, q = factor(jnp.asarray(a), jnp.asarray(b))
    found, want = solve_upper(r, q), np.linalg.lstsq(a, b, rcond=1e-16)[0]
    blur = 50 * np.finfo(float).eps * np.linalg.norm(a) * np.linalg.norm(want)  # of the products themselves
    np.testing.assert_allclose(a @ found, a @ want, rtol=0, atol=blur)


@pytest.mark.sample("3", "12")
@pytest.mark.parametrize("n", [3, 8, 12])
def test_a_column_that_depends_on_those_before_has_a_row_of_zeros(n):
    a, b = problem(n)
    a[:, n - 1] = a[:, 0] - 2 * a[:, 1]
    r, q = factor(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    assert r[n - 1, n - 1] == 0
    assert q[n - 1] == 0
    assert (np.diagonal(r)[: n - 1] > 0).all()


@pytest.mark.parametrize("n", [3, 12])
def test_what_is_not_finite_shows_in_the_result(n):
    a, b = problem(n)
    a[5, n - 1] = np.nan
    r, q = factor(jnp.asarray(a), jnp.asarray(b))
    assert not np.isfinite(np.concatenate([np.ravel(r), q])).all()


@pytest.mark.sample("3")
@pytest.mark.float64
@pytest.mark.parametrize("n", [3, 12])
def test_a_batch_is_factored_as_each_alone(n):
    a, b = problem(n)
    many = jax.vmap(factor)(jnp.stack([a, 2 * a]), jnp.stack([b, b]))
    for i, scale in enumerate((1, 2)):
        for one, all_of_them in zip(factor(scale * jnp.asarray(a), jnp.asarray(b)), many, strict=True):
            np.testing.assert_allclose(all_of_them[i], one, rtol=1e-9, atol=1e-12)


def test_squares_of_lengths_neither_overflow_nor_underflow():
    a = jnp.asarray([[3e30, 3e-30, 0.0], [4e30, 4e-30, 0.0]], jnp.float32)
    np.testing.assert_allclose(lengths(a), [5e30, 5e-30, 0.0], rtol=1e-6)
    np.testing.assert_allclose(jnp.stack(norms(list(a.T))), [5e30, 5e-30, 0.0], rtol=1e-6)
