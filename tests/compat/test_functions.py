"""The functions of jaxopt's modules: closed forms, and definitions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax.compat.jaxopt import implicit_diff, loss, objective, projection, prox, tree_util

X = jnp.array([1.5, -0.2, 0.4, -2.0])
PAIR = (X, {"a": 2 * X})


def soft(x, t):
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - t, 0)


def test_prox_operators_have_their_closed_forms_on_pytrees():
    for got, x in zip(jax.tree.leaves(prox.prox_lasso(PAIR, 0.5, 2.0)), jax.tree.leaves(PAIR), strict=True):
        np.testing.assert_allclose(got, soft(x, 1.0), rtol=1e-6)
    np.testing.assert_allclose(prox.prox_lasso((X, X), (0.5, 0.2))[1], soft(X, 0.2), rtol=1e-6)
    np.testing.assert_allclose(prox.prox_elastic_net(X, (0.5, 0.1)), soft(X, 0.5) / 1.05, rtol=1e-6)
    np.testing.assert_allclose(prox.prox_elastic_net((X, X), ((0.5, 0.2), 0.1))[1], soft(X, 0.2) / 1.02, rtol=1e-6)
    np.testing.assert_allclose(prox.prox_elastic_net((X, X), (0.5, (0.1, 0.2)))[1], soft(X, 0.5) / 1.1, rtol=1e-6)
    np.testing.assert_allclose(prox.prox_non_negative_lasso(X, 0.5), jnp.maximum(X - 0.5, 0), rtol=1e-6)
    np.testing.assert_allclose(prox.prox_group_lasso(X, 0.5), X * (1 - 0.5 / jnp.linalg.norm(X)), rtol=1e-6)
    assert prox.prox_none(PAIR) is PAIR
    onto = prox.make_prox_from_projection(projection.projection_simplex)
    np.testing.assert_allclose(onto(X), projection.projection_simplex(X))


SETS = {
    "non_negative": (None, lambda z: (z >= 0).all()),
    "box": ((-0.1, 0.5), lambda z: ((z >= -0.1) & (z <= 0.5)).all()),
    "hypercube": (0.7, lambda z: ((z >= 0) & (z <= 0.7)).all()),
    "simplex": (2.0, lambda z: (z >= 0).all() and abs(z.sum() - 2) < 1e-5),
    "l1_sphere": (2.0, lambda z: abs(jnp.abs(z).sum() - 2) < 1e-5),
    "l1_ball": (2.0, lambda z: jnp.abs(z).sum() <= 2 + 1e-5),
    "l2_sphere": (3.0, lambda z: abs(jnp.linalg.norm(z) - 3) < 1e-5),
    "l2_ball": (1.0, lambda z: jnp.linalg.norm(z) <= 1 + 1e-6),
    "linf_ball": (0.5, lambda z: jnp.abs(z).max() <= 0.5),
    "hyperplane": ((jnp.ones(4), 1.0), lambda z: abs(z.sum() - 1) < 1e-5),
    "halfspace": ((-jnp.ones(4), -1.0), lambda z: z.sum() >= 1 - 1e-5),
    "affine_set": (
        (jnp.eye(2, 4), jnp.array([1.0, 2.0])),
        lambda z: jnp.abs(z[:2] - jnp.array([1.0, 2.0])).max() < 1e-5,
    ),
    "box_section": ((0.0, 1.0, jnp.ones(4), 1.5), lambda z: (z >= 0).all() and abs(z.sum() - 1.5) < 1e-5),
}


@pytest.mark.sample("affine_set", "box_section")
@pytest.mark.parametrize("name", SETS)
def test_projections_are_onto_the_set_and_leave_its_points(name):
    given, within = SETS[name]
    project = getattr(projection, f"projection_{name}")
    z = project(X, given)
    assert within(z)
    np.testing.assert_allclose(project(z, given), z, atol=1e-5)


def test_hyperparameters_of_projections_have_names():
    np.testing.assert_allclose(projection.projection_l2_ball(X, max_value=1.0), X / jnp.linalg.norm(X), rtol=1e-6)
    with pytest.raises(TypeError, match="has no argument 'radius'"):
        projection.projection_l2_ball(X, radius=1.0)


def test_losses_take_the_label_first_and_binary_ones_0_or_1():
    np.testing.assert_allclose(loss.binary_logistic_loss(1, 0.3), jnp.log(1 + jnp.exp(-0.3)), rtol=1e-6)
    np.testing.assert_allclose(loss.binary_logistic_loss(0, 0.3), jnp.log(1 + jnp.exp(0.3)), rtol=1e-6)
    np.testing.assert_allclose(loss.binary_hinge_loss(0, 0.3), 1.3, rtol=1e-6)
    np.testing.assert_allclose(loss.binary_perceptron_loss(0, 0.3), 0.3, rtol=1e-6)
    np.testing.assert_allclose(loss.binary_sparsemax_loss(1, 0.0), 0.25, rtol=1e-6)
    np.testing.assert_allclose(loss.huber_loss(3.0, 0.0, 1.0), 2.5, rtol=1e-6)
    np.testing.assert_allclose(loss.huber_loss(4, 3, 0.1), 0.095, rtol=1e-6)
    scores = jnp.array([0.1, 0.7, -0.3])
    np.testing.assert_allclose(loss.multiclass_logistic_loss(0, scores), -jax.nn.log_softmax(scores)[0], rtol=1e-6)
    np.testing.assert_allclose(loss.multiclass_hinge_loss(0, scores), 1.6, rtol=1e-6)
    np.testing.assert_allclose(loss.multiclass_perceptron_loss(0, scores), 0.6, rtol=1e-6)
    assert loss.multiclass_sparsemax_loss(1, jnp.array([0.0, 5.0])) == 0
    young = loss.make_fenchel_young_loss(jax.nn.logsumexp)
    np.testing.assert_allclose(young(jax.nn.one_hot(0, 3), scores), loss.multiclass_logistic_loss(0, scores), rtol=1e-5)


def test_objectives_are_means_of_losses():
    data = jnp.array([[1.0, 2.0], [0.5, -1.0]]), jnp.array([1, 0])
    W, b = jnp.array([[0.1, 0.2], [0.3, -0.4]]), jnp.array([0.5, -0.5])
    entropy = -jnp.mean(jax.nn.log_softmax(data[0] @ W + b)[jnp.arange(2), data[1]])
    np.testing.assert_allclose(objective.multiclass_logreg_with_intercept((W, b), data), entropy, rtol=1e-5)
    penalised = objective.l2_multiclass_logreg_with_intercept((W, b), 2.0, data)
    np.testing.assert_allclose(penalised, entropy + jnp.sum(W**2), rtol=1e-5)
    np.testing.assert_allclose(
        objective.l2_multiclass_logreg(W, 2.0, data), objective.multiclass_logreg(W, data) + jnp.sum(W**2), rtol=1e-5
    )
    w = jnp.array([0.3, -0.2])
    np.testing.assert_allclose(
        objective.binary_logreg(w, data), jnp.mean(jnp.logaddexp(0, jnp.array([-1.0, 1.0]) * (data[0] @ w))), rtol=1e-5
    )
    # The gap between a linear support vector machine and its dual is never negative.
    Y, beta = jax.nn.one_hot(data[1], 2), jnp.array([[0.6, 0.4], [0.3, 0.7]])
    V = data[0].T @ (Y - beta) / 2.0
    primal = jnp.sum(jax.vmap(loss.multiclass_hinge_loss)(data[1], data[0] @ V)) + jnp.sum(V**2)
    assert primal >= -objective.multiclass_linear_svm_dual(beta, 2.0, (data[0], Y))


def test_trees():
    assert tree_util.tree_l2_norm(PAIR) == pytest.approx(float(jnp.linalg.norm(X)) * 5**0.5)
    assert tree_util.tree_inf_norm(PAIR) == 4
    np.testing.assert_allclose(tree_util.tree_vdot(PAIR, PAIR), tree_util.tree_l2_norm(PAIR, squared=True), rtol=1e-6)
    np.testing.assert_allclose(tree_util.tree_add_scalar_mul(X, 2.0, X), 3 * X)
    np.testing.assert_allclose(tree_util.tree_negative(PAIR)[0], -X)
    np.testing.assert_allclose(tree_util.tree_mean((jnp.ones(3), jnp.zeros(1))), 0.5)
    assert tree_util.tree_vdot_real(jnp.array([1j]), jnp.array([1j])) == 1
    assert tree_util.tree_imag(jnp.array([1j])) == 1
    np.testing.assert_allclose(tree_util.tree_dot(X, X), X @ X)
    spread, same = tree_util.broadcast_pytrees(3.0, (X, X))
    assert spread == (3.0, 3.0)
    assert same[0] is X


@pytest.mark.sweep
def test_arguments_by_name_find_their_places_by_a_signature():
    step = lambda x, theta: x - jax.grad(lambda x, theta: jnp.sum((x - theta**2) ** 2))(x, theta) / 4
    solver = lambda init, **named: named["theta"] ** 2
    wrapped = functools.wraps(step)(lambda x, *args: step(x, *args))
    decorators = [
        implicit_diff.custom_fixed_point(wrapped),
        implicit_diff.custom_fixed_point(lambda x, *args: step(x, *args), reference_signature=step),
        implicit_diff.custom_root(lambda x, **named: x - named["theta"] ** 2),
    ]
    solvers = [decorate(solver) for decorate in decorators]
    slopes = jax.jacobian(lambda theta: jnp.stack([solve(0.0, theta=theta) for solve in solvers]))(3.0)
    np.testing.assert_allclose(slopes, 6.0, rtol=1e-5)


@pytest.mark.sweep
def test_a_solver_of_ones_own_gets_derivatives():
    A = jnp.array([[3.0, 1.0], [0.0, 2.0]])
    residual = lambda x, theta: A @ x + x**3 - theta

    @implicit_diff.custom_root(residual)
    def solve(init, theta):
        newton = lambda _, x: x - jnp.linalg.solve(jax.jacobian(residual)(x, theta), residual(x, theta))
        return jax.lax.fori_loop(0, 20, newton, jnp.zeros(2))

    theta = jnp.array([1.0, 2.0])
    root = solve(None, theta)
    exact = jnp.linalg.inv(A + jnp.diag(3 * root**2))
    np.testing.assert_allclose(jax.jacrev(solve, argnums=1)(None, theta), exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jax.jacfwd(solve, argnums=1)(None, theta), exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        implicit_diff.root_vjp(residual, root, (theta,), jnp.ones(2))[0], jnp.ones(2) @ exact, rtol=1e-4
    )
    np.testing.assert_allclose(
        implicit_diff.root_jvp(residual, root, (theta,), (jnp.ones(2),)), exact @ jnp.ones(2), rtol=1e-4
    )
    fixed = implicit_diff.custom_fixed_point(lambda x, t: jnp.cos(t * x), has_aux=True)(
        lambda init, t: (jax.lax.fori_loop(0, 200, lambda _, x: jnp.cos(t * x), init), "done")
    )
    x, aux = fixed(0.5, 1.0)
    slope = jax.grad(lambda t: fixed(0.5, t)[0])(1.0)
    assert aux == "done"
    assert float(slope) == pytest.approx(float(-x * jnp.sin(x) / (1 + jnp.sin(x))), rel=1e-3)
