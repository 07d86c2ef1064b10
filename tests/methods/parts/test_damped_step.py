"""The step in a ball: the model's own where that is inside, otherwise damped to the length of the radius."""

import jax
import numpy as np
import pytest

from gdjax.methods.parts.damped_step import CLOSE, damped_step

STEP = jax.jit(damped_step)


def system(n):
    rng = np.random.default_rng(n)
    r = np.triu(rng.normal(size=(n, n))) + 2 * np.eye(n)
    return r, rng.normal(size=n)


@pytest.mark.sample("0.001-1", "0.001-40")
@pytest.mark.float64
@pytest.mark.parametrize("n", [1, 3, 8, 12, 40])
@pytest.mark.parametrize("share", [1e-3, 0.3, 0.85, 1.5])
def test_the_step_is_as_long_as_the_radius_or_as_the_models(n, share):
    r, q = system(n)
    newton = -np.linalg.solve(r, q)
    radius = share * np.linalg.norm(newton)
    y, damping = STEP(r, q, radius, 0.0)
    if share > 1:
        assert damping == 0
        np.testing.assert_allclose(y, newton, rtol=1e-10)
    else:
        assert damping > 0
        assert abs(np.linalg.norm(y) - radius) <= CLOSE * radius
    np.testing.assert_allclose((r.T @ r + damping * np.eye(n)) @ y, -r.T @ q, rtol=1e-9, atol=1e-9)


@pytest.mark.float64
@pytest.mark.parametrize("n", [3, 12])
def test_of_a_singular_model_the_step_stays_in_the_ball(n):
    r, q = system(n)
    r[n - 1], q[n - 1] = 0, 0
    y, damping = STEP(r, q, 0.1, 0.0)
    assert damping > 0
    assert abs(np.linalg.norm(y) - 0.1) <= CLOSE * 0.1
    shortest = np.linalg.lstsq(r, -q, rcond=None)[0]
    for radius in (1e3, 1e32):  # with the latter the root of the damping is a rounding of R
        y, _ = STEP(r, q, radius, 0.0)
        assert np.linalg.norm(y) <= radius * (1 + CLOSE)
        np.testing.assert_allclose(r @ y, r @ shortest, rtol=1e-4, atol=1e-4)


@pytest.mark.float64
@pytest.mark.parametrize("n", [3, 12])
def test_a_step_without_damping_that_overflows_is_damped(n):
    r, q = system(n)
    r[n - 1, n - 1], q[n - 1] = 1e-300, 1e30
    y, damping = STEP(r, q, 1.0, 0.0)
    assert damping > 0
    assert abs(np.linalg.norm(y) - 1) <= CLOSE


@pytest.mark.float64
def test_at_right_angles_there_is_no_step():
    y, damping = STEP(np.eye(3), np.zeros(3), 1.0, 0.0)
    assert damping == 0
    np.testing.assert_array_equal(y, 0)


@pytest.mark.float64
def test_a_nearly_singular_model_is_damped_as_precisely():
    """Normal equations would lose it: the squares of 1 and 1e-9 are 1 and the rounding of that."""
    r, q = np.array([[1.0, 0.0], [0.0, 1e-9]]), np.array([1.0, 1e-9])
    y, damping = STEP(r, q, 1.2, 0.0)
    assert 0 < damping < 1e-16
    np.testing.assert_allclose(y[0], -1, rtol=1e-12)
    assert abs(np.linalg.norm(y) - 1.2) <= CLOSE * 1.2


@pytest.mark.float64
def test_a_batch_is_damped_as_each_alone():
    r, q = system(3)
    radii = np.array([0.01, 0.2, 5.0])
    many = jax.jit(jax.vmap(damped_step, in_axes=(None, None, 0, None)))(r, q, radii, 0.0)
    for i, radius in enumerate(radii):
        for one, all_of_them in zip(STEP(r, q, radius, 0.0), many, strict=True):
            np.testing.assert_allclose(all_of_them[i], one, rtol=1e-9)
