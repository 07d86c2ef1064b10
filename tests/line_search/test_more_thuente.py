"""The line search on Moré and Thuente's own test functions, from far too short to far too long first trials."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax import MoreThuente

BETA = 0.004


def yanai(b1, b2):
    """Function 4 to 6 of the paper (Yanai, Ozawa and Kaneko)."""
    gamma = lambda b: jnp.sqrt(1 + b**2) - b
    return lambda a: gamma(b1) * jnp.sqrt((1 - a) ** 2 + b2**2) + gamma(b2) * jnp.sqrt(a**2 + b1**2)


FUNCTIONS = {
    "1": (lambda a: -a / (a**2 + 2), 1e-3, 0.1),
    "2": (lambda a: (a + BETA) ** 5 - 2 * (a + BETA) ** 4, 0.1, 0.1),
    "4": (yanai(0.001, 0.001), 1e-3, 1e-3),
    "5": (yanai(0.01, 0.001), 1e-3, 1e-3),
    "6": (yanai(0.001, 0.01), 1e-3, 1e-3),
}


def search(rule, phi, alpha, noise=0.0):
    """Run a search: the step, whether it was accepted, the number of trials."""
    dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    both = jax.jit(jax.value_and_grad(phi))
    value, slope = both(jnp.zeros((), dtype))
    state = rule.start(value, slope, jnp.asarray(alpha, dtype))
    feed = jax.jit(rule.feed)
    for trials in range(1, 100):
        value, slope = both(state.step_size)
        alpha = state.step_size
        state, verdict = feed(state, value, slope, jnp.asarray(noise, dtype))
        if verdict.accepted or verdict.failed:
            return float(alpha), bool(verdict.accepted), trials
    raise AssertionError("the search does not end")


@pytest.mark.sample("0.001-1", "1000.0-6")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("first", [1e-3, 0.1, 10.0, 1000.0])
def test_strong_wolfe_point_in_few_trials(name, first, x64):
    phi, decrease, curvature = FUNCTIONS[name]
    alpha, accepted, trials = search(MoreThuente(decrease, max(curvature, 1.1 * decrease)), phi, first)
    assert accepted
    assert trials <= 15  # the paper's tables have 1 to 13
    f0, d0 = float(phi(0.0)), float(jax.grad(phi)(0.0))
    f, d = float(phi(alpha)), float(jax.grad(phi)(alpha))
    assert f <= f0 + decrease * alpha * d0 + 1e-6
    assert abs(d) <= 1.1 * max(curvature, decrease) * abs(d0) + (1e-6 if x64 else 2e-5)


def test_a_quadratic_is_minimised_in_few_trials():
    for first in (0.01, 1.0, 50.0):
        alpha, accepted, trials = search(MoreThuente(curvature=0.1), lambda a: (a - 3) ** 2, first)
        assert accepted
        assert trials <= 5
        assert alpha == pytest.approx(3, abs=0.31)


def test_a_domain_that_ends_is_a_barrier():
    alpha, accepted, _ = search(MoreThuente(curvature=0.1), lambda a: -jnp.log(1 - a) - 3 * a, 1000.0)
    assert accepted
    assert 0 < alpha < 1
    assert alpha == pytest.approx(2 / 3, abs=0.1)


def test_an_unbounded_function_is_stepped_along_faster_and_faster():
    _, accepted, trials = search(MoreThuente(max_trials=8), lambda a: -a, 1.0)
    assert accepted  # the lowest point found, once the trials are spent
    assert trials <= 9


@pytest.mark.float64
def test_a_slope_that_lies_fails():
    rule, one = MoreThuente(max_trials=20), jnp.asarray(1.0)
    state = rule.start(one, -one, one)
    for _ in range(40):
        state, verdict = rule.feed(state, 2 * one, -one, 0 * one)  # higher, however short the step
        if verdict.failed:
            break
        assert not verdict.accepted
    assert verdict.failed


def test_noise_is_seen_through_by_the_slopes():
    noisy = lambda a: 1e3 + 1e-3 * (a - 1) ** 2 + 3e-4 * jnp.sin(1e5 * jax.lax.stop_gradient(a))
    _, accepted, trials = search(MoreThuente(curvature=0.1), noisy, 0.1, noise=1e-2)
    assert accepted
    assert trials <= 5


@pytest.mark.parametrize("bad", [dict(decrease=0.0), dict(curvature=1.0), dict(max_trials=0)])
def test_constants_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        MoreThuente(**bad)


def test_searches_of_a_batch_end_each_in_its_own_trial():
    rule = MoreThuente(curvature=0.1)
    firsts = jnp.array([0.01, 1.0, 100.0])
    phi = lambda a: (a - 3) ** 2
    states = jax.vmap(lambda a: rule.start(phi(0 * a), -6 + 0 * a, a))(firsts)
    done = np.zeros(3, bool)
    for _ in range(10):
        states, verdict = jax.vmap(lambda s: rule.feed(s, phi(s.step_size), 2 * (s.step_size - 3), 0 * s.step_size))(
            states
        )
        done |= np.asarray(verdict.accepted)
    assert done.all()
