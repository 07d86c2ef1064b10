"""Least squares by conjugate gradients: the same answers without a Jacobian, and an honest word on what is unknown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status
from gdjax.methods.parts.linearised import MOST
from gdjax.methods.truncated_gauss_newton import squared_columns
from gdjax.problem.objective import trace
from gdjax.problem.problem import make_problem
from gdjax.vectors.layout import Flat

CG = gdjax.LevenbergMarquardt(solver="cg")
RNG = np.random.default_rng(0)
A, TARGET = RNG.normal(size=(60, 12)), RNG.uniform(-0.9, 0.9, 60)


def saturating(p, a, target):
    return jnp.tanh(a @ p) - target


@pytest.mark.sweep
def test_the_answer_is_that_of_the_factorisation(x64):
    a, target = jnp.asarray(A), jnp.asarray(TARGET)
    cg, qr = (gdjax.least_squares(saturating, jnp.zeros(12), a, target, method=m) for m in (CG, None))
    assert cg.converged
    assert qr.converged
    np.testing.assert_allclose(cg.params, qr.params, atol=1e-5 if x64 else 2e-2)
    np.testing.assert_allclose(cg.covariance, qr.covariance, rtol=1e-4 if x64 else 0.1, atol=1e-6 if x64 else 1e-3)


@pytest.mark.float64
def test_units_of_parameters_make_little_difference():
    units = 10.0 ** np.linspace(-6, 6, 12)
    scaled = gdjax.least_squares(saturating, np.zeros(12), A * units, TARGET, method=CG)
    plain = gdjax.least_squares(saturating, np.zeros(12), A, TARGET, method=CG)
    assert scaled.converged
    assert plain.converged
    np.testing.assert_allclose(scaled.value, plain.value, rtol=1e-6)
    assert int(scaled.num_evals) <= 3 * int(plain.num_evals)


@pytest.mark.float64
def test_lengths_of_columns_are_estimated():
    units = 10.0 ** np.linspace(-6, 6, 12)
    problem = make_problem(
        saturating, False, False, params=jnp.zeros(12), args=(A * units, TARGET), kwargs={}, grad=None, maximize=False,
        squares=True,
    )  # fmt: skip
    found = squared_columns(trace(problem, Flat.of), jnp.zeros(12))
    right = np.sum((A * units) ** 2, axis=0)
    assert np.all(np.abs(np.log(found / right)) < np.log(6))


@pytest.mark.sweep
@pytest.mark.float64
def test_robust_losses_batches_and_jit():
    target = TARGET.copy()
    target[3] = 50.0
    for robust in (gdjax.Huber(0.1), gdjax.Cauchy(0.1)):
        solve = lambda start, m, robust=robust: gdjax.least_squares(
            saturating, start, A, target, method=m, robust=robust, tol=1e-8
        )
        qr = solve(np.zeros(12), None)
        cg = solve(qr.params + 0.05, CG)
        assert cg.converged
        assert qr.converged
        np.testing.assert_allclose(cg.value, qr.value, rtol=1e-8)
    shifts = jnp.array([0.0, 0.05])
    solve = lambda s: gdjax.least_squares(saturating, np.zeros(12), A, TARGET + s, method=CG)
    fits = jax.jit(jax.vmap(solve))(shifts)
    assert fits.converged.all()
    many = gdjax.least_squares_many(
        saturating, np.zeros(12), A, TARGET + shifts[:, None], in_axes=(None, None, 0), method=CG
    )
    np.testing.assert_allclose(fits.value, many.value, rtol=1e-8)


@pytest.mark.float64
def test_more_parameters_than_a_covariance_is_known_of():
    n = MOST + 200
    chain = lambda p: jnp.concatenate([10 * (p[1:] - p[:-1] ** 2), 1 - p[:-1]])
    fit = gdjax.least_squares(chain, np.full(n, 0.5), method=CG)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(fit.params, 1.0, atol=1e-3)
    assert fit.residuals.shape == (2 * n - 2,)
    assert int(fit.freedom) == n - 2
    for asked in (
        lambda: fit.covariance,
        lambda: fit.standard_errors,
        lambda: fit.intervals(),
        lambda: fit.correlation,
    ):
        with pytest.raises(ValueError, match="no covariance is known: there are more than 1000 parameters"):
            asked()
    text = str(fit)
    assert "estimate no covariance is known of so many" in text
    assert "params[0]" in text
    assert "standard_errors" not in repr(fit)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            dict(penalty=gdjax.penalties.NonNegative()),
            "does not go with bounds: use solver='qr', or method=",
        ),
        (dict(jac=lambda p, a, y: A), "does not go with jac=: use solver='qr'$"),
    ],
)
def test_what_it_does_not_take_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        gdjax.least_squares(saturating, np.zeros(12), A, TARGET, method=CG, **options)
