"""The update of BFGS, plain and self-scaled."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import BFGS, Status
from gdjax.methods.base import Secant
from gdjax.methods.bfgs import Metric

MODES = [True]  # formulas are compared to rounding


@pytest.mark.parametrize("curvature", [0.2, 0.6, 5.0])
@pytest.mark.parametrize("self_scaled", [False, True])
def test_the_factor_is_that_of_the_formula(self_scaled, curvature):
    """H+ = scale V H V' + s s' / s'y with V = I - s y' / s'y."""
    rng = np.random.default_rng(0)
    j, g, alpha = rng.normal(size=(4, 4)), rng.normal(size=4), 0.3
    h = j @ j.T
    s = -alpha * h @ g
    y = curvature * np.linalg.solve(h, s) + 0.1 * s
    before, after = SimpleNamespace(x=jnp.zeros(4), grad=g, value=1.0), SimpleNamespace(x=s, grad=g + y, value=0.5)
    secant = Secant(s @ s, s @ g, s @ (g + y), y @ y, (g + y) @ (g + y), s @ s, s @ y)
    move = SimpleNamespace(
        before=before,
        after=after,
        step_size=alpha,
        slope=jnp.asarray(s @ g / alpha),
        secant=secant,
        curved=jnp.asarray(True),
    )
    new, direction, _ = BFGS(self_scaled=self_scaled).learn(
        Metric(jnp.asarray(j), jnp.asarray(j.T @ g), jnp.int32(1)), move
    )
    sy, scale = s @ y, np.clip(s @ np.linalg.solve(h, s) / (s @ y), 1, 2) if self_scaled else 1
    v = np.eye(4) - np.outer(s, y) / sy
    want = scale * v @ h @ v.T + np.outer(s, s) / sy
    np.testing.assert_allclose(new.j @ new.j.T, want, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(direction, -want @ (g + y), rtol=1e-9, atol=1e-12)


@pytest.mark.sweep
def test_self_scaled_it_solves_an_equation_by_a_network_in_fewer_evaluations():
    """u'' of two waves, u = 0 at both ends, by a network of 140 parameters (6000 evaluations: 1e-6 and 2e-13)."""
    keys, x, waves = jax.random.split(jax.random.key(0), 3), jnp.linspace(0, 1, 40), jnp.pi * jnp.array([1.0, 4.0])
    hidden = dict(c=jax.random.normal(keys[1], (10, 10)) / 3, d=jnp.zeros(10), e=jax.random.normal(keys[2], (10,)) / 3)
    start = dict(hidden, a=jax.random.normal(keys[0], (10,)), b=jnp.zeros(10))

    def u(p, x):
        return x * (1 - x) * (jnp.tanh(jnp.tanh(x * p["a"] + p["b"]) @ p["c"] + p["d"]) @ p["e"])

    def loss(p):
        bend = jax.vmap(jax.grad(jax.grad(u, 1), 1), (None, 0))(p, x)
        return jnp.mean((bend + jnp.sum(waves**2 * jnp.sin(x[:, None] * waves), axis=1)) ** 2)

    plain, scaled = (
        gdjax.minimize(loss, start, method=BFGS(self_scaled=on), tol=1e-12, max_evals=2000) for on in (False, True)
    )
    assert plain.status is scaled.status is Status.MAX_EVALS
    assert 100 * float(scaled.value) < float(plain.value)
