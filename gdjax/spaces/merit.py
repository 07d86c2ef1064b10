"""By what a point at an end of a space is judged: by the loss; between constraints by a merit and the Lagrangian.

At a minimum between constraints the loss may fall on the way inside, but the Lagrangian does not to first order, and
the exact penalty ``f + sum w_i |excess_i|`` with weights above the multipliers does not at all (J. Nocedal and
S. J. Wright, Numerical Optimization (2006), theorem 17.3). Where no point is said to satisfy the constraints, what must
not fall is their violation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.descent.progress import size_of
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status

ABOVE = 2.0  # weights, in units of the multipliers


class Merit(NamedTuple):
    """What judges parameters, in the minimiser's sign."""

    value: jax.Array  # must not fall on the way inside
    lagrangian: jax.Array  # whose slopes tell where it may
    loss: jax.Array


class Value(NamedTuple):
    """The loss, in the minimiser's sign, with its data."""

    function: Callable[[list[Any], list[Any], list[Any]], Any]  # of the parameters that move, spaces and data
    data: list[Any]
    axes: list[int | None]  # of problems, in each of the data
    limits: Callable[..., Any] | None = None  # of the same: the values of the constraints, and their excess


def as_merit(out: Any) -> Merit:
    """The loss alone is its own merit."""
    return out if isinstance(out, Merit) else Merit(out, out, out)


def between(value: Value, result: Result) -> Value:
    """The merit of a loss between constraints, with the multipliers of a result, of one problem or of many."""
    assert value.limits is not None
    known, limits, n, problems = result.conditions, value.limits, len(value.data), result.code.ndim
    assert known is not None
    squares = [jnp.sum(x**2, axis=tuple(range(problems, x.ndim))) for x in jax.tree.leaves(known.excess)]
    size = size_of(result.value, result.progress.start_value)
    violated = result.code == Status.INFEASIBLE
    scale = jnp.where(violated, size / jnp.where(violated, sum(squares), 1), 0)
    multipliers = [jnp.nan_to_num(y) * (1 if result.maximized else -1) for y in jax.tree.leaves(known.multipliers)]

    def function(numbers: list[Any], spaces: list[Any], data: list[Any]) -> Merit:
        own, pulls, scale = data[:n], data[n:-1], data[-1]
        loss, (values, excess) = value.function(numbers, spaces, own), limits(numbers, spaces, own)
        inner = lambda xs, ys: sum(jnp.vdot(x, y) for x, y in zip(xs, ys, strict=True))
        most = jnp.max(jnp.stack([jnp.max(jnp.abs(y), initial=0) for y in pulls]))
        penalty = inner([ABOVE * jnp.abs(y) + most for y in pulls], map(jnp.abs, excess))
        infeasible, violation = scale > 0, scale * inner(excess, excess)
        parts = loss + penalty, loss + inner(pulls, values), loss
        return Merit(*(jnp.where(infeasible, violation, part) for part in parts))

    axes = [0 if problems else None] * (len(multipliers) + 1)
    return Value(function, [*value.data, *multipliers, scale], [*value.axes, *axes])
