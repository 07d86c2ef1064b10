"""What is traced, what is static, and the way back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.pytrees import is_traceable, merge, named_leaves, require, split


def test_split_and_merge_are_inverse():
    f = lambda x: x
    tree = {"array": jnp.ones(2), "number": 1.5, "count": 3, "flag": True, "text": "adam", "f": [f, None]}
    traced, static = split(tree)
    assert len(traced) == 3
    back = merge(traced, static)
    assert (back["flag"], back["text"], back["f"]) == (True, "adam", [f, None])
    assert back["number"] == 1.5


def test_equal_structure_means_equal_key():
    f = functools.partial(max, 1)
    key = lambda x, flag: split({"x": x, "f": f, "flag": flag})[1]
    assert key(1.0, True) == key(np.ones(3), True)
    assert hash(key(1.0, True)) == hash(key(np.ones(3), True))
    assert key(1.0, True) != key(1.0, False)


def test_what_is_traceable():
    assert all(is_traceable(x) for x in (1, 1.0, 1j, np.ones(2), np.float32(1), jnp.ones(2), np.array([True])))
    assert not any(is_traceable(x) for x in (True, "x", None, len, np.array(["x"]), object()))


def test_names_are_paths():
    assert [name for name, _ in named_leaves("params", {"a": [1.0, 2.0]})] == [
        "params['a'][0]",
        "params['a'][1]",
    ]
    assert named_leaves("params", 1.0) == [("params", 1.0)]


def test_traced_numbers_pass_a_requirement():
    jax.jit(lambda x: require("must be positive", x, lambda v: v > 0, "x"))(-1.0)
    with pytest.raises(ValueError, match="x must be positive, got -1"):
        require("must be positive", -1.0, lambda v: v > 0, "x")


def test_two_classes_with_as_many_fields_differ_in_structure():
    one, other = gdjax.penalties.L1(1.0), gdjax.penalties.SquaredL2(1.0)
    assert jax.tree.structure(one) != jax.tree.structure(other)
    assert split(one)[1] != split(other)[1]
    assert jax.tree.map(lambda x: 2 * x, one) == gdjax.penalties.L1(2.0)
    assert named_leaves("p", one)[0][0] == "p.strength"
