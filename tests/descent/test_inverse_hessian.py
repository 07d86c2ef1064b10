"""What L-BFGS and BFGS have learnt of the curvature, as an operator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax

H = jnp.array([[4.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 2.0]])


def quadratic(x):
    return 0.5 * x @ H @ x - x[0]


def ended(method, **options):
    return gdjax.minimize(quadratic, jnp.ones(3), method=method, keep_state=True, **options)


@pytest.mark.parametrize("method", [gdjax.LBFGS(), gdjax.BFGS()], ids=["LBFGS", "BFGS"])
def test_of_a_quadratic_it_is_the_inverse_hessian(method):
    result = ended(method, tol=1e-6)
    assert result.converged
    inverse = result.inverse_hessian()
    assert inverse.shape == (3, 3)
    np.testing.assert_allclose(inverse.dense(), jnp.linalg.inv(H), rtol=0.02, atol=0.01)


@pytest.mark.sweep
def test_with_bounds_that_are_not_reached_too():
    result = ended(gdjax.LBFGS(), penalty=gdjax.penalties.Box(-10.0, 10.0), tol=1e-6)
    assert result.converged
    np.testing.assert_allclose(result.inverse_hessian().dense(), jnp.linalg.inv(H), rtol=0.05, atol=0.02)


def test_it_solves_the_secant_equation_of_the_last_step():
    loss = lambda x: jnp.sum(x**4) + quadratic(x)
    result = gdjax.minimize(loss, jnp.ones(3), method=gdjax.LBFGS(), keep_state=True)
    assert result.converged
    memory = result.state.state.memory
    last = (memory.slot - 1) % 20
    s, y = memory.pairs[last], memory.pairs[last + 20]
    np.testing.assert_allclose(result.inverse_hessian() @ y, s, rtol=1e-3, atol=1e-6)


def test_products_are_pytrees_rows_or_columns():
    loss = lambda p: jnp.sum((p["w"] - 1) ** 2) + p["z"].real ** 2 + 2 * p["z"].imag ** 2 + p["w"][0] * p["z"].real
    start = {"w": jnp.zeros(2), "z": jnp.array(1 + 1j)}
    result = gdjax.minimize(loss, start, method=gdjax.BFGS(), keep_state=True)
    assert result.converged
    inverse = result.inverse_hessian()
    dense = inverse.dense()
    assert dense.shape == (4, 4)
    product = inverse @ {"w": jnp.array([0.0, 1.0]), "z": jnp.array(0j)}
    np.testing.assert_allclose(product["w"], dense[:2, 1], atol=1e-6)
    np.testing.assert_allclose(jnp.stack([product["z"].real, product["z"].imag]), dense[2:, 1], atol=1e-6)
    np.testing.assert_allclose(inverse @ dense, dense @ dense, atol=1e-5)


def test_inside_jit_and_of_a_batch_by_vmap():
    loss = lambda x, a: jnp.sum(a * (x - 1) ** 2)

    @jax.vmap
    def diagonal(a):
        result = gdjax.minimize(loss, jnp.zeros(2), a, method=gdjax.BFGS(), keep_state=True)
        return jnp.diag(result.inverse_hessian().dense()), result.converged

    a = jnp.array([[1.0, 2.0], [3.0, 0.5]])
    found, converged = jax.jit(diagonal)(a)
    assert converged.all()
    np.testing.assert_allclose(found, 1 / (2 * a), rtol=0.05)


def test_what_has_none_says_so():
    with pytest.raises(ValueError, match="keep_state=True"):
        gdjax.minimize(quadratic, jnp.ones(3)).inverse_hessian()
    with pytest.raises(ValueError, match="L-BFGS"):
        ended(gdjax.ConjugateGradient()).inverse_hessian()
    with pytest.raises(ValueError, match="like the parameters"):
        ended(gdjax.BFGS()).inverse_hessian() @ jnp.ones(4)
