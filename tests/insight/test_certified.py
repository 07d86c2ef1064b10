"""Standard errors against those that NIST has certified to eleven digits, of data that the `bench` extra brings.

A file of its own, so that it runs beside others: to import all of CUTEst takes half a minute.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

MODES = [True]


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "certified"),
    [
        ("MISRA1A", [2.7070075241e00, 7.2668688436e-06]),
        ("RAT42", [1.7340283401e00, 8.8295217536e-02, 3.4465663377e-03]),
        ("RAT43", [1.6302297817e01, 2.0828735829e00, 1.9566123451e-01, 6.8761936385e-01]),
    ],
)
def test_standard_errors_are_certified_by_nist(name, certified):
    problem = getattr(pytest.importorskip("sif2jax").cutest, name)(y0_iD=1)
    jax.config.update("jax_enable_x64", False)  # which it has switched on for all tests
    start = jax.tree.map(lambda y: jnp.asarray(y, float), problem.y0)
    fit = gdjax.least_squares(lambda b: problem.constraint(b)[0], start)
    assert fit.status == Status.CONVERGED
    np.testing.assert_allclose(np.ravel(jax.tree.leaves(fit.standard_errors)), certified, rtol=1e-5)
