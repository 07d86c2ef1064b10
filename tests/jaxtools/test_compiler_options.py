"""Options of XLA's compiler are for one program, and left out where they are not known."""

import jax.numpy as jnp
import pytest

from gdjax.jaxtools import compiler_options
from gdjax.jaxtools.remembered import remembered


@pytest.fixture
def of_lanes():
    compiler_options.of_lanes.cache_clear()
    yield compiler_options.of_lanes
    compiler_options.of_lanes.cache_clear()


def test_options_that_xla_does_not_know_are_left_out(of_lanes, monkeypatch):
    monkeypatch.setattr(compiler_options, "OF_LANES", dict(xla_cpu_what_no_version_has=True))
    assert of_lanes() == {}


def test_a_program_with_options_computes_what_it_does_without(of_lanes):
    function = lambda scale, x: jnp.sin(scale * x).sum()
    x = jnp.arange(5.0)
    with_options = remembered(static=1, options=of_lanes)(function)
    assert with_options.lower(2.0, x).compile()(x) == pytest.approx(float(remembered(static=1)(function)(2.0, x)))
