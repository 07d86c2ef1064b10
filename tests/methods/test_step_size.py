"""Step-size rules without a search, Barzilai and Borwein's steps, and the accelerated gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import count_primitive, marked, quadratic, rosenbrock, tree_loss

import gdjax
from gdjax import (  # fmt: skip
    AcceleratedGradient,
    AdaptiveStep,
    Backtracking,
    BarzilaiBorwein,
    GradientDescent,
    PolyakStep,
    Status,
    Stop,
)

METHODS = {
    "BB": GradientDescent(BarzilaiBorwein()),
    "adaptive": GradientDescent(AdaptiveStep()),
    "accelerated": AcceleratedGradient(),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def stiff(p):
    return quadratic(p, 1000.0)


@each_method
def test_no_constant_is_needed_at_any_scale(method, x64):
    for scale in (1e-4, 1.0, 1e4):
        result = gdjax.minimize(lambda p, s: s * quadratic(p), np.zeros(5), scale, method=method, tol=1e-4)
        assert result.status == Status.CONVERGED or (result.converged and not x64), scale
        np.testing.assert_allclose(result.params, 1, atol=2e-3)
        assert int(result.num_evals) <= 200


@pytest.mark.sweep
def test_rankings_on_an_ill_conditioned_quadratic(x64):
    """Evaluations at condition number 1000: BB and the accelerated gradient need the square root's share."""
    start, evals = np.zeros(10), {}
    more = {"fixed": GradientDescent(1e-3), "armijo": GradientDescent(Backtracking())}
    for name, method in (METHODS | more).items():
        result = gdjax.minimize(stiff, start, method=method, tol=1e-6 if x64 else 1e-3, max_steps=50_000)
        assert result.status == Status.CONVERGED, name
        evals[name] = int(result.num_evals)
    assert evals["accelerated"] < 3 * 1000**0.5 / 1000 * evals["fixed"]
    assert evals["BB"] < evals["accelerated"] < evals["adaptive"] < evals["fixed"]


@pytest.mark.sample("BB", "accelerated")
@pytest.mark.float64
@each_method
def test_rosenbrock_is_solved_and_the_best_point_returned(method):
    result = gdjax.minimize(rosenbrock, np.zeros(3), method=method, tol=1e-3, max_steps=50_000, history=1024)
    assert result.status == Status.CONVERGED
    assert float(result.value) <= np.min(result.history.trim().value) * (1 + 1e-3) + 1e-7


@each_method
def test_the_loss_occurs_once_in_the_program(method):
    jaxpr = jax.make_jaxpr(lambda p: gdjax.minimize(marked, p, method=method))(jnp.zeros(5)).jaxpr
    assert (count_primitive(jaxpr, "sin"), count_primitive(jaxpr, "cos")) == (1, 1)


@each_method
def test_a_barrier_is_respected(method):
    result = gdjax.minimize(lambda p: jnp.sum(p) - jnp.sum(jnp.log(p)), np.array([0.1, 5.0]), method=method)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-2)


@pytest.mark.sample("BB", "accelerated")
@each_method
def test_nested_mixed_and_complex_parameters(method):
    params = {"x": jnp.zeros((2, 2)), "z": (jnp.array([0.5j], jnp.complex64), jnp.full(3, 3.0, jnp.bfloat16))}
    assert gdjax.minimize(tree_loss, params, method=method).status == Status.CONVERGED


@each_method
def test_a_nan_start_is_refused(method):
    assert gdjax.minimize(quadratic, np.full(3, np.nan), method=method).status == Status.NONFINITE_START


@pytest.mark.sample("BB", "accelerated")
@each_method
def test_a_gradient_of_the_wrong_sign_never_converges(method):
    wrong = gdjax.minimize(quadratic, np.zeros(3), method=method, grad=lambda p: -jax.grad(quadratic)(p), max_evals=500)
    assert not wrong.converged


@pytest.mark.sample("BB")
@each_method
def test_a_batch_gives_each_lane_what_it_gets_alone(method):
    starts = jnp.array([[0.0, 0.0, 0.0], [5.0, -3.0, 2.0]])
    solve = lambda p: gdjax.minimize(quadratic, p, method=method, tol=1e-3)
    together, alone = jax.jit(jax.vmap(solve))(starts), solve(starts[1])
    assert together.code.tolist() == [Status.CONVERGED] * 2
    assert abs(int(alone.num_evals) - int(together.num_evals[1])) <= 3


def test_steps_of_adaptive_descent_follow_the_formula(x64):
    states = list(gdjax.iterate(stiff, np.full(4, 3.0), method=GradientDescent(AdaptiveStep()), max_steps=12))
    x, g = ([np.asarray(getattr(s, f), float) for s in states] for f in ("params", "grad"))
    rates = [np.linalg.norm(b - a) / np.linalg.norm(c) for a, b, c in zip(x, x[1:], g, strict=False)]
    for k in range(1, 10):
        s, y = x[k + 1] - x[k], g[k + 1] - g[k]
        length, curvature = rates[k] * np.linalg.norm(y) / np.linalg.norm(s), rates[k] * (s @ y) / (s @ s)
        margin = max(2 * length**2 - curvature - 1, 1e-30)
        want = rates[k] * min(np.sqrt(2 / 3 + rates[k] / rates[k - 1]), 1 / np.sqrt(margin))
        assert rates[k + 1] == pytest.approx(want, rel=1e-6 if x64 else 2e-2)


def test_barzilai_borwein_steps_are_the_secants(x64):
    states = list(gdjax.iterate(stiff, np.full(4, 3.0), method=GradientDescent(BarzilaiBorwein()), max_steps=10))
    x, g = ([np.asarray(getattr(s, f), float) for s in states] for f in ("params", "grad"))
    evals, shorts, at_once = [int(s.num_evals) for s in states], [], 0
    for k in range(1, 9):
        s, y = x[k] - x[k - 1], g[k] - g[k - 1]
        shorts.append((s @ y) / (y @ y))
        want = min(shorts[-5:]) if shorts[-1] < 0.8 * (s @ s) / (s @ y) else (s @ s) / (s @ y)
        rate = np.linalg.norm(x[k + 1] - x[k]) / np.linalg.norm(g[k])
        if evals[k + 1] == evals[k] + 1:  # the first trial was taken; else the safeguard has shortened it
            assert rate == pytest.approx(want, rel=1e-6 if x64 else 5e-2)
            at_once += 1
        else:
            assert rate < want
    assert at_once >= 6


@pytest.mark.float64
def test_polyak_step_solves_a_kinked_loss_whose_minimum_is_known():
    loss = lambda p: jnp.sum(jnp.abs(p - jnp.arange(3, dtype=p.dtype)))
    method, stop = GradientDescent(PolyakStep(0.0)), Stop(target=1e-3)
    result = gdjax.minimize(loss, np.full(3, 5.0), method=method, stop=stop)
    assert result.status == Status.TARGET_REACHED
    up = gdjax.maximize(
        lambda p: 7 - loss(p), np.full(3, 5.0), method=GradientDescent(PolyakStep(7.0)), stop=Stop(target=6.99)
    )
    assert up.status == Status.TARGET_REACHED
    states = list(gdjax.iterate(loss, np.full(3, 5.0), method=GradientDescent(PolyakStep(0.0)), max_steps=1))
    np.testing.assert_allclose(states[1].params, 5 - 12 / 3, rtol=1e-6)


def test_arguments_out_of_range_are_refused():
    for make in (
        lambda: BarzilaiBorwein(decrease=0.0),
        lambda: BarzilaiBorwein(memory=1.5),
        lambda: AdaptiveStep(initial=0.0),
        lambda: PolyakStep(float("nan")),
        lambda: AcceleratedGradient(grow=0.9),
        lambda: GradientDescent(BarzilaiBorwein(), momentum=0.5),
    ):
        with pytest.raises(ValueError, match="must"):
            make()
    with pytest.raises(TypeError, match="step-size rule"):
        GradientDescent(gdjax.MoreThuente())


@pytest.mark.float64
def test_hyperparameters_are_traced():
    solve = jax.jit(lambda p, m: gdjax.minimize(quadratic, p, method=m).code)
    for grow in (1.01, 1.05):
        assert solve(np.zeros(3), AcceleratedGradient(grow=grow)) == Status.CONVERGED
    for memory in (0.0, 0.9):
        assert solve(np.zeros(3), GradientDescent(BarzilaiBorwein(memory=memory))) == Status.CONVERGED
    assert solve._cache_size() == 2


def test_polyaks_step_ends_where_the_value_is_the_target_to_its_rounding(x64):
    result = gdjax.minimize(lambda p: quadratic(p) + 1, np.ones(4), method=GradientDescent(PolyakStep(1.0)))
    assert result.status in (Status.CONVERGED, Status.PRECISION_FLOOR), result
    assert result.num_evals <= 200


def test_backtracking_still_shortens_steps_that_the_value_cannot_tell_apart(x64):
    loss = lambda p, size: quadratic(p, 100.0) + size  # near the minimum only slopes tell
    result = gdjax.minimize(loss, np.zeros(4), 1e4, method=GradientDescent(Backtracking()), tol=1e-30)
    assert result.status in (Status.CONVERGED, Status.PRECISION_FLOOR), result
    assert result.grad_norm <= 1e-5 * jax.numpy.abs(jax.grad(loss)(jnp.zeros(4), 1e4)).max()
