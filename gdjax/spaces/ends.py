"""What became of a descent that ran to an end of a space, where the map is flat and so is the loss by the free numbers.

If the loss is lowest at the end, that is right: the gradient by the free numbers vanishes there as it should, and the
result says where the parameter went. If the loss falls on the way back inside, it is not: the step before was too long,
and the gradient vanishes for no other reason than the map. Where that may be, the loss is evaluated on the way.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.progress import size_of
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status, at_rest
from gdjax.jaxtools.hoisted import Hoisted, hoist_call
from gdjax.jaxtools.pytrees import Static, is_concrete, merge, split
from gdjax.jaxtools.remembered import remembered
from gdjax.problem.scalars import NOISE
from gdjax.spaces.chart import Chart
from gdjax.spaces.runs import Runs, may_run, runs_of

NEAR = 1e-2  # share of the size of a space within which its end may be what makes the loss flat
STEPS = 11  # halvings of the way inside, from either end, at which the loss is evaluated
WORTH = 10.0  # tolerances, in units of the size of the value, that a fall must be worth


class Value(NamedTuple):
    """The loss by free numbers, in the minimiser's sign, with its data."""

    function: Callable[[Any, list[Any], list[Any]], jax.Array]  # of the free numbers, the spaces and the data
    data: list[Any]
    axes: list[int | None]  # of problems, in each of the data


class Review(NamedTuple):
    """What is found of a result."""

    code: jax.Array  # its status: AT_EDGE for a success that the loss contradicts on the way inside
    runs: Runs | None  # which parameters run to an end or to infinity; None if that was not asked


def review(result: Result, chart: Chart, value: Value) -> Review:
    """Of a result by free numbers, of one problem or of many; and their chart."""
    down = jax.tree.map(jnp.negative, result.grad) if result.maximized else result.grad
    arrays, static = split((result.params, down, result.code, chart, least_fall(result)))
    arrays, axes = jax.lax.stop_gradient(arrays), result.code.ndim
    wanted = _doubtful(static, axes, arrays)
    if is_concrete(wanted):
        if not wanted.any():
            return Review(result.code, None)
        function = hoisted(value, result.params, chart.spaces, bool(axes))
        traced, program = split(function)
        places = tuple(value.axes)
        try:
            return _judge((static, program, places, True), axes, arrays, value.data, traced)
        except Exception:  # a loss that JAX cannot differentiate has values
            return _judge((static, program, places, False), axes, arrays, value.data, traced)

    def judge(arrays: list[Any], data: list[Any]) -> jax.Array:
        free, grad, code, chart, least = merge(arrays, static)
        return verdict(free, grad, code, chart, least, lambda z, spaces: value.function(z, spaces, data))

    judge = jax.vmap(judge, in_axes=(0, value.axes)) if axes else judge
    return Review(jax.lax.cond(wanted[0], judge, lambda *_: result.code, arrays, value.data), None)


def hoisted(value: Value, free: Any, spaces: list[Any], many: bool) -> Hoisted:
    """The loss of one problem, traced, so that equal code is one compiled program."""

    def shape(x: Any, axis: int | None) -> Any:
        kept = [n for i, n in enumerate(np.shape(x)) if axis is None or i != axis % np.ndim(x)]
        return jax.ShapeDtypeStruct(tuple(kept), x.dtype if hasattr(x, "dtype") else jnp.result_type(x))

    arrays, static = split((free, spaces))
    own = [shape(x, 0 if many else None) for x in arrays]
    data = [shape(x, axis if many else None) for x, axis in zip(value.data, value.axes, strict=True)]
    return hoist_call(lambda f, own, data: f(*merge(own, static), data), value.function, own, data)


@remembered(static=2)
def _doubtful(static: Static, axes: int, arrays: list[Any]) -> jax.Array:
    """Whether the status of any problem is to be judged, and whether any parameter may have run away."""

    def one(arrays: list[Any]) -> jax.Array:
        free, grad, code, chart, least = merge(arrays, static)
        return jnp.stack([doubtful(free, grad, code, chart, least), may_run(chart, free, grad, code)])

    return jnp.any(jax.vmap(one)(arrays), axis=0) if axes else one(arrays)


@remembered(static=2)
def _judge(selected: Any, axes: int, arrays: list[Any], data: list[Any], traced: list[Any]) -> Review:
    """The review of arrays. ``selected``: the rest of them, and of the loss; axes of data; whether to ask who runs."""
    static, program, places, asked = selected
    loss = merge(traced, program)

    def one(arrays: list[Any], data: list[Any]) -> Review:
        free, grad, code, chart, least = merge(arrays, static)
        value = lambda z, spaces: loss(split((z, spaces))[0], data)
        runs = runs_of(chart, free, grad, code, lambda z: value(z, chart.spaces)) if asked else None
        return Review(verdict(free, grad, code, chart, least, value), runs)

    return (jax.vmap(one, in_axes=(0, list(places))) if axes else one)(arrays, data)


def verdict(free: Any, grad: Any, code: jax.Array, chart: Chart, least: jax.Array, value: Any) -> jax.Array:
    """The status of one problem: AT_EDGE where the loss falls on the way inside."""
    where = marks(chart, free, grad, code, least)
    found = falls(chart, free, where, lambda z: value(z, chart.spaces), least)
    return jnp.where(found & doubtful(free, grad, code, chart, least), Status.AT_EDGE, code)


def least_fall(result: Result) -> jax.Array:
    """The change of the value that counts."""
    eps = float(jnp.finfo(result.value.dtype).eps)
    tol = jnp.maximum(WORTH * jnp.asarray(result.stop.tol), 4 * NOISE * eps).astype(result.value.dtype)
    return tol * size_of(result.value, result.progress.start_value)


def marks(chart: Chart, free: Any, grad: Any, code: jax.Array, least: jax.Array) -> list[Any]:
    """Where in each leaf an end is near and the loss pulls inward, of one problem that ended in success."""
    rest = at_rest(code)
    return [None if e is None else rest & (e.share < NEAR) & (e.inward > least) for e in chart.edges(free, grad)]


def doubtful(free: Any, grad: Any, code: jax.Array, chart: Chart, least: jax.Array) -> jax.Array:
    """Whether there is such a place."""
    found = [jnp.any(m) for m in marks(chart, free, grad, code, least) if m is not None]
    return jnp.any(jnp.stack(found)) if found else jnp.asarray(False)


def falls(chart: Chart, free: Any, where: list[Any], value: Callable[[Any], jax.Array], least: jax.Array) -> jax.Array:
    """Whether the loss falls, before it rises, on the way to where the marked parameters are well inside."""
    leaves = chart.free_leaves(free)
    four = zip(chart.spaces, leaves, chart.start, where, strict=True)
    target = [z if m is None else s.inside(z, z0, m) for s, z, z0, m in four]
    ways = 2.0 ** -np.arange(STEPS)
    shares = jnp.asarray(np.unique([*ways, *(1 - ways)]))

    def at(share: jax.Array) -> jax.Array:
        between = lambda z, end: None if z is None else z + share.astype(z.dtype) * (end - z)
        return value(chart.free_tree([between(*pair) for pair in zip(leaves, target, strict=True)]))

    values = jax.lax.map(at, shares)  # the first is where it is
    change = values - values[0]
    risen = jnp.cumsum(change > least) > 0
    return jnp.any((change < -least) & ~risen)
