"""Whether all that a function reads can be seen, and is the same as before."""

import functools
import gc
import math
import weakref
from time import time as clock
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.jaxtools import hoisted
from gdjax.jaxtools.unchanging import reading

X = jnp.ones(2)
FACTOR = 3.0
NUMBERS = [1.0, 2.0]
ARRAY = np.ones(2)
SETTINGS = SimpleNamespace(factor=2.0)


def helper(x):
    return FACTOR * x


def loss(x):
    return jnp.sum(helper(x) ** 2) + math.pi * NUMBERS[0] + jnp.sum(X) + ARRAY[0]


CHANGES = [
    ("FACTOR", 4.0),
    ("FACTOR", np.float32(3.0)),
    ("NUMBERS", [1.0, 3.0]),
    ("ARRAY", np.array([1.0, 2.0])),
    ("X", jnp.ones(2)),
    ("helper", lambda x: x),
]


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_what_a_function_reads_is_seen_through_others_that_it_calls(name, value, monkeypatch):
    before = reading(loss)
    assert before is not None
    assert before == reading(loss)
    monkeypatch.setitem(globals(), name, value)
    assert reading(loss) != before


def test_a_list_or_an_array_that_is_written_to_is_another():
    numbers, array = [1.0], np.zeros(2)
    f, g = (lambda x: x * numbers[0]), (lambda x: x + array)
    before = reading(f), reading(g)
    numbers[0], array[1] = 2.0, -0.0
    assert reading(f) != before[0]
    assert reading(g) != before[1]  # 0.0 is not -0.0


class Model:
    factor = 2.0

    def __call__(self, x):
        return self.factor * x


def importing(x):
    import os

    return x * len(os.environ)


@functools.wraps(jnp.sin)
def disguised(x):
    return SETTINGS.factor * x


OPAQUE = [
    disguised,
    jnp.frompyfunc(disguised, nin=1, nout=1),
    lambda x: SETTINGS.factor * x,
    lambda x: Model.factor * x,
    lambda x: np.random.normal() * x,
    lambda x: print(x),
    lambda x: undefined * x,  # noqa: F821
    importing,
    Model(),
    Model().__call__,
    np.random.default_rng(0).normal,
    functools.partial(lambda settings, x: settings.factor * x, SETTINGS),
]


@pytest.mark.parametrize("function", OPAQUE)
def test_what_may_change_unseen_is_never_taken_for_the_same(function):
    assert reading(function) is None


SEEN = [jnp.add, jax.jit(loss), jax.grad(loss), functools.partial(helper), jax.nn.relu, jax.checkpoint(helper)]


@pytest.mark.parametrize("function", SEEN)
def test_what_jax_and_functools_make_of_a_function_is_seen(function):
    assert reading(function) is not None
    assert reading(function) == reading(function)


def test_a_loss_is_traced_again_only_if_something_has_changed(monkeypatch):
    calls, intern = [], hoisted.intern_program
    monkeypatch.setattr(hoisted, "intern_program", lambda *args: calls.append(1) or intern(*args))
    scale = jnp.array(2.0)

    def parabola(p, center):
        return jnp.sum((scale * p - FACTOR * center) ** 2)

    for center, traces in ((1.0, 1), (2.0, 1), (np.ones(2), 2)):
        result = gdjax.minimize(parabola, np.zeros(2), center, max_steps=50)
        assert result.converged
        assert len(calls) == traces
        np.testing.assert_allclose(result.params, 1.5 * center, rtol=1e-4)
    monkeypatch.setitem(globals(), "FACTOR", 5.0)
    scale = jnp.array(1.0)
    result = gdjax.minimize(parabola, np.zeros(2), 1.0, max_steps=50)
    assert result.converged
    assert len(calls) == 3
    np.testing.assert_allclose(result.params, 5.0, rtol=1e-4)


def test_nothing_is_kept_of_a_function_that_is_gone():
    def one():
        data = jnp.ones(3)
        traced = hoisted.hoist_call(lambda f, x: f(x), lambda x: jnp.sum(x * data), X[0], selects=())
        assert [x.shape for x in traced.data] == [(3,)]
        return weakref.ref(data)

    gone = one()
    gc.collect()
    assert gone() is None


def test_a_clock_and_an_attribute_of_a_function_are_read_anew():
    assert reading(lambda x: x * clock()) is None
    scaled = lambda x: x * scaled.factor
    scaled.factor = 2.0
    before = reading(scaled)
    scaled.factor = 3.0
    assert reading(scaled) != before
    assert before is not None


def test_the_value_is_that_of_what_a_loss_reads_now():
    scaled = lambda x: jnp.sum((x - scaled.factor) ** 2)
    for factor in (2.0, 3.0):
        scaled.factor = factor
        result = gdjax.minimize(scaled, jnp.zeros(2))
        assert result.converged
        np.testing.assert_allclose(result.params, factor, rtol=1e-4)
