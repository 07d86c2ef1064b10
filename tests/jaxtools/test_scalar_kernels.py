"""The code that is written for GPUs, on a CPU: choices instead of conditionals, plain code for scalars."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import count_primitive, equations, rosenbrock

import gdjax
from benchmarks.gpu.correct import CASES
from gdjax.jaxtools.scalar_kernels import for_cpu
from gdjax.many import chunks

# A part of the cases, those that compile in a second or two: `python -m benchmarks gpu --device cpu` runs all.
BASICS = (
    "LBFGS", "BFGS", "ConjugateGradient", "TrustRegion", "Backtracking", "BarzilaiBorwein", "AdaptiveStep",
    "PolyakStep", "AcceleratedGradient", "optax.adam", "Box", "L1, FISTA", "minimize_many", "checkpoint and resume",
)  # fmt: skip


@pytest.fixture
def as_on_gpu(monkeypatch):
    """With the switch, and without programs that were compiled before or will be needed after."""
    monkeypatch.setenv("GDJAX_AS_ON_GPU", "1")
    jax.clear_caches()
    yield
    jax.clear_caches()


def loops_and_conditionals(size, method=None):
    """Of a descent, by default by L-BFGS."""
    solve = lambda x: gdjax.minimize(rosenbrock, x, method=method).params
    jaxpr = jax.make_jaxpr(solve)(jnp.zeros(size)).jaxpr
    return count_primitive(jaxpr, "while"), count_primitive(jaxpr, "cond")


@pytest.mark.sample("LBFGS-100-False", "LBFGS-100000-True")
@pytest.mark.float64
@pytest.mark.parametrize(("size", "conditionals"), [(100, False), (100_000, True)])
@pytest.mark.parametrize("method", [None, gdjax.GradientDescent(1e-3)], ids=["LBFGS", "GradientDescent"])
def test_there_is_one_loop_on_a_gpu_and_conditionals_where_vectors_are_large(method, size, conditionals, as_on_gpu):
    assert not for_cpu()
    loops, found = loops_and_conditionals(size, method)
    assert (loops, found > 0) == (1, conditionals)


@pytest.mark.float64
def test_scalar_code_is_in_few_kernels_on_a_cpu():
    assert for_cpu()
    jaxpr = jax.make_jaxpr(lambda x: gdjax.minimize(rosenbrock, x).params)(jnp.zeros(3000)).jaxpr
    # The trial and the new search; the entry of the trip, the curvature and the test.
    assert count_primitive(jaxpr, "one_function") == 5
    loops, conditionals = loops_and_conditionals(3000)
    assert (loops > 1, conditionals) == (True, 0)


def test_the_scalars_of_a_descent_are_few_arrays_on_a_gpu(as_on_gpu):
    jaxpr = jax.make_jaxpr(lambda x: gdjax.minimize(rosenbrock, x).params)(jnp.zeros(100)).jaxpr
    (loop,) = equations(jaxpr, "while")
    assert sum(v.aval.ndim == 0 for v in loop.outvars) == 0
    assert len(loop.outvars) < 20


def test_under_vmap_they_are_left_apart(as_on_gpu):
    solve = lambda x: gdjax.minimize(rosenbrock, x).params
    alone, many = (jax.make_jaxpr(f)(x).jaxpr for f, x in ((solve, jnp.zeros(9)), (jax.vmap(solve), jnp.zeros((4, 9)))))
    (one,), (all_,) = equations(alone, "while"), equations(many, "while")
    assert len(all_.outvars) > len(one.outvars) + 20


@pytest.mark.sample("BarzilaiBorwein")
@pytest.mark.parametrize("name", BASICS)
def test_what_is_written_for_a_gpu_is_right(name, as_on_gpu):
    CASES[name]()


STARTS = np.random.default_rng(0).uniform(-2, 2, (21, 4))


@pytest.mark.sweep
@pytest.mark.float64
@pytest.mark.parametrize("batch_size", [None, 8, 21])
def test_many_on_a_gpu_are_vmapped_descents_in_chunks(batch_size, as_on_gpu, monkeypatch):
    monkeypatch.setattr(chunks, "TRIPS", 5)  # so that there are several pieces
    loss = lambda p, shift: rosenbrock(p - shift)
    method, shifts = gdjax.LBFGS(memory=4), np.linspace(0, 1, 21)
    many = gdjax.minimize_many(loss, jnp.asarray(STARTS), shifts, method=method)
    one = jax.vmap(lambda p, s: gdjax.minimize(loss, p, s, method=method))(STARTS, shifts)
    assert many.converged.all()
    assert jax.tree.structure(many) == jax.tree.structure(one)
    assert_allclose(many.params, one.params, atol=1e-4)
    assert_array_equal(many.status == gdjax.Status.CONVERGED, one.status == gdjax.Status.CONVERGED)


@pytest.mark.sweep
@pytest.mark.float64
def test_many_on_a_gpu_end_when_the_time_is_up(as_on_gpu):
    result = gdjax.minimize_many(rosenbrock, STARTS, batch_size=8, max_seconds=0)
    assert (result.status == gdjax.Status.MAX_SECONDS).all()
    assert (result.num_evals == 1).all()
    assert_allclose(result.params, STARTS)


@pytest.mark.float64
@pytest.mark.parametrize(
    ("given", "want"),
    [
        ((10_000, 1400, None), 10_240),
        ((100, 1400, None), 104),
        ((7, 1400, None), 7),
        ((10**6, 1400, None), 2**17),
        ((10**6, 2**20, None), 2**10),
        ((10**6, 2**31, None), 1),
        ((10_000, 1400, 3000), 2560),
    ],
)
def test_chunks_on_a_gpu_fit_the_memory_and_the_batch_size(given, want):
    assert chunks.lanes(*given) == want
