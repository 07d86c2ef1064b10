"""What comes back is the lowest finite point that was evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

METHODS = {
    "LBFGS": gdjax.LBFGS(),
    "Hager-Zhang": gdjax.LBFGS(line_search=gdjax.HagerZhang()),
    "conjugate gradient": gdjax.ConjugateGradient(),
    "trust region": gdjax.TrustRegion(),
    "adaptive step": gdjax.GradientDescent(gdjax.AdaptiveStep()),
}


def logged(loss, start, **options):
    """The result and all values that the descent has seen."""
    seen = []
    note = lambda value: seen.append(float(value))

    def watched(x):
        value = loss(x)
        jax.debug.callback(note, value)
        return value

    result = gdjax.minimize(watched, start, **options)
    jax.effects_barrier()
    return result, np.array(seen)


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.sample("adaptive step")
@pytest.mark.float64
@pytest.mark.parametrize("name", METHODS)
def test_at_a_limit_no_lower_point_was_seen_than_the_one_returned(name):
    start = jnp.array([-1.2, 1.0, 0.5])
    for limit in (9, 17, 30):
        result, seen = logged(rosenbrock, start, method=METHODS[name], max_evals=limit, tol=0.0)
        assert result.status == Status.MAX_EVALS
        lowest = seen[np.isfinite(seen)].min()
        assert result.value <= lowest + 1e-5 * abs(lowest), (limit, lowest)
        assert jnp.isclose(rosenbrock(result.params), result.value, rtol=1e-5)


@pytest.mark.float64
def test_a_search_that_fails_on_a_wavy_loss_returns_the_lowest_point():
    with jax.enable_x64(True):
        wavy = lambda x: jnp.sum((x - 1) ** 4) * (1 + 1e-6 * jnp.sin(1e7 * jnp.sum(x)))
        start = jnp.array([2.0, 3.0, 4.0])
        result, seen = logged(wavy, start, method=METHODS["Hager-Zhang"])
        assert result.status == Status.LINE_SEARCH_FAILED
        assert result.value <= seen.min() * (1 + 1e-12)
        assert result.value < 0.1 * wavy(start)


def test_a_loss_without_a_minimum_returns_the_lowest_finite_point():
    result, seen = logged(lambda x: -jnp.sum(jnp.log1p(jnp.exp(x))), jnp.zeros(2))
    assert result.status == Status.UNBOUNDED
    assert jnp.isfinite(result.params).all()
    assert result.value <= seen[np.isfinite(seen)].min()


@pytest.mark.float64
def test_no_enormous_gradient_excuses_a_rise():
    with jax.enable_x64(True):  # Devilliers and Glasser's second problem
        t = 0.1 * jnp.arange(16.0)

        def model(x):
            waves = jnp.tanh(x[2] * t + jnp.sin(x[3] * t)) * jnp.cos(t * jnp.exp(x[4]))
            return x[0] * jnp.exp(t * jnp.log(x[1])) * waves

        y = model(jnp.array([53.81, 1.27, 3.012, 2.13, 0.507]))
        misfit, start = lambda x: 0.5 * jnp.sum((model(x) - y) ** 2), jnp.array([20.0, 2, 2, 2, 0.2])
        result = gdjax.minimize(misfit, start, method=gdjax.TrustRegion())
        assert result.value <= misfit(start)
        assert result.status == Status.CONVERGED
