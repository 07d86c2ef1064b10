"""What became of a descent that ran to an end of a space, where the map is flat and so is the loss by the free numbers.

If the loss is lowest at the end, that is right: the gradient by the free numbers vanishes there as it should, and the
result says where the parameter went. If the loss falls on the way back inside, it is not: the step before was too long,
and the gradient vanishes for no other reason than the map. Where that may be, the loss is evaluated on the way.

How far inside is measured by the start. If much of a slope back inside is left, the start may be too near the end to
measure anything by. Then the way leads as far as numbers reach.

What the gradient by the free numbers says there is lost where the map is flat to the last digits. So it only tells
where to look; whether the loss falls inward is told by the gradient by the parameter, and by values.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdjax.descent.limits import INWARD
from gdjax.descent.onward import Onward
from gdjax.descent.progress import size_of
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status, at_rest
from gdjax.jaxtools.hoisted import Hoisted, hoist_call
from gdjax.jaxtools.pytrees import Static, is_concrete, merge, split
from gdjax.jaxtools.remembered import remembered
from gdjax.jaxtools.varying import cond
from gdjax.problem.scalars import NOISE
from gdjax.spaces.at_ends import roundings
from gdjax.spaces.base import Edges, Space
from gdjax.spaces.chart import Chart
from gdjax.spaces.merit import Merit, Value, as_merit
from gdjax.spaces.runs import MOST, Runs, may_run, runs_of

NEAR = 1e-2  # share of the size of a space within which its end may be what makes the loss flat
STEPS = 11  # halvings of the way inside, from either end, at which the loss is evaluated
EVEN = 64  # even parts of it, between which it is evaluated too: minima may be narrow
WORTH = 3.0  # tolerances, in units of the size of the value, that a fall must be worth
UNBALANCED = 1e-2  # share of its parts that is left of a slope of a Lagrangian which is not zero
LEFT = 3.0  # tolerances, as a share of the largest slope back inside, from which on one is left


class Review(NamedTuple):
    """What is found of a result."""

    code: jax.Array  # its status: AT_EDGE for a success that the loss contradicts on the way inside
    runs: Runs | None = None  # which parameters run to an end or to infinity; None if that was not asked
    onward: Onward | None = None  # to the lowest point on the way inside; None if there was no doubt


class Case(NamedTuple):
    """One problem, by free numbers, in the minimiser's sign."""

    free: Any
    grad: Any
    code: jax.Array
    slopes: list[Any] | None  # the gradient by the parameters that move; None if it is not known
    chart: Chart
    lost: jax.Array  # whether the start may be too near an end to measure anything by
    least: jax.Array  # change of the value that counts
    constrained: bool


class Told(NamedTuple):
    """What a result tells."""

    free: Any
    grad: Any
    code: jax.Array
    chart: Chart
    inward: jax.Array  # the largest share of a slope back inside that is left
    value: jax.Array
    start_value: jax.Array
    tol: jax.Array
    constrained: bool


def told(result: Result, chart: Chart) -> Told:
    """Of a result by free numbers, of one problem or of many; and their chart."""
    down = jax.tree.map(jnp.negative, result.grad) if result.maximized else result.grad
    p, wide = result.progress, np.broadcast_to if is_concrete(result.stop.tol) else jnp.broadcast_to
    tol: Any = wide(result.stop.tol, result.code.shape)
    between = result.conditions is not None
    return Told(result.params, down, result.code, chart, p.inward, result.value, p.start_value, tol, between)


def review(result: Result, chart: Chart, value: Value) -> Review:
    """Of a result by free numbers, of one problem or of many; and their chart."""
    arrays, static = split(told(result, chart))
    arrays, axes = jax.lax.stop_gradient(arrays), result.code.ndim
    wanted = _doubtful(static, axes, arrays)
    if is_concrete(wanted):
        asked = tuple(np.asarray(wanted).tolist())
        if not any(asked):
            return Review(result.code)
        traced, program = split(hoisted(value, result.params, chart, bool(axes)))
        selected = static, program, tuple(value.axes), asked
        return with_values_at_least(lambda smooth: _judge((*selected, smooth), axes, arrays, value.data, traced))

    def judge(smooth: bool) -> jax.Array:
        def one(arrays: list[Any], data: list[Any]) -> jax.Array:
            of_numbers = lambda x, spaces: as_merit(value.function(x, spaces, data))
            return judgement(merge(arrays, static), of_numbers, smooth)[0]

        many = jax.vmap(one, in_axes=(0, value.axes)) if axes else one
        return jax.lax.cond(wanted[0], many, lambda *_: result.code, arrays, value.data)

    return Review(with_values_at_least(judge))


def with_values_at_least(judged: Callable[[bool], Any]) -> Any:
    """What is judged by gradients; by values alone of a loss that JAX cannot differentiate."""
    try:
        return judged(True)
    except Exception:
        return judged(False)


def hoisted(value: Value, free: Any, chart: Chart, many: bool) -> Hoisted:
    """The loss of one problem, traced, so that equal code is one compiled program."""

    def shape(x: Any, axis: int | None) -> Any:
        kept = [n for i, n in enumerate(np.shape(x)) if axis is None or i != axis % np.ndim(x)]
        return jax.ShapeDtypeStruct(tuple(kept), x.dtype if hasattr(x, "dtype") else jnp.result_type(x))

    (arrays, static), (held, spaces) = split((chart, free)), split(chart.spaces)
    one = lambda leaves: [shape(x, 0 if many else None) for x in leaves]
    numbers = jax.eval_shape(lambda own: Chart.numbers(*merge(own, static)), one(arrays))
    data = [shape(x, axis if many else None) for x, axis in zip(value.data, value.axes, strict=True)]
    call: Any = lambda f, x, held, data: f(x, merge(held, spaces), data)
    return hoist_call(call, value.function, numbers, one(held), data)


@remembered(static=2)
def _doubtful(static: Static, axes: int, arrays: list[Any]) -> jax.Array:
    """Whether the status of any problem is to be judged, and whether any parameter may have run away: shape (2,)."""

    def one(arrays: list[Any]) -> jax.Array:
        found = merge(arrays, static)
        flags = [jnp.any(m) for m in marks(case(found, None)) if m is not None]
        doubtful = jnp.any(jnp.stack(flags)) if flags else jnp.asarray(False)
        runs = jnp.asarray(False) if found.constrained else may_run(found.chart, found.free, found.grad, found.code)
        return jnp.stack([doubtful, runs])

    return jnp.any(jax.vmap(one)(arrays), axis=0) if axes else one(arrays)


@remembered(static=2)
def _judge(selected: Any, axes: int, arrays: list[Any], data: list[Any], traced: list[Any]) -> Review:
    """The review of arrays. ``selected``: the rest of them, and of the loss; axes of data; what is asked; if smooth."""
    static, program, places, (doubtful, runs_asked), smooth = selected
    loss = merge(traced, program)

    def one(arrays: list[Any], data: list[Any]) -> Review:
        found = merge(arrays, static)
        of_numbers = lambda x, spaces: as_merit(loss(x, split(spaces)[0], data))
        value = lambda z: of_numbers(found.chart.numbers(z), found.chart.spaces).loss
        runs = runs_of(found.chart, found.free, found.grad, found.code, value) if smooth and runs_asked else None
        code, onward = judgement(found, of_numbers, smooth) if doubtful else (found.code, None)
        return Review(code, runs, onward)

    return (jax.vmap(one, in_axes=(0, list(places))) if axes else one)(arrays, data)


def judgement(
    found: Told, of_numbers: Callable[[list[Any], list[Any]], Merit], smooth: bool
) -> tuple[jax.Array, Onward]:
    """The status, AT_EDGE where the loss falls on the way inside, and the way onward."""
    chart = found.chart
    slope = lambda part: jax.grad(lambda x: getattr(of_numbers(x, chart.spaces), part))(chart.numbers(found.free))
    slopes = slope("lagrangian") if smooth else None
    if slopes is not None and found.constrained:
        slopes = jax.tree.map(unbalanced, slopes, slope("loss"))
    falling, onward = falls(case(found, slopes), lambda z: of_numbers(chart.numbers(z), chart.spaces).value)
    return jnp.where(falling, Status.AT_EDGE, found.code), onward


def unbalanced(slope: jax.Array, of_loss: jax.Array) -> jax.Array:
    """The slope of a Lagrangian; 0 where the loss and the constraints balance each other."""
    parts = jnp.abs(of_loss) + jnp.abs(slope - of_loss)
    return jnp.where(jnp.abs(slope) > UNBALANCED * parts, slope, 0)


def case(found: Told, slopes: list[Any] | None) -> Case:
    """What is judged."""
    eps = float(jnp.finfo(found.value.dtype).eps)
    usual = jnp.maximum(found.tol, eps**0.5)
    lost = found.inward > jnp.minimum(INWARD, LEFT * usual)
    if found.constrained:  # slopes back inside were not followed
        pairs = zip(found.chart.spaces, found.chart.start, strict=True)
        near = [jnp.any(z < 0.5 * np.log(eps)) for s, z in pairs if not s.is_fixed and np.any(s.endless)]
        lost = jnp.any(jnp.stack(near)) if near else jnp.asarray(False)
    worth = jnp.maximum(WORTH * found.tol, 4 * NOISE * eps).astype(found.value.dtype)
    least = worth * size_of(found.value, found.start_value)
    return Case(found.free, found.grad, found.code, slopes, found.chart, lost, least, found.constrained)


def marks(case: Case) -> list[Any]:
    """Where in each leaf the map is flat and the loss pulls inward, or may do so, if it ended in success."""
    chart, rest = case.chart, at_rest(case.code) | (case.code == Status.INFEASIBLE)
    unknown = case.slopes is None and case.constrained  # for the gradient is that of the loss alone

    def marked(space: Space, free: jax.Array, flats: Edges) -> jax.Array:
        hidden = flats.share <= hides(space, free)
        lost = space.endless & (case.lost | hidden)  # so the start tells no size
        pulled = flats.inward > jnp.where(lost, 0, case.least)
        return rest & ((flats.share < NEAR) | lost) & (pulled | (hidden if case.slopes is None else False) | unknown)

    three = zip(chart.spaces, chart.free_leaves(case.free), chart.flats(case.free, case.grad, case.slopes), strict=True)
    return [None if e is None else marked(s, z, e) for s, z, e in three]


def hides(space: Space, free: jax.Array) -> float:
    """The share of a distance at which the gradient by the free numbers tells nothing: rounding, or underflow."""
    info = jnp.finfo(free.dtype)
    return roundings(free) if space.mixes else float(info.tiny) / float(info.eps) ** 2


def falls(case: Case, value: Callable[[Any], jax.Array]) -> tuple[jax.Array, Onward]:
    """Whether the loss falls, before it rises, on the way to where what is marked is well inside; and to where.

    One at a time, since another that is at its best place would hide it; and all at once.
    """
    least, shares = case.least, shares_of_way()
    flags, unravel = ravel_pytree(marks(case))

    def lowest(chosen: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The largest fall, and where it is; 0 if it is not worth counting."""
        values = jax.lax.map(lambda share: value(on_the_way(case, unravel(chosen), share)), shares)
        change = values - values[0]  # the first is where it is
        risen = jnp.cumsum(~(change <= least)) > 0  # or is no number
        change = jnp.where((change < -least) & ~risen, change, 0)
        return jnp.min(change).astype(least.dtype), shares[jnp.argmin(change)]

    one_by_one = jnp.eye(flags.size, dtype=bool) if 1 < flags.size <= MOST else jnp.zeros((0, flags.size), bool)
    sets = jnp.concatenate([flags & one_by_one, flags[None]])
    none = lambda _: (jnp.zeros_like(least), shares[0])
    changes, places = jax.lax.map(lambda chosen: cond(jnp.any(chosen), lowest, none, chosen), sets)
    best = jnp.argmin(changes)
    free = on_the_way(case, unravel(sets[best]), places[best])
    return changes[best] < 0, Onward(free, jnp.sum(jnp.any(sets, axis=1)) * shares.size, 0.0)


def shares_of_way() -> jax.Array:
    """Of the way inside, to the start and from there farther (1 to 2), at which the loss is evaluated."""
    ways = 2.0 ** -np.arange(STEPS)
    once = np.unique([*ways, *(1 - ways), *np.arange(EVEN) / EVEN])
    return jnp.asarray(np.unique([*once, *(1 + once)]))


def on_the_way(case: Case, chosen: list[Any], share: jax.Array) -> Any:
    """Free numbers with what is ``chosen`` (like the marks) at this share of its way inside."""
    chart = case.chart

    def moved(space: Space, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        part = share.astype(free.dtype)
        first = space.way(free, start, where, jnp.minimum(part, 1))
        return space.way(first, space.farther(start), where, jnp.maximum(part - 1, 0))

    four = zip(chart.spaces, chart.free_leaves(case.free), chart.start, chosen, strict=True)
    return chart.free_tree([z if m is None else moved(s, z, z0, m) for s, z, z0, m in four])
