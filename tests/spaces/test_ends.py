"""A gradient that vanishes only because a map is flat is no success; a minimum at an end is one, and is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import constraints

import gdjax
from gdjax import Status
from gdjax.spaces import Above, CorrelationCholesky, CovarianceCholesky, Fixed, Interval, Ordered, Positive, Simplex

bowl = lambda u, centre: jnp.sum((u - centre) ** 2)


@pytest.mark.sample("space0-3.0-10.0")
@pytest.mark.parametrize(("space", "start", "rate"), [(Positive(), 3.0, 10.0), (Interval(0.0, 10.0), 9.0, 300.0)])
def test_a_step_too_long_to_the_end_is_no_success(space, start, rate):
    method = gdjax.GradientDescent(rate)
    result = jax.jit(lambda c: gdjax.minimize(bowl, start, c, space=space, method=method))(1.0)
    assert result.status == Status.AT_EDGE
    assert not result.converged
    assert "At an end of its space" in str(result)
    assert "lower on the way back inside" in str(result)
    again = gdjax.minimize(bowl, start, 1.0, space=space, method=method)  # goes on from inside, with steps as long
    assert not again.converged
    assert again.value < 1
    batch = gdjax.minimize_many(bowl, start, jnp.array([1.0, start]), in_axes=(None, 0), space=space, method=method)
    assert batch.code[0] == Status.AT_EDGE
    assert batch.code[1] == Status.CONVERGED


@pytest.mark.sample("1e-12-LBFGS", "1e-12-TrustRegion")
@pytest.mark.parametrize("method", [gdjax.LBFGS(), gdjax.BFGS(), gdjax.TrustRegion()], ids=lambda m: m.name)
@pytest.mark.parametrize("start", [1e-12, 1e-3, 3.0, 1e6])
def test_methods_that_search_get_there_from_anywhere(method, start):
    result = gdjax.minimize(bowl, start, 1.0, space=Positive(), method=method)
    assert result.converged
    np.testing.assert_allclose(result.params, 1.0, rtol=2e-3)


class Sigmoid:
    """A space of somebody's own, of which nothing is known but the map."""

    def to_user(self, free):
        return jax.nn.sigmoid(free)

    def to_free(self, user):
        return jnp.log(user) - jnp.log1p(-user)


@pytest.mark.sample("own")
@pytest.mark.parametrize("space", [Sigmoid(), constraints.unit_interval], ids=["own", "numpyro"])
def test_nor_is_it_in_anybody_elses_map(space):
    """There the slope of the map is 0, and the way back leads beyond the start."""
    solve = lambda x: gdjax.minimize(bowl, x, 0.1, space=space, method=gdjax.GradientDescent(1e4))
    result = jax.jit(solve)(0.9)
    assert result.status == Status.AT_EDGE
    assert "At an end of its space" in str(result)
    assert solve(0.9).value < 0.1


@pytest.mark.sample("space0-start0-centre0")
@pytest.mark.parametrize(
    ("space", "start", "centre"),
    [
        (Simplex(), [1e-30, 0.6, 0.4], [0.2, 0.5, 0.3]),
        (Simplex(), [1.0, 1e-30, 1e-30], [0.2, 0.5, 0.3]),
        (CorrelationCholesky(), [[1.0, 0.0], [1.0, 1e-30]], [[1.0, 0.0], [0.6, 0.8]]),
    ],
)
def test_nor_where_rounding_hides_the_slope(space, start, centre):
    """Free numbers depend on each other there, so that what the gradient by one of them says is their rounding."""
    stop = gdjax.Stop(gradient=1e3)
    solve = lambda start: gdjax.minimize(bowl, start, jnp.array(centre), space=space, stop=stop)
    assert jax.jit(solve)(jnp.array(start)).status == Status.AT_EDGE
    assert solve(jnp.array(start)).value < jax.jit(solve)(jnp.array(start)).value  # it goes on from inside


@pytest.mark.sweep
@pytest.mark.float64
def test_nor_far_out_where_the_gradient_is_exactly_zero():
    loss = lambda u: jnp.log1p((u - 1.0) ** 2)
    solve = lambda start: gdjax.minimize(loss, start, space=Positive())
    assert jax.jit(solve)(1.5e7).status == Status.AT_EDGE
    result = solve(1.5e7)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1.0, rtol=1e-5)


def test_a_maximum_is_judged_likewise():
    hill = lambda u: -bowl(u, 1.0)
    solve = lambda x: gdjax.maximize(hill, x, space=Positive(), method=gdjax.GradientDescent(10.0))
    assert jax.jit(solve)(3.0).status == Status.AT_EDGE
    assert solve(3.0).value > -0.1
    right = gdjax.maximize(lambda u: -u, 3.0, space=Positive())
    assert right.status == Status.CONVERGED


def test_a_minimum_at_the_end_is_a_success_and_is_said():
    result = gdjax.minimize(lambda u: jnp.sum(u), 3.0, space=Positive())
    assert result.status == Status.CONVERGED
    assert 0 < result.params < 1e-2
    assert "At an end of its space" in str(result)
    centre = jnp.array([0.7, 0.5, -0.3])
    weights = gdjax.minimize(bowl, jnp.full(3, 1 / 3), centre, space=Simplex())
    assert weights.status == Status.CONVERGED
    np.testing.assert_allclose(weights.params, [0.6, 0.4, 0.0], atol=1e-3)
    assert weights.grad[2] > 0.1  # the loss rises with what is at the end
    assert "params (1 of 3)" in str(weights)


def test_a_minimum_near_an_end_is_a_success():
    near = lambda u: ((u - 1e-5) * 1e5) ** 2
    result = gdjax.minimize(near, 3.0, space=Interval(0.0, 10.0))
    assert result.converged
    np.testing.assert_allclose(result.params, 1e-5, rtol=1e-2)


@pytest.mark.sample("space0-at0-centre0")
@pytest.mark.float64
@pytest.mark.parametrize(
    ("space", "at", "centre"),
    [
        (Simplex(), [1 - 2e-9, 1e-9, 1e-9], [0.2, 0.5, 0.3]),
        (Ordered(), [0.0, 1e-12, 1.0], [0.0, 0.5, 1.0]),
        (CovarianceCholesky(), [[1e-12, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]),
        (CorrelationCholesky(), [[1.0, 0.0], [1.0, 1e-9]], [[1.0, 0.0], [0.3, 0.91**0.5]]),
    ],
)
def test_each_space_knows_its_ends(space, at, centre):
    """A point at an end is seen to be there, and the way inside leads to lower values."""
    at, centre = jnp.array(at), jnp.array(centre)
    loss = lambda u: bowl(u, centre)
    inside = {"Simplex": jnp.full(3, 1 / 3), "Ordered": jnp.arange(3.0)}.get(type(space).__name__, jnp.eye(2))
    result = gdjax.minimize(loss, at, space=space, tol=1e-3, max_steps=0)
    free, start = space.to_free(at), space.to_free(inside)
    edges = space.edges(free, result.space.grad, start)
    assert bool((edges.share < 1e-6).any())
    marked = (edges.share < 1e-2) & (edges.inward > 0)
    assert bool(marked.any())
    moved = space.to_user(free + 0.5 * (space.inside(free, start, marked) - free))
    assert loss(space.to_user(space.inside(free, start, marked))) < loss(at) or loss(moved) < loss(at)


@pytest.mark.sample("<lambda>-100000.0")
@pytest.mark.parametrize(
    ("loss", "start"), [(lambda p: jnp.log(p) ** 2, 1e5), (lambda p: (jnp.log(p) - jnp.log(1e-9)) ** 2, 1.0)]
)
def test_a_minimum_inside_is_at_no_end_however_far_the_start(loss, start):
    result = gdjax.minimize(loss, start, space=Positive())
    assert result.converged
    assert "At an end" not in str(result)
    assert "infinity" not in str(result)


@pytest.mark.sample("Positive()-square")
@pytest.mark.parametrize("loss", [lambda p: p**2, lambda p: p**4, lambda p: 1 + p], ids=["square", "fourth", "line"])
@pytest.mark.parametrize("space", [Positive(), Interval(0.0, 10.0)], ids=repr)
def test_an_end_is_named_however_flat_the_loss_is_there(loss, space):
    result = gdjax.minimize(loss, 3.0, space=space)
    assert result.status == Status.CONVERGED
    assert "At an end of its space: params." in str(result)


@pytest.mark.sample("Positive()-<lambda>0")
@pytest.mark.parametrize("loss", [lambda p: 1 / p, lambda p: jnp.exp(-p), lambda p: 1 + jnp.exp(-p)])
@pytest.mark.parametrize("space", [Positive(), Above(0.5)], ids=repr)
def test_a_minimum_at_infinity_is_said(loss, space):
    result = gdjax.minimize(loss, 1.0, space=space)
    assert result.status == Status.CONVERGED
    assert "may be at infinity: params." in str(result)


def test_each_of_many_says_where_it_went():
    lanes = gdjax.minimize_many(bowl, 1.0, jnp.array([-1.0, 2.0]), in_axes=(None, 0), space=Positive())
    assert (lanes.code == Status.CONVERGED).all()
    assert "At an end of its space: params." in str(lanes[0])
    assert "At an end" not in str(lanes[1])


def test_a_loss_without_derivatives_of_its_own_is_judged_by_values():
    """``grad=`` of a loss that JAX cannot differentiate."""
    loss = lambda u: jax.pure_callback(lambda u: np.square(u - 1), jax.ShapeDtypeStruct((), u.dtype), u)
    options = dict(space=Positive(), method=gdjax.GradientDescent(10.0), grad=lambda u: 2 * (u - 1))
    solve = lambda x: gdjax.minimize(loss, x, **options)
    assert jax.jit(solve)(3.0).status == Status.AT_EDGE
    assert solve(3.0).value < 0.1


@pytest.mark.sweep
@pytest.mark.float64
def test_a_fit_that_runs_to_infinity_in_its_space_is_no_success():
    """Data that do not decay: on the other side of infinity the time is negative, and the residuals go on falling."""
    t = jnp.linspace(0.0, 8.0, 40)
    model = lambda p, t: p["size"] * jnp.exp(-t / p["time"]) + p["floor"]
    space = {"time": Positive(), "floor": Fixed()}
    fit = gdjax.curve_fit(model, {"size": 1.0, "time": 5.0, "floor": 0.5}, t, 2.5 + 0.01 * t, space=space)
    assert fit.status == Status.RUNAWAY
    assert "params['time'] runs away while" in str(fit)
    inside = jax.jit(lambda y: gdjax.curve_fit(model, {"size": 1.0, "time": 5.0, "floor": 0.5}, t, y, space=space).code)
    assert inside(2.5 + 0.01 * t) == Status.RUNAWAY


@pytest.mark.sweep
@pytest.mark.float64
def test_two_that_run_to_infinity_together_are_no_success():
    """A saturation that the data do not show: at any size and half-way point of one ratio the curve is the same."""
    x, space = jnp.linspace(0.1, 5.0, 40), {"size": Positive(), "half": Positive()}
    model = lambda p, x: p["size"] * x / (p["half"] + x)
    fit = gdjax.curve_fit(model, {"size": 1.0, "half": 5.0}, x, 0.3 * x + 0.02 * x**2, space=space)
    assert fit.status == Status.RUNAWAY, str(fit)
    real = gdjax.curve_fit(model, {"size": 1.0, "half": 1e-4}, x, 3e4 * x / (1e4 + x), space=space)
    assert real.converged, str(real)
