"""What a table of estimates shows, as one program."""

import functools
from typing import Any

import jax

from gdjax.insight.spread import Spread, lengths_of, roots_of, squared
from gdjax.insight.student import beyond, of_tail
from gdjax.jaxtools.on_host import compiled
from gdjax.vectors.vector import namespace

COLUMNS = "estimate", "std_error", "t", "p_value", "lower", "upper"


def tail_of(level: float) -> float:
    """What a level leaves; ValueError unless it lies between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level!r}")
    return 1 - level


def report_of(
    x: jax.Array, spread: Spread, freedom: jax.Array | None, tail: Any, axes: int
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """COLUMNS of estimates, and their correlations; ``axes`` of problems are in front."""
    # Of three programs, so that those of Student's distribution, half a second to compile, serve all other reports.
    nu = None if freedom is None else freedom[..., None]
    errors, t, correlation = against_zero(x, spread, axes)
    reach = of_tail(tail, nu).astype(x.dtype) * errors
    return (x, errors, t, beyond(t, nu), x - reach, x + reach), correlation


@functools.partial(compiled, static_argnums=2)  # op by op it takes three times as long to compile
def against_zero(x: jax.Array, spread: Spread, axes: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Standard errors, estimates in units of them, and correlations."""
    whole = roots_of
    for _ in range(axes):
        whole = jax.vmap(whole)
    root = whole(spread)
    errors = lengths_of(root)
    size = namespace(errors).where(errors == 0, 1, errors)[..., None]
    return errors, x / errors, squared(root / size)
