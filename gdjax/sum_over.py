"""A loss over more data than fit into memory at once: `sum_over`, `mean_over`."""

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import merge, split
from gdjax.jaxtools.rows import count_rows, rows_from
from gdjax.problem.problem import check_value


def sum_over(loss: Callable[..., Any], data: Any, *, chunk: int, host: bool | None = None) -> Callable[..., Any]:
    """The function ``total(params, *args) = sum of loss(params, rows, *args)`` over chunks of the rows of ``data``.

    The chunks come one after the other, in one compiled `lax.scan`, and what a derivative needs of one is computed
    again (`jax.checkpoint`) rather than kept: the memory of an evaluation is that of one chunk, whatever the number of
    rows, for a third more work. To rounding it is the sum over all rows at once, and so are its derivatives of any
    order. It is a plain loss for `gdjax.minimize` and all other doors, `jax.grad`, `jax.jit`: so L-BFGS sees all data,
    and its result is exact, which mini-batches are not.

    **Data on the host**: a memory-mapped array (``np.load(path, mmap_mode="r")``), an h5py or zarr data set, or any
    array with ``host=True``, is never loaded whole. Each chunk is read where the loop needs it, by a callback from the
    compiled program, while a thread reads the next. With a gradient each evaluation reads the data twice.

    Args:
        loss: ``loss(params, rows, *args)``, the sum over some rows: a real number. ``rows`` is like data.
        data: arrays with rows along their first axis, (rows, ...), one or a pytree of them. They may be sharded; on
            explicit axes of a mesh the params must be on the same mesh, ``jax.device_put(params, NamedSharding(mesh,
            P()))``.
        chunk: at most so many rows at once. The largest divisor of the number of rows between chunk / 2 and chunk is
            taken; if there is none, what is left at the end is a smaller chunk, for which the loss is compiled twice.
        host: whether data stay on the host. Default: those do that are no arrays of JAX or (plain) of NumPy.

    Raises:
        ValueError: if chunk is below 1, or the arrays have not the same number of rows, or none. TypeError: if there is
            no array, or the loss returns anything but a real number.

    >>> import gdjax, jax.numpy as jnp
    >>> x = jnp.linspace(0.0, 1.0, 1000)
    >>> squares = lambda w, rows: jnp.sum((rows["y"] - w * rows["x"]) ** 2)
    >>> result = gdjax.minimize(sum_over(squares, {"x": x, "y": 3 * x}, chunk=64), 0.0)
    >>> result.status.name, round(float(result.params), 3)
    ('CONVERGED', 3.0)
    """
    return over(loss, data, chunk, host, mean=False)


def mean_over(loss: Callable[..., Any], data: Any, *, chunk: int, host: bool | None = None) -> Callable[..., Any]:
    """The same of a loss that is the mean over some rows: the mean over all, as `gdjax.sum_over` gives the sum.

    Args:
        loss: ``loss(params, rows, *args)``, the mean over some rows, as for training on mini-batches.
        data, chunk, host: as for `gdjax.sum_over`.

    >>> import jax.numpy as jnp
    >>> round(float(mean_over(lambda p, rows: jnp.mean(rows - p), jnp.arange(10.0), chunk=3)(1.0)), 3)
    3.5
    """
    return over(loss, data, chunk, host, mean=True)


def over(loss: Callable[..., Any], data: Any, chunk: int, host: bool | None, mean: bool) -> Callable[..., Any]:
    """The sum, or the mean."""
    if not callable(loss):
        raise TypeError(f"loss must be a function of (params, rows, *args), got {loss!r}")
    if not (isinstance(chunk, int) and not isinstance(chunk, bool) and chunk >= 1):
        raise ValueError(f"chunk must be a number of rows, at least 1; got {chunk!r}")
    rows = count_rows("data", data)
    take = fetch(data) if (host or (host is None and stays_on_host(data))) else functools.partial(rows_from, data)
    size = even_chunk(rows, chunk)
    whole, rest = divmod(rows, size)

    def total(params: Any, *args: Any) -> jax.Array:
        given, static = split((params, args))  # a model holds functions, too

        @functools.partial(jax.checkpoint, static_argnums=2, prevent_cse=False)
        def part(given: list[Any], start: jax.Array, count: int) -> jax.Array:
            params, args = merge(given, static)
            value = check_value(loss(params, take(start, count), *args))
            return value * jnp.asarray(count / rows, value.dtype) if mean else value

        starts = jnp.arange(whole, dtype=jnp.int32) * size
        _, values = jax.lax.scan(lambda _, start: (None, part(given, start, size)), None, starts)
        value = jnp.sum(values)
        return value + part(given, jnp.asarray(whole * size, jnp.int32), rest) if rest else value

    return total


def even_chunk(rows: int, chunk: int) -> int:
    """The largest divisor of the rows between chunk / 2 and chunk; chunk, if there is none."""
    chunk = min(chunk, rows)
    return next((size for size in range(chunk, (chunk + 1) // 2 - 1, -1) if rows % size == 0), chunk)


def stays_on_host(data: Any) -> bool:
    """Whether some array is neither JAX's nor NumPy's own, loaded into memory."""
    loaded = lambda x: isinstance(x, jax.Array | np.ndarray) and not isinstance(x, np.memmap)
    return not all(map(loaded, jax.tree.leaves(data)))


def fetch(data: Any) -> Callable[[jax.Array, int], Any]:
    """What reads rows of arrays on the host from within a compiled program, a thread one chunk ahead."""
    leaves, treedef = jax.tree.flatten(data)
    kinds = [jax.dtypes.canonicalize_dtype(x.dtype) for x in leaves]
    reader = concurrent.futures.ThreadPoolExecutor(1, "gdjax reads")
    ahead: dict[tuple[int, int], concurrent.futures.Future[list[np.ndarray]]] = {}

    def read(start: int, count: int) -> list[np.ndarray]:
        return [as_words(np.asarray(x[start : start + count], kind)) for x, kind in zip(leaves, kinds, strict=True)]

    def serve(count: int, start: Any) -> list[np.ndarray]:
        start = int(start)
        waiting = ahead.pop((start, count), None)
        found = read(start, count) if waiting is None else waiting.result()
        ahead.clear()
        following = start + count if start + 2 * count <= leaves[0].shape[0] else 0
        ahead[following, count] = reader.submit(read, following, count)
        return found

    def take(start: jax.Array, count: int) -> Any:
        wanted = [jax.ShapeDtypeStruct((count, *x.shape[1:]), kind) for x, kind in zip(leaves, kinds, strict=True)]
        words = [as_words(np.broadcast_to(np.zeros((), x.dtype), x.shape)) for x in wanted]
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in words]
        rows = jax.pure_callback(functools.partial(serve, count), shapes, start, vmap_method="sequential")
        return jax.tree.unflatten(treedef, [from_words(x, like.dtype) for x, like in zip(rows, wanted, strict=True)])

    return take


def as_words(x: np.ndarray) -> np.ndarray:
    """An array of 8 bytes or more an entry with a last axis of words of 4 bytes.

    The thread that calls back may know nothing of `jax.enable_x64`, and would make single precision of double.
    """
    return x if x.dtype.itemsize < 8 else np.ascontiguousarray(x)[..., None].view(np.uint32)


def from_words(x: jax.Array, dtype: Any) -> jax.Array:
    """Inverse of `as_words`."""
    if dtype.itemsize < 8:
        return x
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        return jax.lax.bitcast_convert_type(x, dtype)
    half = jnp.finfo(dtype).dtype
    parts = jax.lax.bitcast_convert_type(x if half.itemsize == 4 else x.reshape(*x.shape[:-1], 2, 2), half)
    return jax.lax.complex(parts[..., 0], parts[..., 1])
