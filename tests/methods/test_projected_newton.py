"""`ProjectedNewton`: what is added to a Hessian that is not positive definite."""

import numpy as np
import pytest

from gdjax.methods.projected_newton import metric_of

pytestmark = pytest.mark.float64

HESSIAN = np.array([[2.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
GRADIENT, SIZES = np.array([1.0, -1.0, 3.0]), np.array([1.0, 0.5, 2.0])


def test_a_parameter_near_zero_is_free_to_leave():
    near = metric_of(HESSIAN, GRADIENT, SIZES * [1e-9, 1, 1])
    assert near[0] < 1e5


def test_units_of_parameters_make_no_difference():
    units = np.array([1e-6, 1e3, 1e9])
    there = metric_of(HESSIAN / units[:, None] / units[None, :], GRADIENT / units, SIZES * units)
    np.testing.assert_allclose(there * units**2, metric_of(HESSIAN, GRADIENT, SIZES), rtol=1e-9)


def test_what_has_no_curvature_is_held_by_its_slope():
    np.testing.assert_allclose(metric_of(0 * HESSIAN, GRADIENT, SIZES), 6e-6 / SIZES**2)
    np.testing.assert_allclose(metric_of(0 * HESSIAN, 0 * GRADIENT, SIZES), 1 / SIZES**2)
