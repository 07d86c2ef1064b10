"""Every status of a descent is reachable, honest, and says its numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import SEARCH, quadratic, rosenbrock

import gdjax
from gdjax import GradientDescent, Optax, Status, Stop

FIXED = GradientDescent(0.1)
START = np.array([5.0, -3.0, 0.5])


def flat_bottom(p):
    """A loss whose value is large beside what can be gained."""
    return quadratic(p) + 1e5


def test_converged_means_that_the_recomputed_gradient_is_below_the_tolerance(x64):
    result = gdjax.minimize(quadratic, START, method=FIXED)
    assert result.status == Status.CONVERGED
    start_norm = np.max(np.abs(jax.grad(quadratic)(jnp.asarray(START))))
    norm = np.max(np.abs(jax.grad(quadratic)(result.params)))
    assert norm <= (1e-6 if x64 else 3.46e-4) * min(1 + result.value, start_norm)
    assert f"{float(result.grad_norm):.3g} is at most" in str(result)


# In float32 a rule that does not search cannot bring a gradient of 1e6 below 3.5e-4, which the test asks for once the
# value is below 1: the parameters stop moving one rounding away from the minimum.
BY_RULE = {"fixed": FIXED, "search": SEARCH, "adam": Optax(optax.adam, learning_rate=0.1)}
TOO_LARGE_A_UNIT = {("fixed", 1e6, False): Status.STEP_TOO_SMALL, ("adam", 1e6, False): Status.STEP_TOO_SMALL}


@pytest.mark.parametrize("rule", BY_RULE)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_convergence_does_not_depend_on_the_scale_of_the_loss(rule, scale, x64):
    method = GradientDescent(0.1 / scale) if rule == "fixed" else BY_RULE[rule]
    result = gdjax.minimize(lambda p, scale: scale * quadratic(p), START, scale, method=method)
    assert result.status == TOO_LARGE_A_UNIT.get((rule, scale, x64), Status.CONVERGED)
    np.testing.assert_allclose(result.params, 1, atol=2e-3 if scale <= 1 else 1e-6)


def test_start_at_the_optimum():
    result = gdjax.minimize(quadratic, np.ones(3), method=FIXED)
    assert (result.status, int(result.num_evals)) == (Status.CONVERGED, 1)
    assert "exactly zero at the start" in str(result)


@pytest.mark.float64
@pytest.mark.parametrize("method", [FIXED, SEARCH])
def test_a_warm_start_ends_soon_and_no_worse(method):
    first = gdjax.minimize(flat_bottom, START, method=method)
    again = gdjax.minimize(flat_bottom, first.params, method=method)
    assert first.status == again.status == Status.CONVERGED
    assert float(again.value) <= float(first.value)
    assert int(again.num_evals) <= 150


@pytest.mark.float64
@pytest.mark.parametrize("rate", [None, 0.1, optax.exponential_decay(0.1, 20, 0.5)])
def test_a_kink_is_no_precision_floor(rate):
    """Steps that shrink across a kink look like curvature without bound."""
    loss = lambda w: jnp.abs(w[0]) + 10 * jnp.abs(w[1])
    method = SEARCH if rate is None else GradientDescent(rate)
    for start in ([1.0, 0.3], [100.0, 0.3]):
        result = gdjax.minimize(loss, jnp.array(start), method=method, max_steps=3000)
        assert result.converged is False
        assert result.status != Status.PRECISION_FLOOR


@pytest.mark.float64
def test_precision_floor_is_a_qualified_success_with_its_numbers():
    loss = lambda p: quadratic(3 * p) + 1e5  # at 1/3, which no float is
    result = gdjax.minimize(loss, START, method=GradientDescent(0.01), tol=0.0)
    assert result.status == Status.PRECISION_FLOOR
    assert result.converged
    eps = np.finfo(result.value.dtype).eps
    assert float(result.value) - 1e5 <= 20 * eps * 1e5
    assert "no further progress can be measured" in str(result)
    assert "The value is 100000" in str(result) or "rounding error of a value of 100000" in str(result)


@pytest.mark.float64
@pytest.mark.parametrize("rate", [0.205, 0.3, 2.0, 1e10])
@pytest.mark.parametrize("momentum", [0, 0.5])
def test_a_learning_rate_too_large_diverges_quickly_and_names_a_stable_one(rate, momentum):
    rate = rate * (1 + 2 * momentum)
    result = gdjax.minimize(quadratic, START, method=GradientDescent(rate, momentum=momentum))
    assert result.status == Status.DIVERGED
    assert not result.converged
    assert int(result.num_evals) <= 200
    assert float(result.value) <= float(quadratic(jnp.asarray(START)))
    assert "learning rate is too large" in str(result)
    advice = float(result.progress.stable_rate)
    assert 0.05 <= advice <= 0.19 or rate > 1e9  # the limit is 0.2; in float32 the largest overflows at once
    assert advice <= 0.5 * rate
    if rate < 1e9:
        assert gdjax.minimize(quadratic, START, method=GradientDescent(advice)).converged


def test_a_learning_rate_too_small_ends_at_the_limit_still_falling():
    result = gdjax.minimize(quadratic, START, method=GradientDescent(1e-4), max_steps=50)
    assert result.status == Status.MAX_STEPS
    assert "limit of 50 steps" in str(result)
    assert "still falling" in str(result)


def test_a_limit_reached_in_idleness_says_so():
    result = gdjax.minimize(lambda p: jnp.sum(jnp.abs(p)), START, method=FIXED, max_steps=200)
    assert result.status == Status.MAX_STEPS
    assert "made no measurable progress" in str(result)


def test_a_step_too_small_to_change_the_parameters_is_no_convergence(x64):
    result = gdjax.minimize(lambda p: (p - 1) ** 2, 5.0, method=GradientDescent(1e-17 if x64 else 1e-9))
    assert result.status == Status.STEP_TOO_SMALL
    assert not result.converged
    assert "raise the learning rate" in str(result)


def test_max_evals_counts_rejected_trials():
    result = gdjax.minimize(rosenbrock, np.zeros(4), method=SEARCH, max_evals=17)
    assert (result.status, int(result.num_evals)) == (Status.MAX_EVALS, 17)
    assert int(result.num_steps) < 16


@pytest.mark.float64
def test_target_is_reached_from_above():
    result = gdjax.minimize(quadratic, START, method=FIXED, stop=Stop(target=0.1))
    assert result.status == Status.TARGET_REACHED
    assert result.converged
    assert float(result.value) <= 0.1
    assert "target 0.1" in str(result)


@pytest.mark.float64
def test_decrease_and_step_tests_are_not_called_convergence():
    slow = GradientDescent(1e-4)
    result = gdjax.minimize(quadratic, START, method=slow, stop=Stop(decrease=1e-3))
    assert (result.status, result.converged) == (Status.SMALL_DECREASE, False)
    result = gdjax.minimize(quadratic, START, method=slow, stop=Stop(step=1e-3))
    assert (result.status, result.converged) == (Status.SMALL_STEP, False)
    assert "no sign of a minimum" in str(result)


@pytest.mark.float64
def test_stalled_on_a_kink():
    result = gdjax.minimize(lambda p: jnp.abs(p), 1.0, method=GradientDescent(0.3), stop=Stop(patience=100))
    assert (result.status, result.converged) == (Status.STALLED, False)
    np.testing.assert_allclose(result.value, 0.1, rtol=1e-4)
    assert "100 evaluations" in str(result)
    assert "times the gradient" in str(result)
    unknown = dataclasses.replace(result, progress=result.progress._replace(stable_rate=jnp.zeros(())))
    assert "times the gradient" not in str(unknown)


@pytest.mark.sample("method0", "None")
@pytest.mark.float64
@pytest.mark.parametrize("method", [FIXED, SEARCH, Optax(optax.adam, learning_rate=0.1), None])
def test_a_nan_start_costs_one_evaluation_and_names_the_leaf(method):
    params = {"a": np.array([1.0, np.nan, 2.0]), "b": np.ones(2)}
    result = gdjax.minimize(lambda p: quadratic(p["a"]) + quadratic(p["b"]), params, method=method)
    assert result.status == Status.NONFINITE_START
    assert int(result.num_steps) == 0
    assert method is None or int(result.num_evals) == 1
    assert "params['a'] has 1 of 3" in str(result)
    assert "params['b']" not in str(result)


@pytest.mark.sample("method0", "method2", "None")
@pytest.mark.parametrize("method", [FIXED, SEARCH, Optax(optax.adam, learning_rate=0.1), None])
def test_an_infinite_gradient_at_the_start_is_named(method):
    result = gdjax.minimize(lambda p: jnp.sum(jnp.sqrt(p)), np.array([0.0, 1.0]), method=method)
    assert float(result.value) == 1
    assert result.status == Status.NONFINITE_START
    assert "grad has 1 of 2" in str(result)


def log_squared(p):
    """Defined for positive p, minimum 0 at 1."""
    return jnp.sum(jnp.log(p) ** 2)


def test_a_step_out_of_the_domain_keeps_the_last_finite_point():
    result = gdjax.minimize(log_squared, np.array([1.5, 3.0]), method=GradientDescent(20.0))
    assert result.status == Status.NONFINITE
    np.testing.assert_allclose(result.params, [1.5, 3.0])
    assert np.isfinite(result.value)
    assert "left the domain" in str(result)


@pytest.mark.float64
def test_a_search_comes_back_from_outside_the_domain():
    search = GradientDescent(gdjax.Backtracking(initial=20.0))
    result = gdjax.minimize(log_squared, np.array([1.5, 3.0]), method=search)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-3)


@pytest.mark.sample("method0", "method2")
@pytest.mark.parametrize("method", [gdjax.LBFGS(), gdjax.BFGS(), GradientDescent(gdjax.BarzilaiBorwein())])
def test_a_gradient_that_vanishes_at_infinity_is_no_minimum(method, x64):
    result = gdjax.minimize(lambda p: -jnp.log(1 + jnp.sum(p**2)), jnp.full(2, 0.3), method=method)
    assert result.status == Status.UNBOUNDED, result


@pytest.mark.float64
def test_unbounded_below():
    result = gdjax.minimize(lambda p: jnp.sum(p), np.zeros(3), method=SEARCH)
    assert (result.status, result.converged) == (Status.UNBOUNDED, False)
    assert "has no minimum along this path" in str(result)
    result = gdjax.maximize(lambda p: jnp.sum(p), np.zeros(3), method=SEARCH)
    assert "has no maximum along this path" in str(result)
    pole = gdjax.minimize(lambda p: -1 / p**2, 1.0, method=GradientDescent(0.125))  # 1 -> 0.75 -> ... -> 0
    assert not pole.converged


@pytest.mark.float64
def test_a_linear_loss_at_fixed_rate_ends_at_the_limit():
    result = gdjax.minimize(lambda p: jnp.sum(p), np.zeros(3), method=FIXED, max_steps=100)
    assert result.status == Status.MAX_STEPS


@pytest.mark.sample("fixed-DIVERGED-words0", "adam-MAX_STEPS-words2")
@pytest.mark.float64
@pytest.mark.parametrize(
    ("rule", "status", "words"),
    [
        ("fixed", Status.DIVERGED, ("lead uphill", "check_gradient")),
        ("search", Status.LINE_SEARCH_FAILED, ("check_gradient",)),
        ("adam", Status.MAX_STEPS, ("limit of 10000 steps",)),
    ],
)
def test_a_gradient_of_the_wrong_sign_never_converges(rule, status, words):
    result = gdjax.minimize(quadratic, START, method=BY_RULE[rule], grad=lambda p: -jax.grad(quadratic)(p))
    assert result.status == status
    assert float(result.value) <= float(quadratic(jnp.asarray(START))) * (1 + 1e-5)
    assert all(each in str(result) for each in words)


@pytest.mark.float64
def test_a_flat_start_is_stationary_and_says_what_that_may_mean():
    result = gdjax.minimize(lambda p: jnp.sum(jnp.maximum(p, 0)), -np.ones(3), method=FIXED)
    assert result.status == Status.CONVERGED
    assert "flat region" in str(result)


@pytest.mark.float64
def test_the_best_point_is_returned_when_the_last_is_worse():
    loss = lambda p: jnp.sum(p**2)
    method = GradientDescent(lambda k: jnp.where(k < 2, 0.4, 1.001))  # two good steps, then slow divergence
    result = gdjax.minimize(loss, np.ones(2), method=method, max_steps=20, history=True)
    assert result.status == Status.MAX_STEPS
    assert float(result.value) <= np.min(result.history.trim().value) * (1 + 1e-6)
    np.testing.assert_allclose(loss(result.params), result.value, rtol=1e-6)


def test_a_stationary_point_above_a_value_already_seen_is_not_an_answer():
    """Two valleys: the step out of the deep one lands near the bottom of the shallow one, and stays there."""
    loss = lambda p: jnp.where(p < 2, 0.5 * (p - 1) ** 2, 1 + 5 * (p - 4) ** 2)
    method = GradientDescent(lambda k: jnp.where(k == 0, 6.0, 0.05))
    result = gdjax.minimize(loss, 0.5, method=method)
    assert result.status == Status.STALLED
    np.testing.assert_allclose([result.params, result.value], [0.5, 0.125])
    assert "ended above the best point seen" in str(result)


def test_sixty_four_starts_with_different_fates_each_have_their_own_status(x64):
    def loss(p, fate):
        cases = [0.5 * jnp.sum((p - 1) ** 2), 50 * jnp.sum(p**2), jnp.sum(jnp.log(p)), 0 * jnp.sum(p) + 2]
        return jnp.select([fate == i for i in range(4)], cases)

    fates = jnp.arange(64) % 4
    starts = jnp.where((fates == 2)[:, None], -2.0, 3.0) + jnp.arange(64.0)[:, None] / 100 * jnp.ones(2)
    solve = lambda p, fate: gdjax.minimize(loss, p, fate, method=FIXED, history=4)
    result = jax.jit(jax.vmap(solve))(starts, fates)
    want = jnp.array([Status.CONVERGED, Status.DIVERGED, Status.NONFINITE_START, Status.CONVERGED])
    np.testing.assert_array_equal(result.code, want[fates])
    np.testing.assert_array_equal(result.status == Status.DIVERGED, fates == 1)
    np.testing.assert_array_equal(result.num_evals[fates >= 2], 1)
    np.testing.assert_allclose(result.params[fates == 0], 1, atol=2e-3)
    assert result[1].status is Status.DIVERGED
    one = solve(starts[0], fates[0])
    assert int(one.num_evals) == int(result.num_evals[0])
    assert str(result).startswith("64 problems: 32 CONVERGED, 16 DIVERGED, 16 NONFINITE_START. Evaluations: ")


@pytest.mark.float64
def test_tolerances_and_limits_may_differ_between_lanes():
    tols = jnp.array([1e-1, 1e-2, 1e-3])
    result = jax.vmap(lambda tol: gdjax.minimize(quadratic, START, method=FIXED, tol=tol))(tols)
    assert result.converged.all()
    assert np.all(np.diff(result.num_steps) > 0)


@pytest.mark.float64
def test_a_cycle_is_not_called_a_step_too_small():
    result = gdjax.minimize(lambda x: (x - 1) ** 2, 0.0, method=GradientDescent(1.0))  # 0, 2, 0, 2, ...
    assert result.status == Status.STALLED
    assert "overshoot" in str(result)


def test_an_optimiser_that_leaves_a_good_start_for_a_while_is_not_called_diverged():
    loss = lambda x: jnp.sum((x - 1) ** 2 * jnp.array([1.0, 100.0], x.dtype))
    start = np.array([1 + 1e-6, 1 - 1e-6])
    lion = optax.lion(optax.cosine_decay_schedule(0.01, 3000))
    for optimiser, status in ((lion, Status.PRECISION_FLOOR), (optax.adam(0.1), Status.CONVERGED)):
        assert gdjax.minimize(loss, start, method=optimiser, max_steps=3000).status == status


@pytest.mark.float64
def test_every_status_has_a_sentence():
    from gdjax.descent.sentences import SENTENCES
    from gdjax.training import outcome

    constrained = {Status.INFEASIBLE, Status.DEGENERATE}  # see test_constraints
    assert set(SENTENCES) | constrained | set(outcome.WORDS) == set(Status)


@pytest.mark.sample("2147483648")
@pytest.mark.parametrize("limit", [2**31, 2**40, 3e9, np.inf, np.int64(2**40), jnp.float32(3e9)], ids=str)
def test_limits_beyond_32_bits_are_none(limit):
    result = gdjax.minimize(quadratic, jnp.zeros(3), max_steps=limit, stop=gdjax.Stop(max_evals=limit))
    assert result.status == Status.CONVERGED
    assert result.stop.max_steps == result.stop.max_evals == 2**31 - 1


@pytest.mark.sample("None")
@pytest.mark.parametrize("penalty", [None, gdjax.penalties.NonNegative()])
def test_a_nan_among_thousands_of_entries_of_the_gradient_is_no_convergence(penalty):
    def entropy(x):
        return jnp.sum((x - 1) ** 2) + jnp.sum(jnp.where(x > 0, x * jnp.log(x), 0.0))

    result = gdjax.minimize(entropy, jnp.full(4096, 3.0).at[7].set(0.0), penalty=penalty)
    assert (result.status, result.converged) == (Status.NONFINITE_START, False)
