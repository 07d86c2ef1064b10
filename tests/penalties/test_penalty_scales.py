"""Units do not matter with a penalty either: the loss and the parameters in small and large ones, and refits."""

import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import PANOC, AcceleratedProximalGradient, Backtracking, ProximalGradient, Status
from gdjax.penalties import L1, Box, NonNegative

CENTER, WEIGHTS = (1.0, 2.0, -1.0), (1.0, 3.0, 10.0)
SUCCESS = (Status.CONVERGED, Status.PRECISION_FLOOR)
PROXIMAL = {
    "PANOC": PANOC(),
    "adaptive": ProximalGradient(),
    "backtracking": ProximalGradient(Backtracking()),
    "FISTA": AcceleratedProximalGradient(),
}
METHODS = PROXIMAL | {"LBFGS": gdjax.LBFGS()}
LOSSES = {True: (1e-12, 1.0, 1e12), False: (1e-12, 1e-6, 1.0, 1e6, 1e12)}
UNITS = (1e-9, 1e-7, 1e-5, 1e-3, 1e3, 1e5, 1e8, 1e10, 1e12)
# Each penalty in the units of loss and parameters, and the minimum.
PENALTIES = {
    "box": (lambda size, u: Box(jnp.array([-5.0, -5.0, -0.5]) * u, jnp.array([5.0, 1.5, 5.0]) * u), (1.0, 1.5, -0.5)),
    "not negative": (lambda size, u: NonNegative(), (1.0, 2.0, 0.0)),
    "L1": (lambda size, u: L1(jnp.asarray(3.0 * size / u, float)), (0.0, 1.5079425, -0.8500674)),
}


def loss(x, size, units):
    z = x / units - jnp.asarray(CENTER, x.dtype)
    return size * (jnp.sum(jnp.asarray(WEIGHTS, x.dtype) * z**2) + 0.1 * jnp.sum(z**4) + 1.0)


def check(method, name, size, units, x64, refits=2):
    """From 0, and again and again from the answer."""
    make, want = PENALTIES[name]
    data = jnp.asarray(size, float), jnp.asarray(units, float)
    x = jnp.zeros(3)
    for turn in range(1 + refits):
        result = gdjax.minimize(loss, x, *data, penalty=make(size, units), method=method)
        assert result.status in SUCCESS, (turn, size, units, result)
        x = result.params
        error = np.abs(np.asarray(x, float) / units - want).max()
        assert error < (1e-4 if x64 else 2e-2), (turn, size, units, error)


CASES = [(method, name) for method in METHODS for name in PENALTIES if (method, name) != ("LBFGS", "L1")]


@pytest.mark.sample("x32-PANOC-box", "x32-LBFGS-box")
@pytest.mark.parametrize(("method", "name"), CASES)
def test_units_do_not_matter_with_a_penalty(method, name, x64):
    for size in LOSSES[x64]:
        check(METHODS[method], name, size, 1.0, x64)
    for units in UNITS:
        if (method, name) == ("FISTA", "L1") and not x64 and units < 1e-3:
            continue  # its step stays above the threshold by its own rounding, and it stalls
        check(METHODS[method], name, 1.0, units, x64)


@pytest.mark.sample("adaptive", "backtracking", "FISTA")
@pytest.mark.parametrize("method", METHODS)
def test_ten_refits_in_a_box_are_ten_successes(method, x64):
    check(METHODS[method], "box", 1.0, 1e-5, x64, refits=10)


@pytest.mark.parametrize("size", [1e-30, 1e30])
@pytest.mark.parametrize("method", ["PANOC", "adaptive", "FISTA", "LBFGS"])
def test_losses_may_be_tiny_or_huge_in_double_precision(method, size, x64):
    if x64:
        check(METHODS[method], "box", size, 1.0, x64)
