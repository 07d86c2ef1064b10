"""Minimum, maximum, saddle, degenerate or none: the verdict is that of the dense Hessian, and saddles are left."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import quadratic, rosenbrock

import gdjax
from gdjax import GradientDescent, Kind, Status, classify_critical_point
from gdjax.insight.curvature import measure
from gdjax.problem.problem import Problem

MODES = [True]  # proofs to many digits

RATE = GradientDescent(0.05)
two_valleys = lambda p: (p[0] ** 2 - 1) ** 2 + p[1] ** 2


@pytest.mark.sample("bowl", "saddle", "quartic", "near quartic", "plain")
@pytest.mark.parametrize(
    ("loss", "point", "kind", "words"),
    [
        (lambda p: jnp.sum(p**2), [0.0, 0.0], Kind.MINIMUM, "a minimum: all curvatures are positive, between 2 "),
        (lambda p: -jnp.sum(p**2), [0.0, 0.0], Kind.MAXIMUM, "a maximum: all curvatures are negative, between -2 "),
        (lambda p: p[0] ** 2 - p[1] ** 2, [0.0, 0.0], Kind.SADDLE, "a saddle: curvatures lie between -2 "),
        (lambda p: jnp.sum(p**2), [1.0, 0.0], Kind.NOT_CRITICAL, "not critical: the gradient norm 2 is above"),
        (
            lambda p: p[0] ** 4 + p[1] ** 2,
            [0.0, 0.0],
            Kind.DEGENERATE,
            "rises to both sides: a minimum, of higher order",
        ),
        (lambda p: p[0] ** 4 + p[1] ** 2, [3e-3, 0.0], Kind.DEGENERATE, "a minimum, of higher order"),
        (lambda p: p[0] ** 3 + p[1] ** 2, [0.0, 0.0], Kind.DEGENERATE, "falls to one side only: a shoulder"),
        (lambda p: p[1] ** 2 - p[0] ** 4, [0.0, 0.0], Kind.DEGENERATE, "along it the loss falls to both sides"),
        (lambda p: (p[0] + p[1] - 1) ** 2, [0.5, 0.5], Kind.DEGENERATE, "does not change measurably: the point is one"),
        (lambda p: 0 * jnp.sum(p), [0.5, 0.5], Kind.DEGENERATE, "does not change measurably"),
    ],
    ids=["bowl", "hill", "saddle", "slope", "quartic", "near quartic", "shoulder", "dome", "valley", "plain"],
)
def test_kinds(loss, point, kind, words):
    found = classify_critical_point(loss, jnp.array(point))
    assert found.kind is kind
    assert words in str(found)
    assert (found.direction is not None) == (found.smallest < -found.smallest_error)
    assert found.exact


@pytest.mark.sweep
def test_eigenvalues_are_those_of_the_dense_hessian_within_their_errors(x64):
    rng, n = np.random.default_rng(0), 60
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    values = np.concatenate([[-0.3], rng.uniform(0.5, 3.0, n - 2), [40.0]])
    matrix = jnp.asarray(q * values @ q.T)
    loss = lambda p, a: 0.5 * p["u"] @ (a @ p["u"]) + jnp.sum(p["v"] ** 2)
    point = {"u": jnp.zeros(n), "v": jnp.zeros(3)}
    for products in (15, 25, 100):
        found = classify_critical_point(loss, point, matrix, products=products)
        assert abs(found.smallest + 0.3) <= found.smallest_error + 1e-12
        assert abs(found.largest - 40) <= found.largest_error + 1e-12
        assert found.exact == (products == 100)
        assert found.products == min(products, n + 3)
        assert found.kind is Kind.SADDLE
    v = found.direction["u"]
    assert float(v @ (matrix @ v)) == pytest.approx(-0.3, rel=1e-6 if x64 else 1e-3)
    assert float(jnp.sum(v**2) + jnp.sum(found.direction["v"] ** 2)) == pytest.approx(1, rel=1e-5)


def test_thousands_of_parameters():
    scale = lambda p: jnp.linspace(0.5, 1, p.size).astype(p.dtype).at[77].set(-0.01)
    found = classify_critical_point(lambda p: 0.5 * jnp.sum(scale(p) * p**2), jnp.zeros(5000))
    assert found.kind is Kind.SADDLE
    assert found.smallest == pytest.approx(-0.01, abs=1e-4)
    assert int(jnp.argmax(jnp.abs(found.direction))) == 77


def test_many_equal_eigenvalues_are_no_obstacle():
    found = classify_critical_point(lambda p: jnp.sum(p**2), jnp.zeros(50))
    assert found.kind is Kind.MINIMUM
    assert found.condition == pytest.approx(1, rel=1e-4)


def test_complex_and_mixed_parameters():
    loss = lambda p: jnp.sum(p["z"].real ** 2 + 3 * p["z"].imag ** 2) - (p["x"] ** 2).astype(jnp.float32)
    found = classify_critical_point(loss, {"z": jnp.zeros(2, jnp.complex64), "x": jnp.asarray(0.0, jnp.bfloat16)})
    assert found.kind is Kind.SADDLE
    assert (round(found.smallest, 2), round(found.largest, 2)) == (-2, 6)
    assert abs(float(found.direction["x"])) == 1


def test_a_result_brings_its_own_tolerance():
    result = gdjax.minimize(rosenbrock, np.zeros(4))
    assert result.status == Status.CONVERGED
    assert classify_critical_point(rosenbrock, result).kind is Kind.MINIMUM
    assert classify_critical_point(rosenbrock, result.params, tol=0.0).kind is Kind.NOT_CRITICAL


def test_an_infinite_hessian_is_an_error():
    with pytest.raises(ValueError, match="the Hessian is not finite at params"):
        classify_critical_point(lambda p: jnp.sum(jnp.sqrt(p)), jnp.zeros(2))


def test_the_seed_decides_nothing_but_rounding():
    problem = Problem(rosenbrock, jnp.full(30, 0.5), (), {}, None, False, False)
    first, second = (measure(problem, 30, seed) for seed in (0, 1))
    assert first.smallest.value == pytest.approx(second.smallest.value, abs=4 * first.smallest.error)


@pytest.mark.sample("fixed")
@pytest.mark.parametrize("method", [gdjax.LBFGS(3), RATE, optax.adam(0.05)], ids=["L-BFGS", "fixed", "adam"])
def test_saddles_are_left_with_a_certificate(method):
    start = np.array([0.0, 0.5])  # the slope leads straight to the saddle
    stays = gdjax.minimize(two_valleys, start, method=method)
    result = gdjax.minimize(two_valleys, start, method=method, escape_saddles=True, history=True)
    assert stays.status == result.status == Status.CONVERGED
    assert float(stays.value) == pytest.approx(1, abs=1e-3)
    assert float(result.value) == pytest.approx(0, abs=1e-3)
    assert result.certificate.kind is Kind.MINIMUM
    assert stays.certificate is None
    history = result.history.to_dict()
    assert len(history["step"]) == int(result.num_steps) + 1 > int(stays.num_steps) + 1
    assert history["num_evals"][-1] == int(result.num_evals)
    np.testing.assert_array_equal(history["value"][0], two_valleys(jnp.asarray(start)))


@pytest.mark.sweep
def test_escapes_when_maximising_and_from_degenerate_points():
    top = gdjax.maximize(lambda p: -two_valleys(p), np.zeros(2), method=RATE, escape_saddles=True)
    assert (top.status, top.certificate.kind) == (Status.CONVERGED, Kind.MAXIMUM)
    assert float(top.value) == pytest.approx(0, abs=1e-3)
    valley = lambda p: (p[0] + p[1] - 1) ** 2
    monkey = lambda p: p[0] ** 3 - 3 * p[0] * p[1] ** 2 + jnp.sum(p**4)
    left = gdjax.minimize(monkey, np.zeros(2), method=RATE, escape_saddles=True)
    assert (left.status, left.certificate.kind) == (Status.CONVERGED, Kind.MINIMUM)
    assert float(left.value) < -0.1
    flat = gdjax.minimize(valley, np.zeros(2), method=RATE, escape_saddles=True)
    assert (flat.status, flat.certificate.kind) == (Status.CONVERGED, Kind.DEGENERATE)


def test_limits_hold_over_escapes_and_unfinished_descents_have_no_certificate():
    result = gdjax.minimize(
        lambda p: (p[0] ** 2 - 2) ** 2 + p[1] ** 2,
        np.zeros(2),
        method=RATE,
        escape_saddles=True,
        max_steps=3,
        tol=1e-12,
    )
    assert (result.status, int(result.num_steps)) == (Status.MAX_STEPS, 3)
    assert result.certificate is None
    with pytest.raises(ValueError, match="cannot be used inside jit"):
        jax.jit(lambda p: gdjax.minimize(quadratic, p, escape_saddles=True).params)(jnp.zeros(2))


@pytest.mark.sweep
def test_explanations_name_what_stands_out(x64):
    x = jnp.linspace(0.0, 1000.0, 50)
    line = lambda w, x: jnp.mean((w["a"] + w["b"] * x - 3.0) ** 2)
    start = {"a": 0.0, "b": 0.0}
    bad = gdjax.minimize(line, start, x, method=GradientDescent(1e-5))
    text = str(bad.explain(line, x))
    assert bad.status == Status.DIVERGED
    assert "gradient descent is stable here for rates below 2.97e-06" in text
    assert "badly scaled: the curvature along params['b'] is 3e+05 times that along params['a']" in text
    saddle = gdjax.minimize(two_valleys, np.zeros(2), method=RATE)
    assert "this is not a minimum: start elsewhere, or pass escape_saddles=True" in str(saddle.explain(two_valleys))
    good = gdjax.minimize(quadratic, np.zeros(3), method=RATE)
    assert good.explain(quadratic).advice == ["nothing stands out"]
    valley = lambda p: (p[0] + p[1] - 1) ** 2
    flat = gdjax.minimize(valley, np.zeros(2), method=RATE)
    words = "one direction is flat" + ("" if x64 else " as far as float32 can tell")
    assert words in str(flat.explain(valley))
    ill = gdjax.minimize(quadratic, np.ones(3), kwargs=dict(curvature=1e5), method=RATE)  # starts at the minimum
    assert "ill-conditioned: gradient descent needs about 1e+05" in str(
        ill.explain(quadratic, kwargs=dict(curvature=1e5))
    )


@pytest.mark.sweep
def test_what_looks_at_the_hessian_alone_refuses_a_penalty():
    saddle = lambda p: jnp.sum((p**2 - 1) ** 2)
    result = gdjax.minimize(saddle, jnp.ones(2), penalty=gdjax.penalties.NonNegative())
    message = "looks at the Hessian of the loss.* made with a penalty"
    for look in (
        lambda: gdjax.classify_critical_point(saddle, result),
        lambda: gdjax.learning_rate_range(saddle, result),
        lambda: result.explain(saddle),
    ):
        with pytest.raises(ValueError, match=message):
            look()
    with pytest.raises(ValueError, match="escape_saddles looks at the Hessian of the loss"):
        gdjax.minimize(saddle, jnp.zeros(2), penalty=gdjax.penalties.NonNegative(), escape_saddles=True)
    smooth = gdjax.minimize(saddle, jnp.ones(2))
    assert gdjax.learning_rate_range(saddle, smooth, rates=[0.01], max_steps=5).rates.size == 1


def test_scales_are_explained_by_entry():
    uneven = lambda p: 0.5 * (7e4 * p[0] ** 2 + p[1] ** 2 + 1e9 * (p[2] - 1) ** 2)
    found = gdjax.minimize(uneven, jnp.zeros(3), method=gdjax.TrustRegion()).explain(uneven)
    assert found.leaves["params[2]"][1] == pytest.approx(1e9)
    assert found.leaves["params[0]"][1] == pytest.approx(7e4)
    assert "the curvature along params[2] is 1e+09 times that along params[1]" in str(found)
