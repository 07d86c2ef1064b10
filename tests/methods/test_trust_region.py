"""The trust region: Steihaug's steps, negative curvature, rounding, honest ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import count_primitive, marked, quadratic, rosenbrock, tree_loss

import gdjax
from gdjax import Status, TrustRegion

METHOD = TrustRegion()


def test_a_convex_quadratic_takes_few_steps_and_products():
    result = gdjax.minimize(lambda p: quadratic(p, 100.0), np.zeros(8), method=METHOD)
    assert result.status == Status.CONVERGED
    assert int(result.num_steps) <= 8
    assert int(result.num_evals) <= 60
    np.testing.assert_allclose(result.params, 1, atol=1e-3)


def test_rosenbrock_with_history():
    result = gdjax.minimize(rosenbrock, np.array([-1.2, 1.0]), method=METHOD, history=True)
    assert result.status == Status.CONVERGED
    history = result.history.trim()
    assert len(history) == int(result.num_steps) + 1
    assert np.all(np.diff(history.value) <= 1e-6 * np.abs(history.value[:-1]))
    # The last trips are the two products that tell that the model promises nothing more; the row is of the step before.
    assert history.num_evals[-1] == result.num_evals - 2


@pytest.mark.float64
def test_products_and_evaluations_are_counted():
    evaluations = []

    def counted(p):
        jax.debug.callback(lambda: evaluations.append(1))
        return quadratic(p)

    result = gdjax.minimize(counted, jnp.zeros(3), method=METHOD)
    jax.effects_barrier()
    assert result.status == Status.CONVERGED
    assert len(evaluations) == int(result.num_evals)


@pytest.mark.float64
def test_the_program_holds_one_evaluation_and_one_product():
    jaxpr = jax.make_jaxpr(lambda p: gdjax.minimize(marked, p, method=METHOD))(jnp.zeros(5)).jaxpr
    assert count_primitive(jaxpr, "sin") <= 3  # the value's, the product's primal, and cos' derivative
    assert count_primitive(jaxpr, "cos") <= 3


@pytest.mark.parametrize("start", [[1e-2, 1.0], [0.3, 0.0], [-0.1, 2.0]])
def test_negative_curvature_is_followed_away_from_a_saddle(start):
    result = gdjax.minimize(lambda p: (p[0] ** 2 - 1) ** 2 + p[1] ** 2, np.array(start), method=METHOD)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose([abs(result.params[0]), result.params[1]], [1, 0], atol=2e-3)
    assert int(result.num_steps) <= 15


def test_a_loss_without_a_minimum_is_unbounded():
    saddle = lambda p: p[0] ** 2 - p[1] ** 2
    assert gdjax.minimize(saddle, np.array([1.0, 1e-3]), method=METHOD).status == Status.UNBOUNDED


def test_a_barrier_is_respected():
    barrier = lambda p: jnp.sum(p) - jnp.sum(jnp.log(p))
    result = gdjax.minimize(barrier, np.array([1e-3, 5.0, 100.0]), method=METHOD)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-2)


def test_a_gradient_of_the_wrong_sign_never_converges():
    result = gdjax.minimize(quadratic, np.zeros(3), method=METHOD, grad=lambda p: -jax.grad(quadratic)(p))
    assert result.status == Status.LINE_SEARCH_FAILED
    assert float(result.value) <= 8.2501


def test_a_nan_start_and_a_limit_cost_what_they_must():
    nan = gdjax.minimize(quadratic, np.full(3, np.nan), method=METHOD)
    assert (nan.status, int(nan.num_evals)) == (Status.NONFINITE_START, 1)
    limit = gdjax.minimize(rosenbrock, np.array([-1.2, 1.0]), method=METHOD, max_evals=10)
    assert (limit.status, int(limit.num_evals)) == (Status.MAX_EVALS, 10)


def test_parameters_of_very_different_scale(x64):
    # Without a diagonal that learns the scales it took 733 trips in float64, 2485 in float32; with it 127 and 143.
    scales = jnp.logspace(0, 3, 40)
    loss = lambda p: jnp.sum((scales * p - 1) ** 2 + 0.1 * (scales * p - 1) ** 4)
    result = gdjax.minimize(loss, np.zeros(40), method=METHOD)
    assert result.status == Status.CONVERGED
    assert int(result.num_evals) <= 250


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_the_loss_changes_nothing(scale, x64):
    tol = 1e-6 if x64 else 1e-5  # float32's default allows a gradient of 0.08, which the valley has at (0.9, 0.8)
    result = gdjax.minimize(lambda p: scale * rosenbrock(p), np.array([-1.2, 1.0]), method=METHOD, tol=tol)
    assert result.status in (Status.CONVERGED, Status.PRECISION_FLOOR)
    np.testing.assert_allclose(result.params, 1, atol=2e-3 if x64 else 2e-2)


def test_nested_mixed_and_complex_parameters():
    params = {"x": jnp.zeros((2, 2)), "z": (jnp.array([0.5j], jnp.complex64), jnp.full(3, 3.0, jnp.bfloat16))}
    assert gdjax.minimize(tree_loss, params, method=METHOD).status == Status.CONVERGED


def test_batch_and_steps_by_hand():
    starts = jnp.array([[-1.2, 1.0], [2.0, 2.0]])
    solve = lambda p: gdjax.minimize(rosenbrock, p, method=METHOD)
    together, alone = jax.jit(jax.vmap(solve))(starts), solve(starts[0])
    assert together.converged.all()
    assert abs(int(alone.num_evals) - int(together.num_evals[0])) <= 10
    states = list(gdjax.iterate(rosenbrock, starts[0], method=METHOD))
    assert states[-1].status == Status.CONVERGED
    assert [int(state.num_steps) for state in states[-2:]] == [int(alone.num_steps)] * 2  # the last trip is a product
    np.testing.assert_allclose(states[-1].params, alone.params, rtol=1e-5)


@pytest.mark.parametrize("bad", [dict(accept=0.0), dict(good=1.0), dict(shrink=2.0), dict(grow=1.0)])
def test_constants_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        TrustRegion(**bad)
