"""Composite problems of statistics and signals, against closed forms, scikit-learn, SciPy and duality gaps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import ElasticNet as SkElasticNet
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

import gdjax
from gdjax import PANOC, AcceleratedProximalGradient, Backtracking, ProximalGradient
from gdjax.penalties import (
    L1,
    BoxSection,
    ElasticNet,
    NonNegative,
    NuclearNorm,
    SquaredL2,
    TotalVariation1D,
    by_leaf,
)

MODES = [True]  # proofs to many digits

METHODS = [PANOC(), ProximalGradient(), ProximalGradient(Backtracking()), AcceleratedProximalGradient()]
NAMES = ["PANOC", "adaptive", "backtracking", "FISTA"]


def diabetes():
    x, y = load_diabetes(return_X_y=True)
    return (x - x.mean(0)) / x.std(0), y - y.mean()


def half_mse(w, x, y):
    return 0.5 * jnp.mean((x @ w - y) ** 2)


def lasso_gap(w, x, y, strength):
    """Primal minus dual value of the lasso, relative: zero at the minimum alone."""
    n, residual = y.size, y - x @ w
    primal = 0.5 * residual @ residual / n + strength * np.abs(w).sum()
    theta = residual / max(n * strength, np.abs(x.T @ residual).max())  # feasible: |x' theta| <= 1
    dual = strength * (theta @ y) - 0.5 * n * strength**2 * (theta @ theta)
    return (primal - dual) / primal


@pytest.mark.sample("PANOC", "FISTA")
@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_lasso_has_no_duality_gap(method):
    x, y = diabetes()
    solve = lambda s: gdjax.minimize(half_mse, np.zeros(10), x, y, penalty=L1(s), method=method, tol=1e-8)
    path = jax.jit(jax.vmap(solve))(np.array([20.0, 2.0, 0.1]))
    assert path.converged.all(), path
    for w, strength in zip(np.asarray(path.params), [20.0, 2.0, 0.1], strict=True):
        assert 0 <= lasso_gap(w, x, y, strength) + 1e-14 < 1e-6


def test_elastic_net_is_scikit_learns():
    x, y = diabetes()
    net = gdjax.minimize(half_mse, np.zeros(10), x, y, penalty=ElasticNet(0.5, 0.25), tol=1e-9)
    assert net.converged
    want = SkElasticNet(alpha=0.75, l1_ratio=0.5 / 0.75, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(net.params, want.coef_, atol=1e-5)
    assert ((np.asarray(net.params) == 0) == (want.coef_ == 0)).all()


def logistic(p, x, y):
    """Sum over the labels y = -1, 1."""
    return jnp.sum(jnp.logaddexp(0.0, -y * (x @ p["w"] + p["b"])))


@pytest.mark.sample("l1")
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_logistic_regression_with_a_free_intercept_is_scikit_learns(norm):
    x, label = load_breast_cancer(return_X_y=True)
    x, y = ((x - x.mean(0)) / x.std(0))[:, :8], 2.0 * label - 1
    penalty = by_leaf({"w": L1(5.0) if norm == "l1" else SquaredL2(5.0), "b": None})
    fit = gdjax.minimize(logistic, {"w": np.zeros(8), "b": 0.0}, x, y, penalty=penalty, tol=1e-9)
    assert fit.converged
    ratio = 1.0 if norm == "l1" else 0.0
    want = LogisticRegression(
        C=0.2, l1_ratio=ratio, solver="saga" if norm == "l1" else "lbfgs", tol=1e-8, max_iter=20_000
    )
    want.fit(x, label)
    tol = 1e-3 if norm == "l1" else 1e-4  # saga's own
    np.testing.assert_allclose(fit.params["w"], want.coef_[0], atol=tol)
    np.testing.assert_allclose(fit.params["b"], want.intercept_[0], atol=tol)
    theirs = {"w": jnp.asarray(want.coef_[0]), "b": jnp.asarray(want.intercept_[0])}
    assert float(fit.value) <= float(logistic(theirs, x, y) + penalty.value(theirs)) + 1e-9


@pytest.mark.sample("default", "FISTA")
@pytest.mark.parametrize("method", [None, *METHODS], ids=["default", *NAMES])
def test_nonnegative_least_squares_is_scipys(method):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20, 8)), rng.standard_normal(20)
    result = gdjax.minimize(half_mse, np.ones(8), a, b, penalty=NonNegative(), method=method, tol=1e-8)
    assert result.converged
    want = nnls(a, b)[0]
    np.testing.assert_allclose(result.params, want, atol=1e-6)
    assert ((np.asarray(result.params) == 0) == (want == 0)).all()


def svm_dual(alpha, kernel, y):
    return 0.5 * (alpha * y) @ kernel @ (alpha * y) - jnp.sum(alpha)


def test_the_dual_of_a_support_vector_machine_has_no_gap():
    x, label = load_breast_cancer(return_X_y=True)
    x, y = ((x - x.mean(0)) / x.std(0))[:80], 2.0 * label[:80] - 1
    kernel, c = np.exp(-((x[:, None] - x[None]) ** 2).sum(2) / 30), 2.0
    box = BoxSection(y, 0.0, 0.0, c)
    result = gdjax.minimize(svm_dual, np.zeros(80), kernel, y, penalty=box, tol=1e-9)
    assert result.converged
    alpha = np.asarray(result.params)
    assert ((alpha >= 0) & (alpha <= c)).all()
    assert abs(alpha @ y) < 1e-12
    scores = kernel @ (alpha * y)
    inside = (alpha > 0) & (alpha < c)
    bias = np.mean((y - scores)[inside])
    primal = 0.5 * (alpha * y) @ scores + c * np.maximum(0, 1 - y * (scores + bias)).sum()
    assert primal + float(result.value) < 1e-6 * primal
    want = SVC(C=c, gamma=1 / 30, tol=1e-8).fit(x, label[:80])
    np.testing.assert_allclose(want.decision_function(x), scores + bias, atol=1e-4)


@pytest.mark.sweep
def test_a_fused_lasso_finds_the_pieces():
    rng = np.random.default_rng(0)
    truth = np.repeat([0.0, 4.0, -2.0], 15)
    a = rng.standard_normal((90, 45))
    y = a @ truth + 0.1 * rng.standard_normal(90)
    result = gdjax.minimize(half_mse, np.zeros(45), a, y, penalty=TotalVariation1D(0.5), tol=1e-9)
    assert result.converged
    assert 2 <= np.count_nonzero(np.diff(np.asarray(result.params))) <= 5
    # optimal: the running sum of the gradient is within the strength, and at it where the signal jumps
    dual = np.cumsum(np.asarray(result.grad))
    assert abs(dual[-1]) < 1e-6
    jumps = np.diff(np.asarray(result.params))
    assert (np.abs(dual[:-1]) <= 0.5 + 1e-6).all()
    np.testing.assert_allclose(dual[:-1][jumps != 0], 0.5 * np.sign(jumps[jumps != 0]), atol=1e-6)


def completion(m, seen, entries):
    return 0.5 * jnp.sum(seen * (m - entries) ** 2)


@pytest.mark.sweep
def test_matrix_completion_has_no_gap():
    rng = np.random.default_rng(0)
    entries = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 9))
    seen, strength = (rng.random((12, 9)) < 0.7).astype(float), 0.5
    result = gdjax.minimize(completion, np.zeros((12, 9)), seen, entries, penalty=NuclearNorm(strength), tol=1e-9)
    assert result.converged
    m = np.asarray(result.params)
    residual = seen * (entries - m)
    theta = residual * min(1, strength / np.linalg.norm(residual, 2))  # dual feasible: spectral norm <= strength
    dual = np.sum(theta * entries) - 0.5 * np.sum(theta**2)
    assert 0 <= float(result.value) - dual + 1e-12 < 1e-6 * float(result.value)
    assert np.linalg.matrix_rank(m, tol=1e-6) <= 4
