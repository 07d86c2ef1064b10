"""The step of Levenberg and Marquardt in a ball of given radius.

J. J. More, The Levenberg-Marquardt algorithm: implementation and theory, in Numerical Analysis, Lecture Notes in
Mathematics 630 (1978), section 5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.scalar_kernels import bounded_loop, one_kernel
from gdjax.methods.parts.triangular import FEW, columns_of, factor, norm, orthogonalise, solve_lower, solve_upper
from gdjax.vectors.vector import Scalar, dots

CLOSE = 0.1  # the length of a damped step may differ from the radius by this share of it
MOST = 10  # Newton steps for the damping; two or three are usual


class Search(NamedTuple):
    """Newton's method for the damping."""

    y: jax.Array  # the step
    damping: Scalar
    lower: Scalar
    upper: Scalar
    excess: Scalar  # |y| - radius; 0 where that is near enough
    turns: jax.Array  # of Newton's method, after one without damping


def damped_step(r: jax.Array, q: jax.Array, radius: Scalar, guess: Scalar) -> tuple[jax.Array, Scalar]:
    """The y that minimises ``|R y + q|^2`` in ``|y| <= radius``, about, and its damping: ``(R'R + damping) y = -R'q``.

    Args:
        r: upper triangle, shape (n, n); singular if a zero is on its diagonal.
        q: shape (n,).
        radius: positive.
        guess: of the damping.
    """
    return one_kernel(lambda given: search(*given), (r, q, radius, guess))


def search(r: jax.Array, q: jax.Array, radius: Scalar, guess: Scalar) -> tuple[jax.Array, Scalar]:
    """See `damped_step`."""
    n = q.size
    regular = jnp.all((r != 0) | ~jnp.eye(n, dtype=bool))
    steepest = norm(jnp.sum(r * q[:, None], axis=0))
    zero, still = jnp.zeros_like(radius), steepest == 0

    def between(lower: Scalar, upper: Scalar) -> Scalar:
        return jnp.where((guess > lower) & (guess < upper), guess, jnp.maximum(lower, 1e-3 * upper))

    def turn(s: Search) -> Search:
        undamped = s.turns == 0
        y, length, slope = solve(r, q, s.damping)
        excess = length - radius
        done = (jnp.abs(excess) <= CLOSE * radius) | (undamped & (excess <= 0))
        new = s.damping + excess / radius / jnp.maximum(slope, float(jnp.finfo(r.dtype).tiny))
        # Newton's steps come from below; so the first of them, from no damping at all, is a lower bound.
        least = jnp.where(undamped, new, s.damping)
        lower = jnp.where((excess > 0) & (least > s.lower), least, s.lower)
        upper = jnp.where(excess < 0, jnp.minimum(s.upper, s.damping), s.upper)
        new = jnp.maximum(lower, new)
        new = jnp.where(undamped, between(lower, upper), jnp.where(new > 0, new, 1e-3 * upper))
        return Search(y, jnp.where(done, s.damping, new), lower, upper, jnp.where(done, 0, excess), s.turns + 1)

    # What overflows is NaN: it is too long, and goes on with another damping.
    # Where R is singular the shortest of many solutions may lie inside.
    within = lambda s: (s.lower <= 0) & (s.excess < 0) & (s.turns >= 3)
    goes_on = lambda s: (s.excess != 0) & (s.turns <= MOST) & ~within(s)
    upper, turns = steepest / radius, jnp.where(regular, 0, 1).astype(jnp.int32)
    start = jnp.where(regular | still, 0, between(zero, upper))
    begun = Search(jnp.zeros_like(q), start, zero, upper, jnp.where(still, 0, jnp.inf), turns)
    found = bounded_loop(goes_on, turn, begun, MOST + 1)
    return found.y, found.damping


def solve(r: jax.Array, q: jax.Array, damping: Scalar) -> tuple[jax.Array, Scalar, Scalar]:
    """The y that minimises ``|R y + q|^2 + damping |y|^2``, its length, and the slope of that by the damping.

    As ``-|y| / |y|'``, that is ``|S'^-1 y|^2 / |y|^2`` where ``S'S = R'R + damping``. Only for a singular R the damping
    must be positive.
    """
    n = q.size
    if n > FEW:
        damped = lambda: factor_damped(r, q, damping)
        s, c = jax.lax.cond(damping == 0, lambda: (r, q), damped)
        y = -solve_upper(s, c)
        length = norm(y)
        w = solve_lower(s, y / jnp.where(length > 0, length, 1))
        return y, length, jnp.sum(w * w)
    # Under R stands the unit matrix: the process leaves S^-1 in its place, and y under q.
    below = jnp.eye(n, dtype=r.dtype)
    columns = [jnp.concatenate(pair) for pair in zip(columns_of(r), columns_of(below), strict=True)]
    weights = jnp.where(jnp.arange(2 * n, dtype=jnp.int32) < n, 1, damping)
    both = [*columns, jnp.concatenate([q, jnp.zeros_like(q)])]
    _, units, left = orthogonalise(both, [0.0] * n, weights)
    y = left[n:]
    length = norm(y)
    direction = y / jnp.where(length > 0, length, 1)
    w = jnp.stack(dots(*((unit[n:], direction) for unit in units)))
    return y, length, jnp.sum(w * w)


def factor_damped(r: jax.Array, q: jax.Array, damping: Scalar) -> tuple[jax.Array, jax.Array]:
    """S and Q'c of the damped step's least-squares problem, which has ``sqrt(damping)`` times the unit matrix below R.

    No column of it depends on others, however little is left of one: the damping alone, where R is singular.
    """
    rows, nothing = jnp.sqrt(damping) * jnp.eye(q.size, dtype=r.dtype), jnp.zeros_like(q)
    return factor(jnp.concatenate([r, rows]), jnp.concatenate([q, nothing]), sizes=nothing)
