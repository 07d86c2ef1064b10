"""In half precision too: the loss is evaluated in the box alone, and the value is that at the params returned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import PANOC, AcceleratedProximalGradient, Backtracking, ProximalGradient
from gdjax.penalties import L1, Box, BoxSection, Halfspace, L1Ball, L2Ball, Simplex, by_leaf

CASES = [
    pytest.param(None, None, jnp.bfloat16, id="LBFGS"),
    pytest.param(None, None, jnp.float16, id="LBFGS, float16"),
    pytest.param(PANOC(), L1(0.1), jnp.bfloat16, id="PANOC"),
    pytest.param(ProximalGradient(), L1(0.1), jnp.bfloat16, id="adaptive"),
    pytest.param(ProximalGradient(Backtracking()), L1(0.1), jnp.float16, id="backtracking"),
    pytest.param(AcceleratedProximalGradient(), None, jnp.bfloat16, id="FISTA"),
]
SEEN: list = []


def watched(x):
    """A loss in single precision, least above the box, that remembers where it was evaluated."""
    jax.debug.callback(lambda a: SEEN.append(np.asarray(a, np.float32)), x["a"])
    return sum(jnp.sum((leaf.astype(jnp.float32) - 2.0) ** 2) for leaf in jax.tree.leaves(x))


def plain(x):
    return sum(jnp.sum((leaf.astype(jnp.float32) - 2.0) ** 2) for leaf in jax.tree.leaves(x))


@pytest.mark.sample("PANOC")
@pytest.mark.float64
@pytest.mark.parametrize(("method", "other", "dtype"), CASES)
def test_half_precision_never_leaves_the_box(method, other, dtype):
    SEEN.clear()
    start = {"a": jnp.zeros(2, dtype), "b": jnp.zeros(2, dtype)}
    penalty = by_leaf({"a": Box(0.1, 0.3), "b": other})
    result = gdjax.minimize(watched, start, penalty=penalty, method=method, max_evals=60)
    jax.effects_barrier()
    assert len(SEEN) >= int(result.num_evals)
    for a in [*SEEN, np.asarray(result.params["a"], np.float32)]:
        assert (a >= np.float32(0.1)).all()
        assert (a <= np.float32(0.3)).all()
    here = plain(result.params) + (
        0 if other is None else 0.1 * jnp.sum(jnp.abs(result.params["b"].astype(jnp.float32)))
    )
    np.testing.assert_allclose(result.value, here, rtol=1e-6)
    assert result.params["a"].dtype == dtype


@pytest.mark.float64
def test_bounds_that_no_half_precision_number_lies_between_hold_the_nearest():
    fixed = gdjax.minimize(plain, {"a": jnp.zeros(2, jnp.bfloat16)}, penalty=Box(0.1, 0.1))
    np.testing.assert_allclose(fixed.params["a"].astype(np.float32), 0.1, rtol=4e-3)
    assert np.isfinite(fixed.value)


@pytest.mark.sweep
@pytest.mark.parametrize("penalty", [BoxSection(1.0, 1.0, 0.1, 0.7), Simplex(lower=0.1)])
def test_the_bounds_of_slanted_sets_hold_in_half_precision(penalty):
    result = gdjax.minimize(plain, {"a": jnp.array([3, 0, 0], jnp.bfloat16)}, penalty=penalty, max_evals=60)
    assert (np.asarray(result.params["a"], np.float32) >= 0.1).all()
    np.testing.assert_allclose(np.sum(np.asarray(result.params["a"], np.float32)), 1, rtol=1e-2)


@pytest.mark.sample("L2")
@pytest.mark.parametrize(
    "penalty", [L2Ball(1.0), L1Ball(1.0), Halfspace(np.ones(6), 0.1)], ids=["L2", "L1", "halfspace"]
)
def test_extrapolated_points_lie_in_the_set_too(penalty, x64):
    """A set allows for rounding: points that far outside were lower than the answer, which never counted then."""
    rng = np.random.default_rng(3)
    features, dtype = rng.normal(size=(80, 6)), np.float64 if x64 else np.float32
    target = features @ np.array([1, -2, 0, 0, 0.5, 0]) + 0.3 * rng.normal(size=80)
    loss = lambda w, x, y: 0.5 * jnp.mean((x @ w - y) ** 2)
    data = features.astype(dtype), target.astype(dtype)
    method = AcceleratedProximalGradient()
    result = gdjax.minimize(loss, np.zeros(6, dtype), *data, penalty=penalty, method=method, max_steps=60)
    assert result.status == gdjax.Status.CONVERGED
    outside = np.abs(np.asarray(penalty.prox(result.params, 1.0)) - np.asarray(result.params)).max()
    assert outside <= 4 * np.finfo(dtype).eps
