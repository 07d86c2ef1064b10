"""Gradient descent takes the steps of its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import quadratic

import gdjax
from gdjax import GradientDescent, Status

START = np.array([3.0, -2.0, 0.0], np.float32)


@pytest.mark.sample("plain", "nesterov", "schedule")
@pytest.mark.parametrize(
    ("ours", "optaxs"),
    [
        (GradientDescent(0.05), optax.sgd(0.05)),
        (GradientDescent(0.05, momentum=0.9), optax.sgd(0.05, momentum=0.9)),
        (GradientDescent(0.05, momentum=0.9, nesterov=True), optax.sgd(0.05, momentum=0.9, nesterov=True)),
        (
            GradientDescent(optax.linear_schedule(0.1, 0.01, 5)),
            optax.sgd(optax.linear_schedule(0.1, 0.01, 5)),
        ),
    ],
    ids=["plain", "momentum", "nesterov", "schedule"],
)
def test_same_steps_as_optax_sgd(ours, optaxs):
    with jax.numpy_dtype_promotion("standard"):
        params = jnp.asarray(START)
        state = optaxs.init(params)
        for step in gdjax.iterate(quadratic, START, method=ours, max_steps=8, tol=0.0):
            np.testing.assert_allclose(step.params, params, rtol=1e-5, atol=1e-6)
            updates, state = optaxs.update(jax.grad(quadratic)(params), state, params)
            params = optax.apply_updates(params, updates)
        assert step.status == Status.MAX_STEPS


def test_the_arithmetic_of_one_step():
    loss = lambda w: 4 * w[0] - w[1]
    states = gdjax.iterate(loss, np.array([1.0, 2.0]), method=GradientDescent(0.1))
    np.testing.assert_array_equal(next(states).grad, [4, -1])
    np.testing.assert_allclose(next(states).params, [0.6, 2.1], rtol=1e-6)


@pytest.mark.float64
def test_zero_momentum_carries_no_velocity():
    assert jax.tree.structure(GradientDescent(0.1)) == jax.tree.structure(GradientDescent(0.1, momentum=0.0))
    assert len(jax.tree.leaves(GradientDescent(0.1))) == 1
    assert len(jax.tree.leaves(GradientDescent(0.1, momentum=0.5))) == 2


@pytest.mark.float64
def test_momentum_needs_fewer_steps_on_an_ill_conditioned_loss():
    loss = lambda p: quadratic(p, 100.0)
    plain = gdjax.minimize(loss, START, method=GradientDescent(0.018), tol=1e-3)
    heavy = gdjax.minimize(loss, START, method=GradientDescent(0.018, momentum=0.8), tol=1e-3)
    assert plain.status == heavy.status == Status.CONVERGED
    assert 3 * int(heavy.num_evals) < int(plain.num_evals)
