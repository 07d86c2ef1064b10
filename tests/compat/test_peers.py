"""Where optimistix 0.1.0 and optax 0.2.8 leave their users alone, or tell them that all is well."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import Status
from gdjax.penalties import Box

METHODS = [gdjax.LBFGS(), gdjax.BFGS(), gdjax.ConjugateGradient()]
named = lambda method: method.name


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


START = jnp.array([-1.2, 1.0])


@pytest.mark.sample("LBFGS", "ConjugateGradient")
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_a_gradient_of_the_wrong_sign_is_no_success(method):
    result = gdjax.minimize(rosenbrock, START, method=method, grad=lambda x: -jax.grad(rosenbrock)(x))
    assert not result.converged


@pytest.mark.sample("LBFGS", "ConjugateGradient")
@pytest.mark.parametrize("method", METHODS, ids=named)
def test_a_loose_tolerance_is_no_false_claim(method):
    result = gdjax.minimize(rosenbrock, START, method=method, tol=1e-3)
    assert result.status == Status.CONVERGED
    assert result.grad_norm <= 1e-3
    assert result.value < 1e-4


@pytest.mark.sample("LBFGS", "ConjugateGradient", "AcceleratedGradient")
@pytest.mark.parametrize("method", [*METHODS, gdjax.AcceleratedGradient()], ids=named)
def test_a_quadratic_scaled_by_a_millionth_is_not_done_at_its_start(method):
    result = gdjax.minimize(lambda x: 1e-6 * jnp.sum((x - 1) ** 2), jnp.zeros(2), method=method)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1.0, atol=1e-2)


def test_a_start_that_is_nan_takes_one_evaluation():
    result = gdjax.minimize(lambda x: jnp.sum(jnp.log(x)), jnp.array([-1.0, 2.0]))
    assert result.status == Status.NONFINITE_START
    assert result.num_evals == 1


def test_a_linear_loss_is_unbounded_and_said_to_be():
    result = gdjax.minimize(lambda x: x[0] - 2 * x[1], jnp.zeros(2))
    assert result.status == Status.UNBOUNDED


def test_bounds_hold_where_others_ignore_them_in_silence():
    result = gdjax.minimize(lambda x: (x - 2.0) ** 2, 0.0, penalty=Box(upper=1.0))
    assert result.status == Status.CONVERGED
    assert result.params == 1.0
    with pytest.raises(TypeError, match="has no option 'options'"):
        gdjax.minimize(rosenbrock, START, options={"upper": 1.0})


@pytest.mark.float64
def test_float32_parameters_where_x64_is_on():
    result = gdjax.minimize(rosenbrock, START.astype(jnp.float32), method=gdjax.LBFGS())
    assert result.status == Status.CONVERGED
    assert result.params.dtype == jnp.float32


def test_a_result_can_leave_jit_and_vmap():
    result = jax.jit(jax.vmap(lambda x: gdjax.minimize(rosenbrock, x, method=gdjax.LBFGS())))(
        jnp.stack([START, -START])
    )
    assert result.converged.all()
    np.testing.assert_allclose(result.params, 1.0, atol=1e-2)


def test_another_tolerance_or_limit_compiles_nothing():
    compiled = []
    assert gdjax.minimize(rosenbrock, START, tol=1e-3, max_steps=500).status == Status.CONVERGED
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    assert gdjax.minimize(rosenbrock, START, tol=2e-3, max_steps=400).status == Status.CONVERGED
    assert compiled == []


def test_adam_ends_where_the_gradient_vanishes_not_where_it_creeps():
    result = gdjax.minimize(rosenbrock, START, method=optax.adam(1e-2), tol=1e-3, max_steps=20_000)
    assert result.status == Status.CONVERGED
    assert result.grad_norm <= 1e-3


def test_what_other_libraries_lack_is_in_the_result():
    result = gdjax.minimize(rosenbrock, START, method=optax.sgd(1e-3), max_steps=50, history=True)
    assert result.status == Status.MAX_STEPS
    assert (result.num_steps, result.num_evals) == (50, 51)
    assert result.value == rosenbrock(result.params)
    assert len(result.history.value) >= 51
