"""The step of Levenberg and Marquardt in a ball of given radius.

J. J. More, The Levenberg-Marquardt algorithm: implementation and theory, in Numerical Analysis, Lecture Notes in
Mathematics 630 (1978), section 5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.scalar_kernels import bounded_loop
from gdjax.methods.parts.triangular import factor, norm, solve_lower, solve_upper
from gdjax.vectors.vector import Scalar

CLOSE = 0.1  # the length of a damped step may differ from the radius by this share of it
MOST = 10  # Newton steps for the damping; two or three are usual


class Search(NamedTuple):
    """Newton's method for the damping."""

    y: jax.Array  # the step
    damping: Scalar
    lower: Scalar
    upper: Scalar
    excess: Scalar  # |y| - radius
    turns: jax.Array


def damped_step(r: jax.Array, q: jax.Array, radius: Scalar, guess: Scalar) -> tuple[jax.Array, Scalar]:
    """The y that minimises ``|R y + q|^2`` in ``|y| <= radius``, about, and its damping: ``(R'R + damping) y = -R'q``.

    Args:
        r: upper triangle, shape (n, n); singular if a zero is on its diagonal.
        q: shape (n,).
        radius: positive.
        guess: of the damping.
    """
    n, diagonal = q.size, jnp.abs(jnp.diagonal(r))
    regular = jnp.all(diagonal > 0)
    whole = jnp.where(regular, r, jnp.eye(n, dtype=r.dtype))
    newton = -solve_upper(whole, q)
    length = norm(newton)
    inside = regular & (length <= (1 + CLOSE) * radius)
    # Bounds on the damping: from the Newton step at 0, and from the slope.
    w = solve_lower(whole, newton / jnp.where(length > 0, length, 1))
    slack = (length - radius) / radius
    lower = jnp.where(regular & ~inside, slack / jnp.maximum(jnp.sum(w * w), jnp.finfo(r.dtype).tiny), 0)
    steepest = norm(r.T @ q)
    upper = steepest / radius
    start = jnp.where((guess > lower) & (guess < upper), guess, jnp.maximum(lower, 1e-3 * upper))

    def turn(s: Search) -> Search:
        s_factor, c = factor(*with_damping(r, q, s.damping))
        y = -solve_upper(s_factor, c)
        length = norm(y)
        excess = length - radius
        w = solve_lower(s_factor, y / jnp.where(length > 0, length, 1))
        change = excess / radius / jnp.sum(w * w)
        lower = jnp.where(excess > 0, jnp.maximum(s.lower, s.damping), s.lower)
        upper = jnp.where(excess < 0, jnp.minimum(s.upper, s.damping), s.upper)
        new = jnp.maximum(lower, s.damping + change)
        new = jnp.where(new > 0, new, 1e-3 * upper)
        done = jnp.abs(excess) <= CLOSE * radius
        return Search(y, jnp.where(done, s.damping, new), lower, upper, excess, s.turns + 1)

    still = steepest == 0
    excess = jnp.where(inside | still, 0, jnp.inf)
    begun = Search(newton, start, lower, upper, excess, jnp.asarray(0, jnp.int32))
    # Where R is singular the shortest of many solutions may lie inside.
    within = lambda s: (s.lower <= 0) & (s.excess < 0) & (s.turns >= 2)
    goes_on = lambda s: (jnp.abs(s.excess) > CLOSE * radius) & (s.turns < MOST) & ~within(s)
    found = bounded_loop(goes_on, turn, begun, MOST)
    return jnp.where(still, 0, found.y), jnp.where(inside | still, 0, found.damping)


def with_damping(r: jax.Array, q: jax.Array, damping: Scalar) -> tuple[jax.Array, jax.Array]:
    """The least-squares problem of the damped step: more rows."""
    rows = jnp.sqrt(damping) * jnp.eye(q.size, dtype=r.dtype)
    return jnp.concatenate([r, rows]), jnp.concatenate([q, jnp.zeros_like(q)])
