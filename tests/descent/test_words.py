"""What is called otherwise elsewhere, or cannot be differentiated, gets a sentence that says what to write."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.other_names import METHODS, OPTIONS
from gdjax.request import AllOptions


def bowl(p, center=1.0):
    return jnp.sum((p - center) ** 2)


@pytest.mark.float64
@pytest.mark.parametrize(
    ("option", "words"),
    [
        (dict(bounds=[(0, 1)]), r"bounds: penalty=gdjax.penalties.Box\(lower, upper\)"),
        (dict(jac=jax.grad(bowl)), "jac: grad="),
        (dict(maxiter=10), "maxiter: max_steps="),
        (dict(args=(1.0,)), r"args: data follow params: minimize\(loss, params, x, y\)"),
        (dict(fixed=["a"]), "fixed: space={"),
        (dict(options={}), "options: each by its own name"),
        (dict(gtol=1e-5), "gtol: tol="),
        (dict(max_step=3), "is max_steps meant"),
        (dict(zzz=1), "its options are"),
        (dict(f_scale=0.1), r"f_scale: robust=gdjax\.Huber\(scale\)"),
    ],
)
def test_an_option_of_another_library_gets_the_word_that_fits(option, words):
    for call in (gdjax.minimize, gdjax.maximize, gdjax.iterate):
        with pytest.raises(TypeError, match=words):
            call(bowl, jnp.zeros(2), **option)


def test_no_option_is_called_foreign_that_exists():
    assert not set(OPTIONS) & set(AllOptions.__annotations__)


@pytest.mark.parametrize("name", ["lbfgs", "L-BFGS-B", "trust-ncg", "Newton-CG", "bfgs"])
def test_a_method_by_name_is_named_as_a_class(name):
    with pytest.raises(TypeError, match=r"write method=gdjax\.\w+\(\)"):
        gdjax.minimize(bowl, jnp.zeros(2), method=name)
    assert all(hasattr(gdjax, text.removeprefix("gdjax.").split("(")[0]) for text in METHODS.values())


def test_a_list_of_numbers_is_not_an_array():
    with pytest.raises(TypeError, match=r"params is a list of numbers.*jnp.array\(params\)"):
        gdjax.minimize(lambda p: jnp.sum(p**2), [1.0, 2.0])
    assert gdjax.minimize(lambda p: p[0] ** 2 + p[1] ** 2, [1.0, 2.0]).converged


@pytest.mark.float64
def test_missing_data_are_told_where_they_go():
    with pytest.raises(TypeError, match="'y'; pass the data of the loss after params"):
        gdjax.minimize(lambda p, y: (p - y) ** 2, 0.0)


def of_callback(x):
    value = lambda x: np.sum((np.asarray(x) - 1) ** 2, dtype=x.dtype)
    return jax.pure_callback(value, jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="sequential")


def of_loop(x):
    return jax.lax.while_loop(lambda y: y > 1, lambda y: y / 2, jnp.sum(x**2))


@pytest.mark.float64
@pytest.mark.parametrize("loss", [of_callback, of_loop])
def test_a_loss_without_derivative_asks_for_grad(loss):
    with pytest.raises(ValueError, match=r"JAX cannot differentiate the loss: (?s:.*)pass grad="):
        gdjax.minimize(loss, jnp.zeros(2))


def test_the_trust_region_says_that_it_needs_products():
    with pytest.raises(ValueError, match=r"Hessian-vector products are needed .*LBFGS\(\)"):
        gdjax.minimize(of_callback, jnp.zeros(2), grad=lambda x: jax.pure_callback(
            lambda x: 2 * (np.asarray(x) - 1), x, x, vmap_method="sequential"), method=gdjax.TrustRegion())  # fmt: skip


def test_a_dict_of_penalties_is_spoken_of_by_the_names_in_it():
    box, start = gdjax.penalties.Box, {"a": jnp.zeros(2), "b": jnp.zeros(3)}
    loss = lambda p: bowl(p["a"]) + bowl(p["b"])
    result = gdjax.minimize(loss, start, penalty={"a": box(0.0, 0.5), "b": box(0.0, 2.0)})
    assert result.status == gdjax.Status.CONVERGED
    assert "params['a']: 0 of 2 entries are at the lower bound, 2 at the upper (method: " in result.message
    for penalty, words in (
        ({"a": box(jnp.zeros(3))}, r"penalty\['a'\], for params\['a'\]: lower has shape \(3,\)"),
        ({"c": box()}, "penalty has an entry 'c', but params has not: it has 'a', 'b'"),
    ):
        with pytest.raises(ValueError, match=words):
            gdjax.minimize(loss, start, penalty=penalty)


def test_the_start_in_scipys_call_is_a_list_of_numbers():
    line, t = lambda t, a, b: a * t + b, jnp.arange(4.0)
    with pytest.raises(TypeError, match=r"robust=gdjax\.Huber\(scale\)"):
        gdjax.curve_fit(line, t, t, p0=[1, 1], loss="huber")
    with pytest.raises(TypeError, match=r"p0 must be a list of numbers.*curve_fit\(model, params, x, y\)"):
        gdjax.curve_fit(lambda p, t: p["a"] * t, t, t, p0={"a": 1.0})
    assert gdjax.curve_fit(line, t, t + 0.1 * t**2, p0=[1, 1]).status == gdjax.Status.CONVERGED  # whole, as in SciPy
    with pytest.raises(ValueError, match="sigma is infinite for data that count"):
        gdjax.curve_fit(line, t, t, p0=[1, 1], sigma=np.full(4, np.inf))
    with pytest.raises(ValueError, match=r"params is one array, without names: .*Fixed\(mask\)"):
        gdjax.curve_fit(line, t, t, p0=[1, 1], space={"b": gdjax.spaces.Fixed()})


@pytest.mark.float64
def test_names_of_other_libraries_on_a_result_say_what_to_read():
    fit = gdjax.least_squares(lambda p: jnp.array([1.0, 2.0]) * p - 1, 0.0)
    assert fit.status == gdjax.Status.CONVERGED
    for name, words in (("x", "params"), ("fun", "value"), ("success", "converged"), ("pcov", "covariance, of a fit")):
        with pytest.raises(AttributeError, match=f"no attribute '{name}': read result.{words}"):
            getattr(fit, name)
    with pytest.raises(AttributeError, match=r"no attribute 'zzz'$"):
        fit.zzz  # noqa: B018


@pytest.mark.float64
def test_bounds_that_hold_nothing_are_not_listed():
    box, start = gdjax.penalties.Box, {"a": jnp.zeros(2), "b": jnp.zeros(3)}
    loss = lambda p: bowl(p["a"]) + bowl(p["b"])
    result = gdjax.minimize(loss, start, penalty={"a": gdjax.penalties.NonNegative(), "b": box(0.0, 2.0)})
    assert result.status == gdjax.Status.CONVERGED
    assert "the penalty" not in result.message
    assert result.message.endswith(". 0 entries are at a bound (method: LBFGS with bounds).")
