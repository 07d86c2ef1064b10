"""What is traced, what is static, and the way back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.jaxtools.pytrees import as_data, is_traceable, merge, named_leaves, require, split


def test_split_and_merge_are_inverse():
    f = lambda x: x
    tree = {"array": jnp.ones(2), "number": 1.5, "count": 3, "flag": True, "text": "adam", "f": [f, None]}
    traced, static = split(tree)
    assert len(traced) == 3
    back = merge(traced, static)
    assert (back["flag"], back["text"], back["f"]) == (True, "adam", [f, None])
    assert back["number"] == 1.5


@pytest.mark.float64
def test_equal_structure_means_equal_key():
    f = functools.partial(max, 1)
    key = lambda x, flag: split({"x": x, "f": f, "flag": flag})[1]
    assert key(1.0, True) == key(np.ones(3), True)
    assert hash(key(1.0, True)) == hash(key(np.ones(3), True))
    assert key(1.0, True) != key(1.0, False)


@pytest.mark.float64
def test_what_is_traceable():
    assert all(is_traceable(x) for x in (1, 1.0, 1j, np.ones(2), np.float32(1), jnp.ones(2), np.array([True])))
    assert not any(is_traceable(x) for x in (True, np.bool_(True), "x", None, len, np.array(["x"]), object()))


@pytest.mark.float64
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


@pytest.mark.float64
def test_two_classes_with_as_many_fields_differ_in_structure():
    one, other = gdjax.penalties.L1(1.0), gdjax.penalties.SquaredL2(1.0)
    assert jax.tree.structure(one) != jax.tree.structure(other)
    assert split(one)[1] != split(other)[1]
    assert jax.tree.map(lambda x: 2 * x, one) == gdjax.penalties.L1(2.0)
    assert named_leaves("p", one)[0][0] == "p.strength"


class Column:
    """As pandas has them: no array, but can be made one."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_whatever_can_be_made_an_array_of_numbers_is_data():
    x, y = np.linspace(0, 1, 8, dtype=np.float32), Column(np.linspace(1, 3, 8, dtype=np.float32))
    mse = lambda p, x, *, y: jnp.mean((p[0] + p[1] * x - y) ** 2)
    result = gdjax.minimize(mse, jnp.zeros(2), x, kwargs={"y": y})
    assert result.status == gdjax.Status.CONVERGED
    np.testing.assert_allclose(result.params, [1, 2], atol=2e-2)
    many = gdjax.minimize_many(
        lambda p, y: jnp.mean((p - y) ** 2), jnp.zeros(()), Column(np.ones((3, 2), np.float32)), in_axes=(None, 0)
    )
    assert set(np.asarray(many.code)) == {gdjax.Status.CONVERGED}
    assert gdjax.check_gradient(lambda p, y: jnp.mean((p - y) ** 2), jnp.zeros(8), y).ok
    tree = {"n": 3, "flag": np.bool_(True), "text": np.str_("x"), "type": Column}
    assert as_data("args", tree) == tree


@pytest.mark.parametrize("bad", [np.array([1, "a"], object), Column(["a", "b"]), np.array(["2020-01-01"], "M8[D]")])
def test_an_array_that_is_not_of_numbers_is_named(bad):
    with pytest.raises(TypeError, match=r"args\[1\]\['y'\] is .* of dtype .*not of numbers: convert it"):
        gdjax.minimize(lambda p, x, data: p**2, 1.0, 2.0, {"y": bad})


def test_a_bool_of_numpy_is_a_switch_as_one_of_python_is():
    loss = lambda p, twice: (2 if twice else 1) * (p - 3) ** 2
    for flag in (np.bool_(True), True):
        result = gdjax.minimize(loss, 1.0, flag)
        assert result.status == gdjax.Status.CONVERGED
        np.testing.assert_allclose(result.grad, 4 * (result.params - 3), atol=1e-5)


@pytest.mark.float64
def test_a_number_used_as_a_size_is_explained():
    with pytest.raises(TypeError) as caught:
        gdjax.minimize(lambda p, n: jnp.sum((p - jnp.arange(n)) ** 2), 1.0, 5)
    assert any("args[0] = 5" in note and "closed over" in note for note in caught.value.__notes__)


@pytest.mark.float64
def test_what_cannot_be_hashed_comes_to_the_loss_as_it_is():
    options = type("Unhashable", (), {"__hash__": None, "goal": 3.0})()
    result = gdjax.minimize(lambda p, options: (p - options.goal) ** 2, 1.0, options)
    assert result.status == gdjax.Status.CONVERGED
    np.testing.assert_allclose(result.params, 3, rtol=1e-2)
