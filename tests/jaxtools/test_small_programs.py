"""Small descents as one function: what is let in is compiled and right, what is not is compiled as ever."""

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import optax
import pytest
from jax import lax
from problems import rosenbrock

import gdjax
from gdjax import Status
from gdjax.jaxtools import small_programs
from gdjax.jaxtools.small_programs import BYTES, LET_IN, METHOD_BYTES, SUMMED, is_small, one_function_p, programs_in


def marks_in(text):
    """How many calls have the mark."""
    return sum("call @" in line and 'xla_cpu_small_call = "true"' in line for line in text.splitlines())


UNARY = [
    lax.abs, lax.cbrt, lax.ceil, lax.cos, lax.cosh, lax.erf, lax.erf_inv, lax.erfc, lax.exp, lax.exp2, lax.expm1,
    lax.floor, lax.lgamma, lax.log, lax.log1p, lax.logistic, lax.neg, lax.round, lax.rsqrt, lax.sign, lax.sin, lax.sinh,
    lax.sqrt, lax.square, lax.tan, lax.tanh, lambda x: lax.integer_pow(x, 3), lax.stop_gradient, jnp.copy,
    lambda x: lax.convert_element_type(lax.is_finite(x), x.dtype),
]  # fmt: skip
BINARY = [lax.add, lax.atan2, lax.div, lax.max, lax.min, lax.mul, lax.pow, lax.rem, lax.sub]
COMPARISONS = [lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge]


def elementwise(x):
    y = 0.1 + 0.8 * jax.nn.sigmoid(x)
    values = [f(y) for f in UNARY] + [f(y, y[::-1]) for f in BINARY]
    truths = [f(y, y[::-1]) for f in COMPARISONS]
    truths += [truths[0] & truths[1], truths[2] | truths[3], truths[4] ^ truths[5], ~truths[0]]
    values += [lax.nextafter(lax.stop_gradient(y), lax.stop_gradient(x))]
    values += [jnp.where(truth, y, x) for truth in truths] + [lax.clamp(0.2, y, 0.4)]
    z = lax.complex(y, y[::-1])
    return sum(values) + lax.real(z * lax.conj(z)) + lax.imag(z) + jnp.abs(z)


def shapes(x):
    a = lax.broadcast_in_dim(x, (3, x.size), (1,))
    a = a.T.reshape(3, -1) + lax.iota(x.dtype, 3)[:, None]
    a = lax.dynamic_update_slice(a, 2 * lax.dynamic_slice(a, (1, 0), (1, 4)), (2, 1))
    left, right = lax.split(a, (3, a.shape[1] - 3), axis=1)
    a = jnp.concatenate([lax.pad(left, jnp.zeros((), x.dtype), ((0, 0, 0), (1, 0, 0))), lax.rev(right, (1,))], axis=1)
    a = lax.optimization_barrier(a)
    return lax.squeeze(a[1:2, : x.size], (0,)) + jnp.stack([x, x])[1] + lax.expand_dims(x, (0,))[0]


def sums(x):
    a = x[:, None] * x
    both = lax.reduce((x, x * x), (x.dtype.type(0), x.dtype.type(0)), lambda p, q: (p[0] + q[0], p[1] + q[1]), (0,))
    truth = (jnp.all(a > 0.1, 0) | jnp.any(a > 0.5, 0)).astype(x.dtype)
    products = a @ x + x @ a + x @ x
    return a.sum(0) + a.sum(1) + jnp.prod(a, 0) + a.max(1) + a.min(0) + both[0] * both[1] + truth + products


@jax.custom_vjp
def custom(x):
    return jnp.sin(x)


custom.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


def nested(x):
    grown = lax.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * 1.5, c[1] + 1), (lax.stop_gradient(x), 0))[0]
    total, partial = lax.scan(lambda c, y: (c + y, c * y), jnp.zeros((), x.dtype), x)
    chosen = lax.cond(total > 0.3, jnp.sin, jnp.cos, x)
    return grown + partial + chosen + custom(x) + jax.nn.relu(x - 0.1)


KINDS = {"elementwise": elementwise, "shapes": shapes, "sums": sums, "nested": nested}


def in_one_function(function, *arrays):
    """The results, and whether there was a mark."""

    def call(*arrays):
        program = jax.make_jaxpr(function)(*arrays)
        if not is_small(program.jaxpr, METHOD_BYTES):
            return jax.tree.leaves(function(*arrays))
        return one_function_p.bind(*arrays, program=program)

    lowered = jax.jit(call).lower(*arrays)
    return lowered.compile()(*arrays), marks_in(lowered.as_text()) == 1


def descent(loss, x, *args, **options):
    """The result of a descent as a program of the user's, and how many marks it has."""
    lowered = jax.jit(lambda x, *args: gdjax.minimize(loss, x, *args, **options)).lower(x, *args)
    return lowered.compile()(x, *args), marks_in(lowered.as_text())


def primitives(jaxpr, found):
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for inner in programs_in(eqn):
            primitives(inner, found)
    return found


def trips(function, count=3):
    """A loop around a function and its derivative, which is where they are when they serve a descent."""
    slope = jax.grad(lambda x: jnp.sum(function(x)))
    body = lambda c: (0.5 * c[0] + 0.1 * jnp.tanh(function(c[0])) + 0.01 * jnp.tanh(slope(c[0])), c[1] + 1)
    return lambda x: lax.while_loop(lambda c: c[1] < count, body, (x, 0))[0]


@pytest.mark.sample("elementwise-7", "sums-40", "nested-40")
@pytest.mark.float64
@pytest.mark.parametrize("size", [7, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_that_is_let_in_is_right(kind, size):
    loop, x = trips(KINDS[kind]), jnp.linspace(0.1, 0.9, size)
    (result,), marked = in_one_function(loop, x)
    assert marked
    tolerance = 1e4 * float(jnp.finfo(x.dtype).eps)
    np.testing.assert_allclose(result, jax.jit(loop)(x), rtol=tolerance, atol=tolerance)


@pytest.mark.float64
def test_no_operation_is_let_in_untried():
    x, found = jnp.linspace(0.1, 0.9, 7), set()
    for function in KINDS.values():
        primitives(jax.make_jaxpr(trips(function))(x).jaxpr, found)
    # What JAX calls it, or makes of it, in other versions than this one.
    others = (
        "closed_call copy copy_p custom_vjp_call_jaxpr empty empty2 expand_dims lt_to pjit stack stop_gradient unstack"
    )
    assert LET_IN - found <= set(others.split())


@pytest.mark.float64
def test_arguments_that_nothing_uses_do_no_harm():
    """XLA looks for the buffer of every argument."""
    loop = lambda x, y, z: lax.while_loop(lambda c: c[1] < 3, lambda c: (jnp.sin(c[0]), c[1] + 1), (x, 0))[0]
    (result,), marked = in_one_function(loop, jnp.ones(5), jnp.ones(1000), jnp.asarray(2.0))
    assert marked
    np.testing.assert_allclose(result, jnp.sin(jnp.sin(jnp.sin(jnp.ones(5)))), rtol=1e-6)


@pytest.mark.sample("262144")
@pytest.mark.float64
@pytest.mark.parametrize("size", [BYTES, BYTES + 8])
def test_data_that_a_loss_closes_over_may_be_constants_of_the_program(size):
    data = jnp.linspace(0, 1, size // jnp.ones(()).itemsize)
    result, marks = descent(lambda x: jnp.sum((x - data[:3]) ** 2), jnp.ones(3))
    assert result.status == Status.CONVERGED
    assert (marks == 1) == (size <= BYTES)


METHODS = {
    "L-BFGS": gdjax.LBFGS(),
    "BFGS": gdjax.BFGS(),
    "CG": gdjax.ConjugateGradient(),
    "trust region": gdjax.TrustRegion(),
    "spectral": gdjax.GradientDescent(gdjax.BarzilaiBorwein()),
    "adam": optax.adam(0.1),
}


@pytest.mark.float64
@pytest.mark.parametrize(
    ("version", "environment", "allowed"),
    [("0.7.2", {}, False), ("0.8.0", {}, True), ("0.11.3", {}, True), ("0.12.0.dev1", {}, False), ("1.0.0", {}, False),
     ("0.11.0", {"GDJAX_ONE_FUNCTION": "0"}, False)],
)  # fmt: skip
def test_it_is_done_by_versions_that_were_tried_unless_forbidden(version, environment, allowed, monkeypatch):
    monkeypatch.setattr(small_programs.jaxlib, "__version__", version)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert small_programs.is_allowed() == allowed


def test_the_installed_jaxlib_is_one_that_was_tried():
    """Otherwise the speed is gone without a word: try the new version, and move the bound in `small_programs.TRIED`."""
    version = tuple(int(part) for part in jaxlib.__version__.split(".")[:2])
    assert small_programs.TRIED[0] <= version <= small_programs.TRIED[1]


def test_it_can_be_turned_off_from_python():
    with small_programs.small_programs(False):
        assert not small_programs.is_allowed()
        result, marks = descent(rosenbrock, jnp.zeros(3), max_steps=3)
        assert marks == 0
    assert result.status == Status.MAX_STEPS
    assert descent(rosenbrock, jnp.zeros(3), max_steps=3)[1] == 1


@pytest.mark.sample("L-BFGS")
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_small_descent_is_one_function_and_ends_as_it_does_otherwise(method, monkeypatch):
    small, marks = descent(rosenbrock, jnp.zeros(6), method=method, tol=3e-3, history=10)
    assert marks == 1
    jax.clear_caches()
    monkeypatch.setenv("GDJAX_ONE_FUNCTION", "0")
    usual, marks = descent(rosenbrock, jnp.zeros(6), method=method, tol=3e-3, history=10)
    assert marks == 0
    assert small.status == usual.status == Status.CONVERGED
    # Other machine code rounds differently, and a long descent by CG or Adam then takes another way.
    assert int(usual.num_evals) / 1.5 <= int(small.num_evals) <= 1.5 * int(usual.num_evals)
    np.testing.assert_allclose(small.params, usual.params, atol=1e-2)


@pytest.mark.sweep
def test_large_losses_and_those_with_other_operations_are_compiled_as_ever():
    matrix = jnp.eye(4) + 0.1
    losses = {
        "large": (lambda x: jnp.sum(x**2), jnp.ones(BYTES // 4 + 1)),
        "matrix product": (lambda x: jnp.sum((matrix @ jnp.diag(x) @ matrix) ** 2), jnp.ones(4)),
        "factorisation": (lambda x: x @ jnp.linalg.solve(matrix, x), jnp.ones(4)),
        "sort": (lambda x: jnp.sum(jnp.sort(x) ** 2), jnp.ones(4)),
        "sum": (lambda x: jnp.sum(x[:, None] * x) + jnp.sum(x**2), jnp.ones(int(SUMMED**0.5) + 1)),
        "library": (lambda x: jnp.sum(jnp.fft.fft(x).real ** 2), jnp.ones(4)),
    }
    for name, (loss, start) in losses.items():
        result, marks = descent(loss, start)
        assert result.status == Status.CONVERGED, name
        assert marks > 1, name  # the scalars of a trip are functions of their own


def test_problems_of_a_batch_are_one_function_one_after_the_other():
    solve = jax.vmap(lambda x: gdjax.minimize(rosenbrock, x, method=gdjax.GradientDescent(1e-3), max_steps=50))
    for lanes in (5, 2000):
        starts = jnp.linspace(0, 1, lanes)[:, None] * jnp.ones(3)
        lowered = jax.jit(solve).lower(starts)
        assert marks_in(lowered.as_text()) == 1
        result = lowered.compile()(starts)
        assert (result.status == Status.MAX_STEPS).sum() >= lanes - 1
        alone = gdjax.minimize(rosenbrock, starts[3], method=gdjax.GradientDescent(1e-3), max_steps=50)
        np.testing.assert_allclose(result.params[3], alone.params, rtol=1e-5)


@pytest.mark.sweep
@pytest.mark.float64
def test_constants_handed_in_do_no_harm():
    """XLA copies them into what they are handed to, and stores those of more than 10 000 bytes elsewhere."""
    first = gdjax.minimize(rosenbrock, jnp.zeros(30), max_steps=30, keep_state=True)
    lowered = jax.jit(lambda: gdjax.minimize(rosenbrock, first)).lower()
    assert marks_in(lowered.as_text()) == 1
    assert lowered.compile()().status == Status.CONVERGED
