"""Spaces of one's own and of other libraries, as they are; and MAP estimates beside theirs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import CompileCounter

import gdjax
from gdjax import Status
from gdjax.spaces import CorrelationCholesky, Interval, Ordered, Positive, Simplex, Stack

pytestmark = pytest.mark.float64


class PowerOfTen:
    """A space of one's own, in five lines."""

    def to_user(self, free):
        return 10.0**free

    def to_free(self, user):
        return jnp.log10(user)


def test_a_space_of_ones_own():
    loss = lambda p: (jnp.log(p["s"]) - 2) ** 2 + (p["b"] - 1) ** 2
    result = gdjax.minimize(loss, {"b": 0.0, "s": 1.0}, space={"s": PowerOfTen()})
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params["s"], np.exp(2), rtol=1e-4)
    early = gdjax.minimize(loss, {"b": 0.0, "s": 1.0}, space={"s": PowerOfTen()}, max_evals=1)
    np.testing.assert_allclose(early.grad["s"], -4.0, rtol=1e-6)
    with pytest.raises(ValueError, match="its free numbers are not finite"):
        gdjax.minimize(loss, {"b": 0.0, "s": 0.0}, space={"s": PowerOfTen()})
    many = gdjax.minimize_many(loss, {"b": jnp.zeros(2), "s": jnp.ones(2)}, space={"s": PowerOfTen()})
    assert (many.code == Status.CONVERGED).all()


def test_a_space_that_is_no_bijection_is_refused():
    class Square(PowerOfTen):
        def to_user(self, free):
            return free**2

    with pytest.raises(ValueError, match=r"to_user\(to_free\(start\)\) differs"):
        gdjax.minimize(lambda p: p**2, 3.0, space=Square())


@pytest.mark.sample("positive-ours0-2.0")
@pytest.mark.parametrize(
    ("name", "ours", "at"),
    [
        ("positive", Positive(), 2.0),
        ("unit_interval", Interval(0.0, 1.0), 0.3),
        ("simplex", Simplex(), np.array([0.2, 0.3, 0.5])),
        ("ordered_vector", Ordered(), np.array([-1.0, 0.5, 0.7])),
        ("corr_cholesky", CorrelationCholesky(), np.array([[1.0, 0.0], [0.6, 0.8]])),
    ],
)
def test_numpyros_constraints_lead_to_the_same_answer(name, ours, at):
    constraints = pytest.importorskip("numpyro.distributions").constraints
    centre = np.asarray(at)
    start = {"simplex": np.full(3, 1 / 3), "ordered_vector": np.arange(3.0), "corr_cholesky": np.eye(2)}.get(name, 0.5)
    loss = lambda u: jnp.sum((u - centre) ** 2)
    for space in (ours, getattr(constraints, name)):
        result = gdjax.minimize(loss, start, space=space, tol=1e-8)
        assert result.converged, result
        np.testing.assert_allclose(result.params, at, atol=1e-5)
    found = result.space.chart.spaces[0]
    free = jnp.asarray(result.space.params)
    assert np.isfinite(found.log_det(free))


@pytest.mark.parametrize("name", ["positive", "unit_interval"])
def test_determinants_are_numpyros(name):
    biject_to = pytest.importorskip("numpyro.distributions").biject_to
    constraints = pytest.importorskip("numpyro.distributions").constraints
    theirs = biject_to(getattr(constraints, name))
    ours = {"positive": Positive(), "unit_interval": Interval(0.0, 1.0)}[name]
    z = jnp.linspace(-3.0, 3.0, 7)
    np.testing.assert_allclose(ours.to_user(z), theirs(z), rtol=1e-12)
    np.testing.assert_allclose(ours.log_det(z), theirs.log_abs_det_jacobian(z, theirs(z)).sum(), rtol=1e-12)


@pytest.mark.sweep
def test_the_mode_of_a_numpyro_model_in_its_own_space():
    numpyro = pytest.importorskip("numpyro")
    dist = numpyro.distributions
    y = np.array([1.2, 0.4, 2.2, 1.9, 0.8, 1.4])

    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
        scale = numpyro.sample("scale", dist.HalfNormal(5.0))
        numpyro.sample("y", dist.Normal(mean, scale), obs=y)

    density = lambda p, y: -numpyro.infer.util.log_density(model, (y,), {}, p)[0]
    start, space = {"mean": 0.0, "scale": 1.0}, {"scale": dist.constraints.positive}
    result = gdjax.minimize(density, start, y, space=space, tol=1e-8)
    assert result.converged
    grad = jax.grad(density)(result.params, y)
    assert max(abs(float(g)) for g in grad.values()) < 1e-5  # the mode is that of the density by the parameter
    np.testing.assert_allclose(
        result.params["scale"], gdjax.minimize(density, start, y, tol=1e-8).params["scale"], rtol=1e-5
    )


def test_bijectors_by_their_methods():
    class Exp:
        def forward(self, x):
            return jnp.exp(x)

        def inverse(self, y):
            return jnp.log(y)

        def forward_log_det_jacobian(self, x):
            return x

    result = gdjax.minimize(lambda s: (s - 2) ** 2, 1.0, space=Exp())
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 2.0, rtol=1e-5)
    np.testing.assert_allclose(result.space.chart.spaces[0].log_det(jnp.ones(2)), 2.0)


@pytest.mark.sweep
def test_a_stack_is_of_single_entries():
    x = np.linspace(0, 3, 40)
    y = 2 * np.exp(-1.3 * x) + 0.1
    curve = lambda x, a, k, c: a * jnp.exp(-k * x) + c
    space = Stack([Positive(), Interval(0.0, 9.0), gdjax.spaces.Fixed()])
    fit = gdjax.curve_fit(curve, x, y, p0=[1.0, 1.0, 0.1], space=space)
    assert fit.converged
    np.testing.assert_allclose(fit.params, [2.0, 1.3, 0.1], rtol=1e-6)
    assert fit.table().splitlines()[4].split() == ["c", "0.1", "fixed"]
    assert [row.split()[0] for row in fit.table().splitlines()[2:5]] == ["a", "k", "c"]
    many = gdjax.minimize_many(
        lambda p, y: jnp.mean((curve(x, *p) - y) ** 2), jnp.array([[1.0, 1.0, 0.1]] * 2), np.stack([y, y]), space=space
    )
    assert (many.code == Status.CONVERGED).all()
    np.testing.assert_allclose(many.params, [[2.0, 1.3, 0.1]] * 2, rtol=1e-3)
    with pytest.raises(ValueError, match=r"params\[1\] starts at 10"):
        gdjax.curve_fit(curve, x, y, p0=[1.0, 10.0, 0.1], space=space)
    with pytest.raises(ValueError, match="its Stack is of 3 entries"):
        gdjax.minimize(lambda p: jnp.sum(p**2), jnp.ones(2), space=space)


class Scaled:
    """A space with a setting."""

    def __init__(self, scale):
        self.scale = scale

    def to_user(self, free):
        return self.scale * jnp.exp(free)

    def to_free(self, user):
        return jnp.log(user / self.scale)


def test_a_space_made_anew_runs_the_same_program_and_one_that_changed_does_not():
    loss = lambda p: jnp.sum((p - 2.0) ** 2)
    solve = lambda space: gdjax.minimize(loss, jnp.ones(2), space=space)
    solve(Scaled(1.0))
    with CompileCounter() as compiled:
        assert solve(Scaled(1.0)).status == Status.CONVERGED
    assert compiled.count == 0
    space = Scaled(jnp.ones(2))
    for scale in (jnp.ones(2), jnp.array([1.0, 3.0])):
        space.scale = scale
        result = solve(space)
        assert result.status == Status.CONVERGED
        np.testing.assert_allclose(result.space.params, np.log(2 / scale), atol=1e-3)


def test_a_result_in_a_space_of_ones_own_comes_out_of_jit():
    result = jax.jit(lambda s: gdjax.minimize(lambda p: (p - 2.0) ** 2, s, space=PowerOfTen()))(1.0)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 2.0, rtol=1e-4)


class Turned(Scaled):
    """A space whose setting selects code, as True does and 1 does not."""

    def to_user(self, free):
        return free if self.scale is True else -free

    to_free = to_user


def test_a_setting_that_is_equal_but_of_another_type_is_another_space():
    for setting, free in ((True, 2.0), (1, -2.0)):
        result = gdjax.minimize(lambda p: (p - 2.0) ** 2, 1.0, space=Turned(setting))
        assert result.status == Status.CONVERGED
        np.testing.assert_allclose([result.space.params, result.params], [free, 2.0], rtol=1e-4)
