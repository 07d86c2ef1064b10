"""Whole models are parameters: what is no floating array is held, and the answer is the same kind of object."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status
from gdjax.spaces import Fixed, Positive, by_leaf

X = jnp.linspace(-1.0, 1.0, 20)
Y = jnp.sin(2 * X)


@dataclasses.dataclass
class Curve:
    """Not known to JAX; with a number, a size and a function."""

    width: jax.Array
    height: float
    times: int
    bend: Callable = jnp.tanh

    def __call__(self, x):
        for _ in range(self.times):
            x = self.bend(self.width * x)
        return self.height * x


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Known(Curve):
    """The same, as a pytree."""


def error(model, x, y):
    return jnp.mean((model(x) - y) ** 2)


@pytest.mark.sample("Curve")
@pytest.mark.parametrize("kind", [Curve, Known])
def test_a_dataclass_is_fitted_as_it_is(kind):
    model = kind(jnp.array(1.0), 1.0, 2)
    result = gdjax.minimize(error, model, X, Y)
    assert result.status == Status.CONVERGED
    assert type(result.params) is kind
    assert result.params.times == 2
    assert result.params.bend is jnp.tanh
    assert float(error(result.params, X, Y)) < 0.01 < float(error(model, X, Y))
    assert "Held as settings: params.times." in str(result)
    assert result.grad.times is None
    assert jnp.shape(result.grad.height) == ()
    held = gdjax.minimize(error, model, X, Y, space={"height": Fixed(), "width": Positive()})
    assert held.status == Status.CONVERGED
    assert held.params.height == 1.0
    both = gdjax.minimize(lambda p: error(p["m"], X, Y) + (p["b"] - 1) ** 2, {"m": model, "b": 0.0})
    assert both.status == Status.CONVERGED
    assert both.params["m"].times == 2
    many = gdjax.minimize_many(error, model, X, jnp.stack([Y, 2 * Y]), in_axes=(None, None, 0))
    assert (many.code == Status.CONVERGED).all()
    assert type(many[1].params) is kind
    assert float(error(many[1].params, X, 2 * Y)) < 0.04


def test_many_starts_of_a_model():
    model = Curve(jnp.array([0.5, 1.0, 2.0]), jnp.ones(3), 2)
    found = gdjax.multistart(error, model, X, Y)
    assert found.best.converged
    assert found.best.params.times == 2
    drawn = gdjax.multistart(error, lambda k: Curve(jax.random.uniform(k), 1.0, 2), X, Y, num_starts=3)
    assert drawn.best.converged
    assert float(error(drawn.best.params, X, Y)) < 0.01


def test_a_model_that_is_not_finite_is_named():
    result = gdjax.minimize(error, Curve(jnp.array(jnp.nan), 1.0, 2), X, Y)
    assert result.status == Status.NONFINITE_START
    assert "params.width has 1 of 1" in str(result)


@pytest.mark.sweep
def test_a_dataclass_of_residuals_has_standard_errors():
    fit = gdjax.least_squares(lambda m: m(X) - Y, Curve(jnp.array(1.0), 1.0, 1))
    plain = gdjax.least_squares(lambda p: p["h"] * jnp.tanh(p["w"] * X) - Y, {"h": 1.0, "w": 1.0})
    assert fit.status == plain.status == Status.CONVERGED
    np.testing.assert_allclose(fit.standard_errors.width, plain.standard_errors["w"], rtol=1e-3)
    assert [line.split()[0] for line in fit.table().splitlines()[2:4]] == ["width", "height"]


def test_whole_numbers_in_a_dict_are_still_a_mistake():
    with pytest.raises(TypeError, match=r"params\['a'\] has dtype int32; .* write 1.0 instead of 1"):
        gdjax.minimize(lambda p: p["a"] ** 2.0 + p["b"] ** 2, {"a": 1, "b": 1.0})


@pytest.mark.sweep
def test_an_equinox_module_is_fitted_and_its_layers_frozen():
    equinox = pytest.importorskip("equinox")
    model = equinox.nn.MLP(1, 1, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    loss = lambda m, x, y: jnp.mean((jax.vmap(m)(x[:, None])[:, 0] - y) ** 2)
    result = gdjax.minimize(loss, model, X, Y)
    assert result.converged
    assert type(result.params) is type(model)
    assert float(loss(result.params, X, Y)) < 1e-3
    frozen = gdjax.minimize(loss, model, X, Y, space={"layers[0]": Fixed()})
    assert frozen.status == Status.CONVERGED
    assert bool((frozen.params.layers[0].weight == model.layers[0].weight).all())
    assert bool((frozen.params.layers[1].weight != model.layers[1].weight).any())
    partitioned = equinox.filter_jit(lambda m: gdjax.minimize(loss, m, X, Y, max_steps=3).params)(model)
    assert type(partitioned) is type(model)


def test_a_python_number_in_an_equinox_module_is_a_setting_beside_arrays():
    equinox = pytest.importorskip("equinox")

    class Line(equinox.Module):
        slope: jax.Array
        offset: float

        def __call__(self, x):
            return self.slope * x + self.offset

    result = gdjax.minimize(error, Line(jnp.array(0.0), 0.5), X, 3 * X + 1)
    assert result.status == Status.CONVERGED
    assert result.params.offset == 0.5
    assert "Held as settings: params.offset." in str(result)


@pytest.mark.sweep
def test_an_nnx_model_is_fitted_with_what_it_shares_shared():
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(1, 4, rngs=rngs)
            self.inner = nnx.Linear(4, 4, rngs=rngs)
            self.again = self.inner
            self.norm = nnx.BatchNorm(4, rngs=rngs, use_running_average=True)
            self.drop = nnx.Dropout(0.1, rngs=rngs, deterministic=True)
            self.last = nnx.Linear(4, 1, rngs=rngs)

        def __call__(self, x):
            h = jnp.tanh(self.inner(jnp.tanh(self.first(x[:, None]))))
            return self.last(self.drop(self.norm(jnp.tanh(self.again(h)))))[:, 0]

    model = Net(nnx.Rngs(0))
    result = gdjax.minimize(error, model, X, Y)
    assert result.converged, result
    assert isinstance(result.params, Net)
    assert float(error(result.params, X, Y)) < 1e-3
    assert result.params.again is result.params.inner
    assert float(error(model, X, Y)) > 1e-3  # the one given is as it was
    np.testing.assert_array_equal(result.params.norm.mean[...], model.norm.mean[...])
    frozen = gdjax.minimize(error, model, X, Y, space={"first": Fixed()}, max_steps=5)
    np.testing.assert_array_equal(frozen.params.first.kernel[...], model.first.kernel[...])


def test_linen_params_and_otherwise():
    linen = pytest.importorskip("flax.linen")
    model = linen.Sequential([linen.Dense(4), jnp.tanh, linen.Dense(1)])
    params = model.init(jax.random.key(0), X[:, None])
    loss = lambda p, x, y: jnp.mean((model.apply(p, x[:, None])[:, 0] - y) ** 2)
    last = by_leaf({"params.layers_2": gdjax.spaces.Free()}, otherwise=Fixed())
    result = gdjax.minimize(loss, params, X, Y, space=last)
    assert result.status == Status.CONVERGED
    kernel = lambda p: p["params"]["layers_0"]["kernel"]
    np.testing.assert_array_equal(kernel(result.params), kernel(params))


def test_a_space_named_for_what_is_no_floating_array_is_refused():
    curve = Curve(jnp.array(1.0), 1.0, jnp.array(2))
    with pytest.raises(TypeError, match=r"params.times is held, being no floating array; Positive\(\) is for one"):
        gdjax.minimize(error, curve, X, Y, space={"times": Positive()})
