"""Losses that JAX cannot differentiate: what Python computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

MODES = [False]  # Python is called from threads of XLA, where 64 bits, switched on for a test, are off

CENTER = np.linspace(1, 2, 30)


def by_callback(x):
    value = lambda x: np.asarray(np.sum((np.asarray(x) - CENTER[: x.size]) ** 2), x.dtype)
    return jax.pure_callback(value, jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="sequential")


def rule(x):
    return 2 * (x - jnp.asarray(CENTER[: x.size], x.dtype))


@pytest.mark.sample("2-free")
@pytest.mark.parametrize("penalty", [None, gdjax.penalties.Box(0.0, 1.5)], ids=["free", "box"])
@pytest.mark.parametrize("size", [2, 30])
def test_the_gradient_of_a_callback_is_compared_with_differences(size, penalty):
    right = gdjax.minimize(by_callback, jnp.zeros(size), grad=rule, penalty=penalty)
    assert right.status == Status.CONVERGED
    wrong = gdjax.minimize(by_callback, jnp.zeros(size), grad=lambda x: rule(x).at[1].set(0), penalty=penalty)
    assert wrong.status == Status.WRONG_GRADIENT
    assert wrong.compared_with == "differences"
    known = "at params[1] it is 0, differences of the loss give" if size == 2 else "show another slope"
    assert known in wrong.message


@pytest.mark.sweep
def test_a_wrong_rule_for_a_callback_is_noticed():
    def ruled(slope):
        loss = jax.custom_jvp(by_callback)
        loss.defjvp(lambda primals, dots: (loss(*primals), jnp.vdot(slope(*primals), *dots)))
        return gdjax.minimize(loss, jnp.zeros(2))

    assert ruled(rule).status == Status.CONVERGED
    assert ruled(lambda x: rule(x).at[0].set(0)).status == Status.WRONG_GRADIENT


def test_noise_of_a_simulator_is_no_wrong_gradient():
    """Noise of a size that hides what is beyond 1e-3 of the parameters."""
    noisy = lambda x: by_callback(x) * (1 + 1e-7 * jnp.sin(1e12 * x[0])) + 1e-6 * jnp.sin(1e13 * x[1])
    for start in np.random.default_rng(0).normal(size=(5, 2)):
        result = gdjax.minimize(noisy, jnp.asarray(start), grad=rule, tol=1e-3)
        assert result.status == Status.CONVERGED


def test_what_could_not_be_checked_is_said():
    """A loss that is finite at the answer alone."""
    only = lambda x: by_callback(x) + jnp.where(jnp.all(x == 0), 0.0, jnp.nan)
    result = gdjax.minimize(only, jnp.zeros(2), grad=lambda x: 0 * x)
    assert result.status == Status.CONVERGED
    assert "The gradient given could not be checked" in result.message


@pytest.mark.parametrize("wrong", [False, True])
def test_a_gradient_of_a_callback_is_checked_by_differences(wrong):
    grad = lambda x: rule(x).at[1].mul(0 if wrong else 1)
    report = gdjax.check_gradient(by_callback, jnp.zeros(2), grad=grad)
    assert report.ok != wrong
    assert "JAX cannot differentiate the loss: the gradient given is compared with differences" in str(report)
    assert ("the slope by the gradient given is" in str(report)) == wrong
    if wrong:
        with pytest.raises(ValueError, match="fails its check"):
            gdjax.minimize(by_callback, jnp.zeros(2), grad=grad, check_grad=True)


def test_without_a_gradient_the_check_says_what_to_do():
    with pytest.raises(ValueError, match=r"JAX cannot differentiate the loss: (?s:.*)pass grad="):
        gdjax.check_gradient(by_callback, jnp.zeros(2))


def alone(x, shift):
    """Without a vmap_method."""
    value = lambda x, shift: np.asarray(np.sum((np.asarray(x) - np.asarray(shift)) ** 2), np.float32)
    return jax.pure_callback(value, jax.ShapeDtypeStruct((), jnp.float32), x, shift)


@pytest.mark.sweep
def test_many_callbacks_that_jax_cannot_vmap_are_minimised_one_by_one():
    shifts, grad = jnp.arange(3.0), lambda x, shift: 2 * (x - shift)
    many = gdjax.minimize_many(alone, jnp.zeros(2), shifts, grad=grad, in_axes=(None, 0))
    assert many.code.tolist() == [Status.CONVERGED] * 3
    np.testing.assert_allclose(many.params[:, 0], shifts, atol=1e-3)
    best = gdjax.multistart(alone, jnp.eye(2), 1.0, grad=grad).best
    assert best.status == Status.CONVERGED
    late = gdjax.minimize_many(alone, jnp.zeros(2), shifts + 1, grad=grad, in_axes=(None, 0), max_seconds=0.0)
    assert late.code.tolist() == [Status.MAX_SECONDS] * 3


def test_inside_a_trace_they_are_too():
    shifts, grad = jnp.arange(2.0), lambda x, shift: 2 * (x - shift)
    solve = jax.jit(lambda x: gdjax.minimize_many(alone, jnp.zeros(2), x, grad=grad, in_axes=(None, 0)).code)
    assert solve(shifts).tolist() == [Status.CONVERGED] * 2


def joint(x):
    """Value and gradient in one call."""
    both = lambda x: (np.float32(np.sum((np.asarray(x) - 1) ** 2)), np.asarray(2 * (np.asarray(x) - 1), np.float32))
    shapes = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct(x.shape, jnp.float32)
    return jax.pure_callback(both, shapes, x, vmap_method="sequential")


@pytest.mark.sweep
def test_curvature_of_a_simulator_is_had_by_differences_of_its_gradient():
    result = gdjax.minimize(joint, jnp.zeros(2), value_and_grad=True)
    point = gdjax.classify_critical_point(joint, result, value_and_grad=True)
    assert point.kind.name == "MINIMUM"
    np.testing.assert_allclose([point.smallest, point.largest], 2, rtol=1e-2)
    told = result.explain(joint, value_and_grad=True)
    np.testing.assert_allclose([curvature for _, curvature in told.leaves.values()], 2, rtol=1e-2)
    assert gdjax.classify_critical_point(by_callback, result, grad=lambda x: 2 * (x - 1)).kind.name == "MINIMUM"
