"""Nesterov's sequence t, and the momentum that is made of it.

Y. Nesterov, A method of solving a convex programming problem with convergence rate O(1/k^2) (1983). K. Scheinberg,
D. Goldfarb and X. Bai, Fast first-order methods for composite convex optimization with backtracking (2014), for rates
that change.
"""

import jax.numpy as jnp

from gdjax.vectors.vector import Scalar


def advance(t: Scalar, ratio: Scalar | float = 1.0) -> tuple[Scalar, Scalar]:
    """``t+ = (1 + sqrt(1 + 4 ratio t^2)) / 2`` and the momentum ``(t - 1) / t+``.

    Args:
        t: at least 1; the sequence begins with 1, which gives no momentum.
        ratio: of this step's rate to the next one's.
    """
    following = 0.5 * (1 + jnp.sqrt(1 + 4 * ratio * t**2))
    return following, (t - 1) / following
