"""Losses that are not finite on the boundary of the set: never a false success, and the remedy works."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import PANOC, AcceleratedProximalGradient, Backtracking, ProximalGradient, Status
from gdjax.penalties import Box, NonNegative, Simplex, by_leaf

METHODS = [PANOC(), ProximalGradient(), ProximalGradient(Backtracking()), AcceleratedProximalGradient()]
NAMES = ["PANOC", "adaptive", "backtracking", "FISTA"]
FAILED = {Status.LINE_SEARCH_FAILED, Status.STALLED, Status.MAX_STEPS, Status.NONFINITE}


def entropy(p):
    """No gradient at p[1] = 0, to which the other slope drives."""
    return (p[0] - 5) ** 2 + p[1] * jnp.log(p[1]) + 30 * p[1]


def roots(p):
    """Least at a corner of the simplex, where the gradient is infinite."""
    return (p["m"] - 5) ** 2 + jnp.sum(jnp.sqrt(p["w"]) * jnp.array([1.0, 2.0, 3.0], p["w"].dtype))


def real(x64):
    return np.float64 if x64 else np.float32


@pytest.mark.sample("x32-PANOC")
@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_a_step_shrunk_to_nothing_is_no_success(method, x64):
    start = np.array([0, 1], real(x64))
    result = gdjax.minimize(entropy, start, penalty=NonNegative(), method=method, max_steps=2000)
    slope = abs(float(jax.grad(entropy)(jnp.asarray(result.params))[0]))  # of a variable that is free
    assert result.status in FAILED or slope < 1e-3
    assert result.converged == (slope < 1e-3)


@pytest.mark.sample("adaptive")
@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_nor_in_a_batch(method, x64):
    starts = {"w": np.full((2, 3), 1 / 3, real(x64)), "m": np.array([0, 4.9], real(x64))}
    penalty = by_leaf({"w": Simplex()})
    batch = jax.vmap(lambda p: gdjax.minimize(roots, p, penalty=penalty, method=method, max_steps=2000))(starts)
    assert all(Status(int(code)) in FAILED for code in batch.code)
    assert (batch.value <= jax.vmap(roots)(starts)).all()


def test_a_bound_that_cannot_be_reached_is_no_reason_to_stop(x64):
    beside = lambda p: (p[0] - 5) ** 2 + jnp.sqrt(p[1])
    result = gdjax.minimize(beside, np.array([0, 1], real(x64)), penalty=NonNegative())
    assert result.method == "LBFGS with bounds"
    assert result.status in FAILED or float(result.value) < 1e-9  # the infimum is 0; it used to be claimed at 0.013


def test_a_rate_that_leads_out_of_the_domain_keeps_the_last_norm():
    start = np.array([0.0, 1.0], np.float32)
    result = gdjax.minimize(entropy, start, penalty=NonNegative(), method=ProximalGradient(0.02))
    assert result.status == Status.NONFINITE
    assert float(result.grad_norm) > 5


RNG = np.random.default_rng(0)
SEEN = RNG.choice(3, 400, p=[0.2, 0.5, 0.3])
DATA = np.array([-3.0, 0.0, 4.0])[SEEN] + np.array([0.5, 0.8, 0.6])[SEEN] * RNG.standard_normal(400)


def mixture(weights, means, scales, data):
    z = (data[:, None] - means) / scales
    return -jnp.sum(jnp.log(jnp.sum(weights * jnp.exp(-0.5 * z**2) / scales, axis=1)))


def constrained(p, data):
    return mixture(p["w"], p["m"], p["s"], data)


def transformed(p, data):
    return mixture(jax.nn.softmax(p["w"]), p["m"], jnp.exp(p["s"]), data)


@pytest.mark.sample("adaptive")
@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_mixture_weights_on_a_simplex_reach_the_softmax_answer(method, x64):
    data, means = DATA.astype(real(x64)), np.array([-2.0, 0.5, 3.0], real(x64))
    ones = np.ones_like(means)
    penalty = {"w": Simplex(lower=1e-6), "s": Box(1e-6)}
    found = gdjax.minimize(constrained, {"w": ones / 3, "m": means, "s": ones}, data, penalty=penalty, method=method)
    want = gdjax.minimize(transformed, {"w": 0 * ones, "m": means, "s": 0 * ones}, data)
    assert want.status == Status.CONVERGED
    assert found.status == Status.CONVERGED
    np.testing.assert_allclose(found.value, want.value, rtol=1e-9 if x64 else 1e-5)
    assert (np.asarray(found.params["w"]) >= 1e-6).all()


@pytest.mark.float64
def test_lower_bounds_that_leave_nothing_of_the_sum_are_named():
    with pytest.raises(ValueError, match=r"lower bounds of Simplex add up to .*, which must be less"):
        gdjax.minimize(roots, {"w": np.ones(3) / 3, "m": 0.0}, penalty={"w": Simplex(lower=0.4)})
