"""The merit function of an augmented Lagrangian, in which each constraint has its own scale and penalty parameter.

With ``z = s c + y / rho`` and d what is missing from z to its place between the bounds, which are scaled as well,
``M(x) = w f(x) + 1/2 sum rho d^2 - 1/2 sum y^2 / rho`` (M. J. D. Powell, 1969; M. R. Hestenes, 1969; R. T. Rockafellar,
1973). Its gradient is that of the Lagrangian with the multipliers ``rho d``.
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
STEEP = 100.0  # largest gradient at the start that is left as it is (A. Waechter and L. T. Biegler, 2006, section 3.8)


class Terms(NamedTuple):
    """What makes the merit function of the problem."""

    weight: Scalar  # w, of the loss
    restoring: jax.Array  # whether the violation alone is minimised: w = 0, y = 0, rho = 1
    fixed: jax.Array  # whether it is the Lagrangian with these multipliers instead, without penalties
    multipliers: jax.Array  # y, of the scaled constraints, shape (m,)
    penalty: jax.Array  # rho, shape (m,)
    scales: jax.Array  # s, shape (m,)
    sizes: jax.Array  # of the constraints as they are, of which a violation is a part; shape (m,)


def plain(constrained: Constrained, dtype: jnp.dtype) -> Terms:
    """The loss, and penalties of 1."""
    one = jnp.ones(constrained.size, dtype)
    return Terms(jnp.ones((), dtype), jnp.asarray(False), jnp.asarray(False), 0 * one, one, one, one)


def measured(objective: Objective, point: Point) -> Terms:
    """Scales, sizes and first penalties, from what the first point shows."""
    constrained, c = known(objective), seen(point).c
    norms, spans = row_norms(constrained, point.x, jnp.ones_like(point.x)), row_norms(constrained, point.x, point.x)
    off = jnp.abs(constrained.excess(c))
    usual = jnp.minimum(1, norms + off)  # of constraints in small units, all that they are
    usual = jnp.where((usual > 0) & jnp.isfinite(usual), usual, 1)
    bound = jnp.where(constrained.excess(c) > 0, constrained.upper, constrained.lower)
    bound = jnp.where(jnp.isfinite(bound), bound, jnp.where(jnp.isfinite(constrained.upper), constrained.upper, 0))
    scales = 1 / jnp.maximum(usual, jnp.where(jnp.isfinite(norms), norms, 1) / STEEP)
    steep = vector.max_abs(seen(point).grad).astype(objective.dtype)
    small = jnp.minimum(1, steep + jnp.abs(point.loss))
    weight = 1 / jnp.maximum(jnp.where(small > 0, small, 1), steep / STEEP)
    half = 0.5 * jnp.sum((scales * off) ** 2)
    # The first penalty of Algencan (E. G. Birgin and J. M. Martinez, 2014, chapter 12), in narrower limits.
    penalty = jnp.clip(10 * jnp.maximum(1, weight * jnp.abs(point.loss)) / jnp.maximum(1, half), *FIRST_PENALTIES)
    # A violation is beside what the parameters' own sizes make of a constraint, or 1: they may be of 1e-9.
    own = jnp.where(off + spans > 0, jnp.minimum(1, off + spans), usual)
    return Terms(
        weight,
        jnp.asarray(False),
        jnp.asarray(False),
        0 * c,
        penalty * jnp.ones_like(c),
        scales,
        jnp.abs(bound) + own,
    )


def grown(objective: Objective, terms: Terms, x: Vector) -> Terms:
    """The same for constraints that have become larger than they were at the start, but for sizes above 1."""
    spans = row_norms(known(objective), x, x)
    return terms._replace(sizes=jnp.maximum(terms.sizes, jnp.where(jnp.isfinite(spans), jnp.minimum(1, spans), 0)))


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
    """M, and the multipliers of its gradient."""
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
    return weight_of(terms) * f + jnp.sum(parts), jnp.where(terms.fixed, y, rho * d)


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
        weights = terms.scales * multipliers
        grad = weight_of(terms).astype(x.dtype) * point.grad + jax.lax.optimization_barrier(pull(weights)[0])
        violation = vector.largest(jnp.abs(constrained.excess(c)) / terms.sizes)
        return point._replace(
            value=value,
            grad=grad,
            grad_norm=vector.max_abs(grad).astype(objective.dtype),
            smooth=point.loss,
            penalty=jnp.zeros_like(value),
            seen=Seen(c, multipliers, violation, point.grad, ~terms.restoring),
        )

    def value_alone(x: Vector) -> Scalar:
        return value_and_multipliers(constrained, terms, objective.value(x), constrained.values(x))[0]

    def automatic(x: Vector) -> Vector:
        assert objective.automatic is not None
        c, pull = jax.vjp(constrained.values, x)
        multipliers = value_and_multipliers(constrained, terms, jnp.zeros((), objective.dtype), c)[1]
        return weight_of(terms).astype(x.dtype) * objective.automatic(x) + pull(terms.scales * multipliers)[0]

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
    return old._replace(
        smooth=zero, penalty=zero, seen=Seen(none, none, zero, vector.zeros_like(old.grad), jnp.asarray(False))
    )
