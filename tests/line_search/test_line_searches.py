"""What every line search promises, and what is Hager and Zhang's or the bisection's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import rosenbrock
from test_more_thuente import FUNCTIONS, search

import gdjax
from gdjax import BFGS, HagerZhang, MoreThuente, Status, WeakWolfe
from gdjax.line_search.base import noise_shown

SEARCHES = {"MT": MoreThuente, "HZ": HagerZhang, "bisection": WeakWolfe}
each_search = pytest.mark.parametrize("rule", SEARCHES.values(), ids=SEARCHES.keys())


@pytest.mark.sample("10.0-1-HagerZhang", "10.0-4-HagerZhang", "10.0-6-HagerZhang")
@pytest.mark.float64
@pytest.mark.parametrize("rule", [HagerZhang, WeakWolfe])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("first", [1e-3, 10.0, 1000.0])
def test_weak_wolfe_point_in_few_trials(rule, name, first):
    phi = FUNCTIONS[name][0]
    alpha, accepted, trials = search(rule(1e-3, 0.1), phi, first)
    assert accepted
    assert trials <= 20
    slope = jax.grad(phi)
    assert float(phi(alpha)) <= float(phi(0.0)) + 1e-3 * alpha * float(slope(0.0)) + 1e-6
    assert float(slope(alpha)) >= 0.1 * float(slope(0.0)) - 1e-5


@each_search
def test_a_domain_that_ends_is_a_barrier(rule):
    alpha, accepted, _ = search(rule(curvature=0.1), lambda a: -jnp.log(1 - a) - 3 * a, 1000.0)
    assert accepted
    assert alpha == pytest.approx(2 / 3, abs=0.15)


@pytest.mark.float64
@each_search
def test_a_slope_that_lies_fails(rule):
    one = jnp.asarray(1.0)
    search, feed = rule(max_trials=20).start(one, -one, one), jax.jit(rule(max_trials=20).feed)
    for _ in range(40):
        search, verdict = feed(search, 2 * one, -one, 0 * one)  # higher, however short the step
        assert not verdict.accepted
        if verdict.failed:
            return
    raise AssertionError("the search does not end")


@each_search
def test_a_step_that_changes_nothing_is_not_progress(rule):
    """Only null steps are left to take (the loss is level to rounding): a failure, not an acceptance."""
    one = jnp.asarray(1.0)
    search, feed = rule(max_trials=20).start(one, -one, one), jax.jit(rule(max_trials=20).feed)
    for _ in range(40):
        tiny = search.step_size < 1e-7
        search, verdict = feed(search, jnp.where(tiny, one, 2 * one), -one, 1e-9 * one)
        assert not verdict.accepted
        if verdict.failed:
            return
    raise AssertionError("the search does not end")


@each_search
@pytest.mark.parametrize("bad", [dict(decrease=0.0), dict(curvature=1.0), dict(max_trials=0)])
def test_constants_out_of_range_are_refused(rule, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        rule(**bad)


@pytest.mark.float64
def test_noise_is_seen_where_the_slope_is_steady_and_not_at_a_kink():
    one = jnp.asarray(1.0)
    seen = noise_shown(0 * one, -one, 1e-3 * one, 0.5 * one, -one, 0 * one)
    assert float(seen) == pytest.approx(5.01)
    assert float(noise_shown(0 * one, -one, 1e-3 * one, 0.5 * one, one, 7 * one)) == 7  # the slope has jumped
    assert float(noise_shown(0 * one, -one, 1e-3 * one, -0.5 * one, -one, 7 * one)) == 7  # the value fell


# Differences of large numbers: the value is known to 1e-7 or so of itself, the gradient to full accuracy.
@jax.custom_jvp
def cancelling(p):
    return rosenbrock(p) + jnp.sin(1e7 * jnp.sum(p)) * (3e-9 if jax.config.jax_enable_x64 else 3e-4)


cancelling.defjvp(lambda p, t: (cancelling(*p), jnp.vdot(jax.grad(rosenbrock)(*p), *t)))


@pytest.mark.sample("method0")
@pytest.mark.parametrize("method", [gdjax.LBFGS(), BFGS(HagerZhang()), gdjax.TrustRegion()])
def test_noise_far_above_the_rounding_of_the_value_is_found_out(method, x64):
    result = gdjax.minimize(cancelling, np.zeros(4), method=method)
    if x64:
        assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-5 if x64 else 5e-2)


A = np.random.default_rng(3).standard_normal((20, 4))
TRUE = np.array([1.0, -2.0, 0.5, 3.0])


def absolute_error(p):
    return jnp.mean(jnp.abs(A.astype(p.dtype) @ p - (A @ TRUE).astype(p.dtype)))


def largest_error(p):
    return jnp.max(jnp.abs(A.astype(p.dtype) @ p - (A @ TRUE).astype(p.dtype)))


@pytest.mark.parametrize("loss", [absolute_error, largest_error])
def test_losses_with_kinks_are_solved_by_bfgs_with_the_bisection(loss, x64):
    target = 1e-6 if x64 else 1e-3
    result = gdjax.minimize(loss, np.zeros(4), method=BFGS(WeakWolfe()), stop=gdjax.Stop(target=target))
    assert result.status == Status.TARGET_REACHED
    assert int(result.num_evals) <= 600
