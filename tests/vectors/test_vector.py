"""The vector algebra on flat vectors and on trees, real, complex and of mixed dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax.vectors import vector

A = {"x": np.array([3.0, -4.0], np.float32), "z": np.array([1 + 2j], np.complex64)}
B = {"x": np.array([1.0, 1.0], np.float32), "z": np.array([2 - 1j], np.complex64)}


def as_jax(tree):
    return {k: jnp.asarray(v) for k, v in tree.items()}


@pytest.mark.float64
def test_dot_is_that_of_the_pairs_of_reals():
    a, b = as_jax(A), as_jax(B)
    assert float(vector.dot(a, b)) == 3 - 4 + (1 * 2 + 2 * -1)
    assert float(vector.dot(a, a)) == 25 + 5
    sums = vector.dots((a, b), (a, a), (b, b))
    np.testing.assert_allclose(sums, [vector.dot(a, b), vector.dot(a, a), vector.dot(b, b)])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sums_over_half_precision_are_taken_in_float32(dtype):
    ones = jnp.ones(4099, dtype)
    assert vector.dot(ones, ones).dtype == jnp.float32
    assert float(vector.dot(ones, ones)) == 4099
    assert float(vector.dots((ones, ones))[0]) == 4099


@pytest.mark.float64
def test_largest_modulus_and_nan():
    assert float(vector.max_abs(as_jax(A))) == 4
    assert np.isinf(vector.max_abs({"x": jnp.array([1.0, jnp.nan]), "y": jnp.ones(2)}))
    assert float(vector.max_abs({"x": jnp.zeros((0, 3)), "y": -jnp.ones(2)})) == 1


def test_arithmetic_keeps_each_leafs_dtype():
    a, b = as_jax(A), as_jax(B)
    out = vector.add_scaled(a, jnp.asarray(2.0), b)
    assert {k: v.dtype for k, v in out.items()} == {"x": jnp.float32, "z": jnp.complex64}
    np.testing.assert_allclose(out["z"], [5])
    np.testing.assert_allclose(vector.subtract(a, b)["x"], [2, -5])
    np.testing.assert_allclose(vector.negative(a)["x"], [-3, 4])
    assert float(vector.max_abs(vector.zeros_like(a))) == 0
    assert vector.size(a) == 3


def test_products_of_long_vectors_are_those_of_short_ones(monkeypatch):
    a, b = jnp.arange(7.0), jnp.linspace(-1.0, 1.0, 7)
    short = vector.dots((a, b), (b, b))
    monkeypatch.setattr(vector, "LARGE", 1)
    np.testing.assert_allclose(vector.dots((a, b), (b, b)), short, rtol=1e-6)


def test_a_memory_of_vectors_is_a_matrix_whatever_the_leaves():
    a, b = as_jax(A), as_jax(B)
    memory = vector.with_row(vector.zero_rows(a, 3), jnp.asarray(1), a)
    memory = vector.with_row(memory, jnp.asarray(2), b)
    np.testing.assert_allclose(vector.products(memory, b), [0, vector.dot(a, b), vector.dot(b, b)])
    both = vector.combine(jnp.asarray([5.0, 1.0, -2.0]), memory)
    for name in a:
        np.testing.assert_allclose(both[name], a[name] - 2 * b[name])
        assert both[name].dtype == a[name].dtype


@pytest.mark.float64
def test_a_root_has_derivative_zero_at_zero():
    assert jax.grad(vector.root)(0.0) == 0
    assert jax.grad(vector.root)(4.0) == 0.25
    assert np.isnan(vector.root(jnp.nan))


def test_what_is_on_one_device_is_not_spread():
    assert not vector.is_spread({"x": jnp.ones(3), "y": 1.0, "z": np.ones(2)})
    assert vector.explicit_place(jnp.ones(3)) is None


@pytest.mark.float64
def test_products_ask_for_the_full_precision_of_their_dtype():
    """By default a GPU multiplies float32 with ten bits of mantissa."""
    w, x = jnp.ones((3, 5)), jnp.ones(5)
    products = {
        "products": lambda: vector.products(w, x),
        "combine": lambda: vector.combine(x[:3], w),
        "dot": lambda: vector.dot(x, x),
        "matmul": lambda: vector.matmul(w, x),
    }
    for name, product in products.items():
        text = str(jax.make_jaxpr(product)())
        assert "dot_general" in text, name
        assert "HIGHEST" in text, name


@pytest.mark.parametrize("count", [3, 4096, 10_000])
def test_no_nan_is_lost_among_many_entries(count):
    a = jnp.zeros(count).at[count // 2].set(jnp.nan)
    assert not jnp.isfinite(vector.max_abs(a))
    rows = jnp.tile(jnp.asarray([0.0, 1.0, jnp.nan]), (count, 1))
    assert not jnp.isfinite(jax.vmap(vector.max_abs)(rows)).any()
