"""The code that is written for GPUs, on a CPU: conditionals instead of loops of one turn, plain code for scalars."""

import jax
import jax.numpy as jnp
import pytest
from problems import count_primitive, rosenbrock

import gdjax
from benchmarks.gpu.correct import CASES
from gdjax.in_place import in_loops

# A part of the cases, those that compile in a second or two: `python -m benchmarks gpu --device cpu` runs all.
BASICS = (
    "LBFGS", "BFGS", "ConjugateGradient", "TrustRegion", "Backtracking", "BarzilaiBorwein", "AdaptiveStep",
    "PolyakStep", "AcceleratedGradient", "optax.adam", "Box", "L1, FISTA", "minimize_many", "checkpoint and resume",
)  # fmt: skip


@pytest.fixture
def as_on_gpu(monkeypatch):
    """With the switch, and without programs that were compiled before or will be needed after."""
    monkeypatch.setenv("GDJAX_LOOPS", "0")
    jax.clear_caches()
    yield
    jax.clear_caches()


def loops_and_conditionals():
    """Of a descent by L-BFGS."""
    jaxpr = jax.make_jaxpr(lambda x: gdjax.minimize(rosenbrock, x).params)(jnp.zeros(3000)).jaxpr
    return count_primitive(jaxpr, "while"), count_primitive(jaxpr, "cond")


def test_there_is_one_loop_on_a_gpu_and_conditionals_in_it(as_on_gpu):
    assert not in_loops()
    loops, conditionals = loops_and_conditionals()
    assert (loops, conditionals > 0) == (1, True)


def test_there_are_loops_and_no_conditionals_on_a_cpu():
    assert in_loops()
    loops, conditionals = loops_and_conditionals()
    assert (loops > 1, conditionals) == (True, 0)


@pytest.mark.parametrize("name", BASICS)
def test_what_is_written_for_a_gpu_is_right(name, as_on_gpu):
    CASES[name]()
