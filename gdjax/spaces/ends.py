"""What became of a descent that ran to an end of a space, where the map is flat and so is the loss by the free numbers.

If the loss is lowest at the end, that is right: the gradient by the free numbers vanishes there as it should, and the
result says where the parameter went. If the loss falls on the way back inside, it is not: the step before was too long,
and the gradient vanishes for no other reason than the map. Where that may be, the loss is evaluated on the way.

How far inside is measured by the start. If a slope back inside is what it was at first, the start may be too near the
end to measure anything by. Then the way leads as far as numbers reach.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdjax.descent.limits import INWARD
from gdjax.descent.progress import size_of
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status, at_rest
from gdjax.jaxtools.hoisted import Hoisted, hoist_call
from gdjax.jaxtools.pytrees import Static, is_concrete, merge, split
from gdjax.jaxtools.remembered import remembered
from gdjax.problem.scalars import NOISE
from gdjax.spaces.at_ends import FlatChart
from gdjax.spaces.base import REACH
from gdjax.spaces.chart import Chart
from gdjax.spaces.runs import MOST, Runs, may_run, runs_of

NEAR = 1e-2  # share of the size of a space within which its end may be what makes the loss flat
STEPS = 11  # halvings of the way inside, from either end, at which the loss is evaluated
EVEN = 64  # even parts of it, between which it is evaluated too: minima may be narrow
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


class Case(NamedTuple):
    """One problem, by free numbers, in the minimiser's sign."""

    free: Any
    grad: Any
    code: jax.Array
    chart: Chart  # with a start that the way inside is measured by
    least: jax.Array  # change of the value that counts
    promised: jax.Array  # and to first order, over the way inside


def review(result: Result, chart: Chart, value: Value) -> Review:
    """Of a result by free numbers, of one problem or of many; and their chart."""
    down = jax.tree.map(jnp.negative, result.grad) if result.maximized else result.grad
    arrays, static = split((result.params, down, result.code, chart, result.progress.inward, least_fall(result)))
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
        return verdict(case(*merge(arrays, static)), lambda z, spaces: value.function(z, spaces, data))

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
        free, grad, code, chart, *_ = found = merge(arrays, static)
        return jnp.stack([doubtful(case(*found)), may_run(chart, free, grad, code)])

    return jnp.any(jax.vmap(one)(arrays), axis=0) if axes else one(arrays)


@remembered(static=2)
def _judge(selected: Any, axes: int, arrays: list[Any], data: list[Any], traced: list[Any]) -> Review:
    """The review of arrays. ``selected``: the rest of them, and of the loss; axes of data; whether to ask who runs."""
    static, program, places, asked = selected
    loss = merge(traced, program)

    def one(arrays: list[Any], data: list[Any]) -> Review:
        free, grad, code, chart, *_ = found = merge(arrays, static)
        value = lambda z, spaces: loss(split((z, spaces))[0], data)
        runs = runs_of(chart, free, grad, code, lambda z: value(z, chart.spaces)) if asked else None
        return Review(verdict(case(*found), value), runs)

    return (jax.vmap(one, in_axes=(0, list(places))) if axes else one)(arrays, data)


def case(free: Any, grad: Any, code: jax.Array, chart: Chart, left: jax.Array, least: jax.Array) -> Case:
    """What is judged; ``left`` is the share of the slopes back inside that is left."""
    lost = left > INWARD
    return Case(free, grad, code, farther(chart, lost), least, jnp.where(lost, 0, least))


def farther(chart: Chart, lost: jax.Array) -> Chart:
    """The chart; or if its start tells no size, with one as far from ends as numbers reach (if it may be so far)."""
    flat = FlatChart(chart, chart.free_tree(chart.start))
    if not any(np.any(s.endless) for _, s, _ in flat.ends):
        return chart
    start = flat.layout.ravel(flat.free)
    parts, pull_back = jax.vjp(flat.by_distance, jnp.zeros_like(start))
    pairs = zip(flat.ends, parts, strict=True)
    (way,) = pull_back([jnp.asarray(s.endless, x.dtype) * jnp.ones_like(x) for (_, s, _), x in pairs])
    far = REACH * float(np.log(jnp.finfo(start.dtype).eps))
    moved = flat.layout.unravel(start + jnp.where(lost, far, 0).astype(start.dtype) * way)
    return Chart(chart.spaces, chart.free_leaves(moved), chart.treedef)


def verdict(case: Case, value: Any) -> jax.Array:
    """The status: AT_EDGE where the loss falls on the way inside."""
    found = falls(case, lambda z: value(z, case.chart.spaces))
    return jnp.where(found & doubtful(case), Status.AT_EDGE, case.code)


def least_fall(result: Result) -> jax.Array:
    """The change of the value that counts."""
    eps = float(jnp.finfo(result.value.dtype).eps)
    tol = jnp.maximum(WORTH * jnp.asarray(result.stop.tol), 4 * NOISE * eps).astype(result.value.dtype)
    return tol * size_of(result.value, result.progress.start_value)


def marks(case: Case) -> list[Any]:
    """Where in each leaf an end is near and the loss pulls inward, if it ended in success."""
    rest, edges = at_rest(case.code), case.chart.edges(case.free, case.grad)
    return [None if e is None else rest & (e.share < NEAR) & (e.inward > case.promised) for e in edges]


def doubtful(case: Case) -> jax.Array:
    """Whether there is such a place."""
    found = [jnp.any(m) for m in marks(case) if m is not None]
    return jnp.any(jnp.stack(found)) if found else jnp.asarray(False)


def falls(case: Case, value: Callable[[Any], jax.Array]) -> jax.Array:
    """Whether the loss falls, before it rises, on the way to where one of the marked parameters is well inside.

    One at a time, since another that is at its best place would hide it; all at once where they are many.
    """
    chart, leaves, least = case.chart, case.chart.free_leaves(case.free), case.least
    ways = 2.0 ** -np.arange(STEPS)
    shares = jnp.asarray(np.unique([*ways, *(1 - ways), *np.arange(EVEN) / EVEN]))
    flags, unravel = ravel_pytree(marks(case))

    def falls_to(chosen: jax.Array) -> jax.Array:
        four = zip(chart.spaces, leaves, chart.start, unravel(chosen), strict=True)
        target = [z if m is None else s.inside(z, z0, m) for s, z, z0, m in four]

        def at(share: jax.Array) -> jax.Array:
            between = lambda z, end: None if z is None else z + share.astype(z.dtype) * (end - z)
            return value(chart.free_tree([between(*pair) for pair in zip(leaves, target, strict=True)]))

        values = jax.lax.map(at, shares)  # the first is where it is
        change = values - values[0]
        risen = jnp.cumsum(change > least) > 0
        return jnp.any((change < -least) & ~risen)

    if flags.size > MOST:
        return falls_to(flags)
    places, no = jnp.arange(flags.size), lambda _: jnp.asarray(False)
    return jnp.any(jax.lax.map(lambda i: jax.lax.cond(flags[i], falls_to, no, flags & (places == i)), places))
