"""Standard errors and covariances against statsmodels, closed forms and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm

import gdjax
from gdjax import GradientDescent, Status, uncertainty

MODES = [True]  # proofs to many digits

RNG = np.random.default_rng(0)
N = 60
X = np.column_stack([np.ones(N), RNG.standard_normal((N, 2))])
Y = X @ np.array([1.0, -2.0, 0.5]) + 0.3 * RNG.standard_normal(N)
LABELS = (RNG.random(N) < 1 / (1 + np.exp(-X @ np.array([0.2, 1.0, -0.5])))).astype(float)
COUNTS = RNG.poisson(np.exp(X @ np.array([0.5, 0.3, -0.2]))).astype(float)


def squares(w, factor):
    return factor * jnp.sum((jnp.asarray(X) @ w - jnp.asarray(Y)) ** 2)


def logistic(w, factor):
    logits = jnp.asarray(X) @ w
    return factor * jnp.sum(jnp.logaddexp(0, logits) - jnp.asarray(LABELS) * logits)


def poisson(w, factor):
    logs = jnp.asarray(X) @ w
    return factor * jnp.sum(jnp.exp(logs) - jnp.asarray(COUNTS) * logs)


@pytest.fixture
def rtol(x64):
    return 1e-6 if x64 else 5e-3


def fit(loss, factor):
    result = gdjax.minimize(loss, jnp.zeros(3), factor, tol=1e-8 if jax.config.jax_enable_x64 else 1e-4)
    assert result.converged
    return result


@pytest.mark.parametrize("factor", [1.0, 0.5, 1 / N], ids=["sum", "half", "mean"])
def test_least_squares_of_any_scale_agree_with_statsmodels(factor, rtol):
    truth = sm.OLS(Y, X).fit()
    found = uncertainty(squares, fit(squares, factor), factor, kind="least_squares", num_data=N)
    np.testing.assert_allclose(found.standard_errors, truth.bse, rtol=rtol)
    np.testing.assert_allclose(np.log(found.p_values), np.log(truth.pvalues), rtol=20 * rtol)
    np.testing.assert_allclose(np.stack(found.intervals(), axis=1), truth.conf_int(), rtol=20 * rtol)
    np.testing.assert_allclose(found.covariance, truth.cov_params(), rtol=20 * rtol, atol=1e-7)


@pytest.mark.sample("logit-sum", "logit-mean")
@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
@pytest.mark.parametrize(("loss", "model"), [(logistic, "logit"), (poisson, "poisson")], ids=["logit", "poisson"])
def test_likelihoods_agree_with_statsmodels(loss, model, mean, rtol):
    truth = (sm.Logit(LABELS, X) if model == "logit" else sm.Poisson(COUNTS, X)).fit(disp=False, tol=1e-12)
    factor = 1 / N if mean else 1.0
    found = uncertainty(loss, fit(loss, factor), factor, kind="likelihood", num_data=N if mean else None)
    np.testing.assert_allclose(found.standard_errors, truth.bse, rtol=rtol)
    np.testing.assert_allclose(found.covariance, truth.cov_params(), rtol=20 * rtol, atol=1e-6)
    np.testing.assert_allclose(np.log(found.p_values), np.log(truth.pvalues), rtol=100 * rtol, atol=20 * rtol)
    np.testing.assert_allclose(np.stack(found.intervals(), axis=1), truth.conf_int(), rtol=20 * rtol, atol=20 * rtol)
    assert "P>|z|" in str(found)
    ratio = found.derived(lambda w: w[1] / w[0])
    slopes = np.array([-truth.params[1] / truth.params[0] ** 2, 1 / truth.params[0], 0])
    want = np.sqrt(slopes @ truth.cov_params() @ slopes)
    np.testing.assert_allclose(ratio.standard_errors, want, rtol=20 * rtol)
    assert list(found.to_pandas(names=["one", "x", "z"]).index) == ["one", "x", "z"]


@pytest.mark.sweep
def test_entries_are_those_of_the_whole_and_maximising_makes_no_difference(rtol):
    log_likelihood = lambda w: -logistic(w, 1.0)
    result = gdjax.maximize(log_likelihood, jnp.zeros(3), tol=1e-6)
    whole = uncertainty(log_likelihood, result, kind="likelihood")
    part = uncertainty(log_likelihood, result, kind="likelihood", entries=[2, 0])
    np.testing.assert_allclose(
        part.covariance, whole.covariance[jnp.asarray([2, 0])][:, jnp.asarray([2, 0])], rtol=rtol
    )
    np.testing.assert_allclose(part.standard_errors, whole.standard_errors[jnp.asarray([2, 0])], rtol=rtol)
    assert part.names == ("params[2]", "params[0]")
    np.testing.assert_allclose(jnp.diagonal(whole.correlation), 1, rtol=rtol)


def test_entries_of_many_parameters_are_matrix_free(rtol):
    n = 3000
    scale = jnp.linspace(1.0, 4.0, n)
    loss = lambda w: 0.5 * jnp.sum(scale * w**2) + 0.5 * jnp.sum(w) ** 2
    result = gdjax.minimize(loss, jnp.zeros(n), method=GradientDescent(0.1))
    found = uncertainty(loss, result, kind="likelihood", entries=[7, 2999])
    inverse = 1 / np.asarray(scale, np.float64)  # Sherman and Morrison: D^-1 - D^-1 1 1' D^-1 / (1 + 1' D^-1 1)
    pick = inverse[[7, 2999]]
    truth = np.diag(pick) - np.outer(pick, pick) / (1 + inverse.sum())
    np.testing.assert_allclose(found.covariance, truth, rtol=rtol, atol=1e-6)
    with pytest.raises(ValueError, match="there are 3000 parameters: name the entries"):
        uncertainty(loss, result, kind="likelihood")


def test_trees_and_complex_parameters_are_named_and_shaped_like_params():
    loss = lambda p: 2 * p["z"].real ** 2 + 8 * p["z"].imag ** 2 + 0.5 * jnp.sum(p["w"] ** 2)
    start = {"w": jnp.ones((1, 2), jnp.float32), "z": jnp.asarray(1 + 1j, jnp.complex64)}
    result = gdjax.minimize(loss, start, method=GradientDescent(0.05), tol=1e-3)
    found = uncertainty(loss, result, kind="likelihood")
    np.testing.assert_allclose(found.standard_errors["w"], [[1, 1]], rtol=1e-5)
    np.testing.assert_allclose(found.standard_errors["z"], 0.5 + 0.25j, rtol=1e-5)
    assert found.names == ("w[0, 0]", "w[0, 1]", "z.real", "z.imag")
    lines = str(found).splitlines()
    assert (len(lines), lines[1].split()[3]) == (9, "1")


def test_batches_have_one_covariance_each():
    loss = lambda w, curvature: 0.5 * jnp.sum(curvature * w**2)
    curvatures = jnp.asarray([[1.0, 4.0], [2.0, -1.0]])

    def both(curvature):
        result = gdjax.minimize(loss, jnp.zeros(2), curvature, method=GradientDescent(0.1))
        return uncertainty(loss, result, curvature, kind="likelihood").standard_errors

    errors = jax.jit(jax.vmap(both))(curvatures)
    np.testing.assert_allclose(errors[0], [1, 0.5], rtol=1e-5)
    assert np.isnan(errors[1]).all()  # a saddle


def test_no_minimum_no_covariance():
    valley = lambda w: (w[0] + w[1] - 1) ** 2
    result = gdjax.minimize(valley, jnp.zeros(2), method=GradientDescent(0.1))
    assert result.status == Status.CONVERGED
    found = uncertainty(valley, result, kind="likelihood")
    assert np.isnan(found.covariance).all()
    assert "No covariance: the result is not a minimum" in str(found)
    stopped = gdjax.minimize(squares, jnp.zeros(3), 1.0, max_steps=1)
    assert np.isnan(uncertainty(squares, stopped, 1.0, kind="likelihood").covariance).all()


def test_wrong_arguments_are_named():
    loss = lambda w: jnp.sum(w**2)
    result = gdjax.minimize(loss, jnp.zeros(2), method=GradientDescent(0.1))
    with pytest.raises(TypeError, match=r"result must be what gdjax\.minimize returned, got a"):
        uncertainty(loss, result.params)
    with pytest.raises(ValueError, match=r"say what the loss is, kind='likelihood' .*; got 'ols'"):
        uncertainty(loss, result, kind="ols")
    with pytest.raises(ValueError, match=r"say what the loss is, .*; got None"):
        uncertainty(loss, result)
    down = gdjax.minimize(lambda w: loss(w) - 1, jnp.ones(2), method=GradientDescent(0.1))
    with pytest.raises(ValueError, match="a sum of squares is not negative; this loss is -1: is it a likelihood"):
        uncertainty(lambda w: loss(w) - 1, down, kind="least_squares", num_data=9)
    with pytest.raises(ValueError, match="needs the number of residuals, num_data"):
        uncertainty(loss, result, kind="least_squares")
    with pytest.raises(ValueError, match="num_data must be above 2, got 2"):
        uncertainty(loss, result, kind="least_squares", num_data=2)
    with pytest.raises(ValueError, match="entries must lie between 0 and 1"):
        uncertainty(loss, result, kind="likelihood", entries=[2])


@pytest.mark.sweep
def test_many_results_are_taken_one_by_one_or_by_vmap():
    centers = jnp.arange(3.0)
    loss = lambda p, center: 2 * (p - center) ** 2
    many = gdjax.minimize_many(loss, 0.0, centers, in_axes=(None, 0))
    with pytest.raises(ValueError, match=r"result holds 3 problems: take one, result\[i\], or all with jax.vmap"):
        gdjax.uncertainty(loss, many, centers, kind="likelihood")
    each = lambda result, x: gdjax.uncertainty(loss, result, x, kind="likelihood")
    errors = jax.vmap(each)(many, centers).standard_errors
    np.testing.assert_allclose(errors, 0.5, rtol=1e-5)
    np.testing.assert_allclose(each(many[1], 1.0).standard_errors, 0.5, rtol=1e-5)


@pytest.mark.sweep
def test_without_a_forward_derivative_the_curvature_is_of_differences():
    """A loss with a custom_vjp whose backward pass is a callback, as of a simulator with an adjoint."""
    host = lambda p: (4 * np.asarray(p) * np.array([1, 3])).astype(np.float32)

    @jax.custom_vjp
    def simulate(p):
        return jnp.sum(2 * jnp.array([1.0, 3.0], p.dtype) * p**2)

    backward = lambda p, t: (t * jax.pure_callback(host, p, p, vmap_method="sequential"),)
    simulate.defvjp(lambda p: (simulate(p), p), backward)
    with jax.enable_x64(False):  # the thread that calls back knows nothing of another mode
        result = gdjax.minimize(simulate, jnp.ones(2))
        assert result.converged
        errors = gdjax.uncertainty(simulate, result, kind="likelihood").standard_errors
        np.testing.assert_allclose(errors, [1 / 2, 1 / np.sqrt(12)], rtol=1e-2)
        with pytest.raises(ValueError, match="Hessian-vector products are needed"):
            jax.grad(lambda s: gdjax.minimize(lambda p: simulate(p - s), jnp.ones(2)).params.sum())(1.0)


@pytest.mark.sweep
def test_what_is_at_a_bound_is_held_and_said(rtol):
    """As a fit without that parameter, with a degree of freedom more; without active bounds as without bounds."""
    start, options = jnp.zeros(3), dict(tol=1e-8 if jax.config.jax_enable_x64 else 1e-4)
    bound = gdjax.minimize(squares, start, 1.0, penalty=gdjax.penalties.NonNegative(), **options)
    found = uncertainty(squares, bound, 1.0, kind="least_squares", num_data=N)
    truth = sm.OLS(Y, X[:, [0, 2]]).fit()
    np.testing.assert_allclose(found.standard_errors[np.array([0, 2])], truth.bse, rtol=rtol)
    assert np.isnan(found.standard_errors[1])
    assert found.held.tolist() == [False, True, False]
    assert str(found).splitlines()[2].split() == ["params[1]", "0", "held:", "at", "its", "bound"]
    part = uncertainty(squares, bound, 1.0, kind="least_squares", num_data=N, entries=[2, 1])
    np.testing.assert_allclose(part.standard_errors[0], truth.bse[1], rtol=rtol)
    free = fit(squares, 1.0)
    for penalty in (gdjax.penalties.Box(-9.0, 9.0), gdjax.penalties.L2Ball(9.0)):
        wide = gdjax.minimize(squares, start, 1.0, penalty=penalty, **options)
        errors = uncertainty(squares, wide, 1.0, kind="likelihood").standard_errors
        want = uncertainty(squares, free, 1.0, kind="likelihood").standard_errors
        np.testing.assert_allclose(errors, want, rtol=rtol)


@pytest.mark.sample("penalty0", "penalty2")
@pytest.mark.parametrize(
    "penalty", [gdjax.penalties.L1(1.0), gdjax.penalties.SquaredL2(1.0), gdjax.penalties.L2Ball(1.0)]
)
def test_a_penalty_that_draws_the_estimate_away_is_refused_with_the_reason(penalty):
    result = gdjax.minimize(squares, jnp.zeros(3), 1.0, penalty=penalty)
    with pytest.raises(ValueError, match="pulls the estimate away from the minimum of the loss"):
        uncertainty(squares, result, 1.0, kind="likelihood")


@pytest.mark.sweep
def test_an_active_constraint_is_refused_and_another_makes_no_difference(rtol):
    """Fixed at its estimate a parameter has no error, though the point is the free minimum."""
    free = fit(squares, 1.0)
    known = dict(kind="least_squares", num_data=N)
    here = gdjax.Constraint(lambda w, factor: w[0], free.params[0], free.params[0])
    held = gdjax.minimize(squares, jnp.zeros(3), 1.0, constraints=here)
    assert held.converged
    with pytest.raises(ValueError, match=r"gdjax.least_squares\(constraints=...\)"):
        uncertainty(squares, held, 1.0, **known)
    wide = gdjax.minimize(squares, jnp.zeros(3), 1.0, constraints=gdjax.Constraint(lambda w, factor: w[0], -9.0, 9.0))
    assert wide.status == Status.CONVERGED
    errors = [uncertainty(squares, result, 1.0, **known).standard_errors for result in (wide, free)]
    np.testing.assert_allclose(*errors, rtol=10 * rtol)


def test_a_point_far_from_the_minimum_in_standard_errors_has_none():
    """Year and intercept of a raw regression: the gradient counts as zero where the loss is 1.75 of its minimum."""
    rng = np.random.default_rng(5)
    year, area = rng.integers(1990, 2024, 300).astype(float), rng.uniform(500, 4000, 300)
    price = 1e5 + 150 * area + 2000 * (year - 2000) + 2e4 * rng.normal(size=300)
    loss = lambda p, x, y: jnp.mean((p["b"] + x @ p["w"] - y) ** 2)
    start, data = {"b": 0.0, "w": np.zeros(2)}, (np.column_stack([year, area]), price)
    count = dict(kind="least_squares", num_data=300)
    early = gdjax.minimize(loss, start, *data, tol=1e-3)
    assert early.status == gdjax.Status.CONVERGED
    found = gdjax.uncertainty(loss, early, *data, **count)
    assert float(found.distance) > 1
    assert np.isnan(found.covariance).all()
    assert "standard errors away" in str(found)
    right = gdjax.minimize(loss, start, *data, method=gdjax.TrustRegion())
    assert right.status == gdjax.Status.CONVERGED
    found = gdjax.uncertainty(loss, right, *data, **count)
    assert float(found.distance) < 0.01
    assert np.isfinite(found.covariance).all()
    design = np.column_stack([np.ones(300), *data[0].T])
    truth = np.linalg.lstsq(design, price)[0]
    np.testing.assert_allclose([right.params["b"], *right.params["w"]], truth, rtol=1e-4)
