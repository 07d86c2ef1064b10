"""Which calls share a compiled program, and how long it is kept."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CompileCounter

import gdjax
from gdjax import GradientDescent, Status
from gdjax.jaxtools import remembered
from gdjax.jaxtools.hoisted import hoist_call
from gdjax.running import programs

MODES = [False]

METHOD = GradientDescent(0.25)


def plain(v):
    return lambda p: jnp.mean((p - v) ** 2)


def jitted(v):
    return jax.jit(lambda p: jax.jit(lambda p: jnp.mean((p - v) ** 2))(p))


def chosen(v):
    return lambda p: jnp.mean(jnp.where(p < 1e6, p - v, v) ** 2)


def numpy_number(v):
    return plain(np.float32(v))


def beside_arrays(v):
    x = jnp.ones(2)
    return lambda p: jnp.mean((p - v * x) ** 2)


@pytest.mark.sample("plain", "chosen", "beside_arrays")
@pytest.mark.parametrize("form", [plain, jitted, chosen, numpy_number, beside_arrays])
def test_another_number_compiles_nothing(form):
    start = jnp.full(2, 8.0)
    results = [gdjax.minimize(form(7.0), start, method=METHOD)]
    with CompileCounter() as compiled:
        results += [gdjax.minimize(form(v), start, method=METHOD) for v in (3.0, -5.5)]
    assert compiled.count == 0
    for v, result in zip((7.0, 3.0, -5.5), results, strict=True):
        assert result.status == Status.CONVERGED
        np.testing.assert_allclose(result.params, v, rtol=1e-2)


def of_everything(v):
    @jax.jit
    def inner(x):
        return jnp.sum(jnp.clip(x, -v, 3.5)) + jnp.linspace(0, v, 3)[1]

    def loss(x):
        loop = jax.lax.fori_loop(0, 3, lambda _, total: total + v * jnp.sum(x**2), jnp.float32(0.25))
        special = jnp.logaddexp(x[0], v) + jax.nn.relu(x[1] - v) + jax.scipy.stats.norm.logpdf(x[2], 1.3, v)
        branch = jax.lax.cond(x[0] > v, lambda: v * x[0], lambda: 3.25 * x[0])
        return loop + special + branch + inner(x) * inner(x / v) + jnp.sum(jnp.abs(x) ** v) + jnp.full(3, v)[0]

    return loss


@pytest.mark.sweep
@pytest.mark.parametrize("v", [2.5, 0.7])
def test_a_program_with_numbers_as_data_is_the_function(v):
    x, loss = jnp.array([0.3, 1.7, -0.4]), of_everything(v)
    traced = hoist_call(lambda f, x: f(x), loss, x)
    assert any(isinstance(number, np.ndarray) and number == np.float32(v) for number in traced.data)
    np.testing.assert_allclose(traced(x), loss(x), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(traced)(x), jax.grad(loss)(x), rtol=1e-5)
    np.testing.assert_allclose(jax.hessian(traced)(x), jax.hessian(loss)(x), rtol=1e-5, atol=1e-5)


def test_exponents_stay_in_the_program_and_so_do_a_great_many_numbers():
    x = jnp.ones(2)
    assert hoist_call(lambda f, x: f(x), lambda x: jnp.sum(x**2.5), x).data == []
    numbers = [float(i) + 0.1 for i in range(100)]
    traced = hoist_call(lambda f, x: f(x), lambda x: sum(v * x[0] for v in numbers), x)
    assert traced.data == []
    np.testing.assert_allclose(traced(x), sum(numbers), rtol=1e-5)


def executables():
    gc.collect()
    return len(jax.devices()[0].client.live_executables())


class Power:
    def __init__(self, n):
        self.n = n


def test_programs_that_are_least_recently_used_are_forgotten(monkeypatch):
    monkeypatch.setattr(remembered, "MOST", 3)
    power = remembered.remembered(static=1)(lambda power, x: x**power.n)
    kept, x = Power(3), np.float32(2.0)
    before = executables()
    for n in range(4, 12):
        assert float(power(kept, x)) == 8
        assert float(power(Power(n), x)) == 2**n
    assert executables() - before == 3
    with CompileCounter() as compiled:
        power(kept, x)
    assert compiled.count == 0


def test_what_is_compiled_for_a_descent_is_freed_with_it():
    programs.WATCHED.run.program.cache_clear()
    for n in (3, 4, 5):
        result = gdjax.minimize(lambda p, n=n: jnp.sum((p - 7.0) ** 2 + p**n), jnp.zeros(3), max_evals=3)
        assert result.status == Status.MAX_EVALS
    full = executables()
    programs.WATCHED.run.program.cache_clear()
    assert full - executables() == 3


def test_clear_caches_frees_all():
    result = gdjax.minimize(lambda p: jnp.sum((p - 7.0) ** 2), jnp.zeros(3), method=METHOD)
    assert result.status == Status.CONVERGED
    del result
    jax.clear_caches()
    assert executables() == 0


def test_many_programs_that_differ_in_a_number_alone_are_warned_of_once(monkeypatch):
    monkeypatch.setattr(gdjax.jaxtools.traced_program, "MANY", 4)
    run = lambda n: gdjax.minimize(lambda p: jnp.sum(jnp.cosh(p) ** n), jnp.ones(1), method=METHOD, max_evals=1).status
    for n in (3, 4, 5):
        assert run(n) == Status.MAX_EVALS
    with pytest.warns(UserWarning, match="make it an array"):
        run(6)
    assert [run(n) for n in (6, 7, 3)] == [Status.MAX_EVALS] * 3


def test_a_number_decides_no_program_however_many_there_are(recwarn):
    for v in range(10, 50):
        assert gdjax.minimize(plain(float(v)), jnp.zeros(2), method=METHOD, max_evals=1).status == Status.MAX_EVALS
    assert len(recwarn) == 0
