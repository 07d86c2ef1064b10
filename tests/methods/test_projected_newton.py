"""`ProjectedNewton`: what is added to a Hessian that is not positive definite; steps between bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.methods.projected_newton import metric_of

pytestmark = pytest.mark.float64

HESSIAN = np.array([[2.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
GRADIENT, SIZES = np.array([1.0, -1.0, 3.0]), np.array([1.0, 0.5, 2.0])


def test_a_parameter_near_zero_is_free_to_leave():
    near = metric_of(HESSIAN, GRADIENT, SIZES * [1e-9, 1, 1])
    assert near[0] < 1e5


def test_units_of_parameters_make_no_difference():
    units = np.array([1e-6, 1e3, 1e9])
    there = metric_of(HESSIAN / units[:, None] / units[None, :], GRADIENT / units, SIZES * units)
    np.testing.assert_allclose(there * units**2, metric_of(HESSIAN, GRADIENT, SIZES), rtol=1e-9)


def test_what_has_no_curvature_is_held_by_its_slope():
    np.testing.assert_allclose(metric_of(0 * HESSIAN, GRADIENT, SIZES), 6e-6 / SIZES**2)
    np.testing.assert_allclose(metric_of(0 * HESSIAN, 0 * GRADIENT, SIZES), 1 / SIZES**2)


def test_what_leads_beyond_many_bounds_is_shortened_until_the_model_falls():
    """Quadratic programs, not all convex: among 300 of a kind, those where the steps crept along the gradient."""
    rng, n = np.random.default_rng(3), 8
    a = rng.integers(-1, 2, (300, 4, n)).astype(float)
    b = np.einsum("kmn,kn->km", a, rng.uniform(0, 20, (300, n)))
    q, c = rng.uniform(-0.02, 0.02, (300, n)), rng.integers(-3, 4, (300, n)).astype(float)

    def solve(problem):
        a, b, q, c = problem
        rows, box = gdjax.Constraint(lambda x: a @ x - b, 0.0, 0.0), gdjax.penalties.Box(0.0, 40.0)
        loss = lambda x: jnp.sum(q * x * x) + c @ x
        result = gdjax.minimize(loss, jnp.full(n, 10.0), constraints=rows, penalty=box, max_evals=3000)
        return result.code, result.num_evals

    worst = np.array([5, 64, 81, 98, 159, 176, 221])
    codes, evals = jax.jit(lambda all_of: jax.lax.map(solve, all_of))((a[worst], b[worst], q[worst], c[worst]))
    assert set(np.asarray(codes)) == {gdjax.Status.CONVERGED}
    assert max(np.asarray(evals)) < 100
