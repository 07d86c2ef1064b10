"""Steps of one's own: those of `minimize` where the data stay, those of a loop by hand on batches."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import Status

KEY = jax.random.key(0)
START = {"x": np.zeros(3, np.float32), "y": np.float32(1.0)}


def rosenbrock(p, c):
    x = p["x"]
    return jnp.sum((1 - x[:-1]) ** 2 + c * (x[1:] - x[:-1] ** 2) ** 2) + p["y"] ** 2


def network(p, x):
    return jnp.tanh(x @ p["w"] + p["b"]) @ p["v"]


def squares(p, x, y):
    return jnp.mean((network(p, x) - y) ** 2)


def weights():
    return {"w": jax.random.normal(KEY, (3, 4)), "b": jnp.zeros(4), "v": jnp.ones(4)}


def batches(count=12, rows=6):
    x = jax.random.normal(jax.random.key(1), (count, rows, 3))
    return x, jnp.sin(x.sum(-1))


def same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


METHODS = {
    "default": None,
    "adam": optax.adam(1e-2),
    "rate": gdjax.GradientDescent(1e-3, momentum=0.5),
    "trust region": gdjax.TrustRegion(),
    "schedule-free": gdjax.Optax(optax.contrib.schedule_free_sgd, learning_rate=1e-3),
}


@pytest.mark.sample("default")
@pytest.mark.parametrize("name", METHODS)
def test_with_the_same_data_these_are_bit_for_bit_the_trips_of_minimize(name):
    state = gdjax.init(rosenbrock, START, 100.0, method=METHODS[name])
    step = jax.jit(lambda state, c: gdjax.step(rosenbrock, state, c))
    for _ in range(12):
        state = step(state, 100.0)
    whole = gdjax.minimize(rosenbrock, START, 100.0, method=METHODS[name], max_evals=12)
    found = state.result(rosenbrock, 100.0)
    assert whole.status == Status.MAX_EVALS
    assert state.status == found.status == Status.RUNNING  # no limit was given
    assert same((found.params, found.value, found.grad), (whole.params, whole.value, whole.grad))
    assert (int(state.num_evals), int(state.num_steps)) == (12, int(whole.num_steps))


@pytest.mark.sweep
def test_a_loop_ends_where_minimize_ends_with_its_history():
    stop = gdjax.Stop(max_steps=50)
    state = gdjax.init(rosenbrock, START, 1.0, stop=stop, history=16)
    loop = lambda state: jax.lax.while_loop(
        lambda s: s.status == Status.RUNNING, lambda s: gdjax.step(rosenbrock, s, 1.0), state
    )
    found = jax.jit(loop)(state).result(rosenbrock, 1.0)
    whole = gdjax.minimize(rosenbrock, START, 1.0, stop=stop, history=16)
    assert found.status == whole.status == Status.CONVERGED
    np.testing.assert_allclose(found.history.trim().value, whole.history.trim().value, rtol=1e-4)


@pytest.mark.sample("optimiser0")
@pytest.mark.parametrize("optimiser", [optax.adamw(optax.cosine_decay_schedule(1e-2, 12)), optax.sgd(0.1, 0.9)])
def test_on_batches_the_params_are_those_of_a_loop_by_hand(optimiser):
    def by_hand(carry, batch):
        params, state = carry
        updates, state = optimiser.update(jax.grad(squares)(params, *batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    x, y = batches()
    with jax.numpy_dtype_promotion("standard"):
        (wanted, _), _ = jax.lax.scan(by_hand, (weights(), optimiser.init(weights())), (x, y))
    begun = gdjax.init(squares, weights(), x[0], y[0], method=optimiser)
    ours = lambda state, batch: (gdjax.step(squares, state, *batch, new_data=True), state.value)
    state, values = jax.lax.scan(ours, begun, (x, y))
    assert state.status == Status.RUNNING
    assert values.shape == (12,)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.params, wanted)


def test_on_batches_nothing_is_called_converged_and_a_batch_that_is_not_finite_is_left_out():
    x, y = batches(5)
    holes = x.at[2, 0, 0].set(jnp.nan)
    step = jax.jit(lambda state, x, y: gdjax.step(squares, state, x, y, new_data=True))
    state, codes = gdjax.init(squares, weights(), x[0], y[0], method=optax.adam(1e-2)), []
    for i in range(5):
        before, state = state, step(state, holes[i], y[i])
        codes.append(state.status)
        if i == 2:
            assert same(before.params, state.params)
    assert codes == [Status.RUNNING] * 2 + [Status.NONFINITE] + [Status.RUNNING] * 2
    assert (int(state.num_evals), int(state.num_steps)) == (5, 3)
    flat = step(state, x[0], network(state.params, x[0]))  # nothing is left here
    assert flat.grad_norm < 1e-6
    assert flat.status == Status.RUNNING


@pytest.mark.sweep
def test_an_alternating_loop_converges_when_both_parts_say_so():
    a = jax.random.normal(KEY, (6, 2)) @ jax.random.normal(jax.random.key(3), (2, 5))
    of_u = lambda u, v: jnp.sum((u @ v - a) ** 2)
    of_v = lambda v, u: of_u(u, v)
    u = gdjax.init(of_u, jax.random.normal(KEY, (6, 2)), jnp.ones((2, 5)))
    v = gdjax.init(of_v, jax.random.normal(KEY, (2, 5)), u.params)

    def part(loss, state, data):
        state = gdjax.step(loss, state, data, new_data=True)
        code = state.status
        for _ in range(3):
            state = gdjax.step(loss, state, data)
        return state, code

    @jax.jit
    def sweep(u, v):
        u, first = part(of_u, u, v.params)
        v, second = part(of_v, v, u.params)
        return u, v, first, second

    for _ in range(60):
        u, v, first, second = sweep(u, v)
        if first == second == Status.CONVERGED:
            break
    assert (int(first), int(second)) == (Status.CONVERGED, Status.CONVERGED)
    np.testing.assert_allclose(u.params @ v.params, a, atol=1e-3)


SEARCHING = {
    "L-BFGS": gdjax.LBFGS(),
    "BFGS": gdjax.BFGS(),
    "conjugate gradient": gdjax.ConjugateGradient(),
    "trust region": gdjax.TrustRegion(),
    "accelerated": gdjax.AcceleratedGradient(),
    "Barzilai-Borwein": gdjax.GradientDescent(gdjax.BarzilaiBorwein()),
    "adaptive": gdjax.GradientDescent(gdjax.AdaptiveStep()),
    "proximal": gdjax.ProximalGradient(),
    "backtracking": gdjax.ProximalGradient(gdjax.Backtracking()),
    "FISTA": gdjax.AcceleratedProximalGradient(),
    "PANOC": gdjax.PANOC(),
    "bounds": gdjax.LBFGS(),
    "residuals": gdjax.LevenbergMarquardt(),
}


@pytest.mark.sample("L-BFGS")
@pytest.mark.parametrize("name", SEARCHING)
def test_where_each_step_has_new_data_a_method_that_searches_moves_in_each_and_leaves_out_what_is_not_finite(name):
    x = jax.random.normal(jax.random.key(5), (13, 16, 3))
    y, by = x @ jnp.array([1.0, -2.0, 0.5]), gdjax.minimize
    loss, options = lambda w, x, y: jnp.mean((x @ w - y) ** 2), dict(method=SEARCHING[name])
    if name in ("proximal", "backtracking", "FISTA", "PANOC", "bounds"):
        options |= dict(penalty=gdjax.penalties.Box(-9.0, 9.0))
    if name == "residuals":
        loss, by = lambda w, x, y: x @ w - y, gdjax.least_squares
    state = gdjax.init(loss, jnp.zeros(3), x[0], y[0], by=by, **options)
    step = jax.jit(lambda state, x, y: gdjax.step(loss, state, x, y, new_data=True))
    for i in range(12):
        before, state = state, step(state, x[i], y[i])
        assert state.status == Status.RUNNING or same(state.params, before.params)
        assert int(state.num_steps) <= i + 1
    assert int(state.num_steps) >= 2
    np.testing.assert_allclose(state.params, [1.0, -2.0, 0.5], atol=0.15)
    holes = step(state, x[12].at[0, 0].set(jnp.nan), y[12])
    assert holes.status == Status.NONFINITE
    assert same((holes.params, holes.num_steps), (state.params, state.num_steps))
    assert int(holes.num_evals) == int(state.num_evals) + 1
    assert step(holes, x[12], y[12]).value < 0.1


@pytest.mark.sweep
def test_with_new_data_a_method_that_searches_keeps_what_it_has_learnt_and_says_whether_it_was_at_rest():
    state = gdjax.init(rosenbrock, START, 100.0, method=gdjax.LBFGS())
    for _ in range(10):
        state = gdjax.step(rosenbrock, state, 100.0)
    renewed = gdjax.step(rosenbrock, state, 50.0, new_data=True)
    assert renewed.status == Status.RUNNING
    assert int(renewed.num_steps) == int(state.num_steps) + 1
    assert renewed.value < rosenbrock(state.params, 50.0)
    assert int(renewed.carry.state.memory.stored) > int(state.carry.state.memory.stored) > 3
    for _ in range(60):
        renewed = gdjax.step(rosenbrock, renewed, 50.0)
    rest = gdjax.step(rosenbrock, renewed, 50.0, new_data=True)
    assert renewed.status == rest.status == Status.CONVERGED
    assert same(rest.params, renewed.params)
    assert int(rest.num_evals) == int(renewed.num_evals) + 1
    # Scaled, it is at rest as well; one Newton step away it was not, though it is now.
    square = lambda x, c: jnp.sum((x - c) ** 2)
    state = gdjax.step(square, gdjax.init(square, jnp.zeros(2), 1.0), 1.0, new_data=True)
    for _ in range(5):
        before, state = state, gdjax.step(square, state, 1.0)
    there = gdjax.step(square, state, 2.0, new_data=True)
    assert state.status == Status.CONVERGED
    assert there.status == Status.RUNNING
    assert not same(there.params, before.params)


@pytest.mark.sweep
def test_it_works_in_a_batch_and_for_residuals_and_penalties_and_for_the_largest_value():
    x, y = batches(3)
    begin = lambda x, y: gdjax.init(lambda p, x, y: network(p, x) - y, weights(), x, y, by=gdjax.least_squares)
    more = lambda state, x, y: gdjax.step(lambda p, x, y: network(p, x) - y, state, x, y)
    state = jax.vmap(begin)(x, y)
    for _ in range(4):
        state = jax.vmap(more)(state, x, y)
    alone = begin(x[1], y[1])
    for _ in range(4):
        alone = more(alone, x[1], y[1])
    np.testing.assert_allclose(state.value[1], alone.value, rtol=1e-4)
    assert state.params["w"].shape == (3, 3, 4)
    assert alone.status == Status.RUNNING
    fit = alone.result(lambda p, x, y: network(p, x) - y, x[1], y[1])
    assert type(fit) is gdjax.Fit

    box = gdjax.penalties.Box(0.0, 1.0)
    state = gdjax.init(lambda p, c: c * p - p**2, 0.5, 4.0, penalty=box, maximize=True)
    for _ in range(6):
        state = gdjax.step(lambda p, c: c * p - p**2, state, 4.0)
    assert state.status == Status.CONVERGED
    assert (float(state.params), float(state.value)) == (1.0, 3.0)


@pytest.mark.sweep
def test_a_gradient_goes_through_the_steps_where_it_was_asked_for():
    x, y = batches(4)

    def trained(rate):
        method = gdjax.Optax(optax.adam, learning_rate=rate)
        state = gdjax.init(squares, weights(), x[0], y[0], method=method, implicit=False)
        state, _ = jax.lax.scan(lambda s, b: (gdjax.step(squares, s, *b, new_data=True), None), state, (x, y))
        return squares(state.params, x[0], y[0])

    searched = gdjax.init(squares, weights(), x[0], y[0], method=gdjax.LBFGS(), implicit=False)

    def after(scale):
        return squares(gdjax.step(squares, searched, x[0], scale * y[0], new_data=True).params, x[0], y[0])

    after = jax.jit(after)
    np.testing.assert_allclose(jax.grad(after)(1.0), (after(1.01) - after(0.99)) / 0.02, rtol=0.05, atol=1e-3)
    trained = jax.jit(trained)
    slope = (trained(0.012) - trained(0.008)) / 0.004
    np.testing.assert_allclose(jax.grad(trained)(0.01), slope, rtol=0.05)


@pytest.mark.sweep
def test_parameters_may_live_in_spaces_and_be_whole_models():
    loss = lambda p, c: (p["a"] - c) ** 2 + (jnp.log(p["b"]) - 1) ** 2
    space = {"b": gdjax.spaces.Positive()}
    state = gdjax.init(loss, {"a": 1.0, "b": 1.0}, 3.0, space=space)
    step = jax.jit(lambda state: gdjax.step(loss, state, 3.0))
    for _ in range(15):
        state = step(state)
    assert state.status == Status.CONVERGED
    found = state.result(loss, 3.0).params
    np.testing.assert_allclose([found["a"], found["b"]], [3.0, np.e], rtol=1e-5)
    assert same(found, state.params)

    fit = lambda model, x, y: jnp.mean((jax.vmap(model)(x) - y) ** 2)
    x, y = batches(1)
    model = eqx.nn.MLP(3, "scalar", 4, 1, key=KEY)
    state = gdjax.init(fit, model, x[0], y[0], method=optax.adam(1e-2))
    for _ in range(5):
        state = gdjax.step(fit, state, x[0], y[0], new_data=True)
    assert type(state.params) is eqx.nn.MLP
    assert state.status == Status.RUNNING
    assert fit(state.params, x[0], y[0]) < fit(model, x[0], y[0])


def test_what_cannot_be_meant_is_refused():
    x, y = batches(1)
    of_rows = lambda p, x, y: (squares(p, x, y), network(p, x))
    state = gdjax.init(of_rows, weights(), x[0], y[0], has_aux=True)
    with pytest.raises(ValueError, match="aux has shape"):
        gdjax.step(of_rows, state, x[0, :4], y[0, :4])
    several = jax.vmap(lambda x, y: gdjax.init(squares, weights(), x, y))(*batches(2))
    with pytest.raises(ValueError, match=r"a batch of states: jax\.vmap the step"):
        gdjax.step(squares, several, x[0], y[0])
    with pytest.raises(TypeError, match=r"gdjax\.init"):
        gdjax.step(squares, weights(), x[0], y[0])
    with pytest.raises(TypeError, match="new_data must be True or False"):
        gdjax.step(of_rows, state, x[0], y[0], new_data=1)
    with pytest.raises(TypeError, match="init has no option 'callback'"):
        gdjax.init(squares, weights(), x[0], y[0], callback=print)
    with pytest.raises(TypeError, match="the start after the model"):
        gdjax.init(network, x[0], y[0], p0=[1.0], by=gdjax.curve_fit)


def test_a_step_on_a_batch_evaluates_once_and_does_little_besides():
    x, y = batches(1)
    optimiser = optax.adam(1e-2)

    def by_hand(carry, x, y):
        params, state = carry
        value, grad = jax.value_and_grad(squares)(params, x, y)
        updates, state = optimiser.update(grad, state, params)
        return optax.apply_updates(params, updates), state, value

    state = gdjax.init(squares, weights(), x[0], y[0], method=optimiser)
    ours = lambda state, x, y: gdjax.step(squares, state, x, y, new_data=True)
    wide = jnp.tile(x[0], (300, 1)), jnp.tile(y[0], 300)
    both = (by_hand, (weights(), optimiser.init(weights()))), (ours, state)
    with jax.numpy_dtype_promotion("standard"):
        flops = [jax.jit(step).lower(s, *wide).compile().cost_analysis()["flops"] for step, s in both]
    assert flops[1] < 1.1 * flops[0]


@pytest.mark.sample("default")
@pytest.mark.parametrize("name", ["default", "rate", "trust region"])
def test_whole_steps_are_those_of_minimize(name):
    state = gdjax.init(rosenbrock, START, 100.0, method=METHODS[name])
    step = jax.jit(lambda state, c: gdjax.step(rosenbrock, state, c, whole=True))
    for _ in range(5):
        state = step(state, 100.0)
    taken = int(state.num_steps)
    whole = gdjax.minimize(rosenbrock, START, 100.0, method=METHODS[name], max_steps=taken)
    assert whole.status == Status.MAX_STEPS
    assert state.num_evals == whole.num_evals
    np.testing.assert_allclose(state.result(rosenbrock, 100.0).params["x"], whole.params["x"], rtol=1e-5, atol=1e-6)


@pytest.mark.sample("default-True", "rate-False")
@pytest.mark.parametrize(("name", "whole"), [("default", True), ("adam", False), ("rate", True), ("rate", False)])
def test_a_step_goes_on_from_other_params(name, whole):
    """Ordinary projected descent: the same as a loop by hand that clips after each update."""
    loss = lambda p: jnp.sum((p - jnp.array([2.0, -1.0])) ** 2)
    state = gdjax.init(loss, jnp.zeros(2), method=METHODS[name])
    step = jax.jit(lambda state, p: gdjax.step(loss, state, params=p, new_data=not whole, whole=whole))
    params = jnp.zeros(2)
    for _ in range(40):
        state = step(state, params)
        params = jnp.clip(state.params, -0.1, 0.1)
    np.testing.assert_allclose(params, [0.1, -0.1], atol=1e-6)


def test_where_adam_is_moved_it_takes_the_step_of_a_loop_by_hand():
    loss, optimizer = lambda p, x: jnp.mean((x @ p) ** 2), optax.adam(0.1)
    data, p = batches(6)[0], jnp.ones(3)
    state, own = gdjax.init(loss, p, data[0], method=optimizer), optimizer.init(p)
    step = jax.jit(lambda state, p, x: gdjax.step(loss, state, x, params=p, new_data=True))
    q = p
    for x in data:
        state = step(state, q, x)
        q = state.params * 0.9
        with jax.numpy_dtype_promotion("standard"):
            update, own = optimizer.update(jax.grad(loss)(p, x), own)
        p = optax.apply_updates(p, update) * 0.9
    np.testing.assert_allclose(q, p, rtol=1e-5)
    assert state.num_evals == 6


def test_params_of_another_kind_are_refused_and_numbers_may_change():
    loss = lambda p: jnp.sum((p - 2.0) ** 2)
    state = gdjax.init(loss, jnp.zeros(2), penalty=gdjax.penalties.L1(1.0))
    with pytest.raises(ValueError, match="not like those of the start"):
        gdjax.step(loss, state, params=jnp.zeros(3), whole=True)
    with pytest.raises(ValueError, match="params are for new data"):
        gdjax.step(loss, state, params=jnp.zeros(2))
    with pytest.raises(ValueError, match="only numbers can change in penalty"):
        state.with_options(penalty=gdjax.penalties.L2(1.0))
    state = state.with_options(penalty=gdjax.penalties.L1(2.0))
    for _ in range(20):
        state = gdjax.step(loss, state, whole=True)
    np.testing.assert_allclose(state.params, [1.0, 1.0], atol=1e-3)


def test_params_are_the_users_own_in_a_space():
    loss = lambda p: (p["s"] - 2.0) ** 2
    state = gdjax.init(loss, {"s": 1.0}, space={"s": gdjax.spaces.Positive()})
    state = gdjax.step(loss, state, params={"s": 1.9}, whole=True)
    assert 1.8 < state.params["s"] < 2.1


def test_derivatives_of_steps_that_have_none_say_what_to_write():
    def after_a_step(a):
        loss = lambda w: jnp.sum((w - a) ** 2)
        return jnp.sum(gdjax.step(loss, gdjax.init(loss, jnp.zeros(2))).params)

    with pytest.raises(NotImplementedError, match="implicit=False"):
        jax.grad(after_a_step)(1.0)
