"""What a loss closes over is data: equal code over other arrays is one compiled program."""

import functools
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CompileCounter, quadratic

import gdjax
from gdjax import GradientDescent, Status

MODES = [False]  # JAX's default: precision is not what these are about

METHOD = GradientDescent(0.25)
SCALE = None  # a global that a test rebinds


def half(p, x):
    return jnp.mean((p - x) ** 2)


class Model:
    def __init__(self, x):
        self.x = x

    def loss(self, p):
        return half(p, self.x)

    def __call__(self, p):
        return half(p, self.x)


def jitted(x):
    @jax.jit
    def inner(p):
        return half(p, x)

    return jax.jit(lambda p: inner(p) + 0 * inner(2 * p))


def in_a_loop(x):
    return lambda p: jax.lax.fori_loop(0, 3, lambda _, total: total + half(p, x) / 3, jnp.zeros((), p.dtype))


def with_a_rule_of_its_own(x):
    @jax.custom_vjp
    def f(p, x):
        return half(p, x)

    f.defvjp(lambda p, x: (half(p, x), (p, x)), lambda saved, g: (g * jax.grad(half)(*saved), None))
    return lambda p: f(p, x)


def by_default(x):
    return lambda p, x=x: half(p, x)


def numpy_closure(x):
    return lambda p: half(p, x)


def with_noise(x, key):
    return lambda p: half(p, x) + 0 * jax.random.normal(key)


FORMS = {
    "lambda": lambda x: lambda p: half(p, x),
    "numpy": lambda x: numpy_closure(np.asarray(x)),
    "scalar": lambda x: lambda p, c=x[0]: half(p, jnp.broadcast_to(c, p.shape)),
    "default": by_default,
    "partial": lambda x: functools.partial(half, x=x),
    "Partial": lambda x: jax.tree_util.Partial(lambda x, p: half(p, x), x),
    "Partial of a closure": lambda x: jax.tree_util.Partial(lambda p: half(p, x)),
    "method": lambda x: Model(x).loss,
    "callable object": Model,
    "jit": jitted,
    "relu": lambda x: lambda p: half(p, x) + 0 * jnp.sum(jax.nn.relu(p) + jax.nn.softplus(p)),
    "fori_loop": in_a_loop,
    "custom_vjp": with_a_rule_of_its_own,
    "random key": lambda x: with_noise(x, jax.random.key(int(x[0]))),
}


@pytest.mark.sample("lambda", "jit", "random key")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_equal_code_over_new_arrays_compiles_once(form):
    start, data = jnp.full(3, 0.5), [jnp.full(3, float(i)) for i in (1, 2, 3)]
    losses = [form(x) for x in data]
    results = [gdjax.minimize(losses[0], start, method=METHOD)]
    with CompileCounter() as compiled:
        results += [gdjax.minimize(loss, start, method=METHOD) for loss in losses[1:]]
    assert compiled.count == 0
    for x, result in zip(data, results, strict=True):
        assert result.status == Status.CONVERGED
        np.testing.assert_allclose(result.params, x, rtol=1e-2)


def test_so_does_an_analytic_gradient_with_aux_and_data():
    start = jnp.zeros(2)

    def solve(x):
        loss = lambda p, scale: (scale * half(p, x), p - x)
        grad = lambda p, scale: scale * jax.grad(half)(p, x)
        return gdjax.minimize(loss, start, 2.0, grad=grad, has_aux=True, method=METHOD)

    solve(jnp.ones(2))
    x = 5 * jnp.ones(2)
    with CompileCounter() as compiled:
        result = solve(x)
    assert compiled.count == 0
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 5, rtol=1e-2)
    np.testing.assert_array_equal(result.aux, result.params - x)


def test_other_code_is_another_program():
    x = jnp.ones(2)
    near = lambda sign: lambda p: half(p, x * jnp.asarray(sign, x.dtype))
    found = [gdjax.minimize(near(sign), x * 3, method=METHOD).params for sign in (1.0, -1.0, 2.0)]
    np.testing.assert_allclose(found, [[1, 1], [-1, -1], [2, 2]], atol=1e-2)
    static = lambda p, name: half(p, jnp.full(2, {"one": 1.0, "two": 2.0}[name], p.dtype))
    found = [gdjax.minimize(static, x * 3, name, method=METHOD).params for name in ("one", "two")]
    np.testing.assert_allclose(found, [[1, 1], [2, 2]], atol=1e-2)
    zero = lambda z: lambda p: jnp.sum(p**2) + jnp.copysign(1.0, jnp.asarray(z, p.dtype))
    assert [float(gdjax.minimize(zero(z), x, method=METHOD).value.round()) for z in (0.0, -0.0)] == [1, -1]


def with_slope(slope):
    @jax.custom_jvp
    def f(p):
        return jnp.sum(p**2)

    f.defjvp(lambda primals, tangents: (f(*primals), slope(primals[0], tangents[0])))
    return lambda p: f(p)


def test_a_custom_rule_is_known_by_what_it_does():
    start = jnp.ones(2)
    true = lambda p, v: 2 * jnp.vdot(p, v)
    flat = lambda p, v: 0 * jnp.vdot(p, v)
    one = gdjax.minimize(with_slope(true), start, method=METHOD)
    with CompileCounter() as compiled:
        same = gdjax.minimize(with_slope(lambda p, v: 2 * jnp.vdot(p, v)), start, method=METHOD)
    assert compiled.count == 0
    other = gdjax.minimize(with_slope(flat), start, method=METHOD)
    assert (one.status, same.status, other.status) == (Status.CONVERGED,) * 3
    np.testing.assert_allclose([one.params, same.params, other.params], [[0, 0], [0, 0], [1, 1]], atol=1e-3)


def test_a_call_traces_the_loss_once_and_under_a_jit_of_ones_own_not_again():
    traces = []
    x = jnp.ones(3)

    def loss(p, shift):
        traces.append(1)
        return half(p + shift, x)

    for shift in (0.0, 1.0, 2.0):
        assert gdjax.minimize(loss, jnp.zeros(3), shift, method=METHOD).status == Status.CONVERGED
    assert len(traces) == 3
    whole = jax.jit(lambda shift: gdjax.minimize(loss, jnp.zeros(3), shift, method=METHOD))
    for shift in (0.0, 1.0, 2.0):
        assert whole(shift).status == Status.CONVERGED
    assert len(traces) == 4


class Holder:
    """Ways in which a function refers to an array, and how each is rebound."""

    def __init__(self):
        self.x, self.box = jnp.ones(2), [jnp.ones(2)]
        local = jnp.ones(2)
        helper = lambda p: half(p, local)

        def rebind_cell(x):
            nonlocal local
            local = x

        self.losses = {
            "cell": (lambda p: half(p, local), rebind_cell),
            "cell of a helper": (lambda p: helper(p), rebind_cell),
            "attribute of a cell": (lambda p: half(p, self.x), lambda x: setattr(self, "x", x)),
            "attribute": (self.by_attribute, lambda x: setattr(self, "x", x)),
            "list": (lambda p, box=self.box: half(p, box[0]), lambda x: self.box.__setitem__(0, x)),
            "global": (by_global, lambda x: globals().__setitem__("SCALE", x)),
            "global of a helper": (lambda p: by_global(p), lambda x: globals().__setitem__("SCALE", x)),
            "partial": (functools.partial(by_global), lambda x: globals().__setitem__("SCALE", x)),
        }

    def by_attribute(self, p):
        return half(p, self.x)


def by_global(p):
    return half(p, SCALE)


@pytest.mark.parametrize("way", list(Holder().losses))
def test_what_is_rebound_between_two_calls_is_noticed_and_compiles_nothing(way):
    loss, rebind = Holder().losses[way]
    rebind(jnp.ones(2))
    first = gdjax.minimize(loss, jnp.zeros(2), method=METHOD)
    rebind(3 * jnp.ones(2))
    with CompileCounter() as compiled:
        second = gdjax.minimize(loss, jnp.zeros(2), method=METHOD)
    assert compiled.count == 0
    assert (first.status, second.status) == (Status.CONVERGED,) * 2
    np.testing.assert_allclose([first.params, second.params], [[1, 1], [3, 3]], rtol=1e-2)


@pytest.mark.sweep
def test_values_of_an_outer_trace_can_be_closed_over():
    solve = lambda x: gdjax.minimize(lambda p: half(p, x), jnp.zeros(2), method=METHOD).params
    x = jnp.full(2, 2.0)
    with jax.checking_leaks():
        np.testing.assert_allclose(jax.jit(solve)(x), x, rtol=1e-2)
        np.testing.assert_allclose(jax.vmap(solve)(jnp.stack([x, 2 * x])), [x, 2 * x], rtol=1e-2)
    np.testing.assert_allclose(jax.jit(jax.vmap(solve))(jnp.stack([x, 2 * x])), [x, 2 * x], rtol=1e-2)
    held = Holder()
    by_attribute = lambda x: (setattr(held, "x", x), gdjax.minimize(held.by_attribute, x * 0, method=METHOD).params)[1]
    for scale in (1.0, 2.0):  # the same function object, holding a value of one trace after another
        np.testing.assert_allclose(jax.jit(lambda x: by_attribute(x * 1.0))(scale * x), scale * x, rtol=1e-2)


def test_data_is_freed_with_the_function_that_closed_over_it():
    def minimise_once():
        data = Model(jnp.ones(3))
        gdjax.minimize(lambda p: half(p, data.x), jnp.zeros(3), method=METHOD)
        return weakref.ref(data.x), weakref.ref(data)

    array, owner = minimise_once()
    gc.collect()
    assert (array(), owner()) == (None, None)


def test_effects_of_a_loss_stay(capfd):
    x = jnp.ones(2)

    def loss(p):
        jax.debug.print("evaluated")
        return half(p, x)

    result = gdjax.minimize(loss, jnp.zeros(2), method=METHOD)
    jax.effects_barrier()
    assert capfd.readouterr().out.count("evaluated") == int(result.num_evals)


def test_settings_of_jax_select_a_program(x64):
    loss = lambda p: quadratic(p) + 0 * jnp.zeros(()).astype(p.dtype)
    for on in (x64, not x64, x64):
        with jax.enable_x64(on):
            result = gdjax.minimize(loss, jnp.zeros(2), method=METHOD, max_steps=3)
            assert result.params.dtype == jnp.zeros(()).dtype


def called_back(x):
    @jax.custom_vjp
    def f(p):
        return jax.pure_callback(lambda p: np.mean((p - x) ** 2, dtype=p.dtype), jax.ShapeDtypeStruct((), p.dtype), p)

    f.defvjp(lambda p: (f(p), p), lambda p, g: (g * (p - 3),))
    return lambda p: (jax.debug.callback(lambda p: None, p), f(p))[1]


def test_a_loss_that_calls_back_to_python_compiles_once():
    loss, start = called_back(np.full(2, 3.0)), jnp.zeros(2)
    first = gdjax.minimize(loss, start, method=METHOD)
    with CompileCounter() as compiled:
        second = gdjax.minimize(loss, start, method=METHOD)
    assert compiled.count == 0
    assert (first.status, second.status) == (Status.CONVERGED,) * 2
    np.testing.assert_allclose(second.params, 3, rtol=1e-2)


def test_a_table_is_a_matrix_and_who_asks_for_its_columns_is_told_how_to_get_them():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": np.linspace(0, 1, 8, dtype=np.float32), "one": np.ones(8, np.float32)})
    y = 2 * frame["x"] + 1
    matrix = gdjax.minimize(lambda p, a, y: jnp.mean((a @ p - y) ** 2), jnp.zeros(2), frame, y)
    assert matrix.status == Status.CONVERGED
    np.testing.assert_allclose(matrix.params, [2, 1], atol=2e-2)
    line = lambda p, table, y: jnp.mean((p[0] * table["x"] + p[1] * table["one"] - y) ** 2)
    columns = gdjax.minimize(line, jnp.zeros(2), dict(frame), y)
    assert columns.status == Status.CONVERGED
    np.testing.assert_allclose(columns.params, matrix.params, atol=1e-3)
    for loss in (line, lambda p, table, y: jnp.mean((p[0] * table.x - y) ** 2)):
        with pytest.raises((TypeError, AttributeError)) as caught:
            gdjax.minimize(loss, jnp.zeros(2), frame, y)
        assert "args[0] is a table, which the loss gets as the matrix" in caught.value.__notes__[-1]
        assert "pass dict(table)" in caught.value.__notes__[-1]
