"""Beside each other, too, descents never evaluate outside of their bounds: not in lanes that wait, or have ended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

T = np.linspace(0.0, 2.0, 25)
HEIGHTS = np.random.default_rng(0).uniform(0.5, 1.5, (12, 1))
DATA = HEIGHTS * np.exp(-T) + 0.05 * np.random.default_rng(1).normal(size=(12, 25))
BOX = dict(penalty=gdjax.penalties.Box([0.5, 0.5], [3.0, 3.0]))
DOORS = {"minimize_many": gdjax.minimize_many, "least_squares_many": gdjax.least_squares_many}


class Seen:
    """Residuals, half their squares, and the points that they were evaluated at."""

    def __init__(self):
        self.points = []

    def residuals(self, p, y):
        jax.debug.callback(lambda p: self.points.append(np.array(p).reshape(-1, 2)), p)
        return p[0] * jnp.exp(-p[1] * jnp.asarray(T)) - y

    def loss(self, p, y):
        return 0.5 * jnp.sum(self.residuals(p, y) ** 2)

    def of(self, door):
        return self.residuals if door == "least_squares_many" else self.loss

    def assert_inside(self, low=0.5, high=3.0):
        jax.effects_barrier()
        points = np.concatenate(self.points)
        assert points.size
        np.testing.assert_array_equal(points, np.clip(points, low, high))  # NaN is not its clip


@pytest.mark.sample("minimize_many-None")
@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("door", DOORS)
def test_many_are_never_evaluated_outside(door, batch_size):
    seen = Seen()
    found = DOORS[door](seen.of(door), jnp.ones(2), DATA, in_axes=(None, 0), batch_size=batch_size, **BOX)
    assert np.all(found.converged)
    seen.assert_inside()


@pytest.mark.sweep
@pytest.mark.parametrize("as_on_gpu", [False, True])
@pytest.mark.parametrize("door", DOORS)
def test_a_problem_that_cannot_begin_waits_inside(door, as_on_gpu, monkeypatch):
    if as_on_gpu:
        monkeypatch.setenv("GDJAX_AS_ON_GPU", "1")
    seen, data = Seen(), DATA.copy()
    data[3, 0] = np.nan
    found = DOORS[door](seen.of(door), jnp.ones(2), data, in_axes=(None, 0), **BOX)
    assert [i for i in range(12) if found[i].status is not Status.CONVERGED] == [3]
    assert found[3].status is Status.NONFINITE_START
    seen.assert_inside()


@pytest.mark.sweep
def test_many_starts_and_profiles_are_never_evaluated_outside():
    seen = Seen()
    starts = np.random.default_rng(2).uniform(0.5, 3.0, (5, 2))
    gdjax.multistart(seen.residuals, starts, DATA[0], by=gdjax.least_squares, **BOX)
    seen.assert_inside()
    fit = gdjax.least_squares(seen.residuals, jnp.ones(2), DATA[0], **BOX)
    gdjax.profile(seen.residuals, fit, DATA[0], parameter=1)
    seen.assert_inside()
