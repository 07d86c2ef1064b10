"""A wrong analytic gradient is noticed at the answer, and a right one is never accused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import Status

METHODS = {
    "default": None,
    "BFGS": gdjax.BFGS(),
    "trust region": gdjax.TrustRegion(),
    "conjugate gradient": gdjax.ConjugateGradient(),
    "fixed rate": gdjax.GradientDescent(0.05),
    "adaptive": gdjax.GradientDescent(gdjax.AdaptiveStep()),
    "Barzilai-Borwein": gdjax.GradientDescent(gdjax.BarzilaiBorwein()),
    "accelerated": gdjax.AcceleratedGradient(),
    "adam": optax.adam(0.1),
}


def bowl(x, shift=0.0):
    return (x[0] - 1 - shift) ** 2 + 5 * (x[1] - 2 - shift) ** 2


def one_entry(x, shift=0.0):
    return jax.grad(bowl)(x, shift) * jnp.array([1.0, 0.0], x.dtype)


@pytest.mark.sample("default", "adam")
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_gradient_without_one_entry_is_never_called_converged(method, x64):
    result = gdjax.minimize(bowl, jnp.zeros(2), grad=one_entry, method=method)
    assert result.status == Status.WRONG_GRADIENT
    assert not result.converged
    assert "at params[1] it is 0, jax.grad's is -20, and along that one the loss is still falling" in result.message
    np.testing.assert_allclose(result.automatic, jax.grad(bowl)(result.params), rtol=1e-5)


@pytest.mark.float64
@pytest.mark.parametrize("method", [None, gdjax.GradientDescent(0.05)], ids=["default", "fixed rate"])
def test_an_error_that_vanishes_with_the_gradient_does_no_harm(method):
    result = gdjax.minimize(bowl, jnp.zeros(2), grad=lambda x: jax.grad(bowl)(x) * 1.001, method=method)
    assert result.status == Status.CONVERGED


@pytest.mark.sample("x32-box")
@pytest.mark.parametrize("penalty", [gdjax.penalties.Box(-3.0, 3.0), gdjax.penalties.L1(0.1)], ids=["box", "l1"])
def test_it_is_noticed_with_a_penalty(penalty, x64):
    assert gdjax.minimize(bowl, jnp.zeros(2), grad=one_entry, penalty=penalty).status == Status.WRONG_GRADIENT
    right = gdjax.minimize(bowl, jnp.zeros(2), grad=jax.grad(bowl), penalty=penalty)
    assert right.status == Status.CONVERGED


@pytest.mark.sweep
@pytest.mark.float64
def test_it_is_noticed_in_batches_and_while_watched():
    shifts = jnp.arange(6.0)
    partly = lambda x, shift: jnp.where(shift > 2, jax.grad(bowl)(x, shift), one_entry(x, shift))
    codes = [Status.WRONG_GRADIENT] * 3 + [Status.CONVERGED] * 3
    many = gdjax.minimize_many(bowl, jnp.zeros(2), shifts, grad=partly, in_axes=(None, 0))
    vmapped = jax.vmap(lambda shift: gdjax.minimize(bowl, jnp.zeros(2), shift, grad=partly).code)(shifts)
    assert many.code.tolist() == vmapped.tolist() == codes
    *_, last = gdjax.iterate(bowl, jnp.zeros(2), grad=one_entry)
    watched = gdjax.minimize(bowl, jnp.zeros(2), grad=one_entry, max_seconds=100)
    assert last.status == watched.status == Status.WRONG_GRADIENT


def test_it_is_noticed_when_maximising():
    top = lambda x: -bowl(x)
    result = gdjax.maximize(top, jnp.zeros(2), grad=lambda x: -one_entry(x))
    assert result.status == Status.WRONG_GRADIENT
    assert "jax.grad's is 20, and along that one the loss is still rising" in result.message


def test_no_derivative_of_an_answer_to_another_question():
    solve = lambda shift: gdjax.minimize(bowl, jnp.zeros(2), shift, grad=one_entry)
    assert solve(1.0).status == Status.WRONG_GRADIENT
    assert np.isnan(jax.grad(lambda shift: solve(shift).params.sum())(1.0))


def test_gradients_in_another_order_are_not_accused(x64):
    """By the normal equations, ill-conditioned, from zero and from the minimum itself."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 30, 4)) * [1, 30, 1, 1000]
    y = x @ [1, 0.1, 1, 0.001] + 0.1 * rng.normal(size=(40, 30)) + 100
    best = np.stack([np.linalg.lstsq(a, b, rcond=None)[0] for a, b in zip(x, y, strict=True)])
    x, y, best = (jnp.asarray(a, float) for a in (x, y, best))
    loss = lambda w, x, y: jnp.mean((x @ w - y) ** 2)
    grad = lambda w, x, y: 2 * ((x.T @ x) @ w - x.T @ y) / 30
    fit = jax.jit(jax.vmap(lambda w, x, y: gdjax.minimize(loss, w, x, y, grad=grad, method=gdjax.BFGS()).code))
    codes = jnp.stack([fit(start, x, y) for start in (jnp.zeros_like(best), best)])
    assert not jnp.any(codes == Status.WRONG_GRADIENT)


@pytest.mark.sample("grad-TR", "value and grad-GD")
@pytest.mark.float64
@pytest.mark.parametrize("method", [None, gdjax.TrustRegion(), gdjax.GradientDescent(0.05)], ids=["L-BFGS", "TR", "GD"])
@pytest.mark.parametrize("joint", [False, True], ids=["grad", "value and grad"])
def test_a_gradient_in_single_precision_is_judged_at_its_own(method, joint):
    loss = lambda x: bowl(x) + jnp.sin(3 * x[0])
    single = lambda x: jax.grad(loss)(x).astype(jnp.float32)
    given = dict(value_and_grad=True) if joint else dict(grad=single)
    function = (lambda x: (loss(x), single(x))) if joint else loss
    result = gdjax.minimize(function, jnp.zeros(2), method=method, check_grad=True, **given)
    assert result.status == Status.CONVERGED, result.message
    assert "The gradient given is less precise than float64" in result.message
    assert float(result.stop.tol) > 1e-4
    assert result.grad.dtype == jnp.float64
    assert gdjax.minimize(bowl, jnp.zeros(2), grad=lambda x: one_entry(x).astype(jnp.float32)).code == 19
