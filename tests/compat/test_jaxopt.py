"""jaxopt's calls on gdjax's solvers: what people write, and what they read."""

import copy
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
import gdjax.compat.jaxopt as jaxopt
from gdjax import Status

X = jnp.array([[1.0, 2.0], [0.5, -1.0], [-1.0, 0.3], [2.0, 1.0]])
Y = jnp.array([1.0, 2.0, 0.5, -1.0])
RIDGE = jnp.linalg.solve(X.T @ X / 4 + 0.1 * jnp.eye(2), X.T @ Y / 4)


def ridge(w, l2reg, data):
    return jaxopt.objective.ridge_regression(w, l2reg, data)


def with_aux(w, l2reg, data):
    return ridge(w, l2reg, data), {"residuals": data[0] @ w - data[1]}


SMOOTH = {
    "LBFGS": jaxopt.LBFGS,
    "BFGS": jaxopt.BFGS,
    "NonlinearCG": jaxopt.NonlinearCG,
    "GradientDescent": jaxopt.GradientDescent,
    "plain": lambda fun, **o: jaxopt.GradientDescent(fun, acceleration=False, **o),
    "stepsize": lambda fun, **o: jaxopt.GradientDescent(fun, stepsize=0.3, **o),
    "schedule": lambda fun, **o: jaxopt.GradientDescent(fun, stepsize=lambda k: 0.5, **o),
    "OptaxSolver": lambda fun, **o: jaxopt.OptaxSolver(fun, optax.sgd(0.5), **o),
    "ArmijoSGD": jaxopt.ArmijoSGD,
}


@pytest.mark.sweep
@pytest.mark.parametrize("name", SMOOTH)
def test_run_takes_data_by_place_and_by_name_and_is_taken_apart(name):
    solver = SMOOTH[name](ridge, tol=1e-4, maxiter=500)
    params, state = solver.run(jnp.zeros(2), 0.1, data=(X, Y))
    assert state.converged
    np.testing.assert_allclose(params, RIDGE, atol=1e-3)
    np.testing.assert_allclose(state.value, ridge(params, 0.1, (X, Y)), rtol=1e-6)
    np.testing.assert_allclose(state.error, jnp.linalg.norm(state.grad), rtol=1e-6)
    assert state.error <= 1e-4
    assert solver.l2_optimality_error(params, 0.1, data=(X, Y)) <= 1.1e-4
    assert 0 < state.iter_num < state.num_fun_eval
    assert not state.failed_linesearch
    assert state.status.name in str(state)


@pytest.mark.sample("LBFGS")
@pytest.mark.parametrize("name", ["LBFGS", "BFGS", "NonlinearCG", "GradientDescent", "plain", "stepsize"])
def test_a_loop_of_updates_is_run(name):
    solver = SMOOTH[name](ridge, tol=1e-4, maxiter=500)
    params, state = jnp.zeros(2), solver.init_state(jnp.zeros(2), 0.1, (X, Y))
    like = jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), (params, state))
    assert state.error == jnp.inf
    np.testing.assert_allclose(state.value, ridge(params, 0.1, (X, Y)), rtol=1e-6)
    while state.error > solver.tol and state.iter_num < 500:
        params, state = solver.update(params, state, 0.1, (X, Y))
        assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), (params, state)) == like
    whole = solver.run(jnp.zeros(2), 0.1, (X, Y))
    assert whole.state.status == Status.CONVERGED
    np.testing.assert_allclose(params, whole.params, atol=2e-3)
    assert abs(int(state.iter_num) - int(whole.state.iter_num)) <= 3


@pytest.mark.sweep
def test_a_loop_of_updates_may_be_begun_without_the_data():
    solver = jaxopt.ProjectedGradient(jaxopt.objective.least_squares, jaxopt.projection.projection_l2_ball)
    data = (jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([6.0, 0.0]))
    params = jnp.zeros(2)
    state = solver.init_state(params)
    assert state.status == gdjax.Status.RUNNING
    for _ in range(10):
        params, state = solver.update(params, state, hyperparams_proj=1.0, data=data)
    np.testing.assert_allclose(params, [1.0, 0.0], atol=1e-4)
    assert state.iter_num == 10


def test_an_update_goes_on_from_the_params_and_data_that_it_is_given():
    solver = jaxopt.LBFGS(ridge, tol=1e-5)
    state = solver.init_state(jnp.zeros(2), 0.1, (X, Y))
    params, state = solver.update(jnp.zeros(2), state, 0.1, (X, Y))
    params, state = solver.update(params + 1, state, 0.1, (X, Y))
    for _ in range(20):
        params, state = solver.update(params, state, 0.5, (X, Y))
    other = jnp.linalg.solve(X.T @ X / 4 + 0.5 * jnp.eye(2), X.T @ Y / 4)
    np.testing.assert_allclose(params, other, atol=1e-4)


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["LBFGS", "GradientDescent", "OptaxSolver"])
def test_aux_and_gradients_of_ones_own(name):
    both = jax.value_and_grad(with_aux, has_aux=True)
    for fun, value_and_grad in ((with_aux, False), (both, True), (with_aux, both)):
        solver = SMOOTH[name](fun, has_aux=True, value_and_grad=value_and_grad, tol=1e-4)
        params, state = solver.run(jnp.zeros(2), 0.1, (X, Y))
        assert state.status == Status.CONVERGED
        np.testing.assert_allclose(params, RIDGE, atol=1e-3)
        np.testing.assert_allclose(state.aux["residuals"], X @ params - Y, atol=1e-6)
        begun = solver.init_state(jnp.zeros(2), 0.1, (X, Y))
        assert solver.update(jnp.zeros(2), begun, 0.1, (X, Y)).state.aux["residuals"].shape == (4,)


@pytest.mark.sample("True-GradientDescent")
@pytest.mark.parametrize("name", ["LBFGS", "GradientDescent", "BFGS"])
@pytest.mark.parametrize("implicit", [True, False])
def test_derivatives_by_data_in_both_modes_and_of_what_is_closed_over(name, implicit):
    def fitted(l2reg):
        return SMOOTH[name](lambda w: ridge(w, l2reg, (X, Y)), tol=1e-5, maxiter=30, implicit_diff=implicit).run(
            jnp.zeros(2)
        )

    matrix = X.T @ X / 4 + 0.1 * jnp.eye(2)
    exact = -jnp.linalg.solve(matrix, RIDGE)
    assert jax.jit(fitted)(0.1).state.status == Status.CONVERGED
    np.testing.assert_allclose(jax.jit(jax.jacrev(lambda t: fitted(t).params))(0.1), exact, rtol=1e-2)
    if implicit:
        np.testing.assert_allclose(jax.jacfwd(lambda t: fitted(t).params)(0.1), exact, rtol=1e-2)


def test_it_works_under_jit_and_vmap_and_with_a_traced_rate():
    descend = lambda rate, y: jaxopt.GradientDescent(lambda x: (x - y) ** 2, stepsize=rate, acceleration=False).run(0.0)
    params, state = jax.jit(jax.vmap(descend))(jnp.array([0.1, 0.4]), jnp.array([1.0, 2.0]))
    assert state.converged.all()
    np.testing.assert_allclose(params, [1.0, 2.0], atol=1e-2)


@pytest.mark.sweep
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("acceleration", [True, False])
def test_the_lasso(known, acceleration):
    prox = jaxopt.prox.prox_lasso if known else lambda x, l1, scaling=1.0: jaxopt.prox.prox_lasso(x, l1, scaling)
    solver = jaxopt.ProximalGradient(
        jaxopt.objective.least_squares, prox, acceleration=acceleration, tol=1e-4, maxiter=1000
    )
    fitted = lambda l1: solver.run(jnp.zeros(2), hyperparams_prox=l1, data=(X, Y))
    params, state = fitted(0.3)
    assert state.status == Status.CONVERGED
    assert params[0] == 0 or params[1] == 0
    np.testing.assert_allclose(state.value, jaxopt.objective.least_squares(params, (X, Y)), rtol=1e-6)
    assert solver.l2_optimality_error(params, 0.3, data=(X, Y)) < 1e-3
    slope = jax.jacrev(lambda l1: fitted(l1).params)(0.3)
    np.testing.assert_allclose(slope, (fitted(0.31).params - fitted(0.29).params) / 0.02, atol=1e-2)


@pytest.mark.sweep
def test_one_prox_of_ones_own_over_a_tuple():
    """Lasso on a part, ridge on another, nothing on the intercept; differentiated by both strengths."""

    def prox(params, hyper, scaling=1.0):
        l1, l2 = hyper
        return (
            jaxopt.prox.prox_lasso(params[0], l1, scaling),
            jaxopt.prox.prox_ridge(params[1], l2, scaling),
            params[2],
        )

    def loss(params, data):
        x, y = data
        return jnp.mean((x[:, 0] * params[0] + x[:, 1] * params[1] + params[2] - y) ** 2)

    solver = jaxopt.ProximalGradient(loss, prox, tol=1e-4, maxiter=2000)
    fitted = lambda hyper: solver.run((jnp.zeros(()), jnp.zeros(()), jnp.zeros(())), hyper, (X, Y))
    _, state = fitted((0.1, 0.2))
    assert state.status == Status.CONVERGED
    slopes = jax.grad(lambda hyper: fitted(hyper).params[1])((0.1, 0.2))
    change = fitted((0.1, 0.22)).params[1] - fitted((0.1, 0.18)).params[1]
    assert float(slopes[1]) == pytest.approx(float(change) / 0.04, abs=2e-2)


@pytest.mark.sample("l2_ball", "own")
@pytest.mark.parametrize("name", ["simplex", "l2_ball", "box", "own"])
def test_projected_gradient(name):
    p = jaxopt.projection
    sets = {
        "simplex": (p.projection_simplex, 1.0),
        "l2_ball": (p.projection_l2_ball, 1.0),
        "box": (p.projection_box, (0.0, 0.6)),
        "own": (lambda x, h: jnp.clip(x, 0.0, h), 0.6),
    }
    projection, given = sets[name]
    target = jnp.array([0.9, 0.7, -0.2])
    loss = lambda x: 0.5 * jnp.sum((x - target) ** 2)
    params, state = jaxopt.ProjectedGradient(loss, projection, tol=1e-4).run(jnp.ones(3) / 3, given)
    assert state.status == Status.CONVERGED
    np.testing.assert_allclose(params, projection(target, given), atol=1e-3)


@pytest.mark.sample("bounds1")
@pytest.mark.parametrize("bounds", [None, (None, 1.0), (0.0, jnp.inf), (jnp.array([0.0, 2.5]), jnp.array([1.0, 3.0]))])
def test_bounds_may_be_none_numbers_or_arrays(bounds):
    loss = lambda x: jnp.sum((x - 2.0) ** 2)
    params, state = jaxopt.LBFGSB(loss, tol=1e-4).run(jnp.ones(2), bounds=bounds)
    assert state.status == Status.CONVERGED
    expected = jnp.full(2, 2.0) if bounds is None else jaxopt.projection.projection_box(jnp.full(2, 2.0), bounds)
    np.testing.assert_allclose(params, expected, atol=1e-3)
    both, state = jaxopt.ScipyBoundedMinimize(fun=loss, method="L-BFGS-B").run(jnp.ones(2), bounds)
    assert state.success
    np.testing.assert_allclose(both, expected, atol=1e-3)


@pytest.mark.sample("None")
@pytest.mark.parametrize("method", [None, "BFGS", "L-BFGS-B", "CG", "Newton-CG", "trust-krylov", "TNC"])
def test_scipys_methods_by_name(method):
    options, seen = {"maxcor": 5, "ftol": 0.0}, []
    solver = jaxopt.ScipyMinimize(fun=ridge, method=method, options=options, callback=seen.append, maxiter=50)
    params, state = solver.run(jnp.zeros(2), l2reg=0.1, data=(X, Y))
    assert state.success
    assert state.status == 0
    assert state.result.status in (Status.CONVERGED, Status.PRECISION_FLOOR)
    np.testing.assert_allclose(params, RIDGE, atol=1e-3)
    np.testing.assert_allclose(state.fun_val, ridge(params, 0.1, (X, Y)), rtol=1e-6)
    assert options == {"maxcor": 5, "ftol": 0.0}
    assert len(seen) == state.iter_num + 1
    if method in (None, "BFGS", "L-BFGS-B"):
        np.testing.assert_allclose(state.hess_inv @ state.grad, 0.0, atol=1e-2)
    else:
        assert state.hess_inv is None or method == "TNC"
    limited = jaxopt.ScipyMinimize(fun=ridge, method=method, maxiter=0).run(jnp.zeros(2), 0.1, (X, Y)).state
    assert (limited.success, limited.status) == (False, 1)


@pytest.mark.sweep
@pytest.mark.parametrize("solver", [jaxopt.LevenbergMarquardt, jaxopt.GaussNewton])
def test_least_squares_of_pytrees(solver):
    x = jnp.arange(5.0)
    y = 2.0 * jnp.exp(-0.7 * x)
    residual = lambda p, x, y: {"r": p["a"] * jnp.exp(-p["b"] * x) - y}
    params, state = solver(residual, tol=1e-4).run({"a": 1.0, "b": 0.3}, x, y=y)
    assert state.converged
    np.testing.assert_allclose([params["a"], params["b"]], [2.0, 0.7], rtol=1e-3)
    assert state.residual.shape == (5,)
    np.testing.assert_allclose(state.value, 0.5 * jnp.sum(state.residual**2), atol=1e-6)
    assert state.gradient is state.grad
    fitted = lambda y: solver(residual, tol=1e-5).run({"a": 1.0, "b": 0.3}, x, y=y).params["a"]
    np.testing.assert_allclose(jax.grad(fitted)(y).shape, (5,))
    begun = solver(residual).init_state({"a": jnp.float32(1.0), "b": jnp.float32(0.3)}, x, y)
    params = {"a": jnp.float32(1.0), "b": jnp.float32(0.3)}
    stepped = solver(residual)
    for _ in range(15):
        params, begun = stepped.update(params, begun, x, y)
    np.testing.assert_allclose(params["a"], 2.0, rtol=1e-3)


@pytest.mark.sweep
@pytest.mark.float64
@pytest.mark.parametrize("options", [{}, {"stop_criterion": "madsen-nielsen", "gtol": 1e-8, "xtol": 1e-14}])
def test_a_loose_tolerance_does_not_end_a_fit_of_exponentials_on_the_way(options):
    """A cosine of 1e-3 between residuals and Jacobian is met long before the sum of two exponentials is found."""
    x = jnp.linspace(0.02, 0.9, 45)
    y = 4 * (jnp.exp(-4 * x) - jnp.exp(-5 * x)) + 1e-3 * jnp.sin(40 * x)
    residual = lambda c, x, y: y - c[0] * jnp.exp(-c[2] * x) - c[1] * jnp.exp(-c[3] * x)
    solver = jaxopt.LevenbergMarquardt(residual, maxiter=200, **options)
    _, state = solver.run(jnp.array([1.0, -1.0, 1.0, 2.0]), x, y)
    assert state.converged
    best = gdjax.least_squares(residual, jnp.array([4.0, -4.0, 4.0, 5.0]), x, y)
    assert best.converged
    np.testing.assert_allclose(state.value, best.value, rtol=1e-6)


def test_a_tight_tolerance_is_that_of_the_fit_too():
    """Here the gradient is below 1e-6 one step before the minimum, and nobody sees the difference but a derivative."""
    x = jnp.array([0.038, 0.194, 0.425, 0.626, 1.253, 2.5, 3.74])
    y = jnp.array([0.05, 0.127, 0.094, 0.2122, 0.2729, 0.2665, 0.3317])
    residual = lambda p, x, y: y - p[0] * x / (p[1] + x)
    params, state = jaxopt.GaussNewton(residual, tol=1e-6).run(jnp.array([0.1, 0.1]), x, y)
    assert state.converged
    np.testing.assert_allclose(params, [0.36183689, 0.55626653], rtol=5e-6)


@pytest.mark.sweep
def test_a_jacobian_of_ones_own():
    residual = lambda p, a: a * p - jnp.array([1.0, 2.0])
    jac = lambda p, a: a * jnp.eye(2)
    params, state = jaxopt.LevenbergMarquardt(residual, jac_fun=jac, materialize_jac=True).run(jnp.zeros(2), 2.0)
    assert state.converged
    np.testing.assert_allclose(params, [0.5, 1.0], rtol=1e-4)


@pytest.mark.sample("OptaxSolver", "ArmijoSGD")
@pytest.mark.parametrize("name", ["OptaxSolver", "PolyakSGD", "ArmijoSGD"])
def test_batches_from_an_iterator(name):
    rows = jax.random.normal(jax.random.key(0), (300, 8, 2))
    truth = jnp.array([1.0, -1.0])
    loss = lambda w, data: jnp.mean((data @ (w - truth)) ** 2)
    solver = {
        "OptaxSolver": lambda: jaxopt.OptaxSolver(loss, optax.adam(0.05), maxiter=200),
        "PolyakSGD": lambda: jaxopt.PolyakSGD(loss, maxiter=200, momentum=0.5),
        "ArmijoSGD": lambda: jaxopt.ArmijoSGD(loss, maxiter=200, momentum=0.5),
    }[name]()
    params, state = solver.run_iterator(jnp.zeros(2), iter(rows))
    np.testing.assert_allclose(params, truth, atol=2e-2)
    assert state.iter_num == 200
    assert state.status == Status.RUNNING


def test_a_hook_before_each_update():
    clip = lambda params, state, *args, **kwargs: (jnp.maximum(params, 1.0), state)
    solver = jaxopt.OptaxSolver(lambda x: (x + 3.0) ** 2, optax.sgd(0.1), pre_update=clip, maxiter=20)
    params, state = solver.run(5.0)
    assert state.iter_num == 20
    assert params == pytest.approx(1.0 - 0.1 * 2 * 4.0)


def test_run_goes_on_from_what_it_returned():
    solver = jaxopt.LBFGS(ridge, tol=1e-5)
    once = solver.run(jnp.zeros(2), 0.1, (X, Y))
    again = solver.run(once, 0.1, (X, Y))
    assert once.state.converged
    assert again.state.converged
    np.testing.assert_allclose(again.params, once.params, atol=1e-5)


def test_a_second_call_compiles_nothing():
    traces = []

    def loss(w, l2reg, data):
        traces.append(1)
        return ridge(w, l2reg, data)

    solver = jaxopt.LBFGS(loss)
    assert solver.run(jnp.zeros(2), 0.1, (X, Y)).state.converged
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    assert jaxopt.LBFGS(loss, tol=1e-4).run(jnp.ones(2), 0.2, (X, Y)).state.converged
    assert compiled == []


@pytest.mark.parametrize("name", ["OSQP", "AndersonAcceleration", "Bisection", "FixedPointIteration", "MirrorDescent"])
def test_what_is_not_here_says_where_to_go(name):
    with pytest.raises(NotImplementedError, match=r"qpax|optimistix|gdjax"):
        getattr(jaxopt, name)(lambda x: x)
    with pytest.raises(AttributeError, match="lineax"):
        jaxopt.linear_solve.solve_cg  # noqa: B018
    with pytest.raises(AttributeError, match=r"no jaxopt\.Adam"):
        jaxopt.Adam  # noqa: B018
    with pytest.raises(NotImplementedError, match="ott-jax"):
        jaxopt.projection.projection_transport(jnp.ones((2, 2)))
    with pytest.raises(NotImplementedError, match=r"scipy\.optimize\.minimize"):
        jaxopt.ScipyMinimize(fun=lambda x: x**2, method="Nelder-Mead")


def test_what_cannot_be_is_refused():
    for make in (
        lambda: jaxopt.NonlinearCG(ridge, method="dai-yuan"),
        lambda: jaxopt.LBFGS(ridge, linesearch="exact").run(jnp.zeros(2), 0.1, (X, Y)),
        lambda: jaxopt.PolyakSGD(ridge, variant="SPS").run(jnp.zeros(2), 0.1, (X, Y)),
        lambda: jaxopt.ArmijoSGD(ridge, reset_option="none").run(jnp.zeros(2), 0.1, (X, Y)),
        lambda: jaxopt.ScipyMinimize(fun=ridge, method="SGD"),
        lambda: jaxopt.ScipyMinimize(fun=ridge, options={"maxcorr": 3}),
        lambda: jaxopt.ScipyMinimize(fun=ridge, maxiter=500, options={"maxiter": 100}),
    ):
        with pytest.raises(ValueError, match=r"must be|not among"):
            make()
    with pytest.warns(UserWarning, match="stepsize= has no effect"):
        assert jaxopt.LBFGS(ridge, stepsize=0.1).run(jnp.zeros(2), 0.1, (X, Y)).state.converged


def test_a_line_search_may_be_an_object():
    search = jaxopt.BacktrackingLineSearch(ridge, maxiter=20)
    assert jaxopt.LBFGS(ridge, linesearch=search).run(jnp.zeros(2), 0.1, (X, Y)).state.converged
    with pytest.raises(NotImplementedError, match="line_search="):
        search.run(1.0, jnp.zeros(2))


@pytest.mark.sweep
def test_complex_parameters():
    loss = lambda z: jnp.abs(z[0] - (1 + 2j)) ** 2 + 2 * jnp.abs(z[1] + 1j) ** 2
    for solver in (jaxopt.LBFGS(loss), jaxopt.BFGS(loss), jaxopt.GradientDescent(loss)):
        params, state = solver.run(jnp.zeros(2, jnp.complex64))
        assert state.status == Status.CONVERGED
        np.testing.assert_allclose(params, jnp.array([1 + 2j, -1j]), atol=1e-3)
        begun = solver.init_state(jnp.zeros(2, jnp.complex64))
        np.testing.assert_allclose(
            solver.update(jnp.zeros(2, jnp.complex64), begun).state.grad.shape, jax.grad(loss)(params).shape
        )


def test_gdjax_has_the_same_under_its_own_name():
    result = gdjax.minimize(ridge, jnp.zeros(2), 0.1, (X, Y), method=gdjax.LBFGS(10))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(jaxopt.LBFGS(ridge).run(jnp.zeros(2), 0.1, (X, Y)).params, result.params, atol=1e-3)


@pytest.mark.sweep
def test_a_flat_minimum_has_derivatives_by_normal_equations():
    """The intercepts of a softmax may all shift; they do not meet the penalty, either."""
    data = X, jnp.array([0, 1, 2, 1])
    start = jnp.zeros((2, 3)), jnp.zeros(3)

    def fitted(l2reg):
        solver = jaxopt.LBFGS(objective, tol=1e-6, implicit_diff_solve=jaxopt.implicit_diff.solve_normal_cg)
        return solver.run(start, l2reg, data)

    objective = jaxopt.objective.l2_multiclass_logreg_with_intercept
    assert fitted(0.3).state.converged
    slope = jax.jacrev(lambda l2reg: fitted(l2reg).params[0])(0.3)
    np.testing.assert_allclose(slope, (fitted(0.31).params[0] - fitted(0.29).params[0]) / 0.02, atol=5e-3)


INSIDE = {
    "internal_state": "optax's init and update",
    **dict.fromkeys(("s_history", "y_history", "rho_history", "gamma"), "inverse_hessian"),
    **dict.fromkeys(("velocity", "t"), "state.stepsize"),
    **dict.fromkeys(("damping_factor", "increase_factor"), "factor="),
    "loss": "state.value",
    "delta": "difference",
    "jac": "jax.jacfwd",
}


@pytest.mark.parametrize("name", INSIDE)
def test_what_a_state_has_not_is_said_with_what_to_use_instead(name):
    state = jaxopt.LBFGS(ridge).init_state(jnp.zeros(2), 0.1, (X, Y))
    with pytest.raises(AttributeError, match=f"no '{name}'.*{re.escape(INSIDE[name])}"):
        getattr(state, name)
    assert not hasattr(state, "no_name")
    assert copy.deepcopy(state).iter_num == 0


@pytest.mark.sweep
def test_what_is_said_to_use_instead_is_there():
    run = jaxopt.LBFGS(ridge).run(jnp.zeros(2), 0.1, (X, Y))
    assert run.state.converged
    assert run.state.result.inverse_hessian() is not None
    fit = jaxopt.LevenbergMarquardt(lambda w: X @ w - Y).run(jnp.zeros(2))
    assert fit.state.converged
    np.testing.assert_allclose(fit.state.value, jnp.sum(fit.state.residual**2) / 2, rtol=1e-5)
    assert fit.state.result.covariance.shape == (2, 2)


@pytest.mark.sweep
def test_the_step_size_of_a_proximal_gradient_is_known():
    solver = jaxopt.ProximalGradient(lambda w: jnp.sum((w - 1.0) ** 2), jaxopt.prox.prox_lasso)
    _, state = solver.run(jnp.zeros(3), 0.1)
    assert state.converged
    assert 0 < state.stepsize < 1
    _, state = solver.update(jnp.zeros(3), solver.init_state(jnp.zeros(3), 0.1), 0.1)
    assert 0 < state.stepsize < 1
