"""A classifier by mini-batches, and a mixture fitted by steps of L-BFGS that are logged by hand."""

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
import optax
from jaxopt import objective, tree_util


def classify(params, l2reg, data):
    return objective.l2_multiclass_logreg_with_intercept(params, l2reg, data)


def batches(X, y, size):
    while True:
        for start in range(0, len(X), size):
            yield X[start : start + size], y[start : start + size]


def mixture(theta, x):
    weight = jax.nn.log_sigmoid(jnp.stack([theta[0], -theta[0]]))
    density = -0.5 * (x[:, None] - theta[1:3]) ** 2 * jnp.exp(-2 * theta[3:5]) - theta[3:5]
    return -jnp.mean(jax.nn.logsumexp(weight + density, axis=1))


def answer():
    rng = np.random.RandomState(2)
    labels = rng.randint(0, 3, 60)
    X, y = jnp.asarray(rng.randn(60, 4) + 2 * np.eye(3, 4)[labels]), jnp.asarray(labels)
    init = (jnp.zeros((4, 3)), jnp.zeros(3))
    sgd = jaxopt.OptaxSolver(fun=classify, opt=optax.adam(0.02), maxiter=300)
    trained, state = sgd.run_iterator(init, batches(X, y, 20), l2reg=0.1)
    exact = jaxopt.LBFGS(fun=classify, tol=1e-8).run(init, l2reg=0.1, data=(X, y))

    x = jnp.asarray(np.concatenate([rng.randn(40) * 0.5 - 2, rng.randn(60) + 1]))
    solver = jaxopt.LBFGS(fun=mixture, maxiter=100, tol=1e-8)
    theta = jnp.array([0.0, -1.0, 1.0, 0.0, 0.0])
    log, now = [], solver.init_state(theta, x)
    for _ in range(solver.maxiter):
        theta, now = solver.update(theta, now, x)
        log.append(float(now.value))
        if now.error < solver.tol:
            break
    assert log == sorted(log, reverse=True) or max(np.diff(log)) < 1e-9
    return {
        "trained": trained[0],
        "seen": jnp.asarray(state.iter_num),
        "norm": tree_util.tree_l2_norm(exact.params),
        "loss": exact.state.value,
        "theta": theta,
        "last": jnp.asarray(log[-1]),
    }
