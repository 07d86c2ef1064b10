"""Two peaks on a background: bounded fits by SciPy's name and by L-BFGS-B, a least-squares fit, a Gaussian process."""

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np

OPTIONS = {"maxcor": 10, "gtol": 1e-8, "ftol": 0.0}


def model(p, x):
    peak = lambda height, centre, width: height * jnp.exp(-(((x - centre) / width) ** 2))
    return peak(*p[:3]) + peak(*p[3:6]) + p[6]


def residual(p, x, y):
    return model(p, x) - y


def misfit(p, x, y):
    return 0.5 * jnp.sum(residual(p, x, y) ** 2)


def evidence(theta, x, y):
    K = jnp.exp(theta[0]) * jnp.exp(-((x[:, None] - x) ** 2) / jnp.exp(theta[1])) + 0.1 * jnp.eye(x.size)
    factor = jnp.linalg.cholesky(K)
    return 0.5 * jnp.sum(jax.scipy.linalg.solve_triangular(factor, y, lower=True) ** 2) + jnp.sum(
        jnp.log(jnp.diag(factor))
    )


def fit_bounded(start, lower, upper, x, y):
    solver = jaxopt.ScipyBoundedMinimize(fun=misfit, method="L-BFGS-B", maxiter=2000, options=dict(OPTIONS))
    params, state = solver.run(start, bounds=(lower, upper), x=x, y=y)
    assert state.success
    assert state.iter_num < 2000
    return params, state.fun_val


def answer():
    x = jnp.linspace(0.0, 10.0, 60)
    truth = jnp.array([2.0, 3.0, 0.7, 1.0, 6.0, 1.1, 0.3])
    y = model(truth, x) + 0.05 * jnp.asarray(np.random.RandomState(1).randn(60))
    start = jnp.array([1.5, 2.7, 1.0, 0.8, 6.3, 1.0, 0.0])
    lower = jnp.array([0.0, 0.0, 0.1, 0.0, 0.0, 0.1, 0.32])
    upper = jnp.array([jnp.inf, 10.0, 3.0, jnp.inf, 10.0, 3.0, jnp.inf])
    bounded, value = fit_bounded(start, lower, upper, x, y)
    inside = jaxopt.LBFGSB(fun=misfit, maxiter=500, tol=1e-7).run(start, bounds=(lower, upper), x=x, y=y).params
    run = jax.jit(jaxopt.LevenbergMarquardt(residual, materialize_jac=True, maxiter=200, tol=1e-8).run)
    free, state = run(start, x=x, y=y)
    smooth = jaxopt.ScipyMinimize(fun=evidence, method="BFGS", tol=1e-7).run(jnp.zeros(2), x[::6], y[::6] - y.mean())
    return {
        "bounded": bounded,
        "value": value,
        "inside": inside,
        "free": free,
        "free value": state.value,
        "evidence": smooth.state.fun_val,
    }
