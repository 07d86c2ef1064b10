"""A wrong gradient is found and named; a right one passes, in every dtype; what is peculiar is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import quadratic, tree_loss

import gdjax

X = np.linspace(0, 1, 20)
Y = 2 * X + 1


def mse(p, x, y):
    return jnp.mean((p["slope"] * x + p["intercept"] - y) ** 2)


def analytic(p, x, y):
    residual = p["slope"] * x + p["intercept"] - y
    return {"slope": 2 * jnp.mean(residual * x), "intercept": 2 * jnp.mean(residual)}


PARAMS = {"slope": 0.3, "intercept": 0.1}


def test_a_right_gradient_passes_with_order_two():
    report = gdjax.check_gradient(mse, PARAMS, X, Y, grad=analytic)
    assert report.ok
    assert report.dtype == "float64"
    assert all(abs(line.order - 2) < 0.05 for line in report.directions)
    assert all(leaf.verdict == "ok" and leaf.analytic_error < 1e-12 for leaf in report.leaves)


def test_a_wrong_leaf_is_named_with_its_worst_entry():
    grad = lambda w: jax.grad(lambda p: quadratic(p["w"]))(w)["w"].at[1, 2].add(0.5)
    report = gdjax.check_gradient(
        lambda p: quadratic(p["w"]), {"w": np.zeros((2, 3), np.float32)}, grad=lambda p: {"w": grad(p)}
    )
    assert not report.ok
    leaf = report.leaves[0]
    assert (leaf.path, leaf.worst_index, leaf.verdict) == ("params['w']", (1, 2), "analytic gradient wrong")
    assert leaf.worst_pair[0] - leaf.worst_pair[1] == pytest.approx(0.5)
    assert "params['w'][1, 2]" in str(report)


@pytest.mark.parametrize("error", [1e-3, 1e-1, 1.0])
def test_errors_of_the_gradient_are_measured_and_spoil_the_order(error):
    @jax.custom_jvp
    def square(x):
        return x**2

    square.defjvp(lambda x, t: (square(x[0]), 2 * x[0] * t[0] * (1 + error)))
    report = gdjax.check_gradient(lambda p: jnp.sum(square(p)), np.array([1.0, 2.0]))
    assert not report.ok
    assert report.leaves[0].verdict == "jax.grad wrong"
    assert report.leaves[0].line.error == pytest.approx(error / (1 + error), rel=0.01)
    assert error < 1 or all(abs(line.order - 1) < 0.1 for line in report.directions)


def test_a_sign_error_is_found():
    report = gdjax.check_gradient(mse, PARAMS, X, Y, grad=lambda *a: jax.tree.map(jnp.negative, analytic(*a)))
    assert [leaf.verdict for leaf in report.leaves] == ["analytic gradient wrong"] * 2
    with pytest.raises(ValueError, match="fails its check"):
        report.raise_if_wrong()


@pytest.mark.float64
def test_a_silent_zero_is_found_and_an_unused_leaf_is_noted():
    report = gdjax.check_gradient(lambda p: p["a"] * jax.lax.stop_gradient(p["a"]), {"a": 2.0, "unused": 1.0})
    assert [leaf.verdict for leaf in report.leaves] == ["jax.grad wrong", "zero gradient"]
    assert any("params['unused'] is exactly zero" in note for note in report.notes)
    rounded = gdjax.check_gradient(lambda p: jnp.sum((p - jax.lax.stop_gradient(p)) * 1.0 + 0 * p), np.ones(2))
    assert not rounded.ok


@pytest.mark.float64
def test_a_kink_is_named_with_both_slopes():
    report = gdjax.check_gradient(lambda p: jnp.abs(p) + 2 * p, 0.0)
    assert report.ok  # jax.grad's slope lies between the two
    assert report.leaves[0].verdict == "kink"
    assert sorted(np.abs(report.leaves[0].line.kink)) == pytest.approx([1, 3])
    assert "has a kink at params" in str(report)


def test_a_smooth_loss_of_large_curvature_has_no_kink():
    report = gdjax.check_gradient(lambda p: 1e4 * jnp.sum(p**2) + p[0], np.array([0.0, 1e-3]))
    assert report.ok
    assert report.leaves[0].line.kink is None


@pytest.mark.float64
def test_values_and_gradients_that_are_not_finite_are_problems():
    report = gdjax.check_gradient(lambda p: jnp.sum(jnp.sqrt(p)), np.array([0.0, 1.0]))
    assert report.leaves[0].verdict == "not finite"
    assert not gdjax.check_gradient(lambda p: jnp.log(p), -1.0).ok
    masked = gdjax.check_gradient(lambda p: jnp.where(p > 0, jnp.sqrt(p), 0.0), 0.0)  # where's hidden NaN
    assert not masked.ok


@pytest.mark.float64
def test_a_right_gradient_passes_at_its_optimum_and_at_any_scale():
    assert gdjax.check_gradient(lambda x: jnp.sum((x - 1) ** 2), np.ones(3)).ok
    assert gdjax.check_gradient(lambda x: jnp.sum((x - 1) ** 4), np.ones(3)).ok
    for scale in (1e-8, 1e-4, 1.0, 1e4, 1e8):
        assert gdjax.check_gradient(lambda x, s: jnp.sum(jnp.sin(x / s)), scale * np.array([0.3, 2.0]), scale).ok
        assert gdjax.check_gradient(lambda x: jnp.sum(jnp.log(x)), scale * np.array([0.3, 2.0])).ok
    leaves = {"a": -5e8, "b": np.array([0.3, 0.2, 1.0])}
    assert gdjax.check_gradient(lambda p: (p["a"] / 1e8 - 1) ** 2 + jnp.sum(jnp.sin(p["b"])), leaves).ok


@pytest.mark.float64
def test_a_small_entry_beside_a_large_one_is_compared_with_itself():
    scale = np.array([1e6, 1.0])
    grad = lambda x: 2 * scale * (x - 1) * np.array([1.0, -1.0])
    report = gdjax.check_gradient(lambda x: jnp.sum(scale * (x - 1) ** 2), np.zeros(2), grad=grad)
    assert not report.ok
    assert report.leaves[0].worst_index == (1,)


def test_leaves_without_entries_are_passed_over():
    assert gdjax.check_gradient(lambda p: p[0].sum() + (p[1] - 1) ** 2, [np.zeros(0), 3.0]).ok


def test_a_linear_loss_is_exact():
    report = gdjax.check_gradient(lambda p: 3 * p, 2.0)
    assert report.ok
    assert report.directions[0].exact
    assert "exact" in str(report)


@pytest.mark.float64
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_half_and_single_precision_are_checked_in_double(dtype):
    report = gdjax.check_gradient(lambda p: jnp.sum(jnp.exp(p) + p**3), jnp.asarray([0.5, 1.0, 2.0], dtype))
    assert report.ok
    assert report.dtype == "float64"


def test_a_loss_that_insists_on_float32_is_checked_in_float32():
    def loss(p):
        if p.dtype != jnp.float32:
            raise TypeError("float32 only")
        return jnp.sum(jnp.exp(p))

    good = gdjax.check_gradient(loss, np.array([0.5, 1.0], np.float32))
    assert (good.ok, good.dtype) == (True, "float32")
    bad = gdjax.check_gradient(loss, np.array([0.5, 1.0], np.float32), grad=lambda p: jnp.exp(p) * 1.05)
    assert not bad.ok


def test_complex_and_nested_parameters():
    params = {"z": np.array([1j, 2.0]), "x": (np.ones(2), 3.0)}
    report = gdjax.check_gradient(tree_loss, params, grad=jax.grad(tree_loss))
    assert report.ok
    wrong = gdjax.check_gradient(tree_loss, params, grad=lambda p: jax.tree.map(jnp.conj, jax.grad(tree_loss)(p)))
    assert not wrong.ok


def test_aux_and_data_by_name():
    loss = lambda p, *, x: (jnp.sum((p - x) ** 2), x)
    assert gdjax.check_gradient(loss, np.zeros(2), kwargs=dict(x=np.ones(2)), has_aux=True).ok


def test_errors_of_the_user_are_raised():
    with pytest.raises(TypeError, match="None; is its return"):
        gdjax.check_gradient(lambda p: None, 1.0)
    with pytest.raises(TypeError, match="params has dtype int"):
        gdjax.check_gradient(lambda p: p, 1)


@pytest.mark.float64
def test_an_analytic_gradient_must_agree_to_rounding():
    slightly_off = lambda *a: jax.tree.map(lambda g: g * (1 + 1e-9), analytic(*a))
    with jax.enable_x64(True):
        report = gdjax.check_gradient(mse, PARAMS, X, Y, grad=slightly_off)
    assert not report.ok
    assert {leaf.verdict for leaf in report.leaves} == {"analytic gradient wrong"}


@pytest.mark.float64
def test_a_right_gradient_passes_where_it_vanishes():
    fit = np.polyfit(X, np.sin(X), 1)
    report = gdjax.check_gradient(mse, {"slope": fit[0], "intercept": fit[1]}, X, np.sin(X), grad=analytic)
    assert report.ok, report


@pytest.mark.float64
def test_the_check_stays_where_a_constraint_allows():
    seen = []

    def loss(x):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), x)
        return jnp.sum(jnp.sqrt(x) + (x - 2) ** 2)

    box = gdjax.penalties.Box(0.25, 1.0)
    result = gdjax.minimize(loss, jnp.array([-1.0, 0.5]), penalty=box, check_grad=True)
    jax.effects_barrier()
    assert result.converged
    assert len(seen) > 100
    assert np.min(seen) >= 0.25
    assert np.max(seen) <= 1
    wrong = dict(grad=lambda x: 2 * (x - 2), penalty=box, check_grad=True)
    with pytest.raises(ValueError, match="analytic gradient"):
        gdjax.minimize(lambda x: jnp.sum(jnp.sqrt(x) + (x - 2) ** 2), jnp.array([-1.0, 0.5]), **wrong)
