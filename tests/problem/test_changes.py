"""A call sees the world as it is: whatever the user's functions read may have changed since the last call."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import CompileCounter

import gdjax
from gdjax import GradientDescent, Status

MODES = [False]

METHOD = GradientDescent(0.25)
CONFIG = types.SimpleNamespace(target=jnp.ones(2), inner=types.SimpleNamespace(target=jnp.ones(2)))
MODULE = types.ModuleType("another_module")
exec("import jax.numpy as jnp\nSCALE = 1.0\ndef loss(p): return jnp.mean((p - SCALE) ** 2)", MODULE.__dict__)


def half(p, x):
    return jnp.mean((p - x) ** 2)


class Slotted:
    __slots__ = ("target",)

    def __call__(self, p):
        return half(p, self.target)


class Shared:
    target = jnp.ones(2)

    def __init__(self):
        self.config = types.SimpleNamespace(target=jnp.ones(2))

    def of_class(self, p):
        return half(p, self.target)

    def deep(self, p):
        return half(p, self.config.target)

    def by_helper(self, p):
        return self.helper(p)

    def helper(self, p):
        return half(p, CONFIG.target)


slotted, shared, many, array = Slotted(), Shared(), {i: jnp.ones(2) for i in range(300)}, np.ones(2)


@dataclasses.dataclass(eq=False)
class Holder:
    target: object


holder = Holder(jnp.ones(2))

WAYS = {
    "global object": (lambda p: half(p, CONFIG.target), lambda x: setattr(CONFIG, "target", x)),
    "deep in a global object": (lambda p: half(p, CONFIG.inner.target), lambda x: setattr(CONFIG.inner, "target", x)),
    "deep in self": (shared.deep, lambda x: setattr(shared.config, "target", x)),
    "helper of self": (shared.by_helper, lambda x: setattr(CONFIG, "target", x)),
    "class": (shared.of_class, lambda x: setattr(Shared, "target", x)),
    "slots": (slotted, lambda x: setattr(slotted, "target", x)),
    "global of another module": (MODULE.loss, lambda x: setattr(MODULE, "SCALE", float(x[0]))),
    "many entries": (lambda p: half(p, many[299]), lambda x: many.__setitem__(299, x)),
    "NumPy in place": (lambda p: half(p, array), lambda x: array.__setitem__(slice(None), x)),
}


@pytest.mark.sample("global object", "global of another module", "NumPy in place")
@pytest.mark.parametrize("way", WAYS)
def test_what_has_changed_is_seen_and_compiles_nothing(way):
    loss, change = WAYS[way]
    change(3 * jnp.ones(2))
    first = gdjax.minimize(loss, jnp.zeros(2), method=METHOD)
    change(5 * jnp.ones(2))
    with CompileCounter() as compiled:
        second = gdjax.minimize(loss, jnp.zeros(2), method=METHOD)
    assert compiled.count == 0
    assert (first.status, second.status) == (Status.CONVERGED,) * 2
    np.testing.assert_allclose([first.params, second.params], [[3, 3], [5, 5]], rtol=1e-2)


def test_so_it_is_in_what_a_loop_closes_over_at_any_size():
    found = [
        [gdjax.minimize(lambda p: half(p, k), jnp.zeros(n), method=METHOD).params[0] for k in (1.0, 3.0, 5.0)]  # noqa: B023
        for n in (2, 3)
    ]
    np.testing.assert_allclose(found, [[1, 3, 5]] * 2, rtol=1e-2)


def test_so_it_is_in_an_argument_that_is_no_array():
    loss = lambda p, holder: half(p, holder.target)
    found = []
    for target in (3.0, 5.0):
        holder.target = target * jnp.ones(2)
        found.append(gdjax.minimize(loss, jnp.zeros(2), holder, method=METHOD))
    assert [result.status for result in found] == [Status.CONVERGED] * 2
    np.testing.assert_allclose([result.params for result in found], [[3, 3], [5, 5]], rtol=1e-2)


def test_so_it_is_in_an_analytic_gradient():
    loss = lambda p: half(p, CONFIG.target)
    grad = lambda p: jax.grad(half)(p, CONFIG.target)
    found = []
    for target in (3.0, 5.0):
        CONFIG.target = target * jnp.ones(2)
        found.append(gdjax.minimize(loss, jnp.zeros(2), grad=grad, method=METHOD))
    assert [result.status for result in found] == [Status.CONVERGED] * 2
    np.testing.assert_allclose([result.params for result in found], [[3, 3], [5, 5]], rtol=1e-2)


class Lasso:
    """A penalty that is no pytree."""

    def __init__(self, strength):
        self.strength = strength

    def value(self, x):
        return self.strength * jnp.sum(jnp.abs(x))

    def prox(self, x, step):
        return jnp.sign(x) * jnp.maximum(jnp.abs(x) - self.strength * step, 0)


@pytest.mark.sample("False")
@pytest.mark.parametrize("whole", [False, True])
def test_so_it_is_in_a_penalty(whole):
    lasso = Lasso(1.5)
    penalty = lasso if whole else gdjax.penalties.by_leaf({"a": lasso, "b": gdjax.penalties.L1(1.0)})
    loss = lambda x: 0.5 * sum(jnp.sum((leaf - 9.0) ** 2) for leaf in jax.tree.leaves(x))
    start = jnp.zeros(2) if whole else {"a": jnp.zeros(2), "b": jnp.zeros(())}
    first = gdjax.minimize(loss, start, penalty=penalty)
    lasso.strength = 3.0
    with CompileCounter() as compiled:
        second = gdjax.minimize(loss, start, penalty=penalty)
    assert compiled.count == 0
    assert (first.status, second.status) == (Status.CONVERGED,) * 2
    a = lambda result: result.params if whole else result.params["a"]
    np.testing.assert_allclose([a(first), a(second)], [[7.5, 7.5], [6, 6]], rtol=1e-3)


@pytest.mark.sweep
def test_a_penalty_that_is_no_pytree_has_derivatives():
    loss = lambda x: 0.5 * jnp.sum((x - 9.0) ** 2)
    solve = lambda strength: gdjax.minimize(loss, jnp.zeros(2), penalty=Lasso(strength)).params[0]
    np.testing.assert_allclose(jax.grad(solve)(3.0), -1, rtol=1e-3)
    np.testing.assert_allclose(jax.vmap(solve)(jnp.array([3.0, 4.0])), [6, 5], rtol=1e-3)


SCHEDULES = {
    "GradientDescent": lambda schedule: GradientDescent(schedule),
    "ProximalGradient": lambda schedule: gdjax.ProximalGradient(schedule),
    "optax": lambda schedule: optax.sgd(schedule),
    "Optax": lambda schedule: gdjax.Optax(optax.sgd, learning_rate=schedule),
    "chain": lambda schedule: optax.chain(optax.clip(100.0), optax.scale_by_learning_rate(schedule)),
}


@pytest.mark.sample("GradientDescent", "chain")
@pytest.mark.parametrize("kind", SCHEDULES)
def test_so_it_is_in_a_schedule(kind):
    rate = types.SimpleNamespace(now=0.2)
    method = SCHEDULES[kind](lambda count: rate.now * jnp.ones(()))
    run = lambda: gdjax.minimize(lambda x: 0.5 * x**2, 4.0, method=method, max_steps=1)
    first = run()
    rate.now = 0.7
    with CompileCounter() as compiled:
        second = run()
    assert compiled.count == 0
    assert (first.status, second.status) == (Status.MAX_STEPS,) * 2
    np.testing.assert_allclose([first.params, second.params], [3.2, 1.2], rtol=1e-5)


def test_equal_optimisers_made_anew_are_one_program():
    loss = lambda x: 0.5 * jnp.sum(x**2)
    run = lambda rate: gdjax.minimize(loss, jnp.ones(2), method=optax.adam(rate), max_steps=1)
    first = run(0.3)
    with CompileCounter() as compiled:
        second = run(0.7)
    assert compiled.count == 0
    assert (first.status, second.status) == (Status.MAX_STEPS,) * 2
    np.testing.assert_allclose([first.params[0], second.params[0]], [0.7, 0.3], rtol=1e-4)


def test_an_optimiser_that_evaluates_the_loss_runs_as_ever():
    result = gdjax.minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), method=optax.lbfgs())
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 3, rtol=1e-3)


def test_so_it_is_in_batches_and_in_what_looks_at_curvature():
    loss = lambda p: jnp.sum(CONFIG.target * p**2)
    curvatures, values = [], []
    for scale in (1.0, 5.0):
        CONFIG.target = jnp.array([scale, 10.0])
        curvatures.append(gdjax.classify_critical_point(loss, jnp.zeros(2)).smallest)
        batch = gdjax.minimize_many(lambda p: loss(p - CONFIG.target), jnp.zeros((3, 2)))
        assert set(np.asarray(batch.code)) == {Status.CONVERGED}
        values.append(float(batch.params[2, 0]))
    np.testing.assert_allclose(curvatures, [2, 10], rtol=1e-4)
    np.testing.assert_allclose(values, [1, 5], rtol=1e-2)


@pytest.mark.sweep
def test_a_callback_that_writes_into_another_list_is_another_one():
    def values_seen():
        seen = []
        note = lambda value: seen.append(float(value))

        def loss(p):
            jax.debug.callback(note, p**2)
            return p**2

        assert gdjax.minimize(loss, 1.0).status == Status.CONVERGED
        jax.effects_barrier()
        return seen

    assert values_seen() == values_seen() != []
