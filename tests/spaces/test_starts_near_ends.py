"""A start near an end, where the map is flat: the descent leaves it, or says that it stands at an edge."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpyro.distributions import constraints

import gdjax
from gdjax import Status
from gdjax.spaces import CovarianceCholesky, Fixed, Interval, Ordered, Positive, Stack

COVARIANCE = jnp.array([[1.0, 0.5], [0.5, 2.0]])


def beside(p):
    """What another parameter adds to the norm of a gradient hides that one is flat."""
    return jnp.sum((p["s"] - 1.0) ** 2) + (p["x"] - 1.0) ** 2


class Softplus:
    """A space of somebody's own, of which nothing is known but the map."""

    def __repr__(self):
        return "Softplus()"

    def to_user(self, free):
        return jax.nn.softplus(free)

    def to_free(self, user):
        return user + jnp.log(-jnp.expm1(-user))


@pytest.mark.sample("Positive()-1e-05", "Positive(lower_bound=0.0)-1e-05")
@pytest.mark.parametrize(
    ("space", "start"),
    [
        (Positive(), 1e-5),
        (Positive(), 1e-12),
        (Interval(0.0, 3.0), 1e-5),
        (constraints.positive, 1e-5),
        (Softplus(), 1e-5),
        (Stack([Positive(), Interval(0.0, 3.0), None, Fixed()]), [1e-5, 1e-5, 0.3, 1.0]),
    ],
    ids=repr,
)
def test_it_leads_to_the_minimum_beside_other_parameters(space, start):
    result = gdjax.minimize(beside, {"s": jnp.array(start), "x": 0.3}, space={"s": space})
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params["s"], 1.0, rtol=2e-3)


@pytest.mark.sweep
def test_it_leads_there_by_every_door():
    start, space = {"s": 1e-5, "x": 0.3}, {"s": Positive()}
    solve = lambda s: gdjax.minimize(beside, dict(start, s=s), space=space)
    many = gdjax.minimize_many(lambda p: beside(p), {"s": jnp.array([1e-5, 1.0]), "x": jnp.zeros(2)}, space=space)
    state = gdjax.init(beside, start, space=space)
    step = jax.jit(lambda state: gdjax.step(beside, state))
    while state.status == Status.RUNNING:
        state = step(state)
    assert many.code.tolist() == [Status.CONVERGED, Status.CONVERGED]
    assert state.status == Status.CONVERGED
    for s in (jax.jit(solve)(1e-5).params["s"], many.params["s"], state.params["s"]):
        np.testing.assert_allclose(s, 1.0, rtol=2e-3)


def test_numbers_in_order_that_start_close_together_part():
    order = lambda w: jnp.sum((w - jnp.array([0.0, 1.0, 5.0])) ** 2)
    result = gdjax.minimize(order, jnp.array([0.0, 1e-4, 2e-4]), space=Ordered())
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [0.0, 1.0, 5.0], atol=1e-3)
    solve = lambda start: gdjax.minimize(order, start, space=Ordered())
    lost = jnp.array([0.0, 1e-8, 2e-8])  # below their rounding
    assert jax.jit(solve)(lost).status == Status.AT_EDGE
    np.testing.assert_allclose(solve(lost).params, [0.0, 1.0, 5.0], atol=1e-3)


def test_a_factor_leaves_the_saddle_at_a_matrix_of_lower_rank():
    miss = lambda factor: jnp.sum((factor @ factor.T - COVARIANCE) ** 2)
    start = lambda last: jnp.array([[1.0, 0.0], [0.0, last]])
    result = gdjax.minimize(miss, start(0.01), space=CovarianceCholesky())
    assert result.status == Status.CONVERGED
    assert result.value < 1e-6
    solve = lambda start: gdjax.minimize(miss, start, space=CovarianceCholesky())
    assert jax.jit(solve)(start(1e-5)).status == Status.AT_EDGE
    assert solve(start(1e-5)).value < 1e-6


@pytest.mark.parametrize("method", [gdjax.GradientDescent(0.1), optax.sgd(0.1)], ids=["GradientDescent", "optax"])
def test_what_cannot_leave_says_so(method):
    solve = lambda s: gdjax.minimize(beside, {"s": s, "x": 0.3}, space={"s": Positive()}, method=method, max_steps=300)
    assert not jax.jit(solve)(1e-5).converged
    found = solve(1e-5)  # from Python it is brought inside
    assert found.converged
    np.testing.assert_allclose(found.params["s"], 1.0, rtol=2e-3)


def test_nor_does_an_absolute_tolerance_call_it_converged():
    stop = gdjax.Stop(gradient=1e-3)
    result = gdjax.minimize(beside, {"s": 1e-5, "x": 0.3}, space={"s": Positive()}, stop=stop)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params["s"], 1.0, rtol=2e-3)
