"""What must hold for any start, tree, dtype, method and conditioning (hypothesis)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gdjax
from gdjax import Backtracking, GradientDescent, Optax, Status

SETTINGS = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SHAPES = [(), (1,), (3,), (2, 2)]
METHODS = st.sampled_from(
    [
        lambda rate: GradientDescent(rate),
        lambda rate: GradientDescent(rate, momentum=0.5),
        lambda rate: GradientDescent(Backtracking(rate)),
        lambda rate: Optax(optax.adam, learning_rate=rate),
    ]
)
number = st.floats(-10, 10, width=32)


def bowl(p, scale, offset):
    """Quartic and quadratic in every entry, minimum `offset` at 0."""
    total = sum(jnp.sum(jnp.abs(x) ** 2 + 0.1 * jnp.abs(x) ** 4).astype(jnp.float32) for x in jax.tree.leaves(p))
    return scale * total + offset


@st.composite
def trees(draw):
    """A nested pytree of float32, bfloat16 and complex64 arrays."""
    leaf = lambda: draw(
        st.sampled_from([np.float32, jnp.bfloat16, np.complex64]).flatmap(
            lambda dtype: st.sampled_from(SHAPES).map(lambda shape: np.full(shape, draw(number)).astype(dtype))
        )
    )
    return draw(st.sampled_from([lambda: leaf(), lambda: {"a": leaf(), "b": [leaf()]}, lambda: (leaf(), None)]))()


@pytest.mark.sweep
@pytest.mark.float64
@SETTINGS
@given(params=trees())
def test_any_pytree_in_same_pytree_out(params):
    result = gdjax.minimize(bowl, params, 1.0, 0.0, method=GradientDescent(Backtracking()), max_steps=5)
    assert jax.tree.structure(result.params) == jax.tree.structure(params)
    for out, given_leaf in zip(jax.tree.leaves(result.params), jax.tree.leaves(params), strict=True):
        assert (out.shape, out.dtype) == (given_leaf.shape, given_leaf.dtype)
    assert result.status != Status.RUNNING


@pytest.mark.float64
@SETTINGS
@given(
    start=st.lists(number, min_size=3, max_size=3),
    make=METHODS,
    rate=st.floats(1e-4, 10.0),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    offset=st.sampled_from([0.0, 1.0, -1e4]),
)
def test_never_worse_than_the_start_and_converged_means_stationary(start, make, rate, scale, offset):
    params = np.array(start)
    result = gdjax.minimize(bowl, params, scale, offset, method=make(rate), max_steps=300)
    at_start = float(bowl(jnp.asarray(params), scale, offset))
    rounding = 20 * np.finfo(np.float32).eps * (abs(at_start) + abs(offset))
    assert float(result.value) <= at_start + rounding
    assert np.isfinite(result.params).all()
    norms = [float(np.max(np.abs(jax.grad(bowl)(jnp.asarray(p), scale, offset)))) for p in (params, result.params)]
    if result.status == Status.CONVERGED:
        assert norms[1] <= 1.01 * float(result.stop.tol) * min(
            1 + abs(float(result.value)), result.progress.largest_norm
        )
    if result.status == Status.PRECISION_FLOOR:
        assert float(result.value) - offset <= max(rounding, 1e-3 * (at_start - offset))
