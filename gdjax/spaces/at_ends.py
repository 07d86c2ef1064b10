"""Which parameters of an answer are at an end of their space, and what is then left of a Jacobian or Hessian.

Where the best value is at an end, a free number runs to infinity, and how far it got depends on where the descent
stopped: no standard error can be read off there. As at a bound, the parameter is taken as known, and the errors of the
others are those without it. It is at an end if the loss falls toward that, and Newton's step along the logarithm of the
distance is not small. That is 1 where the loss is straight, 1/k where it rises with the power k, and nothing at a
minimum inside. It depends on no unit, and not on the start.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.sandwich import basis
from gdjax.descent.stopping import Status, at_rest
from gdjax.jaxtools.pytrees import Static, is_concrete, merge, split
from gdjax.jaxtools.remembered import remembered
from gdjax.methods.parts.triangular import factor, norm
from gdjax.problem.scalars import NOISE
from gdjax.spaces.at_infinity import is_left
from gdjax.spaces.base import Edges, Space
from gdjax.spaces.chart import Chart
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import matmul

STEP = 0.1  # of Newton, from which on it leads to the end
FAILED = Status.LINE_SEARCH_FAILED, Status.STALLED  # of a search, at the answer perhaps
BLURRED = 8.0  # roundings of its free numbers within which a distance that depends on several is nothing


class Ended(NamedTuple):
    """A least-squares problem with what is at an end taken as known."""

    where: list[Any]  # of each leaf, the ends at which it is, of the shape of `Space.edges`; None if there are none
    squares: Any  # what the result keeps of residuals and Jacobian
    code: jax.Array  # the status: RUNAWAY if some parameters run to infinity instead


def ended(result: Result, chart: Chart) -> Ended:
    """Of a result by free numbers, of one problem or of many, whose Jacobian is known."""
    arrays, static = split((chart, result.params, result.grad, result.code, result.squares))
    return _ended(static, result.code.ndim, arrays)


@remembered(static=2)
def _ended(static: Static, axes: int, arrays: list[Any]) -> Ended:
    """The same of arrays."""

    def of_one(arrays: list[Any]) -> Ended:
        chart, free, grad, code, squares = merge(arrays, static)
        linear, flat = squares.linear, FlatChart(chart, free)
        rows = linear.triangle * linear.effects[None, :]  # R'R = J'J
        lengths = [norm(x, axis=0) for x in jax.vmap(flat.by_distance)(rows)]
        where = flat.where(grad, flat.by_distance(linear.grad), lengths, at_rest(code))
        some = jnp.any(jnp.stack([jnp.any(marks) for marks in where]))
        changed = squares._replace(linear=linear_without(flat, where, linear))
        if squares.normals is not None:
            unit, sizes = flat.left(squares.normals, where)
            changed = changed._replace(normals=unit * sizes[None, :])
        if squares.sandwich is not None and squares.sandwich.triangle is not None:
            changed = changed._replace(sandwich=sandwich_without(flat, where, squares.sandwich))
        kept = jax.tree.map(lambda new, old: jnp.where(some, new, old), changed, squares)
        left = jax.lax.stop_gradient(is_left(flat, grad, linear, code))
        return Ended(flat.by_leaf(where), kept, jnp.where(left, Status.RUNAWAY, code).astype(code.dtype))

    for _ in range(axes):
        of_one = jax.vmap(of_one)
    return of_one(arrays)


def rested(result: Result, chart: Chart) -> Result:
    """A fit by free numbers, with PRECISION_FLOOR for a search that failed at an end, where it is done.

    A free number may have to go to infinity for that. The nearer it is, the less a step changes, but its column of the
    Jacobian keeps its angle to the residuals. So it looks like a plateau, on which nothing but the map tells that the
    parameter is at its end, as near as the value can tell.
    """
    if is_concrete(result.code) and not np.isin(np.asarray(result.code), FAILED).any():
        return result
    floor = jnp.broadcast_to(jnp.asarray(result.stop.floor, result.value.dtype), result.code.shape)
    arrays, static = split((chart, result.params, result.grad, result.code, result.value, floor, result.squares))
    done, code = _rested(static, result.code.ndim, arrays)
    progress = result.progress._replace(settled=result.progress.settled | done)
    return dataclasses.replace(result, code=code, progress=progress)


@remembered(static=2)
def _rested(static: Static, axes: int, arrays: list[Any]) -> tuple[jax.Array, jax.Array]:
    """Whether it is, and the status, of arrays."""

    def of_one(arrays: list[Any]) -> tuple[jax.Array, jax.Array]:
        chart, free, grad, code, value, floor, squares = merge(arrays, static)
        linear, flat, eps = squares.linear, FlatChart(chart, free), float(jnp.finfo(value.dtype).eps)
        edges = chart.edges(free, grad)
        found = [cast(Edges, edges[i]) for i, _, _ in flat.ends]
        near = [(e.share <= eps**0.5) & (-e.inward * e.share <= NOISE * eps * value) for e in found]
        where = [marks & (e.inward < 0) for e, marks in zip(found, near, strict=True)]
        some = jnp.any(jnp.stack([jnp.any(marks) for marks in where]))
        _, columns = flat.left(linear.triangle * linear.columns[None, :], where)
        slopes, size = flat.without(where)(linear.grad), norm(squares.residuals)
        left = jnp.any((columns > 0) & (jnp.abs(slopes) > floor * columns * size))
        done = ((code == FAILED[0]) | (code == FAILED[1])) & some & ~left
        return done, jnp.where(done, Status.PRECISION_FLOOR, code).astype(code.dtype)

    for _ in range(axes):
        of_one = jax.vmap(of_one)
    return of_one(arrays)


def ends_of_minimum(
    flat: "FlatChart", grad: jax.Array, product: Callable[[jax.Array], jax.Array], rest: jax.Array
) -> list[jax.Array]:
    """At which ends a minimum is, by the gradient and products with the Hessian. There is a product an end."""

    def length(pull: Any, unit: jax.Array) -> jax.Array:
        (way,) = pull(unit)
        return jnp.sqrt(jnp.maximum(jnp.vdot(way, product(way)), 0))

    found, pull = jax.vjp(lambda slopes: jnp.concatenate([x.ravel() for x in flat.by_distance(slopes)]), grad)
    places = jnp.arange(found.size)
    lengths = jax.lax.map(lambda i: length(pull, (places == i).astype(found.dtype)), places)
    parts, sizes = flat.by_distance(grad), np.cumsum([x.size for x in flat.by_distance(grad)])[:-1]
    cut = [x.reshape(part.shape) for x, part in zip(jnp.split(lengths, sizes), parts, strict=True)]
    return flat.where(flat.layout.unravel(grad), parts, cut, rest)


def linear_without(flat: "FlatChart", where: list[jax.Array], linear: Any) -> Any:
    """What is kept of the Jacobian, without these distances. Its triangle need not be one any more."""
    triangle, columns = flat.left(linear.triangle * linear.columns[None, :], where)
    return linear._replace(triangle=triangle, columns=columns)


def sandwich_without(flat: "FlatChart", where: list[jax.Array], sandwich: Any) -> Any:
    """The same of a `gdjax.descent.sandwich.Sandwich`, whose other parts are in the basis Q of the Jacobian."""
    unit, columns = flat.left(sandwich.triangle * sandwich.columns[None, :], where)
    triangle, _ = factor(unit, jnp.zeros_like(columns))
    q = basis(unit, triangle)
    turned = lambda inner: None if inner is None else matmul(q.T, matmul(inner, q))
    bread = turned(sandwich.bread)
    if bread is not None:
        bread += jnp.diag(jnp.where(jnp.any(q != 0, axis=0), 0, jnp.ones_like(columns)))
    rows = None if sandwich.basis is None else matmul(sandwich.basis, q)
    return sandwich._replace(triangle=triangle, columns=columns, meat=turned(sandwich.meat), bread=bread, basis=rows)


class FlatChart:
    """A chart at a point, for slopes by its free numbers as one flat vector."""

    def __init__(self, chart: Chart, free: Any) -> None:
        self.chart, self.free, self.layout = chart, free, Flat.of(free)
        found = enumerate(zip(chart.spaces, chart.free_leaves(free), strict=True))
        self.ends: list[tuple[int, Space, Any]] = [(i, s, z) for i, (s, z) in found if s.has_ends and not s.is_fixed]

    def leaves(self, slopes: jax.Array) -> list[Any]:
        """A flat vector, leaf by leaf; None where it is held."""
        return self.chart.free_leaves(self.layout.unravel(slopes))

    def by_distance(self, slopes: jax.Array) -> list[jax.Array]:
        """See `Space`, of each leaf that has ends."""
        parts = self.leaves(slopes)
        return [s.by_distance(z, parts[i]) for i, s, z in self.ends]

    def without(self, where: list[jax.Array]) -> Callable[[jax.Array], jax.Array]:
        """What takes these distances out of slopes."""

        def function(slopes: jax.Array) -> jax.Array:
            parts = self.leaves(slopes)
            for (i, s, z), marks in zip(self.ends, where, strict=True):
                parts[i] = s.without(z, parts[i], marks)
            return self.layout.ravel(self.chart.free_tree(parts))

        return function

    def taken_out(
        self, product: Callable[[jax.Array], jax.Array], where: list[jax.Array]
    ) -> Callable[[jax.Array], jax.Array]:
        """The product with a symmetric matrix, as if what changes these distances were apart and had curvature 1."""
        keep = self.without(where)
        turned = jax.linear_transpose(keep, jnp.zeros(self.layout.size, self.layout.dtype))

        def function(v: jax.Array) -> jax.Array:
            inside = turned(v)[0]
            return keep(product(inside)) + (v - inside) - keep(v - inside)

        return function

    def where(self, grad: Any, pulls: list[Any], lengths: list[Any], rest: jax.Array) -> list[jax.Array]:
        """At which ends it is.

        Args:
            grad: by the free numbers, a pytree.
            pulls: slope of the loss by the logarithm of each distance, of each leaf that has ends.
            lengths: root of the curvature likewise.
            rest: whether the descent is.
        """
        edges = self.chart.edges(self.free, grad)
        return [
            rest & is_at(s, z, cast(Edges, edges[i]), *jax.lax.stop_gradient(pair))
            for (i, s, z), pair in zip(self.ends, zip(pulls, lengths, strict=True), strict=True)
        ]

    def by_leaf(self, where: list[jax.Array]) -> list[Any]:
        """With None for the other leaves."""
        found: list[Any] = [None] * len(self.chart.spaces)
        for (i, _, _), marks in zip(self.ends, where, strict=True):
            found[i] = marks
        return found

    def left(self, rows: jax.Array, where: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
        """The rows of a Jacobian without these distances: with columns of length 1, and what their lengths were.

        Columns that were taken out are 0, though several that were mixed leave some rounding.
        """
        before, reduced = norm(rows, axis=0), jax.vmap(self.without(where))(rows)
        blur = [None if part is None else jnp.zeros_like(part) for part in self.leaves(before)]
        for (i, s, _), marks in zip(self.ends, where, strict=True):
            if s.mixes:
                part = self.leaves(before)[i]
                blur[i] = jnp.full_like(part, jnp.where(jnp.any(marks), roundings(part) * jnp.max(part, initial=0), 0))
        lengths = norm(reduced, axis=0)
        lengths = jnp.where(lengths <= self.layout.ravel(self.chart.free_tree(blur)), 0, lengths)
        return reduced / jnp.where(lengths > 0, lengths, jnp.inf)[None, :], lengths


def is_at(space: Space, free: jax.Array, edges: Edges, pull: jax.Array, length: jax.Array) -> jax.Array:
    """Whether a parameter is at each of its ends.

    Args:
        space: of the leaf.
        free: its free numbers.
        edges: where it is.
        pull: slope of the loss by the logarithm of each distance.
        length: the root of its curvature likewise.
    """
    steep = jnp.where(length > 0, length, 1)
    there = (pull > 0) & (length > 0) & (pull / steep >= STEP * length)
    hidden = roundings(free) if space.mixes else 0.0  # what the map's derivative is lost in
    return there | (edges.share <= hidden)


def roundings(free: jax.Array) -> float:
    """How small a share of numbers that are mixed is nothing."""
    return BLURRED * (free.shape[-1] + 1 if free.ndim else 2) * float(jnp.finfo(free.dtype).eps)
