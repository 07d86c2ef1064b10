"""Every test runs with 64-bit mode off and on, with strict dtype promotion, warnings being errors."""

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(autouse=True, params=[False, True], ids=["x32", "x64"])
def x64(request):
    """Whether 64-bit mode is on."""
    with jax.enable_x64(request.param):
        yield request.param
