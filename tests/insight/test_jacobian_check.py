"""check_jac=True refuses a wrong Jacobian at the start, array by array, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax

X = np.linspace(0, 2, 6)
START = dict(a=1.5, b=np.array([0.5, 2.0]))


def residuals(p, x):
    return dict(fit=p["a"] * jnp.exp(-p["b"][0] * x) - p["b"][1], prior=p["b"] ** 2)


def check(jac, function=residuals, start=START, **options):
    return gdjax.least_squares(function, start, X, jac=jac, check_jac=True, max_steps=1, **options)


def test_a_right_one_passes(x64):
    check(jax.jacfwd(residuals))
    check(None)


def test_the_worst_entry_of_each_array_is_named(x64):
    def wrong(p, x):
        j = jax.jacfwd(residuals)(p, x)
        j["fit"]["a"] = j["fit"]["a"].at[2].set(7.0)
        j["prior"]["b"] = j["prior"]["b"].T * jnp.array([[1.0, 1.0], [1.0, 1.5]])
        return j

    with pytest.raises(ValueError, match="the Jacobian fails its check") as raised:
        check(wrong)
    _, first, second = str(raised.value).splitlines()
    assert first == f"for residuals['fit'][2] and params['a'] the Jacobian given is 7, jax's {np.exp(-0.4):.6g}"
    assert second == "for residuals['prior'][1] and params['b'][1] the Jacobian given is 6, jax's 4"


def test_jaxs_own_is_checked_by_differences(x64):
    rounded = lambda p, x: p["a"] * x + jax.lax.stop_gradient(p["b"][1]) ** 2
    with pytest.raises(ValueError, match=r"and params\['b'\]\[1\] jax's is 0, that of differences 4"):
        check(None, rounded)


@pytest.mark.float64
def test_it_looks_inside_the_bounds_alone():
    outside_is_nan = lambda p, x: jnp.where(p <= 1.0, p * x - 3, jnp.nan)
    check(lambda p, x: x, outside_is_nan, 1.0, penalty=gdjax.penalties.Box(0.0, 1.0))


def test_numbers_must_be_known():
    with pytest.raises(ValueError, match="check_jac=True compares numbers"):
        jax.jit(lambda a: check(jax.jacfwd(residuals), start=dict(START, a=a)).value)(1.0)
