"""A method of one's own, as examples/your_own_method.py writes it, does all that gdjax's do."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import Status

PATH = pathlib.Path(__file__).parents[2] / "examples" / "your_own_method.py"
spec = importlib.util.spec_from_file_location("your_own_method", PATH)
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
HeavyBall, Adam = example.HeavyBall, example.Adam

START = np.array([1.0, -2.0], np.float32)
STEPS = dict(max_steps=12, tol=0.0)


def bowl(x):
    return jnp.sum(jnp.array([1.0, 5.0], x.real.dtype) * jnp.abs(x - 0.5) ** 2)


def by_hand(rate, momentum, x=START, steps=12):
    """Heavy ball as its docstring says."""
    v = np.zeros_like(x)
    for _ in range(steps):
        g = 2 * np.array([1, 5], x.real.dtype) * (x - 0.5)
        v = np.zeros_like(v) if np.vdot(v, g).real > 0 else v
        v = (momentum * v - rate * g).astype(x.dtype)
        x = (x + v).astype(x.dtype)
    return x


def last(result):
    """The last iterate."""
    return result.state.state.iterate.x


def test_heavy_ball_takes_the_steps_of_its_formula(x64):
    x = START.astype(np.float64 if x64 else np.float32)
    result = gdjax.minimize(bowl, x, method=HeavyBall(0.05), keep_state=True, **STEPS)
    assert result.status == Status.MAX_STEPS
    np.testing.assert_allclose(last(result), by_hand(0.05, 0.9, x), rtol=1e-12 if x64 else 1e-4, atol=1e-6)


def test_adam_takes_the_steps_of_optax():
    ours = gdjax.minimize(bowl, START, method=Adam(0.1), **STEPS)
    theirs = gdjax.minimize(bowl, START, method=optax.adam(0.1), **STEPS)
    assert ours.status == theirs.status == Status.MAX_STEPS
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-4)


def test_adam_sees_complex_parameters_as_pairs_of_reals():
    x = START.astype(np.complex64) * np.complex64(1 + 2j)
    result = gdjax.minimize(bowl, x, method=Adam(0.1), **STEPS)
    pairs = lambda p: bowl(jax.lax.complex(p[0], p[1]))
    apart = gdjax.minimize(pairs, np.stack([x.real, x.imag]), method=Adam(0.1), **STEPS)
    assert result.status == apart.status == Status.MAX_STEPS
    np.testing.assert_allclose(result.params, jax.lax.complex(*apart.params), rtol=1e-4)


def test_it_converges_and_its_numbers_compile_nothing():
    for rate in (0.02, 0.05):
        result = gdjax.minimize(bowl, START, method=HeavyBall(rate))
        assert result.status == Status.CONVERGED
    rates = jnp.array([0.02, 0.05])
    solve = lambda rate: gdjax.minimize(bowl, START, method=HeavyBall(rate))
    many = jax.jit(jax.vmap(solve))(rates)
    assert many.converged.all()
    np.testing.assert_allclose(many.params, 0.5, atol=1e-3)


def test_complex_parameters_are_pairs_of_reals():
    x = START * np.array([1 + 1j, 2 - 1j], np.complex64)
    result = gdjax.minimize(bowl, x, method=HeavyBall(0.05), tol=1e-4)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 0.5, atol=1e-3)


def test_a_kept_state_and_a_checkpoint_go_on_to_the_same_bits(tmp_path):
    whole = gdjax.minimize(bowl, START, method=Adam(0.1), **STEPS)
    half = gdjax.minimize(bowl, START, method=Adam(0.1), tol=0.0, max_steps=5, keep_state=True)
    on = gdjax.resume(half, bowl, START, method=Adam(0.1), **STEPS)
    assert (on.params == whole.params).all()
    path = tmp_path / "run.npz"
    gdjax.minimize(bowl, START, method=Adam(0.1), tol=0.0, max_steps=5, checkpoint=path)
    assert (gdjax.resume(path, bowl, START, method=Adam(0.1), **STEPS).params == whole.params).all()
    assert whole.status == Status.MAX_STEPS


def test_a_warm_start_keeps_the_memory():
    first = gdjax.minimize(bowl, START, method=Adam(0.1), tol=0.0, max_steps=5, keep_state=True)
    again = gdjax.minimize(bowl, first, method=Adam(0.1), tol=0.0, max_steps=1, keep_state=True)
    assert int(first.state.state.memory[2]) == 6  # evaluations, the start's too
    assert int(again.state.state.memory[2]) == 8


@pytest.mark.float64
def test_the_unrolled_descent_has_the_derivative_by_its_rate():
    x = START.astype(np.float64)
    value = lambda rate: gdjax.minimize(bowl, x, method=HeavyBall(rate), implicit=False, **STEPS).value
    slope, h = jax.grad(value)(0.02), 1e-6
    assert float(slope) == pytest.approx(float(value(0.02 + h) - value(0.02 - h)) / (2 * h), rel=1e-4)


def test_a_class_without_its_step_fails_when_it_is_made():
    @gdjax.methods.method
    class Half(gdjax.methods.Method):
        rate: float = 1.0

    with pytest.raises(TypeError, match="abstract"):
        Half()


def test_what_is_no_method_is_named():
    with pytest.raises(TypeError, match="method must be a gdjax method"):
        gdjax.minimize(bowl, START, method=object())


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda v, g: -0.1 * g, r"Odd\.advance must return two things, \(memory, displacement\)"),
        (
            lambda v, g: (v, -0.1 * g[:1]),
            r"displacement that Odd\.advance returns must be like point\.x, \(2,\);",
        ),
        (lambda v, g: (None, -0.1 * g), r"memory that Odd\.advance returns must be like .*Odd\.empty\(x\) says"),
    ],
)
def test_what_advance_returns_is_checked(returned, words):
    @gdjax.methods.method
    class Odd(gdjax.methods.Stepping):
        def empty(self, x):
            return jnp.zeros_like(x)

        def advance(self, v, point):
            return returned(v, point.grad)

    with pytest.raises(TypeError, match=words):
        gdjax.minimize(bowl, START, method=Odd())
