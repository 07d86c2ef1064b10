"""A loss that raises while it runs ends the descent, and loses none of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import quadratic

import gdjax
from gdjax import GradientDescent, Status

MODES = [True]  # positions to many digits

START = np.array([-1.2, 1.0, 0.5, 2.0])
RATE = GradientDescent(0.01)


class Simulator:
    """A loss in Python that knows its first so many points and gives up at others, as often as it is asked."""

    def __init__(self, good):
        self.good, self.calls, self.seen = good, 0, set()

    def __call__(self, p):
        self.calls += 1
        point = np.asarray(p).tobytes()
        if len(self.seen) < self.good:
            self.seen.add(point)
        if point not in self.seen:
            raise ArithmeticError(f"the solver needs more than {self.good} steps.")
        return np.zeros((), p.dtype)

    def loss(self, p):
        @jax.custom_jvp
        def call(p):
            return jax.pure_callback(self, jax.ShapeDtypeStruct((), p.dtype), p)

        call.defjvp(lambda p, d: (call(*p), jnp.zeros((), p[0].dtype)))
        return quadratic(p) + call(p)


def quiet(monkeypatch):
    """JAX logs what a callback raises."""
    monkeypatch.setattr("logging.Logger.error", lambda *_, **__: None)
    monkeypatch.setattr("logging.Logger.exception", lambda *_, **__: None)


@pytest.mark.sample("2")
@pytest.mark.parametrize("good", [1, 2, 40, 63])
def test_what_was_reached_is_returned_with_the_words_of_the_error(good, monkeypatch, tmp_path):
    quiet(monkeypatch)
    simulator, path = Simulator(good), tmp_path / "descent.npz"
    result = gdjax.minimize(simulator.loss, START, method=RATE, keep_state=True, checkpoint=path)
    assert result.status == Status.RAISED
    assert not result.converged
    assert int(result.num_evals) == good
    assert f"the solver needs more than {good} steps. The value is" in str(result)
    assert "ArithmeticError" in str(result.exception)
    assert simulator.calls <= 4 * good + 10
    whole = gdjax.minimize(quadratic, START, method=RATE, max_steps=good - 1)
    np.testing.assert_allclose(result.params, whole.params, rtol=1e-12)
    simulator.good = 10**9
    for source in (result, path):
        on = gdjax.resume(source, simulator.loss, START, method=RATE)
        assert on.status == Status.CONVERGED
        np.testing.assert_allclose(on.params, gdjax.minimize(quadratic, START, method=RATE).params, rtol=1e-12)


def test_a_second_call_whose_first_piece_is_long_keeps_as_much(monkeypatch):
    quiet(monkeypatch)
    simulator = Simulator(10**9)
    assert gdjax.minimize(simulator.loss, START, method=RATE).status == Status.CONVERGED
    simulator.good, simulator.seen = 100, set()
    result = gdjax.minimize(simulator.loss, START, method=RATE)
    assert result.status == Status.RAISED
    assert int(result.num_evals) == 100


def test_at_the_start_there_is_nothing_to_return(monkeypatch):
    quiet(monkeypatch)
    with pytest.raises((RuntimeError, ValueError), match="the solver needs more than 0 steps"):
        gdjax.minimize(Simulator(0).loss, START, method=RATE)


def test_what_is_raised_while_a_loss_is_traced_is_raised():
    def broken(p):
        raise KeyError("no such thing")

    with pytest.raises(KeyError, match="no such thing"):
        gdjax.minimize(broken, START)
