"""L-BFGS between bounds: the masked inverse is the dense one; corners, faces, and every way out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import count_primitive, marked, rosenbrock
from scipy.optimize import minimize as scipy_minimize

import gdjax
from gdjax import Status
from gdjax.methods.parts.pairs import empty, remember, solve
from gdjax.penalties import Box, NonNegative, by_leaf


def dense_bfgs(pairs, theta, n):
    """B by the BFGS formula, from theta I through all pairs."""
    b = theta * np.eye(n)
    for s, y in pairs:
        b = b - np.outer(b @ s, b @ s) / (s @ b @ s) + np.outer(y, y) / (s @ y)
    return b


def test_the_masked_inverse_is_that_of_the_free_part_through_all_turns_of_the_ring(x64):
    m, n, rng = 3, 6, np.random.default_rng(0)
    dtype = jnp.float64 if x64 else jnp.float32
    memory, pairs, hessian = empty(m, jnp.zeros(n, dtype), dtype), [], np.diag(np.arange(1.0, n + 1))
    step, direction = jax.jit(remember), jax.jit(solve)
    for k in range(8):
        s = rng.standard_normal(n)
        y = -hessian @ s if k == 5 else hessian @ s + 0.1 * rng.standard_normal(n)  # the sixth is refused
        memory, good = step(memory, jnp.asarray(s, dtype), jnp.asarray(y, dtype))
        assert bool(good) == (s @ y > 0)
        if s @ y > 0:
            pairs = [*pairs, (s, y)][-m:]
        theta = pairs[-1][1] @ pairs[-1][1] / (pairs[-1][0] @ pairs[-1][1])
        b, g = dense_bfgs(pairs, theta, n), rng.standard_normal(n)
        for free in (np.ones(n, bool), np.array([1, 0, 1, 1, 0, 1], bool), np.zeros(n, bool)):
            want = np.zeros(n)
            want[free] = -np.linalg.solve(b[np.ix_(free, free)], g[free])
            got = direction(memory, jnp.asarray(np.where(free, g, 0), dtype), jnp.asarray(free))
            np.testing.assert_allclose(got, want, rtol=1e-9 if x64 else 1e-3, atol=1e-9 if x64 else 1e-4)


def in_box(p, lower, upper):
    return gdjax.minimize(rosenbrock, p, penalty=Box(lower, upper))


@pytest.mark.parametrize("upper", [np.inf, 0.7, np.array([2.0, 0.5, 2.0, 2.0])], ids=["free", "all", "one"])
def test_rosenbrock_in_boxes_as_scipy_finds_it(upper, x64):
    start = np.full(4, -1.2, np.float64 if x64 else np.float32)
    upper = np.broadcast_to(upper, 4).astype(start.dtype)
    lower = np.full(4, -1.5, start.dtype)
    result = in_box(start, lower, upper)
    assert result.status == Status.CONVERGED
    assert int(result.num_evals) <= 100
    with jax.enable_x64(True):
        bounds = list(zip(lower, upper, strict=True))
        want = scipy_minimize(jax.value_and_grad(rosenbrock), start.astype(float), jac=True, bounds=bounds, tol=1e-12)
    np.testing.assert_allclose(result.params, want.x, atol=1e-5 if x64 else 2e-2)
    assert (np.asarray(result.params) <= upper).all()


def test_the_loss_occurs_once_in_the_program():
    jaxpr = jax.make_jaxpr(lambda p: gdjax.minimize(marked, p, penalty=NonNegative()))(jnp.zeros(5)).jaxpr
    assert (count_primitive(jaxpr, "sin"), count_primitive(jaxpr, "cos")) == (1, 1)


def line(p, slope):
    return jnp.sum(slope * p)


def test_a_corner_is_reached_exactly_and_fixed_variables_stay(x64):
    dtype = np.float64 if x64 else np.float32
    slope = np.array([1.0, -100.0, 0.01, 5.0], dtype)
    lower, upper = np.array([-1, 0, 2, 7], dtype), np.array([1, 3, 5, 7], dtype)
    result = gdjax.minimize(line, np.array([0, 1, 3, 0], dtype), slope, penalty=Box(lower, upper), tol=1e-6)
    assert result.status == Status.CONVERGED
    np.testing.assert_array_equal(result.params, [-1, 3, 2, 7])
    assert float(result.grad_norm) == 0
    assert "3 of 4 entries are at the lower bound, 2 at the upper" in str(result)  # the fixed one is at both


def test_unbounded_below_is_said(x64):
    result = gdjax.minimize(line, np.zeros(2), np.array([-1.0, 1.0]), penalty=NonNegative())
    assert result.status == Status.UNBOUNDED


def test_a_gradient_of_the_wrong_sign_fails_quickly():
    wrong = lambda p: -jax.grad(rosenbrock)(p)
    result = gdjax.minimize(rosenbrock, np.zeros(3, np.float32), penalty=Box(-2.0, 2.0), grad=wrong)
    assert result.converged is False
    assert result.status in (Status.LINE_SEARCH_FAILED, Status.STALLED)
    assert int(result.num_evals) <= 150


@pytest.mark.float64
def test_a_batch_of_boxes_gives_each_lane_what_it_gets_alone():
    uppers = np.array([0.3, 0.7, 5.0])
    lower, start = np.full(4, -1.5), np.full(4, -1.2)
    together = jax.jit(jax.vmap(lambda u: in_box(start, lower, jnp.full(4, u))))(uppers)
    assert (together.code == Status.CONVERGED).all()
    for lane, upper in enumerate(uppers):
        alone = in_box(start, lower, np.full(4, upper))
        np.testing.assert_allclose(together.params[lane], alone.params, atol=1e-4)


@pytest.mark.float64
def test_boxes_by_leaf_and_scales_far_apart():

    def loss(p):
        return 10 * (p["a"] * 1e4 - 3) ** 2 + (p["b"] - 2 * p["a"] * 1e4) ** 2 + p["b"]

    result = gdjax.minimize(loss, {"a": 0.0, "b": 0.0}, penalty=by_leaf({"a": Box(upper=2e-4), "b": None}))
    assert result.status == Status.CONVERGED
    assert result.method == "LBFGS with bounds"
    np.testing.assert_allclose([result.params["a"], result.params["b"]], [2e-4, 3.5], rtol=1e-6)
