"""Units from the curvature at the start: regressions on raw columns in float32."""

import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status
from gdjax.spaces import Fixed, Positive

rng = np.random.default_rng(0)
COLUMNS = np.stack([np.ones(400), rng.lognormal(10.5, 0.5, 400), rng.uniform(18, 80, 400), rng.integers(0, 2, 400)], 1)
COLUMNS = COLUMNS.astype(np.float32)
COUNTS = rng.poisson(np.exp(COLUMNS @ [0.5, 1e-5, -0.01, 0.4])).astype(np.float32)


def poisson(b, a, y):
    return jnp.mean(jnp.exp(a @ b) - y * (a @ b))


@pytest.mark.sample("LBFGS", "ConjugateGradient")
@pytest.mark.parametrize("method", [gdjax.LBFGS(), gdjax.BFGS(), gdjax.ConjugateGradient()], ids=lambda m: m.name)
def test_a_regression_on_raw_columns_reaches_its_minimum(method):
    scaled = gdjax.minimize(poisson, np.zeros(4, np.float32), COLUMNS, COUNTS, method=method, scale="auto")
    true = gdjax.minimize(poisson, np.zeros(4, np.float32), COLUMNS, COUNTS, method=gdjax.TrustRegion())
    assert scaled.status == Status.CONVERGED
    assert true.converged
    assert scaled.num_evals < 60
    assert float(scaled.value - true.value) * 400 < 0.01


def test_it_goes_with_spaces_and_bounds_and_is_refused_where_it_cannot_be():
    loss = lambda p: 1e8 * (p["b"] - 1e-3) ** 2 + jnp.log(p["s"]) + 2 / p["s"] ** 2 + p["c"]
    start, space = {"b": 0.0, "c": 1.0, "s": 1.0}, {"c": Fixed(), "s": Positive()}
    found = gdjax.minimize(loss, start, space=space, scale="auto")
    assert found.status == Status.CONVERGED
    np.testing.assert_allclose([found.params["b"], found.params["s"]], [1e-3, 2.0], rtol=1e-3)
    box = {"b": gdjax.penalties.Box(0.0, 5e-4)}
    bounded = gdjax.minimize(loss, start, space=space, scale="auto", penalty=box)
    assert bounded.converged
    np.testing.assert_allclose(bounded.params["b"], 5e-4, rtol=1e-6)
    with pytest.raises(ValueError, match="scale must be 'auto'"):
        gdjax.minimize(loss, start, scale=2.0)
    with pytest.raises(ValueError, match="for up to 1000"):
        gdjax.minimize(lambda p: jnp.sum(p**2), np.zeros(1001, np.float32), scale="auto")
    with pytest.raises(ValueError, match="of one problem"):
        gdjax.minimize_many(lambda p: jnp.sum(p**2), np.zeros((3, 2), np.float32), scale="auto")
