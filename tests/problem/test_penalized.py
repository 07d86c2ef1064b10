"""minimize with a penalty: which method, what the result says, feasibility, transformations, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import CompileCounter

import gdjax
from gdjax import PANOC, AcceleratedProximalGradient, Backtracking, ProximalGradient, Status
from gdjax.penalties import L1, Box, NonNegative, Simplex, SquaredL2, by_leaf
from gdjax.problem.objective import Point
from gdjax.problem.penalized import stationarity

GOAL = np.array([3.0, 0.2, -1.0])
METHODS = [PANOC(), ProximalGradient(), ProximalGradient(Backtracking()), AcceleratedProximalGradient()]
NAMES = ["PANOC", "adaptive", "backtracking", "FISTA"]


def bowl(x, goal, weight=1.0):
    return 0.5 * weight * jnp.sum(jnp.array([1.0, 3.0, 10.0], x.dtype) * (x - goal) ** 2)


def solution(strength):
    """Minimiser of the bowl with an L1 penalty."""
    shift = strength / np.array([1.0, 3.0, 10.0])
    return np.sign(GOAL) * np.maximum(abs(GOAL) - shift, 0)


def start(x64):
    return np.zeros(3, np.float64 if x64 else np.float32)


def data(x64):
    return GOAL.astype(np.float64 if x64 else np.float32)


@pytest.mark.sample("x32-PANOC", "x32-FISTA")
@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_every_method_finds_the_sparse_minimum(method, x64):
    solve = lambda strength: gdjax.minimize(bowl, start(x64), data(x64), penalty=L1(strength), method=method)
    batch = jax.jit(jax.vmap(solve))(jnp.array([0.5, 2.0, 40.0], start(x64).dtype))
    assert (batch.code == Status.CONVERGED).all()
    for lane, strength in enumerate([0.5, 2.0, 40.0]):
        # in float32 the tolerance on the slope is 3.5e-4 (1 + 6), and the least curvature 1
        np.testing.assert_allclose(batch.params[lane], solution(strength), atol=1e-5 if x64 else 3e-3)
        assert (np.asarray(batch.params[lane] == 0) == (solution(strength) == 0)).all()
    one = batch[1]
    np.testing.assert_allclose(one.value, one.loss_value + one.penalty_value, rtol=1e-6)
    np.testing.assert_allclose(one.penalty_value, 2 * abs(solution(2.0)).sum(), rtol=1e-2)


def test_the_default_is_named_and_the_result_speaks_of_parts_and_sparsity():
    sparse = gdjax.minimize(bowl, start(False), data(False), penalty=L1(2.0))
    assert sparse.method == "PANOC"
    text = str(sparse)
    assert "norm of the prox-gradient step" in text
    assert "The loss is 2.2" in text
    assert "1 of 3 entries are exactly zero (method: PANOC)." in text
    boxed = gdjax.minimize(bowl, start(False), data(False), penalty=Box(-0.5, 2.0))
    assert "1 of 3 entries are at the lower bound, 1 at the upper (method: LBFGS with bounds)." in str(boxed)
    assert gdjax.minimize(bowl, start(False), data(False)).penalty_value is None


@pytest.mark.sample("default", "FISTA")
@pytest.mark.parametrize("method", [None, *METHODS], ids=["default", *NAMES])
def test_results_lie_in_the_box_to_the_last_bit_and_starts_are_projected(method, x64):
    lower, upper = data(x64) * 0 + 0.1, data(x64) * 0 + 0.7
    outside = start(x64) + 5
    result = gdjax.minimize(bowl, outside, data(x64), penalty=Box(lower, upper), method=method, history=True)
    assert result.status == Status.CONVERGED
    assert (np.asarray(result.params) >= lower).all()
    assert (np.asarray(result.params) <= upper).all()
    np.testing.assert_allclose(result.params, np.clip(GOAL, 0.1, 0.7), atol=1e-5 if x64 else 1e-3)
    first = bowl(jnp.asarray(upper), data(x64))
    np.testing.assert_allclose(result.history.value[0], first, rtol=1e-6)


SEEN: list = []


def watched(x, goal):
    """A loss that remembers where it was evaluated."""
    jax.debug.callback(lambda v: SEEN.append(np.asarray(v)), x)
    return bowl(x, goal)


@pytest.mark.sample("default")
@pytest.mark.parametrize("method", [None, *METHODS], ids=["default", *NAMES])
def test_the_loss_is_never_evaluated_outside_the_box(method):
    SEEN.clear()
    result = gdjax.minimize(watched, start(False) + 2, data(False), penalty=Box(0.0, 1.0), method=method)
    jax.effects_barrier()
    assert result.status == Status.CONVERGED
    assert len(SEEN) >= int(result.num_evals)
    assert all((x >= 0).all() and (x <= 1).all() for x in SEEN)


@pytest.mark.float64
def test_the_tolerance_means_what_it_means_without_a_penalty():
    """Where the penalty is zero the measure is the norm of the gradient, at any step."""
    w = jnp.array([3.0, -1.0])
    grad = lambda v: 2 * v
    none = jnp.zeros(())
    for step in (1e-3, 0.1, 100.0):
        z = w - step * grad(w)
        before, after = (Point(v, none, grad(v), none, None) for v in (w, z))
        want = jnp.max(jnp.abs(grad(z)))
        np.testing.assert_allclose(stationarity(before, after, jnp.asarray(step)), want, rtol=1e-4)


@pytest.mark.float64
@pytest.mark.parametrize("weight", [1e-6, 1e6])
def test_scaling_the_sum_changes_nothing(weight):
    scaled = gdjax.minimize(bowl, GOAL * 0, GOAL, weight, penalty=L1(2.0 * weight))
    assert scaled.status == Status.CONVERGED
    np.testing.assert_allclose(scaled.params, solution(2.0), atol=1e-5)


@pytest.mark.sample("default", "FISTA")
@pytest.mark.float64
@pytest.mark.parametrize("method", [None, *METHODS], ids=["default", *NAMES])
def test_a_step_that_is_far_too_long_does_not_look_like_a_minimum(method):
    """Far from the vertex a loss that is almost linear has a long step, and x - prox(x) a small share of it."""

    def almost_linear(x):
        return 1e-3 * jnp.sum(x) + 1e-12 * jnp.sum(x**2)

    result = gdjax.minimize(almost_linear, np.full(3, 500.0), penalty=Box(-1.0, 1000.0), method=method)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, -1.0)


def test_maximize_subtracts_the_penalty(x64):
    top = gdjax.maximize(lambda x, goal: -bowl(x, goal), start(x64), data(x64), penalty=L1(2.0))
    assert top.status == Status.CONVERGED
    np.testing.assert_allclose(top.params, solution(2.0), atol=1e-5 if x64 else 3e-3)  # as above
    np.testing.assert_allclose(top.value, top.loss_value - top.penalty_value, rtol=1e-6)


def test_a_strength_compiles_nothing():
    run = lambda strength: gdjax.minimize(bowl, start(False), data(False), penalty=L1(strength))
    first = run(0.1)
    with CompileCounter() as compiled:
        second = run(1.0)
    assert compiled.count == 0
    assert (first.status, second.status) == (Status.CONVERGED,) * 2
    np.testing.assert_allclose(second.params, solution(1.0), atol=2e-3)


def test_penalties_of_other_classes_are_other_programs():
    """Classes with as many fields must not share a compiled program."""
    ridge = gdjax.minimize(bowl, start(False), data(False), penalty=SquaredL2(2.0))
    lasso = gdjax.minimize(bowl, start(False), data(False), penalty=L1(2.0))
    np.testing.assert_allclose(ridge.params, [1.0, 0.12, -10 / 12], atol=2e-3)
    np.testing.assert_allclose(lasso.params, solution(2.0), atol=3e-3)  # the slope's tolerance is 2.4e-3, as above


class Own:
    """A penalty of the user's that is no pytree: |x| on the last entry alone."""

    def value(self, x):
        return jnp.abs(x[-1])

    def prox(self, x, step):
        return x.at[-1].set(x[-1] - jnp.clip(x[-1], -step, step))


def test_a_class_of_the_users_is_a_penalty():
    result = gdjax.minimize(bowl, start(False), data(False), penalty=Own())
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [3.0, 0.2, -0.9], atol=2e-3)
    assert "The loss is" in str(result)


def test_parameters_of_many_kinds():
    params = {"w": jnp.zeros(2, jnp.complex64), "b": jnp.zeros((), jnp.bfloat16), "v": jnp.full(2, 9.0)}

    def loss(p):
        squares = jnp.abs(p["w"] - jnp.array([3 + 4j, 0.1j], jnp.complex64)) ** 2
        return jnp.sum(squares) / 2 + (p["b"].astype(jnp.float32) - 1) ** 2 + jnp.sum((p["v"] - 2.0) ** 2)

    penalty = by_leaf({"w": L1(1.0), "b": None, "v": Box(upper=1.0)})
    result = gdjax.minimize(loss, params, penalty=penalty, tol=1e-3)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params["w"], [2.4 + 3.2j, 0], atol=0.02)
    np.testing.assert_allclose(result.params["b"].astype(np.float32), 1, atol=0.02)
    np.testing.assert_allclose(result.params["v"], 1, atol=1e-5)


def test_half_precision_stays_in_its_box():
    box = Box(0.1, 0.3)
    result = gdjax.minimize(lambda x: jnp.sum((x - 1.0) ** 2), jnp.zeros(2, jnp.bfloat16), penalty=box)
    assert (result.params.astype(np.float32) <= np.float32(0.3)).all()
    assert result.params.dtype == jnp.bfloat16


def test_points_of_a_simplex_that_are_infeasible_only_by_rounding_are_kept(x64):
    result = gdjax.minimize(bowl, start(x64), data(x64), penalty=Simplex(0.7))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(np.sum(result.params), 0.7, rtol=1e-5)
    assert (np.asarray(result.params) >= 0).all()
    np.testing.assert_allclose(result.params, [0.7, 0, 0], atol=1e-3)


@pytest.mark.parametrize("method", [gdjax.BFGS(), gdjax.GradientDescent(0.1), optax.adam(0.1), gdjax.TrustRegion()])
def test_methods_that_cannot_take_a_penalty_name_those_that_can(method):
    with pytest.raises(ValueError, match=r"cannot take the penalty L1: use ProximalGradient, .*PANOC.* Box"):
        gdjax.minimize(bowl, start(False), data(False), penalty=L1(1.0), method=method)


@pytest.mark.float64
@pytest.mark.parametrize(
    ("penalty", "error", "match"),
    [
        ("L1", TypeError, "one of gdjax.penalties or have value"),
        (L1, TypeError, "it is a class: call it first"),
        (by_leaf({"w": L1(1.0)}), ValueError, "the penalties are not a pytree like params"),
        (Box(np.zeros(2)), ValueError, "lower has shape"),
    ],
)
def test_wrong_penalties_are_named(penalty, error, match):
    with pytest.raises(error, match=match):
        gdjax.minimize(bowl, start(False), data(False), penalty=penalty)


def test_lbfgs_takes_boxes_alone_and_keeps_its_memory():
    with pytest.raises(ValueError, match="LBFGS cannot take the penalty L1"):
        gdjax.minimize(bowl, start(False), data(False), penalty=L1(1.0), method=gdjax.LBFGS())
    rule = gdjax.LBFGS(line_search=Backtracking())
    with pytest.raises(ValueError, match="path with kinks"):
        gdjax.minimize(bowl, start(False), data(False), penalty=NonNegative(), method=rule)
    result = gdjax.minimize(bowl, start(False), data(False), penalty=NonNegative(), method=gdjax.LBFGS(memory=3))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [3, 0.2, 0], atol=2e-3)


class BadProx(Own):
    def prox(self, x, step):
        return x[:2]


class BadValue(Own):
    def value(self, x):
        return x


@pytest.mark.float64
def test_a_wrong_protocol_is_named():
    with pytest.raises(ValueError, match="makes params of shape"):
        gdjax.minimize(bowl, start(False), data(False), penalty=BadProx())
    with pytest.raises(TypeError, match="must be one real floating number"):
        gdjax.minimize(bowl, start(False), data(False), penalty=BadValue())
