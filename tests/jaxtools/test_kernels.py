"""How many kernels a whole minimisation is compiled to: what decides seconds of compiling, and microseconds a trip."""

import jax
import jax.numpy as jnp
import pytest
from problems import rosenbrock

import gdjax
from benchmarks.kernels import count_in_trip, count_kernels

# As measured, to notice when one comes in: lower them when they fall. XLA of another JAX may fuse a few otherwise.
# (One of each is the comparison that keeps NaN in a maximum, see `vector.largest`.)
# Of 100 variables the whole descent is one of them (`gdjax.jaxtools.small_programs`), of 3000 not.
METHODS = {"LBFGS": gdjax.LBFGS(), "BFGS": gdjax.BFGS(), "descent": gdjax.GradientDescent(1e-3)}
MOST = {100: {"LBFGS": 15, "BFGS": 13, "descent": 11}, 3000: {"LBFGS": 63, "BFGS": 56, "descent": 38}}


@pytest.mark.sample("100-LBFGS", "3000-descent")
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n", MOST)
def test_a_minimisation_is_compiled_to_no_more_kernels_than_it_was(n, name):
    solve = jax.jit(lambda x: gdjax.minimize(rosenbrock, x, method=METHODS[name]))
    compiled = solve.lower(jnp.resize(jnp.array([-1.2, 1.0]), n)).compile()
    assert count_kernels(compiled.as_text()) <= MOST[n][name]


@pytest.mark.sample("False-7-204-3")
@pytest.mark.parametrize(("bent", "kernels", "fusions", "loops"), [(False, 7, 204, 3), (True, 10, 264, 5)])
def test_a_small_fit_is_one_function_of_few_operations(bent, kernels, fusions, loops):
    x, method = jnp.linspace(0.0, 4.0, 64), gdjax.LevenbergMarquardt(acceleration=bent)
    residuals = lambda p, y: p[0] * jnp.exp(-p[1] * x) + p[2] - y
    fit = jax.jit(lambda p, y: gdjax.least_squares(residuals, p, y, method=method).params)
    text = fit.lower(jnp.ones(3), jnp.exp(-x)).compile().as_text()
    assert count_kernels(text) <= kernels
    assert text.count(" fusion(") <= fusions  # 181 before plateaus and what runs to infinity were told from minima
    assert text.count(" while(") <= loops


@pytest.mark.float64
def test_what_a_trip_is_made_of_is_counted_in_the_outermost_loop():
    inner = lambda x: jax.lax.fori_loop(0, jnp.sum(x > 0), lambda _, y: jnp.sin(y), x)
    loop = lambda x: jax.lax.while_loop(lambda x: x[0] > 0.1, lambda x: jnp.sort(inner(x)), x)
    assert count_in_trip(jax.jit(loop).lower(jnp.ones(5000)).compile().as_text())["while"] == 1
    assert count_in_trip(jax.jit(jnp.sin).lower(jnp.ones(5)).compile().as_text()) == {}
