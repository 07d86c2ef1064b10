"""Student's distribution against SciPy's, for few and for many degrees of freedom, in either precision."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gdjax.insight.student import beyond, two_sided

FREEDOM = np.array([1, 2, 5, 30, 99, 100, 300, 1e3, 1e5, 1e7])


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999999])
def test_quantiles(level, x64):
    want = scipy.stats.t.ppf(0.5 + level / 2, FREEDOM)
    np.testing.assert_allclose(two_sided(level, jnp.asarray(FREEDOM)), want, rtol=1e-7 if x64 else 1e-4)
    normal = scipy.stats.norm.ppf(0.5 + level / 2)
    np.testing.assert_allclose(two_sided(level, None), normal, rtol=1e-9 if x64 else 1e-5)


@pytest.mark.parametrize("t", [0.0, 0.1, -2.0, 6.0])
def test_p_values(t, x64):
    want = 2 * scipy.stats.t.sf(abs(t), FREEDOM)
    found = beyond(jnp.full(FREEDOM.shape, t), jnp.asarray(FREEDOM))
    np.testing.assert_allclose(found, want, rtol=1e-8 if x64 else 2e-3)
    np.testing.assert_allclose(
        beyond(jnp.asarray(t), None), 2 * scipy.stats.norm.sf(abs(t)), rtol=1e-9 if x64 else 1e-5
    )


def test_without_a_degree_of_freedom_nothing_is_known():
    assert np.isnan(two_sided(0.95, jnp.asarray(0)))
    assert np.isnan(beyond(jnp.asarray(2.0), jnp.asarray(-3)))
    assert beyond(jnp.asarray(jnp.inf), jnp.asarray(4)) == 0
