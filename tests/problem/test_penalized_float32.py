"""Single precision with a penalty: the floor is that of the gradient, not of the values; small units."""

import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import PANOC, AcceleratedProximalGradient, Backtracking, ProximalGradient, Status
from gdjax.penalties import L1, Box

MODES = [False]
METHODS = [PANOC(), ProximalGradient(), ProximalGradient(Backtracking()), AcceleratedProximalGradient()]


@pytest.mark.sample("PANOC", "FISTA")
@pytest.mark.parametrize("method", METHODS, ids=["PANOC", "adaptive", "backtracking", "FISTA"])
def test_a_large_value_does_not_blur_the_search(method):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((60, 20)).astype(np.float32)
    b = (a @ np.where(np.arange(20) < 4, 8.0, 0) + 3 * rng.standard_normal(60)).astype(np.float32)
    lasso = lambda w: 0.5 * jnp.sum((a @ w - b) ** 2) + 1500
    result = gdjax.minimize(lasso, np.zeros(20, np.float32), penalty=L1(5.0), method=method, tol=1e-6)
    assert result.status in (Status.CONVERGED, Status.PRECISION_FLOOR)
    assert float(result.grad_norm) < 0.02  # 500 at the start; of values alone no more than 0.4 can be told
    assert float(result.progress.predicted) >= 0


def test_the_first_step_in_a_box_is_not_lost_in_the_rounding_of_x():
    x = jnp.linspace(0, 1, 50)
    y = 2e-6 * jnp.exp(-3 * x)  # micrometres in metres
    loss = lambda k: jnp.mean((2e-6 * jnp.exp(-k * x) - y) ** 2)
    result = gdjax.minimize(loss, 1.0, penalty=Box(0.0, 10.0))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 3.0, rtol=1e-2)
