"""How many kernels a whole minimisation is compiled to: what decides seconds of compiling, and microseconds a trip."""

import jax
import jax.numpy as jnp
import pytest
from problems import rosenbrock

import gdjax
from benchmarks.kernels import count_kernels

# As measured, to notice when one comes in: lower them when they fall. XLA of another JAX may fuse a few otherwise.
MOST = {"LBFGS": (gdjax.LBFGS(), 44), "BFGS": (gdjax.BFGS(), 44), "descent": (gdjax.GradientDescent(1e-3), 26)}


@pytest.mark.parametrize(("method", "most"), MOST.values(), ids=MOST)
def test_a_minimisation_is_compiled_to_no_more_kernels_than_it_was(method, most):
    solve = jax.jit(lambda x: gdjax.minimize(rosenbrock, x, method=method))
    compiled = solve.lower(jnp.resize(jnp.array([-1.2, 1.0]), 100)).compile()
    assert count_kernels(compiled.as_text()) <= most
