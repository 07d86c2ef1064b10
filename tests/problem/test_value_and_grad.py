"""A function that gives value and gradient at once is called once an evaluation, everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status


def bowl(p, center=1.0):
    return jnp.sum((p - center) ** 2), 2 * (p - center)


def with_aux(p, center=1.0):
    value, grad = bowl(p, center)
    return (value, {"norm": jnp.sum(p)}), grad


def test_a_simulator_is_called_once_an_evaluation():
    calls = []

    def simulate(x):
        calls.append(1)
        x = np.asarray(x)
        return np.sum((x - 1) ** 2, dtype=x.dtype), (2 * (x - 1)).astype(x.dtype)

    shapes = lambda x: (jax.ShapeDtypeStruct((), x.dtype), jax.ShapeDtypeStruct(x.shape, x.dtype))
    joint = lambda x: jax.pure_callback(simulate, shapes(x), x, vmap_method="sequential")
    result = gdjax.minimize(joint, jnp.zeros(3), value_and_grad=True)
    assert result.status == Status.CONVERGED
    assert len(calls) == result.num_evals + 6  # two differences an entry at the answer


def test_the_value_its_gradient_and_aux_reach_the_result(x64):
    result = gdjax.minimize(with_aux, jnp.zeros(2), 3.0, value_and_grad=True, has_aux=True)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.aux["norm"], 6, rtol=1e-3)
    np.testing.assert_allclose(result.automatic, result.grad, atol=1e-5)
    slope = jax.grad(lambda c: gdjax.minimize(bowl, jnp.zeros(2), c, value_and_grad=True).params.sum())(3.0)
    assert slope == pytest.approx(2.0)


@pytest.mark.sweep
def test_it_goes_through_every_door():
    centers = jnp.arange(3.0)
    many = gdjax.minimize_many(bowl, jnp.zeros(2), centers, in_axes=(None, 0), value_and_grad=True)
    np.testing.assert_allclose(many.params[:, 0], centers, atol=1e-3)
    top = gdjax.maximize(lambda p: jax.tree.map(jnp.negative, bowl(p)), jnp.zeros(2), value_and_grad=True)
    assert top.status == Status.CONVERGED
    boxed = gdjax.minimize(bowl, jnp.zeros(2), penalty=gdjax.penalties.Box(0.0, 0.5), value_and_grad=True)
    assert boxed.params.tolist() == [0.5, 0.5]
    assert gdjax.check_gradient(bowl, jnp.zeros(2), value_and_grad=True).ok


def test_a_wrong_gradient_is_noticed():
    wrong = lambda p: (bowl(p)[0], bowl(p)[1] * jnp.array([1.0, 0.0]))
    assert gdjax.minimize(wrong, jnp.zeros(2), value_and_grad=True).status == Status.WRONG_GRADIENT
    with pytest.raises(ValueError, match="analytic gradient"):
        gdjax.minimize(wrong, jnp.zeros(2), value_and_grad=True, check_grad=True)


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        (lambda p: jnp.sum(p**2), {}, r"needs a function that returns \(value, grad\)"),
        (bowl, dict(has_aux=True), r"needs a function that returns \(\(value, aux\), grad\)"),
        (lambda p: (jnp.sum(p**2), 1.0), {}, "grad must return a pytree like params|grad has shape"),
        (bowl, dict(grad=lambda p: p), "leave grad= out"),
    ],
)
def test_what_does_not_fit_is_told(loss, options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        gdjax.minimize(loss, jnp.zeros(2), value_and_grad=True, **options)
