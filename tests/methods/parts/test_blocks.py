"""Block by block a factorisation is what it is at once."""

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.methods.parts.blocks import TALL, factor_tall


def test_the_triangle_has_the_matrix_in_its_square_and_the_right_hand_side_in_its_range(x64):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(TALL + 123, 3)) * [1.0, 1e-3, 30.0]
    a[:5000, 1] = 0  # a column without an entry in the first blocks
    a, b = jnp.asarray(np.c_[a, a[:, 0] + a[:, 2]]), jnp.asarray(a @ [1.0, 2.0, 3.0])  # and one that depends on others
    triangle, q = jax.jit(factor_tall)(a, b)
    eps = float(jnp.finfo(a.dtype).eps)
    sizes = np.linalg.norm(np.asarray(a, float), axis=0)
    r, q, exact, right = (np.asarray(x, float) for x in (triangle, q, a, b))
    scale = np.outer(sizes, sizes)
    np.testing.assert_allclose(r.T @ r / scale, exact.T @ exact / scale, atol=100 * eps)
    np.testing.assert_allclose(r.T @ q / sizes, exact.T @ right / sizes, atol=100 * eps * np.linalg.norm(right))
    assert np.all(np.tril(triangle, -1) == 0)
    assert np.abs(triangle[3, 3]) <= 100 * eps * sizes[3]
