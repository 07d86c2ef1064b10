"""A value and a prox that do not belong together are found out; all of gdjax's do."""

import jax.numpy as jnp
import numpy as np
import pytest
from penalty_cases import FUNCTIONS, SETS

import gdjax
from gdjax import Status


class Soft:
    """The prox of ``scale`` times the value, the sum of moduli."""

    def __init__(self, scale):
        self.scale = scale

    def value(self, x):
        return jnp.sum(jnp.abs(x))

    def prox(self, x, step):
        return jnp.sign(x) * jnp.maximum(jnp.abs(x) - self.scale * step, 0)


class NoValue:
    """What `jaxopt.ProximalGradient` was given."""

    value = None

    def prox(self, x, step):
        return jnp.sign(x) * jnp.maximum(jnp.abs(x) - step, 0)


class ZeroValue(NoValue):
    def value(self, x):
        return 0.0 * jnp.sum(x)


@pytest.mark.sample("L1", "BoxSection")
@pytest.mark.parametrize("name", [*FUNCTIONS, *SETS])
def test_every_penalty_of_gdjax_is_in_order(name, x64):
    start = np.array([[1, -2, 0], [0.3, 2, 4]], np.float64 if x64 else np.float32)
    report = gdjax.check_penalty({**FUNCTIONS, **SETS}[name], start)
    assert report.ok, report


@pytest.mark.parametrize("wrong", [Soft(2.0), Soft(1.02), Soft(0.0), ZeroValue()])
def test_a_prox_of_another_function_is_found(wrong, x64):
    start = np.array([3, -0.5, 0], np.float64 if x64 else np.float32)
    report = gdjax.check_penalty(wrong, start)
    assert not report.ok
    with pytest.raises(ValueError, match=r"value and prox do not belong together: .*at step"):
        report.raise_if_wrong()
    assert gdjax.check_penalty(Soft(1.0), start).ok


def squares(x):
    return 0.5 * jnp.sum((x - jnp.array([3.0, 0.2], x.dtype)) ** 2)


@pytest.mark.parametrize("method", [None, gdjax.ProximalGradient(), gdjax.ProximalGradient(0.5)])
def test_without_a_value_the_prox_gradient_step_judges(method, x64):
    start = np.array([3, 0.2], np.float64 if x64 else np.float32)  # the least loss, where the sum is not least
    result = gdjax.minimize(squares, start, penalty=NoValue(), method=method)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [2, 0], atol=2e-6 if x64 else 2e-3)
    assert "the value of the penalty is not known" in str(result)
    np.testing.assert_allclose(result.value, squares(result.params), rtol=1e-6)


def test_methods_that_compare_values_say_so():
    for method in (gdjax.PANOC(), gdjax.ProximalGradient(gdjax.Backtracking())):
        with pytest.raises(ValueError, match="compares values, and NoValue has none"):
            gdjax.minimize(squares, np.zeros(2), penalty=NoValue(), method=method)
    with pytest.raises(ValueError, match="the penalty has no value"):
        gdjax.check_penalty(NoValue(), np.zeros(2))
