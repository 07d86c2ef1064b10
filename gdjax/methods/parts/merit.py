"""The merit function of an augmented Lagrangian, in which each constraint has its own scale and penalty parameter.

With ``z = s c + y / rho`` and d what is missing from z to its place between the bounds, which are scaled as well,
``M(x) = w f(x) + 1/2 sum rho d^2 - 1/2 sum y^2 / rho`` (M. J. D. Powell, 1969; M. R. Hestenes, 1969; R. T. Rockafellar,
1973). Its gradient is that of the Lagrangian with the multipliers ``y = rho d`` of the scaled constraints.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.problem.constraints import Constrained
from gdjax.problem.objective import Objective, Point, Seen
from gdjax.problem.penalized import unbounded
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

# Directions in which the constraints are differentiated to learn the lengths of their gradients: each parameter, or
# so many random signs, of which the mean square is that length in the mean (as M. F. Hutchinson, 1990, finds a trace).
PROBES = 16
# Limits of the first penalties. (2000 problems of five variables took 14 evaluations in the median with at most 1, 22
# with 10, 49 with 1000, and came to lower minima: a large penalty makes a narrow curved valley of each constraint.)
FIRST_PENALTIES = 0.1, 1.0
LARGEST_PENALTY = 1e12
# The gradients of the loss and of each constraint are given these lengths, so that no unit of theirs matters. (A.
# Waechter and L. T. Biegler, 2006, section 3.8, scale down what is above 100, and leave the rest in its units.)
LOSS, CONSTRAINT = 3.0, 3.0
# Growth of a gradient with which its scale is set anew, for at the start it may have been 0; and what must be left of
# it, for a start may be steep: of ``x^4 - 4 x`` from 1e4 the last gradient is 1e-12 of the first.
OUTGROWN, FALLEN = 10.0, 0.01
# Part of the largest gradient so far that a gradient is always beside: in square roots of eps (with the usual tolerance
# 30 roundings of it), and at least.
ROUNDINGS, LEAST = 30.0, 1e-4
# Part of the steps of all parameters by their own size that is always in the size of a constraint, in square roots of
# eps: with the usual tolerance ten roundings of its terms.
ROUNDED = 10.0


class Terms(NamedTuple):
    """What makes the merit function of the problem."""

    weight: Scalar  # w, of the loss
    restoring: jax.Array  # whether the violation alone is minimised: w = 0, y = 0, rho = 1
    fixed: jax.Array  # whether it is the Lagrangian with these multipliers instead, without penalties
    multipliers: jax.Array  # y, of the scaled constraints, shape (m,)
    penalty: jax.Array  # rho, shape (m,)
    scales: jax.Array  # s, shape (m,)
    sizes: jax.Array  # of the constraints as they are, of which a violation is a part; shape (m,)
    norms: jax.Array  # of the gradients of the constraints as they are, the largest so far; shape (m,)
    first: jax.Array  # size of each constraint at the start, beside its bound; shape (m,)
    steep: Scalar  # the largest gradient of the loss at the start or an update
    start: Scalar  # the loss at the start


def plain(constrained: Constrained, dtype: jnp.dtype) -> Terms:
    """The loss, and penalties of 1."""
    one = jnp.ones(constrained.size, dtype)
    no, unit = jnp.asarray(False), jnp.ones((), dtype)
    return Terms(unit, no, no, 0 * one, one, one, one, one, one, unit, 0 * unit)


def measured(objective: Objective, point: Point) -> Terms:
    """Scales, sizes and first penalties, from what the first point shows; and the multipliers to start with."""
    constrained, c, dtype = known(objective), seen(point).c, objective.dtype
    off = jnp.abs(constrained.excess(c))
    blank = plain(constrained, dtype)._replace(norms=0 * c, steep=jnp.zeros((), dtype), start=point.loss)
    first = off + finite(row_norms(constrained, point.x, own_sizes(objective, point.x)))
    terms = renewed(objective, blank._replace(first=first), point)
    half = 0.5 * jnp.sum((terms.scales * off) ** 2)
    # The first penalty of Algencan (E. G. Birgin and J. M. Martinez, 2014, chapter 12), in narrower limits.
    penalty = 10 * jnp.maximum(1, terms.weight * jnp.abs(point.loss)) / jnp.maximum(1, half)
    multipliers = jax.lax.stop_gradient(terms.weight * constrained.multipliers / terms.scales)
    return terms._replace(penalty=jnp.clip(penalty, *FIRST_PENALTIES) * jnp.ones_like(c), multipliers=multipliers)


def renewed(objective: Objective, terms: Terms, point: Point) -> Terms:
    """The same merit function but for its scale, and sizes of constraints, as an update finds them.

    Weight and scales change where gradients have outgrown what they were, or fallen far below it.
    """
    constrained, dtype = known(objective), objective.dtype
    off = finite(jnp.abs(constrained.excess(seen(point).c)))
    norms = finite(row_norms(constrained, point.x, jnp.ones_like(point.x)))
    spans = finite(row_norms(constrained, point.x, own_sizes(objective, point.x)))
    flat = jnp.maximum(norms, spans) <= objective.eps**0.5 * off  # rounding; it says nothing of the units
    norms = jnp.where(flat, 0, norms)
    steep = finite(vector.max_abs(seen(point).grad).astype(dtype))
    bound = finite(jnp.minimum(jnp.abs(constrained.lower), jnp.abs(constrained.upper)))
    largest = jnp.maximum(terms.steep, steep), jnp.maximum(terms.norms, norms)
    slope = beside(objective, steep, jnp.abs(point.loss) + jnp.minimum(1, jnp.abs(terms.start)), largest[0])
    slopes = beside(objective, norms, bound + off + jnp.minimum(1, terms.first), largest[1])
    weight = rescaled(terms.weight, LOSS, slope, terms.steep)
    scales = rescaled(terms.scales, CONSTRAINT, slopes, terms.norms)
    w, s = weight / terms.weight, terms.scales / scales
    # A penalty that was chosen with a scale known then is the same in the new one.
    same = jnp.where(terms.steep > 0, w, 1) * jnp.where(terms.norms > 0, s * s, 1) * terms.penalty
    # A step of length 1 is much, if the parameters' own sizes are not less: they may be of 1e-9.
    own = jnp.minimum(norms, jnp.maximum(spans, terms.first))
    sizes = bound + jnp.maximum(own, ROUNDED * objective.eps**0.5 * spans)
    return terms._replace(
        weight=weight,
        scales=scales,
        multipliers=terms.multipliers * w * s,
        penalty=jnp.clip(same, FIRST_PENALTIES[0], largest_penalty(dtype)),
        sizes=jnp.where(sizes > 0, sizes, 1),
        norms=largest[1],
        steep=largest[0],
    )


def own_sizes(objective: Objective, x: Vector) -> Vector:
    """Those of the parameters. One that started at 0 has shown none: it has the largest of the start's, 1 at most.

    Else the size of ``x_0 x_1 = 0`` would vanish with its violation where x_0 and x_1 are near 0.
    """
    start = jnp.abs(objective.start)
    largest = vector.max_abs(start)
    least = jnp.where(largest > 0, jnp.minimum(largest, 1), 1)
    return jnp.where(start > 0, jnp.abs(x), jnp.maximum(jnp.abs(x), least))


def beside(objective: Objective, here: jax.Array, value: jax.Array, largest: jax.Array) -> jax.Array:
    """What a gradient is small beside: the one here; or the value, up to a part of the largest gradient so far."""
    return jnp.maximum(here, jnp.minimum(value, part(objective) * largest))


def part(objective: Objective) -> float:
    """How much of what has been still counts."""
    return max(ROUNDINGS * objective.eps**0.5, LEAST)


def rescaled(scale: jax.Array, goal: float, length: jax.Array, before: jax.Array) -> jax.Array:
    """The scale that makes a gradient of that length one of ``goal``; the old one, if that still does."""
    off = (scale * length > OUTGROWN * goal) | (scale * length < FALLEN * goal)
    wanted = (length > 0) & ((before == 0) | off)
    return jnp.where(wanted, goal / jnp.where(wanted, length, 1), scale)


def largest_penalty(dtype: jnp.dtype) -> float:
    """Beyond it rounding is all that a penalty shows."""
    return min(LARGEST_PENALTY, 1 / float(jnp.finfo(dtype).eps))


def finite(x: jax.Array) -> jax.Array:
    """0 in place of what is not finite."""
    return jnp.where(jnp.isfinite(x), x, 0)


def row_norms(constrained: Constrained, x: Vector, units: Vector) -> jax.Array:
    """The lengths of the gradients by ``x / units`` of the constraints at x; estimates if there are many parameters."""
    n = x.size
    along = jnp.eye(n, dtype=x.dtype)
    if n > PROBES:
        signs = jax.random.rademacher(jax.random.key(0), (PROBES, n), jnp.int32)
        along = signs.astype(x.dtype) / jnp.asarray(PROBES**0.5, x.dtype)
    parts = jax.lax.map(lambda v: jax.jvp(constrained.values, (x,), (v * units,))[1], along)
    return jnp.sqrt(jnp.sum(parts * parts, axis=0))


def known(objective: Objective) -> Constrained:
    """The constraints of a problem that has some."""
    assert objective.constrained is not None
    return objective.constrained


def seen(point: Point) -> Seen:
    """What a point of such a problem shows of them."""
    assert point.seen is not None
    return point.seen


def value_and_multipliers(constrained: Constrained, terms: Terms, f: Scalar, c: jax.Array) -> tuple[Scalar, jax.Array]:
    """M, and what its gradient has of each constraint's."""
    restoring = terms.restoring
    rho = jnp.where(restoring, 1, terms.penalty)
    y = jnp.where(restoring, 0, terms.multipliers)
    z, s = terms.scales * c + y / rho, terms.scales
    place = jnp.clip(z, s * constrained.lower, s * constrained.upper)
    d = z - place
    # y^2 / rho is taken out of the square, of which it may be most.
    off = s * c - place
    parts = jnp.where(d == 0, -0.5 * y * y / rho, off * (y + 0.5 * rho * off))
    beyond = s * c - s * jnp.where(y > 0, constrained.upper, constrained.lower)
    parts = jnp.where(terms.fixed, jnp.where(y == 0, 0, y * beyond), parts)
    return weight_of(terms) * f + jnp.sum(parts), s * jnp.where(terms.fixed, y, rho * d)


def weight_of(terms: Terms) -> Scalar:
    """That of the loss."""
    return jnp.where(terms.restoring, 0, terms.weight)


def merit(objective: Objective, terms: Terms) -> Objective:
    """The merit function as an objective, for a method that knows of bounds alone."""
    constrained = known(objective)

    def evaluate(x: Vector) -> Point:
        point = objective.evaluate(x)
        c, pull = jax.vjp(constrained.values, x)
        value, multipliers = value_and_multipliers(constrained, terms, point.loss, c)
        pulled = jax.lax.optimization_barrier(pull(multipliers)[0])
        grad = weight_of(terms).astype(x.dtype) * point.grad + pulled
        violation = vector.largest(jnp.abs(constrained.excess(c)) / terms.sizes)
        return point._replace(
            value=value,
            grad=grad,
            grad_norm=vector.max_abs(grad).astype(objective.dtype),
            smooth=point.loss,
            penalty=jnp.zeros_like(value),
            seen=Seen(c, multipliers, violation, point.grad, weight_of(terms)),
        )

    def value_alone(x: Vector) -> Scalar:
        return value_and_multipliers(constrained, terms, objective.value(x), constrained.values(x))[0]

    def automatic(x: Vector) -> Vector:
        assert objective.automatic is not None
        c, pull = jax.vjp(constrained.values, x)
        multipliers = value_and_multipliers(constrained, terms, jnp.zeros((), objective.dtype), c)[1]
        return weight_of(terms).astype(x.dtype) * objective.automatic(x) + pull(multipliers)[0]

    return dataclasses.replace(
        objective,
        evaluate=evaluate,
        value=value_alone,
        automatic=None if objective.automatic is None else automatic,
        blank=blank(objective),
        composite=objective.composite or unbounded(objective.start, objective.dtype, objective.eps),
    )


def blank(objective: Objective) -> Point:
    """Stands for what has not been evaluated yet."""
    constrained, old = known(objective), objective.blank
    none, zero = jnp.zeros(constrained.size, objective.dtype), jnp.zeros((), objective.dtype)
    return old._replace(smooth=zero, penalty=zero, seen=Seen(none, none, zero, vector.zeros_like(old.grad), zero))
