"""Ravelling parameters into one real vector and back loses nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax.vectors.layout import Apart, Flat, Leaves


def tree(x64):
    return {
        "a": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
        "b": [jnp.array(1.5, jnp.bfloat16), jnp.array([1 + 2j, -3j], jnp.complex64)],
        "empty": jnp.zeros((0, 2)),
        "c": (None, jnp.ones(2, jnp.float64 if x64 else jnp.float16)),
    }


def test_ravel_and_unravel_are_inverse(x64):
    params = tree(x64)
    layout = Flat.of(params)
    vector = layout.ravel(params)
    assert vector.shape == (6 + 1 + 4 + 0 + 2,)
    assert vector.dtype == (jnp.float64 if x64 else jnp.float32)
    back = layout.unravel(vector)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    for x, y in zip(jax.tree.leaves(back), jax.tree.leaves(params), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_array_equal(x, y)


@pytest.mark.float64
def test_complex_entries_are_pairs_of_reals():
    layout = Flat.of(jnp.array([1 + 2j, 3 - 4j], jnp.complex64))
    np.testing.assert_array_equal(layout.ravel(jnp.array([1 + 2j, 3 - 4j], jnp.complex64)), [1, 3, 2, -4])


def test_one_real_leaf_costs_no_operation():
    layout = Flat.of(jnp.ones(5, jnp.float32))
    program = jax.make_jaxpr(lambda v: layout.unravel(layout.ravel(v)))(jnp.ones(5, jnp.float32))
    assert len(program.eqns) == 0


def test_apart_keeps_the_leaves_but_not_half_precision(x64):
    params = tree(x64)
    layout = Apart.of(params)
    leaves = layout.ravel(params)
    assert [x.shape for x in leaves] == [x.shape for x in jax.tree.leaves(params)]
    assert all(jnp.finfo(x.dtype).bits >= 32 for x in leaves)
    back = layout.unravel(leaves)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    for x, y in zip(jax.tree.leaves(back), jax.tree.leaves(params), strict=True):
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        np.testing.assert_array_equal(x, y)


@pytest.mark.float64
def test_leaves_are_left_alone():
    params = tree(False)
    assert Leaves.of(params).unravel(Leaves.of(params).ravel(params)) is params
