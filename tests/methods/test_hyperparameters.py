"""A whole number given for a float hyperparameter is that float, of Python's, NumPy's and JAX's alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CompileCounter, quadratic

import gdjax
from gdjax.methods.hyperparameters import in_dtype, with_floats

PAIRS = [
    (gdjax.GradientDescent(1), gdjax.GradientDescent(1.0)),
    (gdjax.GradientDescent(gdjax.Backtracking(2, grow=3)), gdjax.GradientDescent(gdjax.Backtracking(2.0, grow=3.0))),
    (gdjax.GradientDescent(gdjax.PolyakStep(0)), gdjax.GradientDescent(gdjax.PolyakStep(0.0))),
    (gdjax.AcceleratedGradient(1, 2), gdjax.AcceleratedGradient(1.0, 2.0)),
    (gdjax.TrustRegion(grow=4), gdjax.TrustRegion(grow=4.0)),
    (gdjax.ConjugateGradient(theta=1), gdjax.ConjugateGradient(theta=1.0)),
]


@pytest.mark.parametrize(("whole", "floats"), PAIRS, ids=lambda method: type(method).__name__)
def test_a_whole_number_is_the_float_that_it_stands_for(whole, floats):
    assert with_floats(whole) == floats
    kinds = lambda method: [type(x) for x in jax.tree.leaves(method)]
    assert kinds(with_floats(whole)) == kinds(floats) != kinds(whole)


def test_what_is_whole_by_its_type_stays_whole():
    method = with_floats(gdjax.ConjugateGradient(gdjax.MoreThuente(max_trials=7), restart=3))
    assert type(method.restart) is type(method.line_search.max_trials) is int
    inside = in_dtype(method, jnp.dtype("float32"))
    assert inside.restart == 3
    assert inside.theta.dtype == jnp.float32


def test_schedules_and_optimisers_are_left_alone():
    schedule = lambda step: 0.1
    assert with_floats(gdjax.GradientDescent(schedule)).learning_rate is schedule
    adam = gdjax.Optax(lambda rate: None, rate=1)
    assert with_floats(adam) is adam


@pytest.mark.sample("x32-int", "x32-int64")
@pytest.mark.parametrize("two", [2, np.int64(2), np.array(2), jnp.array(2)], ids=["int", "int64", "numpy", "jax"])
def test_it_compiles_nothing_and_is_the_same_descent(two, x64):
    solve = lambda grow: gdjax.minimize(quadratic, np.zeros(4), method=gdjax.AcceleratedGradient(grow=grow))
    want = solve(2.0)
    with CompileCounter() as counter:
        got = solve(two)
    assert counter.count == 0 or not isinstance(two, int)
    assert (got.params == want.params).all()
    assert int(got.num_evals) == int(want.num_evals)
