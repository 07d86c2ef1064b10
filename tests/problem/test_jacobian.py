"""A Jacobian is taken as `jax.jacfwd` gives it, and refused by name otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.problem.jacobian import as_matrix, of_misfit
from gdjax.problem.residuals import as_residuals
from gdjax.vectors.layout import Flat


def flat_jacobian(residuals, params):
    """By JAX, of the vectors."""
    layout = Flat.of(params)
    return jax.jacfwd(lambda x: as_residuals(residuals(layout.unravel(x))))(layout.ravel(params))


@pytest.mark.float64
def test_any_pytree_becomes_the_matrix_of_the_vectors():
    params = dict(a=jnp.array([[1.0, 2.0]]), b=jnp.asarray(0.5))
    residuals = lambda p: [jnp.sin(p["a"] * p["b"]), (p["b"] ** 2, jnp.sum(p["a"]) * jnp.ones((2, 2)))]
    matrix = as_matrix(jax.jacfwd(residuals)(params), jax.eval_shape(residuals, params), params)
    np.testing.assert_allclose(matrix, flat_jacobian(residuals, params), rtol=1e-12)


@pytest.mark.float64
def test_complex_numbers_are_pairs_of_reals():
    params = dict(a=jnp.array([1.0 + 2.0j, 0.5j]), b=jnp.asarray(0.5 - 1j))
    residuals = lambda p: (p["a"] ** 2 * p["b"], jnp.exp(p["b"])[None])
    out = jax.jacfwd(residuals, holomorphic=True)(params)
    matrix = as_matrix(out, jax.eval_shape(residuals, params), params)
    np.testing.assert_allclose(matrix, flat_jacobian(residuals, params), rtol=1e-12)
    real = dict(a=jnp.array([1.0, 2.0]))
    of_real = lambda p: jnp.exp(jax.lax.complex(p["a"], 2 * p["a"]))
    matrix = as_matrix(jax.jacfwd(of_real)(real), jax.eval_shape(of_real, real), real)
    np.testing.assert_allclose(matrix, flat_jacobian(of_real, real), rtol=1e-12)


@pytest.mark.float64
@pytest.mark.parametrize("kind", ["number", "like y", "matrix", "mask"])
def test_that_of_a_model_is_weighted_as_its_residuals_are(kind):
    x, y, params = jnp.arange(3.0), jnp.array([1.0, 2.0, jnp.nan]), dict(a=jnp.asarray(2.0), b=jnp.ones(2))
    model = lambda p, x: p["a"] * jnp.exp(-p["b"][0] * x) + p["b"][1]
    sigma = dict(number=0.5, matrix=jnp.diag(jnp.arange(1.0, 4.0)) + 0.1).get(kind, jnp.array([1.0, 2.0, jnp.nan]))
    mask = jnp.array([True, True, False]) if kind == "mask" else None
    sigma = jnp.where(mask, sigma, 1) if kind == "mask" else jnp.nan_to_num(sigma, nan=3.0)
    factor = jnp.linalg.cholesky(sigma) if kind == "matrix" else jnp.broadcast_to(sigma, y.shape)

    def residuals(p):
        r = model(p, x)
        r = r if mask is None else jnp.where(mask, r, 0)
        return jax.scipy.linalg.solve_triangular(factor, r, lower=True) if kind == "matrix" else r / factor

    out = of_misfit(jax.jacfwd(model))(params, x, y, factor, mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), out, jax.jacfwd(residuals)(params))


PARAMS = dict(a=1.0, b=np.ones(2))
RIGHT = dict(a=np.ones(3), b=np.ones((3, 2)))


@pytest.mark.parametrize(
    ("jac", "words"),
    [
        (lambda p: np.ones((3, 3)), "what jax.jacfwd of the residuals does, a pytree"),
        (lambda p: dict(RIGHT, b=np.ones((2, 3))), r"jac\['b'\] has shape \(2, 3\); residuals of shape \(3,\)"),
        (lambda p: dict(RIGHT, a=np.ones(3, int)), r"jac\['a'\] has dtype int"),
        (lambda p: dict(RIGHT, a=np.ones(3, complex)), r"jac\['a'\] has dtype complex"),
        (lambda p: dict(RIGHT, a="x"), r"jac\['a'\] is a str, not an array"),
        (np.ones(3), "jac must be a function"),
    ],
)
def test_what_is_no_jacobian_is_refused(jac, words):
    with pytest.raises((TypeError, ValueError), match=words):
        gdjax.least_squares(lambda p: jnp.ones(3) * p["a"] + p["b"][0], PARAMS, jac=jac)


def test_real_residuals_of_complex_parameters_are_refused_in_a_sentence():
    with pytest.raises(TypeError, match="real residuals have no Jacobian by complex parameters: leave jac= out"):
        gdjax.least_squares(lambda p: jnp.abs(p), jnp.ones(2, complex), jac=lambda p: jnp.eye(2))


def test_a_model_whose_jacobian_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"jac has shape \(4, 2\); residuals of shape \(3,\)"):
        gdjax.curve_fit(
            lambda p, x: p[0] * x + p[1], np.ones(2), np.arange(3.0), np.ones(3), jac=lambda p, x: np.ones((4, 2))
        )


def test_minimize_knows_no_jac():
    with pytest.raises(TypeError, match="minimize has no option 'jac'; jac: grad="):
        gdjax.minimize(lambda p: p**2, 1.0, jac=lambda p: 2 * p)
