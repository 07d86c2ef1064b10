"""Logistic regression on the breast cancer data: four methods, one tolerance, one answer.

Shows how to check an analytic gradient against JAX's, how to minimise one loss by gradient descent,
momentum, Adam and L-BFGS, what each of them costs, and that the answer is the one scikit-learn finds.

Needs scikit-learn, for the data and the comparison. Run it with: python examples/quickstart.py
"""

import time

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import gdjax

L2 = 1e-3  # strength of the penalty L2 / 2 * |w|^2; without it, separable data would have no minimum
TOL = 1e-8  # the gradient counts as zero at TOL times the largest gradient met on the way
METHODS = {
    "gradient descent": gdjax.GradientDescent(0.5),
    "momentum": gdjax.GradientDescent(0.5, momentum=0.95),
    "Adam (optax)": optax.adam(0.1),
    "L-BFGS (default)": None,
}


def load_data():
    """75 % to train on, 25 % to test; every feature has mean 0 and deviation 1 in the training set."""
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)
    x_train, x_test = (x_train - mean) / deviation, (x_test - mean) / deviation
    return jnp.asarray(x_train), jnp.asarray(y_train), jnp.asarray(x_test), jnp.asarray(y_test)


def loss(params, x, y):
    """Mean log-loss of labels 0 and 1, with a penalty on the weights but not on the intercept."""
    z = x @ params["w"] + params["b"]
    return jnp.mean(jax.nn.softplus(z) - y * z) + L2 / 2 * jnp.sum(params["w"] ** 2)


def gradient(params, x, y):
    """The gradient of the loss, worked out by hand."""
    error = jax.nn.sigmoid(x @ params["w"] + params["b"]) - y
    return {"w": x.T @ error / len(y) + L2 * params["w"], "b": jnp.mean(error)}


def descend(method, x, y):
    """Minimise the loss from zero weights: the result, the seconds to compile and the seconds to run."""
    start = {"w": jnp.zeros(x.shape[1]), "b": jnp.asarray(0.0)}
    seconds = []
    for _ in range(2):  # the first call compiles and runs, the second only runs
        begin = time.perf_counter()
        result = gdjax.minimize(loss, start, x, y, method=method, tol=TOL, max_steps=100_000)
        jax.block_until_ready(result)
        seconds.append(time.perf_counter() - begin)
    return result, seconds[0] - seconds[1], seconds[1]


def fit_sklearn(x, y):
    """The same minimum found by scikit-learn.

    It minimises C * (sum of log-losses) + |w|^2 / 2. Divided by C * n that is our loss with
    L2 = 1 / (C * n), so C = 1 / (n * L2).
    """
    model = LogisticRegression(C=1 / (len(y) * L2), solver="newton-cholesky", tol=1e-10).fit(x, y)
    return {"w": jnp.asarray(model.coef_[0]), "b": jnp.asarray(model.intercept_[0])}


def accuracy(params, x, y):
    """Share of the cases on the right side of the boundary."""
    return float(jnp.mean((x @ params["w"] + params["b"] > 0) == (y == 1)))


def largest_difference(a, b):
    """Largest absolute difference between two sets of coefficients."""
    return float(jnp.maximum(jnp.max(jnp.abs(a["w"] - b["w"])), jnp.abs(a["b"] - b["b"])))


def main() -> None:
    """Check the gradient, compare the methods, compare with scikit-learn."""
    jax.config.update("jax_enable_x64", True)
    x, y, x_test, y_test = load_data()
    print(f"Breast cancer data: {len(y)} cases to train on, {len(y_test)} to test on, {x.shape[1]} features.")

    print("\n1. Is the gradient that was worked out by hand right?\n")
    somewhere = {"w": jnp.full(x.shape[1], 0.1), "b": jnp.asarray(0.1)}
    print(gdjax.check_gradient(loss, somewhere, x, y, grad=gradient))

    print(f"\n2. Four methods, one tolerance ({TOL:g}), in float64")
    print("   (the first call of each compiles; later calls, even with other data of that shape, only run)\n")
    print("method               steps  evaluations  compile s   run s  value         status")
    fits = {}
    for name, method in METHODS.items():
        result, compile_time, run_time = descend(method, x, y)
        fits[name] = result.params
        print(
            f"{name:18s} {int(result.num_steps):7d}  {int(result.num_evals):11d}  {compile_time:9.2f}"
            f"  {run_time:6.3f}  {float(result.value):.10f}  {result.status.name}"
        )

    print(f"\n3. Against scikit-learn, with C = 1 / (n * L2) = {1 / (len(y) * L2):.4f}\n")
    fits["scikit-learn"] = fit_sklearn(x, y)
    print("solver              accuracy: train    test  largest difference from scikit-learn's coefficients")
    for name, params in fits.items():
        gap = largest_difference(params, fits["scikit-learn"])
        print(f"{name:18s}  {accuracy(params, x, y):15.3f}  {accuracy(params, x_test, y_test):6.3f}  {gap:.1e}")

    print("\n4. What a result says when it is printed (the last one of the table, L-BFGS)\n")
    print(result)


if __name__ == "__main__":
    main()
