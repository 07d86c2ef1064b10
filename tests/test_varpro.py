"""`varpro`: the fit of all parameters, found by way of those that are not linear."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

# C. Lanczos, Applied Analysis (1956), p. 272: three exponentials that are nearly the same sum of two.
X = 0.05 * np.arange(24)
Y = np.round(0.0951 * np.exp(-X) + 0.8607 * np.exp(-3 * X) + 1.5576 * np.exp(-5 * X), 4)


def lanczos(p, x):
    return jnp.exp(-jnp.outer(x, p["rate"])) @ p["size"]


def start(rates):
    return {"rate": jnp.asarray(rates), "size": jnp.zeros(len(rates))}


@pytest.mark.sweep
@pytest.mark.float64
def test_it_is_the_fit_of_all_parameters_in_fewer_evaluations():
    begun = {"rate": jnp.array([0.3, 5.5, 7.6]), "size": jnp.array([1.2, 5.6, 6.5])}  # NIST's first start
    plain = gdjax.curve_fit(lanczos, begun, X, Y)
    fit = gdjax.varpro(lanczos, start([0.3, 5.5, 7.6]), X, Y, linear="size")
    assert plain.converged
    assert fit.status == Status.CONVERGED
    assert int(fit.num_evals) < int(plain.num_evals) / 2
    order = np.argsort(fit.params["rate"])
    same = np.argsort(plain.params["rate"])
    for name in ("rate", "size"):
        np.testing.assert_allclose(fit.params[name][order], plain.params[name][same], rtol=1e-6)
        got, want = (f.standard_errors[name][o] for f, o in ((fit, order), (plain, same)))
        np.testing.assert_allclose(got, want, rtol=1e-5)
    assert isinstance(fit, gdjax.Fit)
    assert fit.freedom == 18


def two(x, a, b, c, d):
    return a * jnp.exp(-b * x) + c * jnp.exp(-d * x)


@pytest.mark.sweep
def test_every_door_and_way_to_name(x64):
    y = np.asarray(two(X, 2.0, 1.0, 3.0, 6.0)) + 0.01 * np.cos(40 * X)
    scipys = gdjax.varpro(two, X, y, p0=[0.0, 0.5, 0.0, 4.0], linear=("a", "c"), sigma=0.1)
    assert scipys.status == Status.CONVERGED, scipys.message
    assert scipys.names == ("a", "b", "c", "d")
    one_by_one = lambda p, x: two(x, *p)
    fit = gdjax.varpro(one_by_one, np.array([0, 0.5, 0, 4.0]), X, y, linear=["params[0]", "params[2]"], sigma=0.1)
    np.testing.assert_allclose(fit.params, scipys.params, rtol=1e-3)
    residuals = lambda p, x, y: {"r": two(x, *p["amplitude"], *p["rate"]) - y}
    swapped = lambda p, x, y: residuals({"amplitude": (p["amplitude"][0], p["rate"][0]), "rate": (p["amplitude"][1], p["rate"][1])}, x, y)  # fmt: skip # noqa: E501
    begun = {"amplitude": jnp.zeros(2), "rate": jnp.array([0.5, 4.0])}
    other = gdjax.varpro(swapped, begun, X, jnp.asarray(y), linear="amplitude", by=gdjax.least_squares)
    assert other.status == Status.CONVERGED
    np.testing.assert_allclose(other.params["amplitude"], np.asarray(scipys.params)[[0, 2]], rtol=1e-3)
    inside = jax.jit(lambda y: gdjax.varpro(one_by_one, np.array([0, 0.5, 0, 4.0]), X, y, linear="params[0]").params)
    np.testing.assert_allclose(inside(jnp.asarray(y))[1], scipys.params[1], rtol=1e-2)


@pytest.mark.sweep
def test_bounds_of_rates_hold_and_columns_that_depend_on_each_other_do_no_harm():
    y = np.asarray(two(X, 2.0, 1.0, 3.0, 6.0)) + 0.01 * np.cos(40 * X)
    box = {"rate": gdjax.penalties.Box(0.5, 5.0), "size": None}
    fit = gdjax.varpro(lanczos, start([1.0, 4.0]), X, y, linear="size", penalty=box)
    assert fit.converged, fit.message
    assert float(fit.params["rate"].max()) == 5.0
    equal = gdjax.varpro(lanczos, start([1.0, 1.0]), X, 2 * np.exp(-X) + 0.01 * np.cos(40 * X), linear="size")
    assert np.isfinite(float(equal.value))
    assert float(equal.value) < 0.01


@pytest.mark.sweep
def test_amplitudes_that_cancel_are_no_rounding_floor():
    x = 10.0 * np.arange(33)
    y = 0.375 + 1.936 * np.exp(-0.0129 * x) - 1.465 * np.exp(-0.0221 * x) + 1e-3 * np.cos(x)
    p = {"rate": jnp.array([1.0, 2.0]), "size": jnp.zeros(3)}
    model = lambda p, x: p["size"][0] + jnp.exp(-jnp.outer(x, p["rate"])) @ p["size"][1:]
    fit = gdjax.varpro(model, p, x, y, linear="size")
    assert fit.status not in (Status.CONVERGED, Status.PRECISION_FLOOR) or float(fit.value) < 1e-3, fit.message


def test_what_makes_no_sense_is_refused():
    call = lambda *args, **options: gdjax.varpro(lanczos, *args, X, Y, **options)
    with pytest.raises(ValueError, match=r"there is no parameter 'amplitude'; the first ones are rate\[0\]"):
        call(start([1.0, 2.0]), linear="amplitude")
    with pytest.raises(ValueError, match="all parameters are linear"):
        call(start([1.0, 2.0]), linear=["size", "rate"])
    with pytest.raises(ValueError, match="not linear in the parameters that are said to be"):
        call(start([1.0, 2.0]) | {"size": jnp.ones(2)}, linear="rate")
    with pytest.raises(ValueError, match="keeps no bounds of linear parameters"):
        call(start([1.0, 2.0]), linear="size", penalty=gdjax.penalties.NonNegative())
    with pytest.raises(ValueError, match="24 linear parameters need more residuals than 24"):
        call(start(np.arange(1.0, 25.0)), linear="size")
    with pytest.raises(TypeError, match="varpro has no option 'robust'"):
        call(start([1.0, 2.0]), linear="size", robust=gdjax.Huber())
    with pytest.raises(TypeError, match="varpro has no option 'colour'"):
        call(start([1.0, 2.0]), linear="size", colour=1)
