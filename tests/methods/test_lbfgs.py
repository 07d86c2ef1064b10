"""L-BFGS: the compact form is the two-loop recursion; every way out is honest."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import count_primitive, marked, quadratic, rosenbrock, tree_loss

import gdjax
from gdjax import LBFGS, Backtracking, Status
from gdjax.methods.lbfgs import descend, remember

FLAT = LBFGS(memory=5)


def two_loop(pairs, gamma, g):
    """Nocedal & Wright, algorithm 7.4."""
    q, alphas = np.array(g, float), []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q = q - alphas[-1] * y
    r = gamma * q
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + s * (alpha - y @ r / (s @ y))
    return -r


def test_compact_form_is_the_two_loop_recursion_through_all_turns_of_the_ring(x64):
    m, n, rng = 4, 7, np.random.default_rng(0)
    dtype = jnp.float64 if x64 else jnp.float32
    memory = LBFGS(m).empty(SimpleNamespace(start=jnp.zeros(n, dtype), dtype=dtype))
    pairs, hessian, g = [], np.diag(np.arange(1.0, n + 1)), rng.standard_normal(n)
    for k in range(11):
        s = rng.standard_normal(n)
        y = -hessian @ s if k == 5 else hessian @ s + 0.1 * rng.standard_normal(n)  # the sixth is refused
        g = g + y
        secant = SimpleNamespace(ss=dtype(s @ s), sy=dtype(s @ y), yy=dtype(y @ y))
        memory = remember(memory, *(jnp.asarray(v, dtype) for v in (s, y, g)), secant, jnp.asarray(s @ y > 0))
        pairs = [*pairs, (s, y)][-m:] if s @ y > 0 else pairs[-m + 1 :]  # and has cost the oldest its place
        gamma = pairs[-1][0] @ pairs[-1][1] / (pairs[-1][1] @ pairs[-1][1])
        want = two_loop(pairs, gamma, g)
        np.testing.assert_allclose(descend(memory, jnp.asarray(g, dtype)), want, rtol=1e-9 if x64 else 2e-3)
    nothing = SimpleNamespace(ss=dtype(0), sy=dtype(0), yy=dtype(0))
    emptied = remember(
        LBFGS(m).forget(memory), *(jnp.asarray(v, dtype) for v in (0 * s, 0 * y, g)), nothing, jnp.asarray(False)
    )
    assert not LBFGS(m).has_learnt(emptied)
    np.testing.assert_allclose(descend(emptied, jnp.asarray(g, dtype)), -gamma * g, rtol=1e-5)


@pytest.mark.float64
@pytest.mark.parametrize("start", [np.zeros(10), np.tile([-1.2, 1.0], 5)], ids=["zeros", "standard"])
def test_rosenbrock_in_few_evaluations(start):
    result = gdjax.minimize(rosenbrock, start, method=FLAT, history=True)
    assert result.status == Status.CONVERGED
    assert int(result.num_evals) <= 130
    np.testing.assert_allclose(result.params, 1, atol=5e-3)


def test_the_loss_occurs_once_in_the_program():
    jaxpr = jax.make_jaxpr(lambda p: gdjax.minimize(marked, p, method=FLAT))(jnp.zeros(5)).jaxpr
    assert (count_primitive(jaxpr, "sin"), count_primitive(jaxpr, "cos")) == (1, 1)


@pytest.mark.float64
def test_an_ill_conditioned_quadratic():
    loss = lambda p: quadratic(p, 1e4)
    result = gdjax.minimize(loss, np.zeros(20), method=LBFGS())
    assert result.status == Status.CONVERGED
    assert int(result.num_evals) <= 150


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("stretch", [1e-6, 1e6])
def test_scaling_of_loss_and_parameters(scale, stretch, x64):
    loss = lambda p: scale * rosenbrock(p / stretch)
    result = gdjax.minimize(loss, stretch * np.array([-1.2, 1.0]), method=FLAT)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params / stretch, 1, atol=1e-3)
    assert int(result.num_evals) <= 75


def test_nested_mixed_and_complex_parameters():
    params = {"x": jnp.zeros((2, 2)), "z": (jnp.array([0.5j], jnp.complex64), jnp.full(3, 3.0, jnp.bfloat16))}
    result = gdjax.minimize(tree_loss, params, method=FLAT)
    assert result.status == Status.CONVERGED


@pytest.mark.float64
def test_a_barrier_is_respected():
    result = gdjax.minimize(lambda p: jnp.sum(p) - jnp.sum(jnp.log(p)), np.array([1e-3, 5.0, 100.0]), method=FLAT)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-2)


def test_unbounded_loss():
    result = gdjax.minimize(lambda p: jnp.sum(p), np.zeros(3), method=FLAT)
    assert result.status == Status.UNBOUNDED
    assert int(result.num_evals) < 200


def test_saddle_and_flat_starts_are_stationary():
    saddle = gdjax.minimize(lambda p: p[0] ** 2 - p[1] ** 2, np.zeros(2), method=FLAT)
    assert (saddle.status, int(saddle.num_evals)) == (Status.CONVERGED, 1)
    assert "a saddle" in str(saddle)
    beside = gdjax.minimize(lambda p: p[0] ** 2 - p[1] ** 2, np.array([1.0, 1e-3]), method=FLAT)
    assert beside.status == Status.UNBOUNDED


@pytest.mark.float64
def test_a_gradient_of_the_wrong_sign_fails_quickly():
    result = gdjax.minimize(quadratic, np.zeros(3), method=FLAT, grad=lambda p: -jax.grad(quadratic)(p))
    assert result.status == Status.LINE_SEARCH_FAILED
    assert int(result.num_evals) < 100
    assert "check_gradient" in str(result)


@pytest.mark.float64
def test_a_kink_is_never_called_converged():
    loss = lambda w: jnp.abs(w[0]) + 10 * jnp.abs(w[1] + 0.1)
    result = gdjax.minimize(loss, np.array([1.0, 0.3]), method=FLAT)
    assert result.converged is False


@pytest.mark.float64
def test_float32_loss_with_a_large_constant_ends_at_the_floor_or_better():
    result = gdjax.minimize(
        lambda p: rosenbrock(p) + 1e4, np.tile([-1.2, 1.0], 2).astype(np.float32), method=FLAT, tol=1e-9
    )
    assert result.status in (Status.CONVERGED, Status.PRECISION_FLOOR)
    assert int(result.num_evals) < 200


def test_batch_gives_each_lane_what_it_gets_alone():
    starts = jnp.array([[-1.2, 1.0], [2.0, 2.0], [0.0, 0.0]])
    solve = lambda p: gdjax.minimize(rosenbrock, p, method=FLAT)
    together = jax.jit(jax.vmap(solve))(starts)
    assert together.converged.all()
    for lane in range(3):
        alone = solve(starts[lane])
        assert abs(int(alone.num_evals) - int(together.num_evals[lane])) <= 3
        np.testing.assert_allclose(alone.params, together.params[lane], atol=2e-3)


def test_takes_another_line_search():
    result = gdjax.minimize(rosenbrock, np.zeros(4), method=LBFGS(memory=5, line_search=Backtracking()))
    assert result.status == Status.CONVERGED


@pytest.mark.float64
def test_memory_must_be_a_positive_whole_number():
    with pytest.raises(ValueError, match="memory must be a positive whole number, got 0"):
        LBFGS(memory=0)
