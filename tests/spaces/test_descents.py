"""Every door takes spaces, and speaks of the user's parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status
from gdjax.spaces import Fixed, Interval, Positive, Scaled, Simplex, by_leaf
from tests.problems import CompileCounter

TARGET = jnp.array([0.5, 0.25, 0.25])
START = {"angle": 1.0, "bias": jnp.zeros(2), "known": jnp.ones(2), "scale": 10.0, "weights": jnp.full(3, 1 / 3)}
SPACE = {"angle": Interval(0.0, 2 * np.pi), "known": Fixed(), "scale": Positive(), "weights": Simplex()}


def loss(p):
    """Its minimum: scale 2, bias = known, weights = TARGET, angle pi."""
    scale = jnp.log(p["scale"]) + 2 / p["scale"] ** 2
    return scale + jnp.sum((p["bias"] - p["known"]) ** 2) - TARGET @ jnp.log(p["weights"]) + jnp.cos(p["angle"])


def check(params, known=1.0, tol=2e-3):
    """Whether these are the parameters of the minimum."""
    np.testing.assert_allclose(params["scale"], 2.0, rtol=tol)
    np.testing.assert_allclose(params["bias"], known, rtol=tol)
    np.testing.assert_array_equal(params["known"], known)
    np.testing.assert_allclose(params["weights"], TARGET, rtol=tol)
    np.testing.assert_allclose(params["angle"], np.pi, rtol=tol)


METHODS = [gdjax.LBFGS(), gdjax.BFGS(), gdjax.ConjugateGradient(), gdjax.TrustRegion(), gdjax.AcceleratedGradient()]


@pytest.mark.sample("BFGS")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_every_method_finds_the_minimum_in_its_spaces(method):
    result = gdjax.minimize(loss, START, space=SPACE, method=method)
    assert result.status == Status.CONVERGED, result
    check(result.params)
    assert jax.tree.structure(result.grad) == jax.tree.structure(result.params)
    assert float(jnp.abs(result.grad["known"]).max()) == 0


def test_the_gradient_is_that_by_the_parameters():
    result = gdjax.minimize(loss, START, space=SPACE, max_evals=1)
    true = jax.grad(loss)(result.params)
    for name in ("angle", "bias", "scale"):
        np.testing.assert_allclose(result.grad[name], true[name], rtol=1e-5)
    centred = true["weights"] - result.params["weights"] @ true["weights"]
    np.testing.assert_allclose(result.grad["weights"], centred, rtol=1e-4, atol=1e-6)


@pytest.mark.sweep
def test_maximize_and_iterate_and_callbacks_speak_of_the_parameters():
    result = gdjax.maximize(lambda p: -loss(p), START, space=SPACE)
    assert result.status == Status.CONVERGED
    check(result.params)
    seen = []
    gdjax.minimize(loss, START, space=SPACE, callback=lambda state: seen.append(float(state.params["scale"])) and False)
    states = [float(state.params["scale"]) for state in gdjax.iterate(loss, START, space=SPACE)]
    assert states[0] == pytest.approx(10.0)
    assert states[-1] == pytest.approx(2.0, rel=1e-3)
    np.testing.assert_allclose(seen[-1], states[-1], rtol=1e-6)


def test_an_answer_handed_back_is_a_success():
    result = gdjax.minimize(loss, START, space=SPACE, keep_state=True)
    for again in (result, result.params):
        refit = gdjax.minimize(loss, again, space=SPACE)
        assert refit.converged, refit
        check(refit.params)


@pytest.mark.sweep
def test_a_checkpoint_goes_on_to_the_same_numbers(tmp_path):
    path = tmp_path / "fit.npz"
    gdjax.minimize(loss, START, space=SPACE, max_steps=3, checkpoint=path)
    resumed = gdjax.resume(path, loss, START, space=SPACE, max_steps=1000)
    whole = gdjax.minimize(loss, START, space=SPACE)
    assert resumed.status == whole.status == Status.CONVERGED
    for a, b in zip(jax.tree.leaves(resumed.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.sweep
def test_what_is_fixed_is_data_with_derivatives_and_new_values_compile_nothing():
    fit = lambda known: gdjax.minimize(loss, dict(START, known=known), space=SPACE).params["bias"].sum()
    np.testing.assert_allclose(jax.grad(fit)(jnp.ones(2)), 1.0, rtol=1e-4)
    np.testing.assert_allclose(jax.jit(jax.grad(fit))(jnp.ones(2)), 1.0, rtol=1e-4)
    gdjax.minimize(loss, dict(START, known=jnp.full(2, 3.0)), space=SPACE)
    with CompileCounter() as compiled:
        result = gdjax.minimize(loss, dict(START, known=jnp.full(2, 5.0)), space=SPACE)
    assert compiled.count == 0
    check(result.params, 5.0)


@pytest.mark.sweep
@pytest.mark.float64
def test_derivatives_go_through_each_map():
    weights = jnp.array([3.0, 2.0, 1.0])

    def solve(c):
        def loss(p):
            scale = c * jnp.log(p["s"]) + 2 / p["s"] ** 2
            return scale - weights**c @ jnp.log(p["w"]) + jnp.cos(p["a"] - c) + (p["t"] / 1e-9 - c) ** 2

        start = {"a": 3.0, "s": 1.0, "t": 1e-9, "w": jnp.full(3, 1 / 3)}
        space = {"a": Interval(0.0, 6.0), "s": Positive(), "t": Scaled(), "w": Simplex()}
        return gdjax.minimize(loss, start, space=space, tol=1e-12).params

    slopes, step = jax.jacfwd(solve)(1.5), 1e-5
    up, down = solve(1.5 + step), solve(1.5 - step)
    for name, slope in slopes.items():
        np.testing.assert_allclose(slope, (up[name] - down[name]) / (2 * step), rtol=1e-5)


@pytest.mark.sweep
def test_many_problems_and_many_starts():
    x = jnp.linspace(0.0, 3.0, 20)
    rates = jnp.array([0.5, 1.0, 2.0])
    y = 2 * jnp.exp(-rates[:, None] * x)
    curve = lambda p, y: jnp.mean((p["a"] * jnp.exp(-p["k"] * x) + p["c"] - y) ** 2)
    space = {"k": Positive(), "c": Fixed()}
    shared = gdjax.minimize_many(curve, {"a": 1.0, "c": 0.0, "k": 1.0}, y, in_axes=(None, 0), space=space)
    own = {"a": jnp.ones(3), "c": jnp.zeros(3), "k": jnp.array([0.3, 1.0, 3.0])}
    for found in (
        shared,
        gdjax.minimize_many(curve, own, y, space=space),
        gdjax.minimize_many(curve, own, y, in_axes=({"a": 0, "c": 0, "k": 0}, 0), space=space),
        jax.jit(lambda y: gdjax.minimize_many(curve, own, y, space=space))(y),
        jax.vmap(lambda p, y: gdjax.minimize(curve, p, y, space=space))(own, y),
    ):
        assert (found.code == Status.CONVERGED).all()
        np.testing.assert_allclose(found.params["k"], rates, rtol=2e-3)
        assert found.params["c"].shape == (3,)
        np.testing.assert_allclose(found[2].params["k"], 2.0, rtol=2e-3)
    double = lambda p: p["u"] ** 4 - 4 * p["u"] ** 2 + p["u"] + (jnp.log(p["s"]) - 1) ** 2
    starts = {"s": jnp.ones(9), "u": jnp.linspace(-2.0, 2.0, 9)}
    found = gdjax.multistart(double, starts, space={"s": Positive()})
    assert len(found.minima.value) == 2
    assert found.best.status == Status.CONVERGED
    np.testing.assert_allclose(found.minima.params["s"], np.e, rtol=1e-3)


@pytest.mark.sweep
def test_a_given_gradient_is_by_the_parameters():
    right = jax.grad(loss)
    result = gdjax.minimize(loss, START, space=SPACE, grad=right, check_grad=True)
    assert result.status == Status.CONVERGED
    check(result.params)
    pair = gdjax.minimize(jax.value_and_grad(loss), START, space=SPACE, value_and_grad=True)
    assert pair.status == Status.CONVERGED
    check(pair.params)
    wrong = lambda p: dict(right(p), scale=-right(p)["scale"])
    with pytest.raises(ValueError, match="scale"):
        gdjax.minimize(loss, START, space=SPACE, grad=wrong, check_grad=True)


def test_a_penalty_works_on_free_parameters_and_is_refused_on_others():
    penalties = gdjax.penalties
    bounded = gdjax.minimize(loss, START, space=SPACE, penalty={"bias": penalties.Box(0.0, 0.5)})
    assert bounded.status == Status.CONVERGED
    np.testing.assert_array_equal(bounded.params["bias"], 0.5)
    held = gdjax.minimize(loss, START, space=SPACE, penalty={"known": penalties.L1(1.0)})
    assert held.status == Status.CONVERGED
    check(held.params)
    for penalty in ({"scale": penalties.L1(1.0)}, penalties.L1(1.0)):
        with pytest.raises(ValueError, match=r"lives in .*prox"):
            gdjax.minimize(loss, START, space=SPACE, penalty=penalty)
    tau = lambda p: (p["tau"] / 1e-9 - 3) ** 2
    box = {"tau": penalties.Box(0.0, 2e-9)}
    scaled = gdjax.minimize(tau, {"tau": 1e-9}, space={"tau": Scaled(1e-9)}, penalty=box)
    assert scaled.status == Status.CONVERGED
    np.testing.assert_allclose(scaled.params["tau"], 2e-9, rtol=1e-6)


@pytest.mark.sweep
def test_what_is_held_outside_of_its_bounds_is_refused():
    solve = lambda known: gdjax.minimize(
        loss, dict(START, known=known), space=SPACE, penalty={"known": gdjax.penalties.Box(0.0, 1.0)}
    )
    with pytest.raises(ValueError, match=r"params\['known'\] is held outside of the bounds that Box"):
        solve(jnp.array([1.0, 2.0]))
    codes = jax.vmap(lambda known: solve(known).code)(jnp.array([[1.0, 2.0], [1.0, 1.0]]))
    assert codes.tolist() == [Status.NONFINITE_START, Status.CONVERGED]


def test_names_are_keys_attributes_or_paths():
    params = {"layers": [{"w": jnp.ones(2)}, {"w": jnp.ones(2)}], "s": 1.0}
    bowl = lambda p: sum(jnp.sum((x - 3) ** 2) for x in jax.tree.leaves(p))
    for space in (
        {"layers[0].w": Fixed()},
        {"layers[0]": Fixed()},
        {"layers": {0: Fixed()}},
        {"layers": [Fixed(), None]},
        {"layers": [{"w": Fixed()}, {}]},
        Fixed(lambda path: path == "layers[0].w"),
        by_leaf({"s": None, "layers[1]": gdjax.spaces.Free(), "layers": Fixed()}),
        by_leaf({"s": gdjax.spaces.Free(), "layers[1]": gdjax.spaces.Free()}, otherwise=Fixed()),
    ):
        found = gdjax.minimize(bowl, params, space=space)
        assert found.status == Status.CONVERGED
        np.testing.assert_array_equal(found.params["layers"][0]["w"], 1.0)
        np.testing.assert_allclose(found.params["layers"][1]["w"], 3.0, rtol=1e-3)
    with pytest.raises(ValueError, match=r"space has an entry 'sigma', but params has not: it has layers\[0\].w"):
        gdjax.minimize(bowl, params, space={"sigma": Positive()})
    with pytest.raises(TypeError, match="it is a class: call it first"):
        gdjax.minimize(bowl, params, space={"s": Positive})
    with pytest.raises(TypeError, match="a space is one of"):
        gdjax.minimize(bowl, params, space={"s": "positive"})


def test_everything_fixed_is_refused():
    with pytest.raises(ValueError, match="nothing is left to minimise over"):
        gdjax.minimize(lambda p: p["a"] ** 2, {"a": 1.0}, space=Fixed())


def test_spaces_of_real_numbers_refuse_complex_ones():
    far = lambda p: jnp.abs(p["z"] - 1j) ** 2
    with pytest.raises(TypeError, match=r"params\['z'\] is complex"):
        gdjax.minimize(far, {"z": 1.0 + 0j}, space={"z": Positive()})
    found = gdjax.minimize(far, {"z": 1.0 + 0j}, space={"z": Scaled(1e-3)})
    assert found.converged
    np.testing.assert_allclose(found.params["z"], 1j, atol=1e-3)


def test_the_numbers_of_a_space_are_data_with_derivatives():
    end = lambda b: gdjax.minimize(lambda u: (u - 5.0) ** 2 + u / b, 1.0, space=Interval(0.0, b), tol=1e-6).params
    np.testing.assert_allclose(jax.grad(end)(8.0), 0.5 / 64, rtol=1e-2)


def test_a_start_outside_among_many_is_its_own_affair():
    found = gdjax.minimize_many(lambda u: (u - 1) ** 2, jnp.array([-1.0, 2.0, 3.0]), space=Positive())
    assert found.code.tolist() == [Status.NONFINITE_START, Status.CONVERGED, Status.CONVERGED]
    with pytest.raises(ValueError, match="not inside Positive"):
        gdjax.minimize_many(lambda u: (u - 1) ** 2, jnp.array([-1.0, -2.0]), space=Positive())


def test_a_start_outside_is_refused_and_in_a_trace_is_a_status():
    with pytest.raises(ValueError, match=r"params\['scale'\] starts at 0"):
        gdjax.minimize(loss, dict(START, scale=0.0), space=SPACE)
    inside = jax.vmap(lambda s: gdjax.minimize(loss, dict(START, scale=s), space=SPACE))(jnp.array([1.0, -1.0]))
    assert inside.code.tolist() == [Status.CONVERGED, Status.NONFINITE_START]
    assert "params['scale'] has 1 of 1" in str(inside[1])


@pytest.mark.sweep
def test_starts_from_a_box_are_drawn_inside_the_space():
    where = {"a": gdjax.spaces.Positive(), "w": gdjax.spaces.Simplex(), "o": gdjax.spaces.Ordered()}
    where |= {"s": gdjax.spaces.Stack([None, gdjax.spaces.Interval(0.0, 1.0)])}
    loss = lambda p: sum(jnp.sum((p[name] - 0.5) ** 2) for name in p)
    box = gdjax.penalties.Box(
        {"a": -1.0, "w": jnp.full(3, -1.0), "o": jnp.full(2, -1.0), "s": jnp.full(2, -2.0)},
        {"a": 5.0, "w": jnp.full(3, 1.0), "o": jnp.full(2, 1.0), "s": jnp.full(2, 2.0)},
    )
    found = gdjax.multistart(loss, box, num_starts=12, space=where)
    assert (found.results.code != gdjax.Status.NONFINITE_START).all()
    assert found.best.converged
    with pytest.raises(ValueError, match=r"params is drawn, -3.0 to -1.0, lies outside of Positive\(\)"):
        gdjax.multistart(lambda a: a**2, gdjax.penalties.Box(-3.0, -1.0), num_starts=4, space=gdjax.spaces.Positive())
