"""Where jaxopt 0.8.5 was wrong and said nothing: here the answer is right, or the status says what happened."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax.compat.jaxopt as jaxopt
from gdjax import Status

SMOOTH = [jaxopt.LBFGS, jaxopt.BFGS, jaxopt.NonlinearCG, jaxopt.GradientDescent]
names = lambda solver: solver.__name__


def rosenbrock(x, a=100.0):
    return jnp.sum(a * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def distance(x, a=1.0):
    return (x - a) ** 2


@pytest.mark.parametrize("acceleration", [True, False])
def test_a_step_below_the_resolution_of_float32_is_no_convergence(acceleration):
    params, state = jaxopt.GradientDescent(distance, stepsize=1e-9, acceleration=acceleration).run(5.0)
    assert state.status in (Status.STEP_TOO_SMALL, Status.MAX_STEPS) if params > 4 else abs(params - 1) < 1e-3
    assert state.error > 1e-3 or abs(params - 1) < 1e-3


@pytest.mark.sample("LBFGS", "NonlinearCG", "GradientDescent")
@pytest.mark.parametrize("solver", SMOOTH, ids=names)
def test_a_loss_scaled_by_a_millionth_is_minimised(solver):
    params, state = solver(lambda x: 1e-6 * distance(x)).run(0.0)
    assert state.status == Status.CONVERGED
    assert abs(params - 1) < 2e-3


def test_the_value_has_a_derivative():
    loss = lambda x, a: jnp.sum((x - a) ** 2) + 0.1 * jnp.sum(x**4)
    value = lambda a: jaxopt.LBFGS(loss, tol=1e-4).run(jnp.ones(2), a).state.value
    slope = jax.grad(value)(2.0)
    assert float(slope) == pytest.approx(float(value(2.01) - value(1.99)) / 0.02, rel=1e-2)


def test_a_derivative_where_nothing_has_converged_is_nan():
    fitted = lambda a: jaxopt.LBFGS(rosenbrock, maxiter=1).run(jnp.zeros(4), a)
    assert fitted(100.0).state.status == Status.MAX_STEPS
    assert jnp.isnan(jax.grad(lambda a: fitted(a).params.sum())(100.0))


@pytest.mark.sample("LBFGS", "GradientDescent")
@pytest.mark.parametrize("solver", SMOOTH, ids=names)
def test_the_derivative_is_right_at_a_start_that_is_the_answer(solver):
    fitted = lambda a: solver(lambda x, a: (x - 2 * a) ** 2).run(2.0, a).params
    assert jax.grad(fitted)(1.0) == pytest.approx(2.0, rel=1e-3)


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["ProximalGradient", "ProjectedGradient", "LBFGS", "LBFGSB"])
def test_the_users_linear_solver_is_called(name):
    calls = []

    def solve(matvec, b):
        calls.append(1)
        return jaxopt.implicit_diff.solve_normal_cg(matvec, b)

    loss = lambda x, a: jnp.sum((x - jnp.array([1.0, -2.0]) * a) ** 2)
    solver = {
        "ProximalGradient": jaxopt.ProximalGradient(loss, jaxopt.prox.prox_lasso, implicit_diff_solve=solve),
        "ProjectedGradient": jaxopt.ProjectedGradient(
            loss, jaxopt.projection.projection_non_negative, implicit_diff_solve=solve
        ),
        "LBFGS": jaxopt.LBFGS(loss, implicit_diff_solve=solve),
        "LBFGSB": jaxopt.LBFGSB(loss, implicit_diff_solve=solve),
    }[name]
    given = {"ProximalGradient": (0.1,), "ProjectedGradient": (None,), "LBFGS": (), "LBFGSB": ((0.0, None),)}[name]
    slope = jax.grad(lambda a: solver.run(jnp.zeros(2), *given, a).params[0])(1.0)
    assert slope == pytest.approx(1.0, rel=1e-2)
    assert calls


def solvers_for_odd_losses(loss):
    return [solver(loss) for solver in SMOOTH] + [
        jaxopt.ProximalGradient(loss, lambda x, hyper, scaling: x),
        jaxopt.LBFGSB(loss),
        jaxopt.OptaxSolver(loss, optax.sgd(0.1)),
    ]


@pytest.mark.sample("0", "3", "6")
@pytest.mark.parametrize("k", range(7))
def test_a_start_that_is_nan_is_said_to_be(k):
    solver = solvers_for_odd_losses(distance)[k]
    given = () if k < 4 or k == 6 else (None,)
    assert solver.run(jnp.nan, *given).state.status == Status.NONFINITE_START


@pytest.mark.sample("0", "3", "6")
@pytest.mark.parametrize("k", range(7))
def test_a_loss_unbounded_below_is_never_converged(k):
    solver = solvers_for_odd_losses(lambda x: -(x**2))[k]
    state = solver.run(1.0, *(() if k < 4 or k == 6 else (None,))).state
    assert state.status in (Status.UNBOUNDED, Status.NONFINITE, Status.DIVERGED, Status.MAX_STEPS)
    assert k >= 3 or state.status == Status.UNBOUNDED


@pytest.mark.sample("LBFGS-zoom", "BFGS-hager-zhang")
@pytest.mark.parametrize("search", ["zoom", "backtracking", "hager-zhang"])
@pytest.mark.parametrize("solver", SMOOTH[:2], ids=names)
def test_rosenbrock_in_float32(solver, search):
    params, state = solver(rosenbrock, tol=1e-6, linesearch=search).run(jnp.zeros(10))
    assert state.converged
    np.testing.assert_allclose(params, 1.0, atol=1e-2)
    assert state.iter_num < 400


@pytest.mark.sweep
@pytest.mark.float64
@pytest.mark.parametrize("solver", SMOOTH[:3], ids=names)
def test_rosenbrock_in_float64(solver):
    with jax.enable_x64(True):
        params, state = solver(rosenbrock, tol=1e-9, maxiter=500).run(jnp.zeros(10))
        assert state.status == Status.CONVERGED
        assert state.error <= 1e-9
        np.testing.assert_allclose(params, 1.0, atol=1e-7)


@pytest.mark.parametrize("search", ["zoom", "backtracking"])
def test_conjugate_gradients_know_a_quadratic_in_three_variables(search):
    curvatures = jnp.array([1.0, 10.0, 100.0])
    loss = lambda x: 0.5 * jnp.sum(curvatures * x**2)
    params, state = jaxopt.NonlinearCG(loss, linesearch=search, tol=1e-5).run(jnp.ones(3))
    assert state.converged
    assert state.iter_num <= 10
    # The error is that of the params returned.
    np.testing.assert_allclose(state.error, jnp.linalg.norm(curvatures * params), rtol=1e-5, atol=1e-9)


def test_ridge_is_the_prox_of_half_the_square():
    x, scaling, l2reg = 3.0, 0.5, 2.0
    grid = jnp.linspace(-4, 4, 8001)
    best = grid[jnp.argmin(0.5 * (grid - x) ** 2 + scaling * l2reg / 2 * grid**2)]
    np.testing.assert_allclose(jaxopt.prox.prox_ridge(x, l2reg, scaling), best, atol=1e-3)
    np.testing.assert_allclose(jaxopt.prox.prox_non_negative_ridge(x, l2reg, scaling), best, atol=1e-3)
    assert jaxopt.prox.prox_non_negative_ridge(-x, l2reg, scaling) == 0


def test_value_and_error_of_optax_solver_are_of_the_params_returned():
    params, state = jaxopt.OptaxSolver(rosenbrock, optax.adam(0.05), maxiter=5).run(jnp.zeros(3))
    assert state.status == Status.MAX_STEPS
    np.testing.assert_allclose(state.value, rosenbrock(params), rtol=1e-6)
    np.testing.assert_allclose(state.error, jnp.linalg.norm(jax.grad(rosenbrock)(params)), rtol=1e-5)


@pytest.mark.sample("zoom")
@pytest.mark.parametrize("search", ["zoom", "backtracking", "hager-zhang"])
def test_bounds_are_never_left(search):
    seen = []

    def loss(x):
        jax.debug.callback(lambda x: seen.append(float(np.max(x))), x)
        return jnp.sum((x - 2) ** 4)

    params, state = jaxopt.LBFGSB(loss, linesearch=search).run(jnp.zeros(2), bounds=(None, 1.0))
    jax.effects_barrier()
    assert state.converged
    np.testing.assert_array_equal(params, 1.0)
    assert seen
    assert max(seen) <= 1.0


def test_prox_and_projections_at_zero_are_finite_and_so_are_their_derivatives():
    zero = jnp.zeros(3)
    for function in (jaxopt.prox.prox_group_lasso, jaxopt.projection.projection_l2_ball):
        assert jnp.isfinite(jax.jacrev(function)(zero)).all()
    np.testing.assert_allclose(jax.jacrev(jaxopt.projection.projection_l2_ball)(zero), jnp.eye(3))
    np.testing.assert_allclose(jnp.linalg.norm(jaxopt.projection.projection_l2_sphere(zero, 2.0)), 2.0, rtol=1e-6)


@pytest.mark.sweep
@pytest.mark.parametrize("acceleration", [True, False])
def test_verbose_prints_a_line_for_a_step_and_otherwise_nothing_is_printed(acceleration, capsys):
    quiet = jaxopt.GradientDescent(distance, acceleration=acceleration).run(0.0)
    assert capsys.readouterr().out == ""
    loud = jaxopt.GradientDescent(distance, acceleration=acceleration, verbose=True).run(0.0)
    assert loud.state.status == Status.CONVERGED
    assert capsys.readouterr().out.count("value") == loud.state.iter_num + 1
    assert loud.params == quiet.params
    with pytest.warns(UserWarning, match="verbose= prints nothing inside"):
        jax.jit(jaxopt.GradientDescent(distance, verbose=True).run)(0.0)
