"""A loss over chunks of rows is the loss over all of them, in the memory of one chunk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Status

MODES = [True]  # proofs to many digits

KEY = jax.random.key(0)
ROWS = 60


def data():
    x = jax.random.normal(KEY, (ROWS, 3))
    return {"x": x, "y": jnp.sin(x @ jnp.arange(3.0))}


def mean(p, rows, strength=0.0):
    return jnp.mean((jnp.tanh(rows["x"] @ p["w"]) - rows["y"]) ** 2) + strength * jnp.sum(p["w"] ** 2)


def start():
    return {"w": jnp.full(3, 0.3)}


@pytest.mark.sample("12", "1000")
@pytest.mark.parametrize("chunk", [1, 12, 13, 59, 60, 1000])  # dividing the rows or not
def test_value_and_derivatives_of_two_orders_are_those_of_all_rows(chunk):
    over = gdjax.mean_over(mean, data(), chunk=chunk)
    whole = lambda p, strength: mean(p, data(), strength)
    for derive in (lambda f: f, jax.grad, jax.hessian, lambda f: jax.jacfwd(f, argnums=1)):
        found, wanted = derive(over)(start(), 0.1), derive(whole)(start(), 0.1)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, wanted)


def test_a_sum_and_a_mean_weigh_the_rows_alike():
    of_rows = lambda p, rows: jnp.sum(rows["y"] * p)
    np.testing.assert_allclose(gdjax.sum_over(of_rows, data(), chunk=7)(2.0), 2 * data()["y"].sum(), rtol=1e-12)
    of_rows = lambda p, rows: jnp.mean(rows["y"] * p)
    np.testing.assert_allclose(gdjax.mean_over(of_rows, data(), chunk=7)(2.0), 2 * data()["y"].mean(), rtol=1e-12)


@pytest.mark.sample("None")
@pytest.mark.parametrize("method", [None, gdjax.TrustRegion()])
def test_every_method_sees_all_rows_and_ends_where_it_would(method):
    whole = gdjax.minimize(mean, start(), data(), 0.1, method=method)
    found = gdjax.minimize(gdjax.mean_over(mean, data(), chunk=16), start(), 0.1, method=method)
    assert whole.status == found.status == Status.CONVERGED
    assert int(whole.num_evals) == int(found.num_evals)
    np.testing.assert_allclose(found.params["w"], whole.params["w"], rtol=1e-9)


@pytest.mark.sample("12")
@pytest.mark.parametrize("chunk", [12, 13])
def test_arrays_on_disk_are_read_chunk_by_chunk_and_give_the_same(chunk, tmp_path):
    for name, column in data().items():
        np.save(tmp_path / f"{name}.npy", np.asarray(column))
    on_disk = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in data()}
    over = gdjax.mean_over(mean, on_disk, chunk=chunk)
    whole, found = gdjax.minimize(mean, start(), data(), 0.1), gdjax.minimize(over, start(), 0.1)
    assert whole.status == found.status == Status.CONVERGED
    np.testing.assert_allclose(found.params["w"], whole.params["w"], rtol=1e-9)
    several = jax.vmap(lambda s: over(start(), s))(jnp.arange(2.0))
    np.testing.assert_allclose(several, [mean(start(), data(), s) for s in (0.0, 1.0)], rtol=1e-12)


def test_no_more_than_the_chunks_is_read_of_what_is_no_array_in_memory():
    class Stored:
        """As h5py's data sets."""

        shape, dtype, read = (ROWS, 3), np.dtype(float), []

        def __getitem__(self, rows):
            self.read.append((rows.start, rows.stop))
            return np.ones((rows.stop - rows.start, 3))

    stored = Stored()
    value = jax.jit(gdjax.sum_over(lambda p, rows: p * jnp.sum(rows), stored, chunk=20))(2.0)
    assert value == 2 * 3 * ROWS
    assert {stop - begin for begin, stop in stored.read} == {20}


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "int8", "bool", "complex64", "complex128"])
def test_numbers_of_every_kind_come_from_the_host_as_they_are(kind):
    x = (np.arange(12).reshape(6, 2) * (1 + 1j if "complex" in kind else 1 / 3 if "float" in kind else 1)).astype(kind)
    found = []
    alike = lambda p, rows: (found.append(rows.dtype), jnp.mean((rows == jnp.asarray(x)).astype(float)) * p)[1]
    assert gdjax.sum_over(alike, x, chunk=6, host=True)(1.0) == 1
    assert found == [kind]


def test_memory_does_not_grow_with_the_rows():
    def needed(rows, chunk):
        like = jax.ShapeDtypeStruct((rows, 8), float)
        loss = lambda p, x: jnp.mean(jnp.tanh(x @ p) ** 2)
        of_all = lambda p, x: (gdjax.mean_over(loss, x, chunk=chunk) if chunk else lambda p: loss(p, x))(p)
        compiled = jax.jit(jax.value_and_grad(of_all)).lower(jnp.zeros((8, 16)), like).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    chunked = [needed(rows, 64) for rows in (2**10, 2**15)]
    assert chunked[1] < 1.5 * chunked[0] + 10_000  # the values of the chunks
    assert chunked[1] < needed(2**15, None) / 10


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"data\['y'\] has 3 rows, data\['x'\] has 4"):
        gdjax.sum_over(mean, {"x": np.ones(4), "y": np.ones(3)}, chunk=2)
    with pytest.raises(ValueError, match="chunk must be a number of rows"):
        gdjax.sum_over(mean, np.ones(3), chunk=0)
    with pytest.raises(TypeError, match="holds no array"):
        gdjax.sum_over(mean, {}, chunk=1)
    with pytest.raises(TypeError, match="is a str, not an array"):
        gdjax.sum_over(mean, "rows", chunk=1)
    with pytest.raises(TypeError, match="must return one number"):
        gdjax.sum_over(lambda p, rows: rows * p, np.ones(3), chunk=2)(1.0)
