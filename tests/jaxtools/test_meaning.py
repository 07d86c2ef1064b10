import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.jaxtools.meaning import meant

FACTOR = 2.0
COUNTS: list[int] = []
TABLE = np.ones(3)


class Object:
    scale = 1.0


OBJECT = Object()


def inner(x):
    return FACTOR * jnp.sum(x**2)


def outer(x):
    return inner(x) + jnp.sum(jax.nn.relu(x))


def around(value):
    return lambda x: jnp.sum((x - value) ** 2)


def around_first(values):
    return lambda x: jnp.sum((x - values[: x.size]) ** 2)


def test_a_function_made_anew_over_the_same_values_means_the_same():
    array = jnp.arange(3.0)
    assert meant(around(1.0)) == meant(around(1.0))
    assert hash(meant(around(1.0))) == hash(meant(around(1.0)))
    assert meant(around(array)) == meant(around(array))
    assert meant(around(np.arange(3))) == meant(around(np.arange(3)))


@pytest.mark.parametrize(("one", "other"), [(1.0, 2.0), (1, True), (0.0, -0.0), (1, 1.0), (np.zeros(2), np.ones(2))])
def test_over_other_values_it_means_something_else(one, other):
    assert meant(around(one)) != meant(around(other))
    assert meant(around(jnp.zeros(2))) != meant(around(jnp.zeros(2)))  # two arrays: known by the object


def test_the_globals_of_the_functions_that_it_calls_are_looked_at(monkeypatch):
    before = meant(outer)
    assert before == meant(outer)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert meant(outer) != before


def test_what_may_change_unseen_is_not_known():
    def writes(x):
        global FACTOR
        FACTOR += 1.0
        return x

    def imports(x):
        import math

        return math.pi * x

    def counts(x):
        COUNTS.append(1)
        return x

    def prints(x):
        print(x)
        return x

    def draws(x):
        return x + np.random.normal()

    def with_attribute(x):
        return x

    with_attribute.scale = 2.0  # type: ignore[attr-defined]
    unknown = [writes, imports, counts, prints, draws, with_attribute, lambda x: OBJECT.scale * x, around([1.0])]
    unknown += [around({}), around(OBJECT), around(pytest), Object, around(jnp.zeros(2**15))]
    assert [meant(function) for function in unknown] == [None] * len(unknown)


def test_a_loss_sees_what_its_globals_have_become(monkeypatch):
    loss = lambda x: jnp.sum((x - FACTOR * TABLE) ** 2)
    for factor in (2.0, 3.0):
        monkeypatch.setitem(globals(), "FACTOR", factor)
        result = gdjax.minimize(loss, jnp.zeros(3))
        assert result.status == gdjax.Status.CONVERGED
        np.testing.assert_allclose(result.params, factor, rtol=1e-6)
    TABLE[:] = 2.0  # in place
    np.testing.assert_allclose(gdjax.minimize(loss, jnp.zeros(3)).params, 6.0, rtol=1e-6)
    TABLE[:] = 1.0


def test_a_kept_trace_is_of_one_precision():
    loss = lambda x: jnp.sum((x - np.float64(1.0) / 3) ** 2)
    for x64 in (True, False, True):
        with jax.enable_x64(x64):
            result = gdjax.minimize(loss, np.zeros(2))
            assert result.status == gdjax.Status.CONVERGED
            assert result.params.dtype == (np.float64 if x64 else np.float32) == result.value.dtype


def test_large_data_go_with_the_loss():
    data = jnp.zeros(2**15)
    assert gdjax.minimize(around_first(data), jnp.ones(2)).status == gdjax.Status.CONVERGED
    gone = weakref.ref(data)
    del data
    gc.collect()
    assert gone() is None
