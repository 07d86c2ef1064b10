"""Many problems at once: lane for lane what minimize gives, in few lanes, few programs and few trips."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import CompileCounter, rosenbrock

import gdjax
from gdjax import BFGS, LBFGS, GradientDescent, Status, Stop
from gdjax.many import plan as plans
from gdjax.many import workers
from gdjax.methods.choice import FEW

MODES = [True]  # the numbers of a lane are compared to rounding


def offset(p, center):
    """A quartic bowl around a center."""
    return jnp.sum((p - center) ** 2 + 0.1 * (p - center) ** 4)


RATE = GradientDescent(0.2)  # compiles fastest
STARTS = np.random.default_rng(0).uniform(-2, 2, (11, 3))


def one_by_one(loss, starts, *args, **options):
    return [gdjax.minimize(loss, start, *(a[i] for a in args), **options) for i, start in enumerate(starts)]


def assert_lanes_equal(many, single, rtol=1e-7):
    """Every leaf of the results but what a rounding can change much."""
    assert many.code.shape == (len(single),)
    for i, one in enumerate(single):
        assert many[i].status is one.status
        assert int(many.num_evals[i]) == int(one.num_evals)
        assert int(many.num_steps[i]) == int(one.num_steps)
        for a, b in zip(jax.tree.leaves(many[i].params), jax.tree.leaves(one.params), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-8)
        np.testing.assert_allclose(many.value[i], one.value, rtol=rtol, atol=1e-12)
    assert jax.tree.structure(many) == jax.tree.structure(single[0])


METHODS = {
    "LBFGS": dict(method=LBFGS(memory=4)),
    "BFGS": dict(method=BFGS()),
    "Barzilai-Borwein": dict(method=GradientDescent(gdjax.BarzilaiBorwein()), max_evals=60),
    "Adam": dict(method=optax.adam(0.05), max_steps=40),
    "box": dict(penalty=gdjax.penalties.Box(-0.5, 0.5)),
    "L1, to a maximum": dict(penalty=gdjax.penalties.L1(0.3), maximize=True),
}


@pytest.mark.sample("BFGS")
@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS.keys())
def test_lane_for_lane_what_minimize_gives(options):
    options = dict(options)
    if options.pop("maximize", False):
        many = gdjax.minimize_many(lambda p: -rosenbrock(p), STARTS, maximize=True, batch_size=4, **options)
        single = [gdjax.maximize(lambda p: -rosenbrock(p), start, **options) for start in STARTS]
    else:
        many = gdjax.minimize_many(rosenbrock, STARTS, batch_size=4, **options)
        single = one_by_one(rosenbrock, STARTS, **options)
    assert_lanes_equal(many, single)
    assert len(set(np.asarray(many.num_evals).tolist())) > 1 or "max_steps" in options


def tree_loss(p, data, scale, power=2):
    residual = p["a"] * data["x"] + jnp.abs(p["b"]) ** 2 - data["y"]
    return scale * jnp.mean(residual**power), {"largest": jnp.max(jnp.abs(residual))}


def test_pytrees_axes_aux_and_history():
    x = np.linspace(0.0, 1.0, 5)
    data = {"x": x, "y": np.stack([a / 6 * x + 1 for a in range(6)], axis=1)}
    starts = {"a": np.zeros(6), "b": np.full((2, 6), 1 + 0.5j)[0]}
    options = dict(has_aux=True, history=4, kwargs={"power": 2}, method=GradientDescent(0.05))
    axes = ({"a": 0, "b": -1}, {"x": None, "y": 1}, None)
    many = gdjax.minimize_many(tree_loss, starts, data, 2.0, in_axes=axes, **options)
    assert many.params["b"].dtype == jnp.complex128
    for i in range(6):
        start = {"a": starts["a"][i], "b": starts["b"][i]}
        one = gdjax.minimize(tree_loss, start, {"x": x, "y": data["y"][:, i]}, 2.0, **options)
        assert many[i].status is one.status is Status.CONVERGED
        assert int(many.num_evals[i]) == int(one.num_evals)
        np.testing.assert_allclose(many.aux["largest"][i], one.aux["largest"], atol=1e-6)
        np.testing.assert_array_equal(many.history.step[i], one.history.step)
        np.testing.assert_allclose(many.history.value[i], one.history.value, rtol=1e-6, atol=1e-12)
        assert len(many[i].history) == len(one.history)


@pytest.mark.sample("starts0-centers0-in_axes0")
@pytest.mark.parametrize(
    ("starts", "centers", "in_axes"),
    [
        (np.zeros(2), np.arange(5.0), (None, 0)),
        (np.zeros((5, 2)), np.float64(1.5), (0, None)),
        (np.zeros((2, 5)), np.ones((2, 5)) * np.arange(5), 1),
        (jnp.zeros((5, 2)), jnp.arange(5.0), [0, 0]),
    ],
)
def test_in_axes_as_in_vmap(starts, centers, in_axes):
    result = gdjax.minimize_many(offset, starts, centers, in_axes=in_axes, method=RATE)
    want = jax.vmap(lambda p, c: gdjax.minimize(offset, p, c, method=RATE), in_axes=in_axes)(starts, centers)
    assert result.converged.all()
    np.testing.assert_array_equal(result.num_evals, want.num_evals)
    np.testing.assert_allclose(result.params, want.params, atol=1e-9)


def test_data_in_a_tuple_of_one():
    result = gdjax.minimize_many(lambda p, data: offset(p, data[0]), np.zeros(2), (np.arange(3.0),), in_axes=(None, 0))
    assert result.converged.all()
    np.testing.assert_allclose(result.params[:, 0], np.arange(3.0), atol=1e-4)


@pytest.mark.sweep
def test_the_default_method_is_bfgs_for_few_parameters_and_that_of_minimize_for_many():
    for count, method in ((5, BFGS()), (FEW + 8, LBFGS())):
        starts = np.linspace(-1, 1, 2 * count).reshape(2, count)
        result = gdjax.minimize_many(rosenbrock, starts, max_evals=12)
        want = gdjax.minimize(rosenbrock, starts[0], method=method, max_evals=12)
        np.testing.assert_allclose(result.params[0], want.params, rtol=1e-9)


def fates_loss(p, fate):
    """Converges, never does, is not finite at the start (1, 1), runs away downwards."""
    cases = [jnp.sum(p**2), jnp.sum(1e-3 * jnp.abs(p) ** 1.5), jnp.sum(jnp.log(p - 2)), -jnp.sum(jnp.exp(p))]
    return jnp.select([fate == i for i in range(4)], cases)


def test_each_lane_has_its_own_status_and_none_touches_another():
    fates = np.arange(40) % 4
    options = dict(method=GradientDescent(0.4), max_steps=50)
    many = gdjax.minimize_many(fates_loss, np.ones((40, 2)), fates, batch_size=8, **options)
    single = one_by_one(fates_loss, np.ones((4, 2)), np.arange(4), **options)
    assert [r.status for r in single] == [
        Status.CONVERGED,
        Status.MAX_STEPS,
        Status.NONFINITE_START,
        Status.UNBOUNDED,
    ]
    assert_lanes_equal(many, [single[fate] for fate in fates])
    text = str(many)
    assert text.startswith("40 problems: 10 CONVERGED, 10 MAX_STEPS, 10 UNBOUNDED, 10 NONFINITE_START. Evaluations: ")
    assert "The worst is result[2], NONFINITE_START: the descent cannot begin" in text
    for beyond in (40, -41):
        with pytest.raises(IndexError, match="problems, from 0 to"):
            many[beyond]


class Watch(workers.Worker):
    """Notes the trips that each call made with how many lanes."""

    calls = []

    def call(self, *args):
        report = super().call(*args)
        self.calls.append((self.width, int(report.trips), threading.current_thread().name))
        return report


@pytest.fixture
def calls(monkeypatch):
    """The calls of compiled programs by the workers, of whom there are two."""
    monkeypatch.setattr(workers, "Worker", Watch)
    monkeypatch.setattr(plans, "cores", lambda: 2)
    monkeypatch.setattr(Watch, "calls", [])
    return Watch.calls


@pytest.fixture
def lanes(monkeypatch):
    """Lanes side by side, as problems have them whose loss is no small one."""
    monkeypatch.setattr(workers, "can_take_turns", lambda: False)


def valley(p, curvature):
    """Gradient descent at a rate of 1/2 makes some 20 evaluations of curvature 1 and some 2000 of 0.01."""
    return 0.5 * (p[0] - 1) ** 2 + 0.5 * curvature * (p[1] - 1) ** 2


VALLEY = dict(in_axes=(None, 0), method=GradientDescent(0.5), tol=1e-6)
START = np.array([3.0, 3.0])


def test_small_problems_in_turn_make_no_trip_in_vain(calls):
    curvatures = np.where(np.arange(300) == 3, 0.01, 1.0)
    result = gdjax.minimize_many(valley, START, curvatures, **VALLEY)
    assert result.converged.all()
    assert {width for width, _, _ in calls} == {1}
    assert sum(trips for _, trips, _ in calls) == int(result.num_evals.sum())
    assert len({name for *_, name in calls}) == 2  # both workers had their share
    calls.clear()
    assert gdjax.minimize_many(valley, START, curvatures[:100], **VALLEY).converged.all()
    assert {name for *_, name in calls} == {threading.current_thread().name}  # no thread for so few


@pytest.mark.sweep
def test_problems_whose_method_is_not_small_share_the_trips(calls):
    """The residuals are small, but more than 32 parameters take a factorisation of LAPACK's."""
    centers, residuals = np.arange(4.0), lambda p, center: jnp.concatenate([p - center, 0.1 * p**2])
    for _ in range(2):
        calls.clear()
        result = gdjax.least_squares_many(residuals, np.zeros(33), centers, in_axes=(None, 0))
        assert result.converged.all()
        assert max(width for width, _, _ in calls) > 1


def test_lanes_are_what_problems_in_turn_are(lanes):
    many = gdjax.minimize_many(offset, STARTS, np.arange(11.0), method=LBFGS(memory=4))
    single = one_by_one(offset, STARTS, np.arange(11.0), method=LBFGS(memory=4))
    assert_lanes_equal(many, single)


@pytest.mark.sweep
def test_a_straggler_does_not_keep_the_others_trips_going(calls, lanes):
    """1000 problems of which one is a hundred times as long: under vmap all make its 2000 trips."""
    curvatures = np.ones(1000)
    curvatures[3] = 0.01
    result = gdjax.minimize_many(valley, START, curvatures, **VALLEY)
    assert result.converged.all()
    options = {name: value for name, value in VALLEY.items() if name != "in_axes"}
    few, many = (int(gdjax.minimize(valley, START, c, **options).num_evals) for c in (1.0, 0.01))
    np.testing.assert_array_equal(result.num_evals, np.where(curvatures == 1, few, many))
    np.testing.assert_allclose(result.params, 1, atol=1e-3)
    assert {width for width, _, _ in calls} == {256, 8}
    lane_trips = sum(width * trips for width, trips, _ in calls)
    needed = int(result.num_evals.sum())
    assert needed < lane_trips < 6 * needed < 0.1 * 1000 * many
    assert len({name[-1] for _, _, name in calls}) == 2  # both workers had their share


def test_lanes_are_kept_full_while_problems_wait(calls, lanes):
    """Difficulties from 22 to 200 evaluations in any order."""
    curvatures = np.random.default_rng(1).uniform(0.1, 1, 3000)
    result = gdjax.minimize_many(valley, START, curvatures, batch_size=64, **VALLEY)
    assert result.converged.all()
    assert {width for width, _, _ in calls} == {32}
    lane_trips = sum(width * trips for width, trips, _ in calls)
    assert int(result.num_evals.sum()) > 0.85 * lane_trips
    one = gdjax.minimize(valley, START, curvatures[77], method=VALLEY["method"], tol=1e-6)
    assert int(one.num_evals) == int(result.num_evals[77])


def test_nothing_is_compiled_again_for_other_numbers_or_another_number_of_problems():
    slope = lambda p, curvature: valley(p, 2 * curvature)
    solve = lambda count, tol: gdjax.minimize_many(
        slope, START, np.linspace(0.3, 0.5, count), in_axes=(None, 0), method=GradientDescent(0.5 + tol), tol=tol
    )
    with CompileCounter() as compiled:
        first = solve(1000, 1e-6)
    assert 1 <= compiled.count <= 3  # the loop, and what JAX makes of small things
    with CompileCounter() as compiled:
        second = solve(1200, 1e-5)
    assert compiled.count == 0
    assert first.converged.all()
    assert second.converged.all()


def test_inside_jit_vmap_and_grad_it_is_the_vmapped_minimize():
    starts, centers = np.zeros((5, 2)), np.arange(5.0)
    solve = lambda starts, centers: gdjax.minimize_many(offset, starts, centers, method=RATE).params
    outside = solve(starts, centers)
    np.testing.assert_allclose(jax.jit(solve)(starts, centers), outside, atol=1e-9)
    chunks = jax.jit(lambda c: gdjax.minimize_many(offset, starts, c, batch_size=2, method=RATE).params)(centers)
    np.testing.assert_allclose(chunks, outside, atol=1e-9)
    np.testing.assert_allclose(jax.vmap(solve)(starts[None], centers[None])[0], outside, atol=1e-9)
    slopes = jax.grad(lambda c: jnp.sum(solve(starts, c)[:, 0] * jnp.arange(5.0)))(centers)
    np.testing.assert_allclose(slopes, np.arange(5.0), atol=1e-6)  # every minimum is at its center


def test_float32_stays_float32_and_closures_are_shared():
    shift = jnp.float32(2.0)
    result = gdjax.minimize_many(lambda p: jnp.sum((p - shift) ** 2), np.zeros((9, 2), np.float32), method=RATE)
    assert result.params.dtype == result.value.dtype == jnp.float32
    assert result.converged.all()
    np.testing.assert_allclose(result.params, 2, atol=1e-3)
    with jax.enable_x64(False):
        result = gdjax.minimize_many(offset, np.zeros((9, 2)), np.arange(9) / 4, method=RATE)
        assert result.params.dtype == jnp.float32
        assert result.converged.all()


def test_random_keys_are_data_too():
    loss = lambda p, key: jnp.sum((p - jax.random.normal(key, (2,))) ** 2)
    keys = jax.random.split(jax.random.key(0), 3)
    result = gdjax.minimize_many(loss, np.zeros(2), keys, in_axes=(None, 0), method=RATE)
    np.testing.assert_allclose(result.params, jax.vmap(lambda k: jax.random.normal(k, (2,)))(keys), atol=1e-5)


def test_a_result_of_many_is_where_to_go_on_from():
    short = gdjax.minimize_many(rosenbrock, STARTS, method=LBFGS(memory=4), max_evals=5)
    assert (short.status == Status.MAX_EVALS).all()
    longer = gdjax.minimize_many(rosenbrock, short, method=LBFGS(memory=4), max_evals=500)
    assert longer.converged.all()
    assert (longer.value < short.value).all()


def test_when_the_time_is_up_every_problem_has_a_point():
    starts = STARTS + 0.0
    result = gdjax.minimize_many(rosenbrock, starts, method=LBFGS(memory=4), batch_size=4, max_seconds=0)
    assert (result.status == Status.MAX_SECONDS).all()
    np.testing.assert_array_equal(result.num_evals, 1)
    np.testing.assert_array_equal(result.params, starts)
    np.testing.assert_allclose(result.value, [rosenbrock(x) for x in starts])
    assert "11 MAX_SECONDS" in str(result)


@pytest.mark.sample("1-in turn")
@pytest.mark.parametrize(("count", "way"), [(1, "in turn"), (12, "in turn"), (12, "lanes")])
def test_ctrl_c_keeps_the_best_points(count, way, request):
    if way == "lanes":
        request.getfixturevalue("lanes")
    slow = np.arange(count) % 2 == 0 if way == "lanes" else np.arange(count) == count - 1
    curvatures = np.where(slow, 1e-7, 1.0)
    options = VALLEY | dict(tol=1e-15, max_steps=2_000_000_000, stop=Stop(patience=2_000_000_000))
    gdjax.minimize_many(valley, START, curvatures, max_seconds=0, **options)  # compiled before the key is pressed
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    result = gdjax.minimize_many(valley, START, curvatures, **options)
    timer.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (result.status[slow] == Status.INTERRUPTED).all()
    assert (result.status[~slow] == Status.CONVERGED).all()
    np.testing.assert_allclose(result.params[:, 0], 1, atol=1e-5)


def test_an_exception_in_one_worker_ends_all(calls, monkeypatch):
    def broken(self, log):
        raise OSError("no room")

    monkeypatch.setattr(workers.Store, "put", broken)
    with pytest.raises(OSError, match="no room"):
        gdjax.minimize_many(valley, START, np.ones(1000), **VALLEY)


WRONG = {
    "in_axes must be an axis or a tuple": dict(in_axes=(0, 0, 0)),
    "in_axes does not fit params": dict(in_axes=([0, 0], 0)),
    "in_axes must hold axes": dict(in_axes=(0, 1.5)),
    "params has shape \\(3, 2\\) and no axis 2 of problems": dict(in_axes=(2, None)),
    "args\\[0\\] has shape \\(\\) and no axis 0 of problems; with None": dict(args=(1.5,)),
    "args\\[0\\] holds 4 problems .axis 0 of shape \\(4,\\)., params 3": dict(args=(np.ones(4),)),
    "nothing has an axis of problems": dict(in_axes=None),
    "there are no problems: params has shape \\(0, 2\\)": dict(params=np.ones((0, 2)), in_axes=(0, None)),
    "batch_size must be": dict(batch_size=0),
    "max_seconds must be": dict(max_seconds=-1),
    "callback watches a single descent": dict(callback=print),
    "has no option 'steps'": dict(steps=3),
    "params\\['x'\\] has dtype int": dict(params={"x": np.ones((3, 2), int)}),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_does_not_fit_is_named(words):
    given = dict(params=np.ones((3, 2)), args=(np.ones(3),)) | WRONG[words]
    with pytest.raises((TypeError, ValueError), match=words):
        gdjax.minimize_many(offset, given.pop("params"), *given.pop("args"), **given)


def test_a_time_limit_needs_python():
    with pytest.raises(ValueError, match="max_seconds"):
        jax.jit(lambda p: gdjax.minimize_many(rosenbrock, p, max_seconds=1))(STARTS)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ((10_000, 1400, None), (128, 2)),
        ((10_000, 10_000, None), (16, 2)),
        ((10_000, 10**9, None), (1, 2)),
        ((300, 1400, None), (128, 2)),
        ((100, 100, None), (64, 2)),
        ((10_000, 100, None), (256, 2)),
        ((100, 1400, None), (64, 2)),
        ((1, 1400, None), (1, 1)),
        ((10_000, 1400, 100), (32, 2)),
        ((10_000, 1400, 1), (1, 1)),
    ],
)
def test_lanes_fit_the_cache_the_cores_and_the_batch_size(given, want, monkeypatch):
    monkeypatch.setattr(plans, "cores", lambda: 2)
    assert plans.plan(*given)[:2] == want


@pytest.mark.sweep
def test_leaves_of_size_zero_and_random_keys():
    """In params, in data of each problem's own, in aux and in what a method carries: as `jax.vmap` has them."""
    start = {"a": jnp.zeros(2), "empty": jnp.zeros((0, 3))}
    keys, targets = jax.random.split(jax.random.key(1), 5), jnp.arange(5.0)

    def loss(p, key, target):
        shift = jax.random.uniform(key, (2,), targets.dtype)
        value = jnp.sum((p["a"] - shift - target) ** 2) + jnp.sum(p["empty"])
        return value, {"key": jax.random.fold_in(key, 7), "empty": jnp.zeros((2, 0))}

    noisy = optax.chain(optax.add_noise(0.01, 0.55, jax.random.key(7)), optax.sgd(0.1))
    for method in (None, noisy):
        options = dict(has_aux=True, method=method, max_steps=30)
        many = gdjax.minimize_many(loss, start, keys, targets, in_axes=(None, 0, 0), max_seconds=60, **options)
        each = jax.vmap(lambda key, target, options=options: gdjax.minimize(loss, start, key, target, **options))(
            keys, targets
        )
        assert {Status(int(code)) for code in many.code} <= {Status.CONVERGED, Status.MAX_STEPS}
        np.testing.assert_array_equal(many.code, each.code)
        assert many.params["empty"].shape == (5, 0, 3)
        assert many.aux["empty"].shape == (5, 2, 0)
        np.testing.assert_array_equal(jax.random.key_data(many.aux["key"]), jax.random.key_data(each.aux["key"]))
        np.testing.assert_allclose(many.params["a"], each.params["a"], rtol=1e-3)


# XLA's batched LAPACK kernels wait for threads of the pool that runs them: two at a time wait for each other.
GAUSSIAN_PROCESS = """
import jax, jax.numpy as jnp, numpy as np, gdjax
from gdjax.many import plan
plan.cores = lambda: 2
X, Y = jnp.linspace(0, 1, 12), np.random.default_rng(0).normal(size=(600, 12)).astype(np.float32)
def loss(p, y):
    K = jnp.exp(p[0] - (X[:, None] - X) ** 2 / jnp.exp(p[1])) + (jnp.exp(p[2]) + 1e-3) * jnp.eye(12)
    L = jnp.linalg.cholesky(K)
    return 0.5 * jnp.sum(jax.scipy.linalg.solve_triangular(L, y, lower=True) ** 2) + jnp.sum(jnp.log(jnp.diag(L)))
result = gdjax.minimize_many(
    loss, jnp.zeros(3), Y, in_axes=(None, 0), method=gdjax.GradientDescent(0.01), max_steps=200, max_seconds=100
)
print(sorted({gdjax.Status(int(code)).name for code in result.code}))
"""


def run_apart(script, seconds):
    """The output of a process that may hang."""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(gdjax.__file__).parent.parent), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", script], timeout=seconds, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_losses_that_call_lapack_do_not_hang():
    assert run_apart(GAUSSIAN_PROCESS, 240) in ("['CONVERGED', 'MAX_STEPS']\n", "['MAX_STEPS']\n")


STUCK = """
import os, signal, sys, threading, time, jax, jax.numpy as jnp, gdjax
from gdjax.many import workers
workers.SILENCE = 1000.0 if PRESS else 1.0
@jax.custom_jvp
def sleep(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(lambda x: time.sleep(10000), shape, x, vmap_method="sequential")
sleep.defjvp(lambda x, d: (sleep(*x), 0 * d[0]))
loss = lambda p, t: jnp.sum((p - t) ** 2) + sleep(p[0])
if PRESS:
    def wait_and_press():
        while threading.active_count() < 3:
            time.sleep(0.1)
        for _ in range(2):
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=wait_and_press, daemon=True).start()
try:
    gdjax.minimize_many(loss, jnp.zeros(2), jnp.zeros((9, 2)), in_axes=(None, 0), max_seconds=None if PRESS else 0.5)
except (KeyboardInterrupt, TimeoutError) as error:
    print(type(error).__name__, error, flush=True)
os._exit(0)
"""


@pytest.mark.sweep
@pytest.mark.parametrize("how", ["max_seconds", "a second Ctrl-C"])
def test_nothing_outlives(how):
    pressed = how != "max_seconds"
    out = run_apart(STUCK.replace("PRESS", str(pressed)), 120)
    assert out.startswith("KeyboardInterrupt" if pressed else "TimeoutError MAX_SECONDS, but the compiled program has")
