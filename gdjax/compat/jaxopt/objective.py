"""`jaxopt.objective`: losses of linear models, with ``data = (X, y)``."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.compat.jaxopt import loss


def mean_of(one: Any, y: jax.Array, predictions: jax.Array) -> jax.Array:
    """The mean of a loss over samples."""
    return jnp.mean(jax.vmap(one)(y, predictions))


def least_squares(W: Any, data: Any) -> jax.Array:
    """``|X W - y|^2 / 2 n``."""
    X, y = data
    return 0.5 * jnp.mean((jnp.dot(X, W) - y) ** 2)


def ridge_regression(params: Any, l2reg: Any, data: Any) -> jax.Array:
    """And ``l2reg / 2 |W|^2``."""
    return least_squares(params, data) + 0.5 * l2reg * jnp.sum(params**2)


def binary_logreg(w: Any, data: Any) -> jax.Array:
    """The mean logistic loss, labels 0 or 1."""
    X, y = data
    return mean_of(loss.binary_logistic_loss, y, jnp.dot(X, w))


def multiclass_logreg(W: Any, data: Any) -> jax.Array:
    """The mean cross entropy, W of shape (features, classes)."""
    X, y = data
    return mean_of(loss.multiclass_logistic_loss, y, jnp.dot(X, W))


def multiclass_logreg_with_intercept(params: Any, data: Any) -> jax.Array:
    """The same, ``params = (W, b)``."""
    X, y = data
    W, b = params
    return mean_of(loss.multiclass_logistic_loss, y, jnp.dot(X, W) + b)


def l2_multiclass_logreg(W: Any, l2reg: Any, data: Any) -> jax.Array:
    """And ``l2reg / 2 |W|^2``."""
    return multiclass_logreg(W, data) + 0.5 * l2reg * jnp.sum(W**2)


def l2_multiclass_logreg_with_intercept(params: Any, l2reg: Any, data: Any) -> jax.Array:
    """And ``l2reg / 2 |W|^2``: the intercept goes free."""
    return multiclass_logreg_with_intercept(params, data) + 0.5 * l2reg * jnp.sum(params[0] ** 2)


def multiclass_linear_svm_dual(beta: Any, l2reg: Any, data: Any) -> jax.Array:
    """The dual of a linear support vector machine, to be minimised: ``|X'(Y - beta)|^2 / 2 l2reg - <beta, 1 - Y>``.

    ``beta`` has a point of the simplex in each row; ``data = (X, Y)`` with one-hot labels Y.
    """
    X, Y = data
    V = jnp.dot(X.T, Y - beta)
    return 0.5 / l2reg * jnp.vdot(V, V) - jnp.vdot(beta, 1 - Y)
