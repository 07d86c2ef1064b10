"""Pages run as users run them: the strict promotion of dtypes of our own tests is not for other libraries' loops."""

import jax
import pytest


@pytest.fixture(autouse=True)
def usual_promotion():
    """JAX's default."""
    with jax.numpy_dtype_promotion("standard"):
        yield
