import re

import jax
import jax.numpy as jnp
import pytest

import gdjax
from gdjax.vectors.vector import LARGE


@pytest.mark.parametrize(
    "method", [gdjax.GradientDescent(0.1), pytest.param(gdjax.LBFGS(5), marks=pytest.mark.sweep)], ids=lambda m: m.name
)
def test_a_trip_of_many_variables_copies_no_vector(method):
    solve = jax.jit(lambda x: gdjax.minimize(lambda x: jnp.sum(jnp.cosh(x)), x, method=method).params)
    text = solve.lower(jax.ShapeDtypeStruct((LARGE,), jnp.float32)).compile().as_text()
    loops, copies = text[: text.index("\nENTRY")], rf"f32\[{LARGE}\]\S* copy\("
    assert "while" in loops
    assert not re.findall(copies, loops)
