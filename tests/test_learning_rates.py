"""Rates are judged as the theory of a quadratic says, and what is recommended works."""

import jax.numpy as jnp
import numpy as np
import pytest
from problems import quadratic, rosenbrock

import gdjax
from gdjax import GradientDescent, Status, learning_rate_range

MODES = [False]  # JAX's default: precision is not what these are about

START = np.zeros(3)


@pytest.mark.sample("0.0-False-0.2")
@pytest.mark.parametrize(
    ("momentum", "nesterov", "limit"), [(0.0, False, 0.2), (0.9, False, 0.38), (0.9, True, 0.38 / 2.8)]
)
def test_the_limit_of_a_quadratic_divides_stable_from_unstable(momentum, nesterov, limit):
    rates = limit * np.array([1e-4, 0.05, 0.5, 0.9, 1.1, 3.0])
    report = learning_rate_range(quadratic, START, rates=rates, momentum=momentum, nesterov=nesterov)
    assert report.stable_limit == pytest.approx(limit, rel=1e-3)
    assert report.verdicts[0] == "too small"
    assert report.verdicts[2:] == ["right", "right", "too large", "too large"]
    assert report.recommended < limit
    method = GradientDescent(report.recommended, momentum=momentum, nesterov=nesterov)
    assert gdjax.minimize(quadratic, START, method=method).status == Status.CONVERGED
    np.testing.assert_allclose(report.sharpness, 10, rtol=1e-3)


def test_default_rates_show_all_three_verdicts():
    report = learning_rate_range(quadratic, START, kwargs=dict(curvature=100.0))
    assert set(report.verdicts) == {"too small", "right", "too large"}
    order = [report.verdicts.index(v) for v in ("too small", "right", "too large")]
    assert order == sorted(order)
    text = str(report)
    assert "largest curvature met is L = 100: rates are stable below 0.02" in text
    assert f"{report.recommended:.3g} *" in text
    assert len(text.splitlines()) == 16


def test_curvature_is_measured_on_the_way():
    report = learning_rate_range(rosenbrock, np.array([-1.2, 1.0]), max_steps=200)
    dense = np.linalg.eigvalsh(jnp.asarray([[1200 * 1.44 - 400 + 2, 480.0], [480.0, 200.0]]))[-1]
    assert report.sharpness[0] == pytest.approx(dense, rel=1e-3)
    assert len(report.sharpness) == len(report.sharpness_step) == 5
    assert report.stable_limit == pytest.approx(2 / report.sharpness.max())


def test_a_hill_sets_no_limit():
    report = learning_rate_range(lambda p: -jnp.sum(jnp.cos(p)), np.full(2, 2.5), max_steps=50)
    assert report.sharpness[0] == 0
    assert np.isfinite(report.recommended)


def test_rates_must_be_positive():
    with pytest.raises(ValueError, match="rates must be positive"):
        learning_rate_range(quadratic, START, rates=[0.1, -1.0])
