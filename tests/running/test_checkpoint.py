"""A checkpoint survives a kill at any moment, and a file that is not one is refused with the reason."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import quadratic, rosenbrock

import gdjax
from gdjax import LBFGS, GradientDescent, Status
from gdjax.running import checkpoint

MODES = [True]  # proofs to many digits

RATE = GradientDescent(0.01)
START = np.array([-1.2, 1.0, 0.5, 2.0])

# Some seconds of work; a checkpoint at every visit. The process says nothing: what it leaves is the file.
LONG = """
import sys, pathlib, jax, jax.numpy as jnp, gdjax
jax.config.update("jax_enable_x64", True)
path = pathlib.Path(sys.argv[1])
loss = lambda p: jnp.sum(100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2)
options = dict(method=gdjax.GradientDescent(1e-6, momentum=0.5), tol=0.0, max_steps=6_000_000, checkpoint_seconds=0.0)
start = jnp.array([-1.2, 1.0, 0.5, 2.0])
if sys.argv[2] == "whole":
    result = gdjax.minimize(loss, start, **{**options, "callback": lambda s: False, "callback_every": 2**30})
elif path.exists():
    result = gdjax.resume(path, loss, start, **options)
else:
    result = gdjax.minimize(loss, start, checkpoint=path, **options)
numbers = [result.params, result.value, result.grad, *jax.tree.leaves(result.progress)]
print(result.status.name, int(result.num_steps), *[jnp.asarray(x).tobytes().hex() for x in numbers])
"""


@pytest.mark.sweep
def test_killed_again_and_again_it_comes_to_the_bitwise_same_result(tmp_path):
    path, script = tmp_path / "descent.npz", tmp_path / "script.py"
    script.write_text(LONG)
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(gdjax.__file__).parent.parent), "JAX_PLATFORMS": "cpu"}
    start = lambda how: subprocess.Popen(
        [sys.executable, script, path, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    rng, kills, seen = random.Random(), 0, 0.0
    while True:
        process = start("on")
        while process.poll() is None and kills < 2:
            if path.exists() and path.stat().st_mtime != seen:  # it has got as far as writing
                time.sleep(rng.uniform(0, 0.3))
                process.kill()
                kills += process.wait() == -signal.SIGKILL
                seen = path.stat().st_mtime
        out, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        if process.returncode == 0:
            break
    whole, errors = start("whole").communicate()
    assert kills == 2
    assert whole.startswith(b"MAX_STEPS 6000000 "), errors.decode()
    assert out == whole


def test_a_kill_while_writing_leaves_a_whole_file(tmp_path):
    path, script = tmp_path / "big.npz", tmp_path / "script.py"
    script.write_text(
        "import sys, pathlib, numpy as np\nfrom gdjax.running import checkpoint\npath = pathlib.Path(sys.argv[1])\n"
        "for i in range(10**9): checkpoint.write(path, dict(i=i), [np.full(300_000, i)])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(gdjax.__file__).parent.parent)}
    for seed in range(4):
        process = subprocess.Popen([sys.executable, script, path], env=environment)
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.05 + 0.1 * random.Random(seed).random())
        process.kill()
        process.wait()
        header, (array,) = checkpoint.read(path)
        assert np.all(array == header["i"])
        path.unlink()


def test_a_damaged_file_is_refused_wherever_the_damage(tmp_path, x64):
    path = tmp_path / "good.npz"
    checkpoint.save(path, dict(method={}), {"a": jnp.arange(20.0), "b": jnp.asarray(True)})
    good, header = path.read_bytes(), checkpoint.read(path)[0]
    rng, harmless = np.random.default_rng(0), 0
    for position in rng.choice(len(good), 150, replace=False):
        bad = bytearray(good)
        bad[position] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        with contextlib.suppress(ValueError):  # or it is a bit that says nothing, such as the time of a member
            again, (a, b) = checkpoint.read(path)
            assert again == header
            np.testing.assert_array_equal(a, np.arange(20.0))
            assert b
            harmless += 1
    assert harmless < 75
    for length in rng.choice(len(good), 20, replace=False):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match="damaged, cut short or not a checkpoint"):
            checkpoint.read(path)


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "foreign"
    path.write_text("params = 3")
    with pytest.raises(ValueError, match="foreign is damaged, cut short or not a checkpoint"):
        gdjax.resume(path, rosenbrock, START)
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz is another kind of archive"):
        gdjax.resume(tmp_path / "other.npz", rosenbrock, START)
    later = dict(format=checkpoint.FORMAT, version=checkpoint.VERSION + 1)
    np.savez(tmp_path / "later.npz", header=np.frombuffer(json.dumps(later).encode(), np.uint8))
    with pytest.raises(ValueError, match=r"later.npz has version 2 of the format; this gdjax reads version 1"):
        gdjax.resume(tmp_path / "later.npz", rosenbrock, START)
    with pytest.raises(FileNotFoundError):
        gdjax.resume(tmp_path / "none.npz", rosenbrock, START)


def test_loading_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("sprung",))

    header = dict(format=checkpoint.FORMAT, version=checkpoint.VERSION, count=1)
    header = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "trap.npz", header=header, leaf0=np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        gdjax.resume(tmp_path / "trap.npz", rosenbrock, START)


SHIFTED = lambda p, shift: quadratic(p - shift)


def test_another_descent_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "descent.npz"
    result = gdjax.minimize(SHIFTED, START, 5.0, method=RATE, checkpoint=path, max_steps=3, keep_state=True)
    assert result.status == Status.MAX_STEPS
    resume = lambda source=path, loss=SHIFTED, start=START, data=5.0, **options: gdjax.resume(
        source, loss, start, data, **{"method": RATE, "max_steps": 5, "checkpoint": None, **options}
    )
    for source, name in ((path, "descent.npz"), (result, "the result")):
        with pytest.raises(
            ValueError, match=rf"{name} is of another descent: state.iterate.x has shape \(4,\) .* \(3,\)"
        ):
            resume(source, start=START[:3])
        with pytest.raises(ValueError, match=rf"{name} is of another loss or other data: at the saved point it was"):
            resume(source, data=6.0)
        with pytest.raises(
            ValueError, match=r"state.uphill where state.rate is needed|it has state|is of another descent"
        ):
            resume(source, method=GradientDescent(0.01, momentum=0.9))
    with pytest.raises(ValueError, match=r"was made with GradientDescent\(nesterov=False\), not with LBFGS\(memory=3"):
        resume(method=LBFGS(memory=3))
    with pytest.raises(ValueError, match="the result has kept no state; make it with keep_state=True"):
        resume(gdjax.minimize(SHIFTED, START, 5.0, method=RATE, max_steps=3))
    with pytest.raises(ValueError, match="decides whether there is a history"):
        resume(history=True)
    with pytest.raises(TypeError, match="resume has no option 'maximize'"):
        resume(maximize=True)
    with pytest.raises(ValueError, match="cannot be used inside jit"):
        jax.jit(lambda p: resume(start=p))(START)


@pytest.mark.sweep
def test_limits_and_tolerances_of_the_new_call_decide_whether_it_goes_on(tmp_path):
    path = tmp_path / "descent.npz"
    go = lambda **options: gdjax.resume(path, quadratic, START, method=RATE, **options)
    first = gdjax.minimize(quadratic, START, method=RATE, max_steps=3, checkpoint=path, history=True)
    assert (first.status, int(first.num_steps)) == (Status.MAX_STEPS, 3)
    more = go(max_steps=6)
    assert (more.status, int(more.num_steps), len(more.history)) == (Status.MAX_STEPS, 6, 7)
    by_evals = go(max_evals=9)
    assert (by_evals.status, int(by_evals.num_evals)) == (Status.MAX_EVALS, 9)
    rough = go(tol=0.5)
    fine = go(tol=0.1)
    assert rough.status == fine.status == Status.CONVERGED
    assert int(rough.num_steps) < int(fine.num_steps)
    assert int(go(tol=0.1).num_evals) == int(fine.num_evals)
    straight = gdjax.minimize(quadratic, START, method=RATE, tol=0.1)
    np.testing.assert_array_equal(straight.params, fine.params)


def test_another_rate_may_be_chosen(tmp_path):
    path = tmp_path / "descent.npz"
    gdjax.minimize(quadratic, START, method=RATE, max_steps=3, checkpoint=path)
    faster = gdjax.resume(path, quadratic, START, method=GradientDescent(0.1))
    assert faster.status == Status.CONVERGED
    assert int(faster.num_steps) < int(gdjax.minimize(quadratic, START, method=RATE).num_steps)


def test_a_stopped_descent_goes_on_and_a_maximised_one_too(tmp_path):
    path = tmp_path / "descent.npz"
    loss = lambda p: -quadratic(p)
    stopped = gdjax.maximize(loss, START, method=RATE, max_seconds=0, checkpoint=path)
    assert stopped.status == Status.MAX_SECONDS
    shutil.copy(path, tmp_path / "copy")
    result = gdjax.resume(tmp_path / "copy", loss, START, method=RATE)
    assert result.status == Status.CONVERGED
    assert result.maximized


def test_callbacks_keep_their_rhythm_over_a_resume(tmp_path):
    path, steps = tmp_path / "descent.npz", []
    gdjax.minimize(quadratic, START, method=RATE, max_steps=13, checkpoint=path)
    note = lambda s: steps.append(int(s.num_steps))
    gdjax.resume(path, quadratic, START, method=RATE, max_steps=35, callback=note, callback_every=10)
    assert steps == [20, 30]


def test_leaves_that_npz_does_not_know(tmp_path):
    path = tmp_path / "descent.npz"
    noisy = optax.chain(optax.add_noise(0.1, 0.55, jax.random.key(7)), optax.sgd(0.01))
    start = {"half": jnp.ones(3, jnp.bfloat16), "z": jnp.array([1j], jnp.complex64)}
    loss = lambda p: jnp.sum(p["half"].astype(jnp.float32) ** 2) + jnp.sum(jnp.abs(p["z"]) ** 2).astype(jnp.float32)
    go = lambda begin, **options: begin(loss, start, method=noisy, tol=0.0, **options)
    whole = go(gdjax.minimize, max_steps=20)
    assert whole.status == Status.MAX_STEPS
    go(gdjax.minimize, max_steps=9, checkpoint=path)
    resumed = go(lambda *a, **k: gdjax.resume(path, *a, **k), max_steps=20)
    for x, y in zip(jax.tree.leaves(whole.params), jax.tree.leaves(resumed.params), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_an_old_checkpoint_is_replaced_by_a_new_descent(tmp_path):
    path = tmp_path / "descent.npz"
    path.write_text("old")
    gdjax.minimize(quadratic, START, method=RATE, max_steps=3, checkpoint=str(path))
    assert gdjax.resume(path, quadratic, START, method=RATE, max_steps=3).num_steps == 3
    assert os.listdir(tmp_path) == ["descent.npz"]


def test_two_writers_of_one_path_never_meet(tmp_path):
    path, stop = tmp_path / "shared.npz", threading.Event()
    checkpoint.write(path, dict(i=0), [np.zeros(20_000)])
    failures = []

    def write(i):
        try:
            while not stop.is_set():
                checkpoint.write(path, dict(i=i), [np.full(20_000, i)])
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        header, (array,) = checkpoint.read(path)
        assert np.all(array == header["i"])
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert os.listdir(tmp_path) == ["shared.npz"]


def test_a_disk_that_refuses_ends_no_descent(tmp_path, monkeypatch):
    path = tmp_path / "descent.npz"
    gdjax.minimize(quadratic, START, method=RATE, max_steps=3, checkpoint=path)
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"some of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.np, "savez", full)
    with pytest.warns(RuntimeWarning, match=r"descent.npz could not be written: .*No space left on device"):
        result = gdjax.minimize(quadratic, START, method=RATE, checkpoint=path, checkpoint_seconds=0)
    assert result.status == Status.CONVERGED
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["descent.npz"]


@pytest.mark.skipif(os.name != "posix", reason="pipes and links are made otherwise there")
def test_only_a_regular_file_is_replaced_and_a_link_is_followed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/null"):
        with pytest.raises(ValueError, match="exists and is not a regular file"):
            gdjax.minimize(quadratic, START, method=RATE, checkpoint=path)
    (tmp_path / "scratch").mkdir()
    link = tmp_path / "link.npz"
    link.symlink_to(tmp_path / "scratch" / "real.npz")
    result = gdjax.minimize(quadratic, START, method=RATE, max_steps=3, checkpoint=link)
    assert result.status == Status.MAX_STEPS
    assert link.is_symlink()
    assert (tmp_path / "scratch" / "real.npz").is_file()
    assert gdjax.resume(link, quadratic, START, method=RATE, max_steps=3).num_steps == 3


GOOD = dict(method={"name": "GradientDescent", "nesterov": "False"}, maximize=False, history=0, leaves=[])


@pytest.mark.parametrize(
    "crafted",
    [dict(method=None), dict(method={}), dict(maximize=None), dict(maximize=3), dict(history=None), dict(history=-1),
     dict(history="many"), dict(leaves=None), dict(leaves=3), dict(leaves=[3]), dict(leaves=[["a", ["b"], "c"]])],
)  # fmt: skip
def test_a_crafted_header_is_refused_by_name(crafted, tmp_path):
    path, (key,) = tmp_path / "crafted.npz", crafted
    header = {k: v for k, v in {**GOOD, **crafted}.items() if v is not None}
    checkpoint.write(path, header, [])
    with pytest.raises(ValueError, match=rf"crafted.npz is damaged or not a gdjax checkpoint: '{key}'"):
        gdjax.resume(path, quadratic, START, method=RATE)


def test_arrays_that_are_not_what_the_header_says_are_refused(tmp_path):
    path = tmp_path / "descent.npz"
    gdjax.minimize(quadratic, START, method=RATE, max_steps=3, checkpoint=path)
    header, arrays = checkpoint.read(path)
    del header["format"], header["version"], header["count"]
    for crafted in (arrays[:-1], [x[..., None] for x in arrays], [np.asarray(x, "f2") for x in arrays]):
        checkpoint.write(path, header, crafted)
        with pytest.raises(ValueError, match=r"descent.npz is damaged"):
            gdjax.resume(path, quadratic, START, method=RATE)


@pytest.mark.sweep
def test_data_that_change_the_gradient_alone_are_other_data(tmp_path):
    """Three patients among a hundred thousand: their mean is one parameter, and nearly nothing of the loss."""
    rng = np.random.default_rng(0)
    group = np.zeros(100_000, int)
    group[:3] = 1
    seen = jnp.asarray(rng.normal(size=100_000), float)
    corrected = seen.at[:3].add(3.0)

    def misfit(w, group, y):
        return jnp.mean((w[group] - y) ** 2)

    path = tmp_path / "means.npz"
    assert gdjax.minimize(misfit, jnp.zeros(2), group, seen, checkpoint=path).status == Status.CONVERGED
    again = gdjax.resume(path, misfit, jnp.zeros(2), group, seen)
    assert again.status == Status.CONVERGED
    with pytest.raises(ValueError, match="of another loss or other data"):
        gdjax.resume(path, misfit, jnp.zeros(2), group, corrected)
    flipped = lambda w, x, y: jnp.mean((x @ w - y) ** 2)
    x, path = jnp.asarray(rng.normal(size=(20, 2)), float), tmp_path / "flipped.npz"
    gdjax.minimize(flipped, jnp.zeros(2), x, x[:, 0], max_steps=0, checkpoint=path)
    with pytest.raises(ValueError, match="of another loss or other data"):
        gdjax.resume(path, flipped, jnp.zeros(2), x, -x[:, 0], max_steps=10)
