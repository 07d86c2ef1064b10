"""A regression with a lasso on one part, a ridge on another and a free intercept; strengths by gradients."""

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
from jaxopt import prox, tree_util


def predict(params, X, Z):
    sparse, dense, intercept = params
    return X @ sparse + Z @ dense + intercept


def loss(params, X, Z, y):
    return jnp.mean((predict(params, X, Z) - y) ** 2)


def mixed_prox(params, hyperparams, scaling=1.0):
    l1, l2 = hyperparams
    sparse, dense, intercept = params
    return prox.prox_lasso(sparse, l1, scaling), prox.prox_ridge(dense, l2, scaling), intercept


solver = jaxopt.ProximalGradient(fun=loss, prox=mixed_prox, maxiter=5000, tol=1e-9)


def fit(hyperparams, X, Z, y):
    init = (jnp.zeros(X.shape[1]), jnp.zeros(Z.shape[1]), jnp.zeros(()))
    params, _ = solver.run(init, hyperparams_prox=hyperparams, X=X, Z=Z, y=y)
    return params


def validation(hyperparams, train, test):
    return loss(fit(hyperparams, *train), *test)


def answer():
    rng = np.random.RandomState(0)
    X, Z = rng.randn(40, 6), rng.randn(40, 3)
    y = X @ np.array([2.0, 0.0, 0.0, -1.5, 0.0, 0.0]) + Z @ np.array([0.5, -0.3, 0.2]) + 1.0 + 0.1 * rng.randn(40)
    data = [jnp.asarray(a) for a in (X, Z, y)]
    train, test = [a[:25] for a in data], [a[25:] for a in data]
    params = fit((0.4, 0.1), *train)
    slope = jax.jit(jax.grad(lambda h: validation(h, train, test)))((jnp.asarray(0.4), jnp.asarray(0.1)))
    return {
        "sparse": params[0],
        "intercept": params[2],
        "slope": jnp.stack(slope),
        "size": tree_util.tree_l2_norm(params),
    }
