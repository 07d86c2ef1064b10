"""What is called converged is: the gradient test in all units, and the promise of the method's model beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_diabetes, load_wine

import gdjax
from gdjax import Status, Stop


def test_an_overshoot_does_not_loosen_the_test():
    with jax.enable_x64(True):
        center = jnp.array([1.0, 2.0])
        bowl = lambda x: 1e-9 * jnp.sum((x - center) ** 6 + 0.5 * (x - center) ** 2)
        result = gdjax.minimize(bowl, jnp.zeros(2), method=optax.adam(30.0), max_steps=2000)
        start = jnp.abs(jax.grad(bowl)(jnp.zeros(2))).max()
        assert not result.converged or result.grad_norm <= 1e-6 * start
        assert result.progress.largest_norm <= 1.01 * start  # although the overshoot saw a million times that


@pytest.mark.parametrize("method", [gdjax.LBFGS(), gdjax.TrustRegion()], ids=["LBFGS", "trust region"])
def test_a_large_value_does_not_loosen_the_test(method):
    def zakharov(x):
        s = jnp.sum(0.5 * jnp.arange(1, 7, dtype=x.dtype) * x)
        return jnp.sum(x**2) + s**2 + s**4

    start = jnp.array([600.0, 700, 200, 100, 90, 1e4], jnp.float32)
    result = gdjax.minimize(zakharov, start, method=method)
    assert result.status == Status.CONVERGED
    assert result.value < 1e-4  # of 1e18; the gradient test alone held at 5.7e7


@pytest.mark.float64
def test_a_loss_in_small_units_is_no_nearer_to_its_minimum():
    with jax.enable_x64(True):
        rosenbrock = lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
        for size in (1e-9, 1e-3):
            result = gdjax.minimize(lambda p, s: s * rosenbrock(p), jnp.array([-1.2, 1.0]), size)
            assert result.status == Status.CONVERGED
            assert jnp.abs(result.params - 1).max() < 1e-4


def test_the_decrease_that_is_still_promised_is_small_beside_the_value():
    with jax.enable_x64(True):
        t = jnp.arange(24.0) / 20  # Lanczos's sum of exponentials: residuals of 1e-5 at the minimum
        y = 0.0951 * jnp.exp(-t) + 0.8607 * jnp.exp(-3 * t) + 1.5576 * jnp.exp(-5 * t)
        y = jnp.round(y, 4)

        def misfit(b):
            return 0.5 * jnp.sum(
                (b[0] * jnp.exp(-b[1] * t) + b[2] * jnp.exp(-b[3] * t) + b[4] * jnp.exp(-b[5] * t) - y) ** 2
            )

        result = gdjax.minimize(misfit, jnp.array([1.2, 0.3, 5.6, 5.5, 6.5, 7.6]))
        assert result.status == Status.CONVERGED
        assert result.progress.promise <= max(1e-6 * result.value, 1e-13)
        assert result.value < 1e-7


@pytest.mark.float64
def test_an_absolute_gradient_norm_can_be_asked_for():
    quadratic = lambda x: jnp.sum((x - 1) ** 2 * jnp.array([1.0, 10.0]))
    loose = gdjax.minimize(quadratic, jnp.zeros(2), stop=Stop(tol=0, gradient=0.5), method=gdjax.GradientDescent(0.02))
    tight = gdjax.minimize(quadratic, jnp.zeros(2), stop=Stop(tol=0, gradient=5e-3), method=gdjax.GradientDescent(0.02))
    assert loose.status == tight.status == Status.CONVERGED
    assert 5e-3 < loose.grad_norm <= 0.5
    assert tight.grad_norm <= 5e-3
    assert loose.num_evals < tight.num_evals
    assert "at most 0.5" in str(loose)
    with pytest.raises(ValueError, match="gradient must not be negative"):
        Stop(gradient=-1.0)


@pytest.mark.float64
def test_an_absolute_gradient_norm_can_be_asked_for_besides():
    quadratic = lambda x: jnp.sum((x - 1) ** 2 * jnp.array([1.0, 10.0]))
    descend = lambda scale, **stop: gdjax.minimize(
        lambda x: scale * quadratic(x),
        jnp.zeros(2),
        stop=Stop(tol=1e-3, **stop),
        method=gdjax.GradientDescent(0.02 / scale),
    )
    large, small = descend(1e3, gradient_at_most=1e-4), descend(1e-3, gradient_at_most=1e-4)
    assert large.status == small.status == Status.CONVERGED
    assert large.grad_norm <= 1e-4 < descend(1e3).grad_norm
    assert small.grad_norm <= 1e-3 * 2e-2
    assert "at most 0.0001" in str(large)
    with pytest.raises(ValueError, match="gradient_at_most must not be negative"):
        Stop(gradient_at_most=-1.0)


@pytest.mark.float64
def test_adam_that_leaves_a_good_start_has_not_diverged():
    with jax.enable_x64(True):
        quadratic = lambda x: jnp.sum((x - 1) ** 2 * jnp.array([1.0, 10.0])) + 1
        best = gdjax.minimize(quadratic, jnp.zeros(2)).params
        result = gdjax.minimize(quadratic, best + 1e-7, method=optax.adam(1e-2), max_steps=2000)
        assert result.status != Status.DIVERGED
        assert result.value <= quadratic(best + 1e-7)


@pytest.mark.float64
def test_the_sentence_says_where_the_loss_is_not_finite():
    result = gdjax.minimize(lambda x: (x - 2) ** 2 + 0 * jnp.log(1 - x), 0.0)
    assert result.status == Status.LINE_SEARCH_FAILED
    assert "the loss is not finite" in str(result)
    assert "Box(lower, upper)" in str(result)
    assert "check_gradient" not in str(result)


@pytest.mark.float64
def test_the_sentence_of_a_limit_before_the_first_step_says_so():
    result = gdjax.minimize(lambda x: (x - 2) ** 2, 0.0, max_evals=1)
    assert result.status == Status.MAX_EVALS
    assert "No step was taken" in str(result)


@pytest.mark.float64
@pytest.mark.parametrize(
    ("method", "status"),
    [(gdjax.AcceleratedGradient(), Status.MAX_STEPS), (gdjax.BFGS(), Status.LINE_SEARCH_FAILED)],
    ids=["accelerated", "BFGS"],
)
def test_a_kink_is_no_precision_floor(method, status):
    tent = lambda p: jnp.abs(p[0] - p[1]) + 0.1 * jnp.abs(p[0] + p[1] - 1)
    for start in (3.0, 5.0, -7.0):  # on the kink, far from the minimum
        result = gdjax.minimize(tent, jnp.array([start, start]), method=method, max_steps=2000)
        assert result.status == status, result


def standard_errors_off(result, features, target):
    """How far a regression's coefficients are from the least-squares answer, in standard errors."""
    design = np.column_stack([np.ones(len(target)), features])
    answer, rss, _, _ = np.linalg.lstsq(design, target)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rss[0] / (len(target) - design.shape[1]))
    found = np.concatenate([np.atleast_1d(result.params["b"]), result.params["w"]]).astype(float)
    return np.abs((found - answer) / errors).max()


def regression(features, target, **options):
    loss = lambda p, x, y: jnp.mean((p["b"] + x @ p["w"] - y) ** 2)
    start = {"b": np.zeros((), np.float32), "w": np.zeros(features.shape[1], np.float32)}
    return gdjax.minimize(loss, start, features.astype(np.float32), target.astype(np.float32), **options)


@pytest.mark.sample("diabetes")
@pytest.mark.parametrize("data", ["diabetes", "wine"])
def test_raw_columns_end_within_a_tenth_of_a_standard_error(data):
    """The norm of the gradient was small 5 and 3 standard errors away: it hangs on the units of each parameter."""
    if data == "diabetes":
        features, target = load_diabetes(return_X_y=True, scaled=False)
    else:
        features, target = load_wine().data[:, :12], load_wine().data[:, 12]
    for method in (gdjax.LBFGS(), gdjax.TrustRegion()):
        result = regression(features, target, method=method)
        assert result.converged, result
        assert standard_errors_off(result, features, target) < 0.1, method


def test_the_trust_region_knows_all_that_its_model_promises():
    """Year and intercept nearly cancel each other: the first direction of the inner solve sees no valley."""
    rng = np.random.default_rng(5)
    year, area = rng.integers(1990, 2024, 300).astype(float), rng.uniform(500, 4000, 300)
    price = 1e5 + 150 * area + 2000 * (year - 2000) + 2e4 * rng.normal(size=300)
    features = np.column_stack([year, area])
    result = regression(features, price, method=gdjax.TrustRegion())
    assert result.converged, result
    assert standard_errors_off(result, features, price) < 0.1


@pytest.mark.float64
def test_a_loss_that_falls_for_ever_is_not_converged_where_its_slope_is_small():
    result = gdjax.minimize(lambda p: -jnp.log(p), 1.0, max_evals=800)
    assert not result.converged, result
