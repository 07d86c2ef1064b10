"""Watching a descent changes no number of it, and stops it where it is asked to."""

import io
import os
import signal
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import CompileCounter, quadratic, rosenbrock

import gdjax
from gdjax import BFGS, LBFGS, Backtracking, ConjugateGradient, GradientDescent, Status, TrustRegion

MODES = [False]  # JAX's default: precision is not what these are about

START = np.array([-1.2, 1.0, 0.5, 2.0])
METHODS = {
    "fixed rate": GradientDescent(1e-3, momentum=0.5),
    "backtracking": GradientDescent(Backtracking()),
    "LBFGS": LBFGS(memory=3),
    "BFGS": BFGS(),
    "ConjugateGradient": ConjugateGradient(),
    "TrustRegion": TrustRegion(),
    "Adam": optax.adam(0.05),
    "schedule-free": optax.contrib.schedule_free_adamw(0.05),
    "Barzilai-Borwein": GradientDescent(gdjax.BarzilaiBorwein()),
    "adaptive step": GradientDescent(gdjax.AdaptiveStep()),
    "accelerated": gdjax.AcceleratedGradient(),
    "L1 by PANOC": None,
    "L1 by accelerated proximal gradient": gdjax.AcceleratedProximalGradient(),
    "LBFGS between bounds": None,
}
L1 = gdjax.penalties.L1(0.5)
PENALTIES = {
    "L1 by PANOC": L1,
    "L1 by accelerated proximal gradient": L1,
    "LBFGS between bounds": gdjax.penalties.Box(-2.0, 0.6),
}
RATE = GradientDescent(0.1)
NEVER_ENDS = dict(method=GradientDescent(0.01), tol=0.0, max_steps=2**31 - 1, stop=gdjax.Stop(patience=2**31 - 1))


def drift(p):
    """Hills and valleys over which a rate of 0.01 wanders for ever: the map x - 4 sin(x) is chaotic.

    (Where a rate leads down for ever, steps in float32 are lost in rounding within some ten million evaluations, which
    a fast machine makes in a second.)
    """
    return -400 * jnp.sum(jnp.cos(p))


def assert_same(a, b):
    """Bit for bit."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.sample("fixed rate")
@pytest.mark.parametrize("name", METHODS)
def test_watched_and_resumed_descents_are_bitwise_those_of_one_call(name, tmp_path):
    options = dict(method=METHODS[name], penalty=PENALTIES.get(name), max_steps=25, history=8)
    path = tmp_path / "descent.npz"
    plain = gdjax.minimize(rosenbrock, START, **options)
    states = []
    watched = gdjax.minimize(rosenbrock, START, callback=states.append, **options)
    stopped = gdjax.minimize(rosenbrock, START, callback=lambda s: s.num_steps >= 7, checkpoint=path, **options)
    del options["history"]
    resumed = gdjax.resume(path, rosenbrock, np.zeros(4), **options)
    assert (stopped.status, int(stopped.num_steps)) == (Status.STOPPED_BY_CALLBACK, 7)
    assert "the callback asked to stop after 7 steps" in str(stopped)
    assert plain.status == watched.status == resumed.status
    assert plain.status in (Status.CONVERGED, Status.MAX_STEPS)
    parts = lambda r: (r.params, r.value, r.grad, r.progress, r.history)
    assert_same(parts(watched), parts(resumed))
    assert_same(parts(watched), parts(gdjax.resume(path, rosenbrock, np.zeros(4), **options)))  # ended: nothing is run
    assert_same(parts(plain), parts(watched))
    steps = [int(s.num_steps) for s in states]
    assert steps == list(range(int(plain.num_steps) + 1))
    np.testing.assert_array_equal(plain.history.trim().value[-1], states[-1].value)


def test_callback_every_few_steps_and_at_each_new_best():
    every, best, values = [], [], []
    # A step that overshoots: the value rises at first, so that not every step is a new best.
    options = dict(method=GradientDescent(0.15, momentum=0.9), max_steps=30)
    gdjax.minimize(quadratic, START, callback=lambda s: every.append(int(s.num_steps)), callback_every=10, **options)
    gdjax.minimize(quadratic, START, callback=lambda s: best.append(float(s.value)), callback_every="best", **options)
    gdjax.minimize(quadratic, START, callback=lambda s: values.append(float(s.value)), **options)
    assert every == [0, 10, 20, 30]
    lowest = [v for i, v in enumerate(values) if v < min(values[:i], default=np.inf)]
    assert len(lowest) < len(values)
    np.testing.assert_array_equal(best, lowest)


def test_what_a_callback_raises_is_raised():
    def broken(state):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        gdjax.minimize(quadratic, START, method=RATE, callback=broken)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_callback_may_answer_with_an_array_of_one_number():
    for yes in (np.array([True]), jnp.ones((1, 1)), np.bool_(True)):
        result = gdjax.minimize(quadratic, START, method=RATE, callback=lambda s, yes=yes: yes)
        assert (result.status, int(result.num_steps)) == (Status.STOPPED_BY_CALLBACK, 0)
    result = gdjax.minimize(quadratic, START, method=RATE, callback=lambda s: jnp.zeros(1))
    assert result.status == Status.CONVERGED


def test_an_answer_of_many_numbers_is_refused_at_first_and_later_ends_the_descent_with_its_best_point():
    words = r"the callback must return True to stop, or False or None; it returned an array of shape \(4,\): reduce it"
    with pytest.raises(TypeError, match=words):
        gdjax.minimize(quadratic, START, method=RATE, callback=lambda s: s.params > 0)
    result = gdjax.minimize(quadratic, START, method=RATE, callback=lambda s: s.num_steps >= 3 and s.params > 0)
    assert (result.status, int(result.num_steps)) == (Status.RAISED, 3)
    assert float(result.value) < float(quadratic(jnp.asarray(START)))
    assert isinstance(result.exception, TypeError)
    assert str(result).startswith("RAISED: the answer of the callback was unclear after 3 steps")


def test_results_that_a_callback_keeps_stay_what_they_were():
    states = []
    gdjax.minimize(rosenbrock, START, method=optax.adam(0.05), callback=states.append, max_steps=5)
    assert len({float(s.params[0]) for s in states}) == 6


def test_maximised_values_have_the_sign_of_the_function():
    states = []
    result = gdjax.maximize(lambda p: -quadratic(p), START, callback=states.append, method=RATE)
    assert result.status == Status.CONVERGED
    assert all(s.value <= 0 for s in states)
    assert float(states[0].value) < float(states[-1].value)


def test_time_limit():
    begin = time.perf_counter()
    result = gdjax.minimize(drift, START, max_seconds=0.3, **NEVER_ENDS)
    seconds = time.perf_counter() - begin
    assert result.status == Status.MAX_SECONDS
    assert not result.converged
    assert 0.3 <= result.timing.seconds <= seconds
    assert 0 < result.timing.compiling <= result.timing.seconds
    assert "time ran out after" in str(result)
    at_once = gdjax.minimize(drift, START, max_seconds=0, **NEVER_ENDS)
    assert (at_once.status, int(at_once.num_evals)) == (Status.MAX_SECONDS, 1)
    np.testing.assert_allclose(at_once.params, START)


def test_a_test_that_fires_comes_before_the_time_limit():
    assert gdjax.minimize(quadratic, START, method=RATE, max_seconds=0, tol=1e9).status == Status.CONVERGED


def test_ctrl_c_returns_the_best_point_so_far():
    def press():
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    gdjax.minimize(drift, START, max_seconds=0, **NEVER_ENDS)  # compiled before the key is pressed
    thread = threading.Thread(target=press)
    thread.start()
    result = gdjax.minimize(drift, START, max_seconds=60, **NEVER_ENDS)
    thread.join()
    assert result.status == Status.INTERRUPTED
    assert float(result.value) < float(drift(jnp.asarray(START)))
    assert "interrupted from the keyboard after" in str(result)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_on_a_call_that_nobody_watches():
    """One press, within a second: also for a descent whose first piece is as long as the one before allowed."""
    for _ in range(2):
        thread, pressed = press_after(0.4)
        result = gdjax.minimize(drift, START, **NEVER_ENDS)
        assert time.perf_counter() - pressed[0] < 1
        thread.join()
        assert result.status == Status.INTERRUPTED
        assert float(result.value) < float(drift(jnp.asarray(START)))
        assert "interrupted from the keyboard after" in str(result)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def press_after(seconds):
    """The thread that presses the key, and when it did; what a first call of JAX needs is loaded."""
    gdjax.minimize(drift, START, **{**NEVER_ENDS, "max_steps": 1})
    pressed = []

    def press():
        time.sleep(seconds)
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread, pressed


def test_ctrl_c_ends_a_loop_of_short_descents():
    """The descent that was under way has ended, or says that it was interrupted: a loop that looks at neither ends."""
    ends = []
    for _ in range(3):
        gdjax.minimize(quadratic, START, method=RATE)  # compiled before the key is pressed, and its pace is known
        thread, pressed = press_after(0.3)
        try:
            while time.perf_counter() < (pressed[0] + 1 if pressed else np.inf):
                if gdjax.minimize(quadratic, START, method=RATE).status == Status.INTERRUPTED:
                    ends.append("said")
                    break
        except KeyboardInterrupt:
            ends.append("raised")
        thread.join()
    assert ends == ["raised"] * 3


@pytest.mark.parametrize("step", [0, 2, "last"])
def test_ctrl_c_in_a_short_descent_raises_whenever_it_is_pressed(step):
    """Also before its last piece: it is given the time to end, and then a loop around it ends."""
    whole = gdjax.minimize(quadratic, START, method=RATE, callback=lambda s: False)  # all is compiled
    assert whole.status == Status.CONVERGED
    at, seen = int(whole.num_steps) if step == "last" else step, []

    def press(state):
        seen.append(int(state.num_steps))
        if seen[-1] == at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        gdjax.minimize(quadratic, START, method=RATE, callback=press)
    assert seen[-1] == int(whole.num_steps)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_all_ways_to_call_from_python_are_one_program():
    loss = lambda p: quadratic(p) + jnp.sum(jnp.cos(p))
    with CompileCounter() as counter:
        plain = gdjax.minimize(loss, START, method=RATE)
    assert plain.status == Status.CONVERGED
    assert counter.count == 1
    with CompileCounter() as counter:
        kept = gdjax.minimize(loss, START, method=RATE, keep_state=True)
        timed = gdjax.minimize(loss, START, method=RATE, max_seconds=60)
    assert counter.count == 0
    assert plain.status == kept.status == timed.status
    assert_same((plain.params, plain.progress), (kept.params, kept.progress))
    assert_same((plain.params, plain.progress), (timed.params, timed.progress))


@pytest.mark.sweep
@pytest.mark.parametrize("penalty", [None, gdjax.penalties.L1(0.1)])
def test_a_result_that_keeps_its_state_has_its_derivatives(penalty):
    def solve(t, keep_state):
        return gdjax.minimize(lambda p, t: (p - t) ** 2, 0.0, t, penalty=penalty, keep_state=keep_state)

    for derivative in (jax.grad, jax.jacfwd):
        slope = derivative(lambda t: solve(t, True).params)(1.0)
        np.testing.assert_allclose(slope, 1.0, rtol=1e-5)
    result = jax.jit(lambda t: solve(t, True))(1.0)
    assert result.status == Status.CONVERGED
    assert type(result.state) is type(solve(1.0, True).state)


def test_a_second_ctrl_c_raises():
    def hang(state):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        gdjax.minimize(quadratic, START, method=RATE, callback=hang)


def test_a_handler_of_the_users_own_is_left_alone():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    try:
        result = gdjax.minimize(quadratic, START, method=RATE, callback=lambda s: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.status == Status.CONVERGED
    assert len(pressed) == int(result.num_steps) + 1


def test_from_another_thread():
    ends = []
    thread = threading.Thread(target=lambda: ends.append(gdjax.minimize(quadratic, START, method=RATE, max_seconds=60)))
    thread.start()
    thread.join()
    assert ends[0].converged


def test_progress_in_a_plain_log(capsys):
    result = gdjax.minimize(quadratic, START, method=RATE, progress=True)
    first, *_, last = capsys.readouterr().err.strip().splitlines()
    assert result.status == Status.CONVERGED
    assert first.startswith("gdjax: step 0, value 8.295, |grad| 1.0e+01 = ")
    assert first.endswith(" tol, |step| 1.1e+00")
    assert last.endswith(", CONVERGED")
    assert f"step {int(result.num_steps)}, value" in last
    assert "evaluations/s" in last


def test_progress_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    result = gdjax.minimize(quadratic, START, method=RATE, progress=True)
    assert result.status == Status.CONVERGED
    frames = screen.getvalue().split("\r")
    assert "  0%|" in frames[2]
    assert "100%|##########| step" in frames[-1]
    assert "CONVERGED" in frames[-1]


def test_progress_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"pip install 'gdjax\[progress\]'"):
        gdjax.minimize(quadratic, START, method=RATE, progress=True)


@pytest.mark.parametrize(
    "service", [dict(progress=True), dict(callback=print), dict(max_seconds=1), dict(checkpoint="x")]
)
def test_inside_a_trace_services_that_need_python_say_so(service):
    solve = lambda p: gdjax.minimize(quadratic, p, **service).params
    for traced in (jax.jit(solve), jax.vmap(solve)):
        with pytest.raises(ValueError, match=r"cannot be used inside jit, vmap or grad"):
            traced(jnp.ones((2, 2)))
    with pytest.raises(ValueError, match=r"cannot be used inside jit, vmap or grad"):
        jax.jit(lambda: solve(START))()


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (dict(callback=3), "callback must be a function of a result, got 3"),
        (dict(callback=print, callback_every=0), "callback_every must be a number of steps, at least 1"),
        (dict(callback=print, callback_every="worst"), "callback_every must be"),
        (dict(progress="yes"), "progress must be True or False, got 'yes'"),
        (dict(max_seconds=-1), "max_seconds must be a number of seconds, not negative; got -1"),
        (dict(max_seconds=1, checkpoint=3), "checkpoint must be the path of a file"),
        (dict(checkpoint="no/such/folder/x"), "checkpoint: there is no folder"),
        (dict(callbck=print), "minimize has no option 'callbck'"),
    ],
)
def test_what_a_service_cannot_be(service, message):
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=message):
        gdjax.minimize(quadratic, START, **service)


def test_no_service_no_difference():
    assert gdjax.minimize(quadratic, START, method=RATE, progress=False, callback=None, checkpoint=None).timing is None
