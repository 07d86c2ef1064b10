"""Geodesic acceleration: a step of least squares bent along the second derivative of the residuals.

M. K. Transtrum and J. P. Sethna, Improvements to the Levenberg-Marquardt algorithm for nonlinear least-squares
minimization, arXiv:1201.5885 (2012), section 3.
"""

import jax
import jax.numpy as jnp

from gdjax.methods.parts.damped_step import factor_damped
from gdjax.methods.parts.linearised import Linear, pivots, weights
from gdjax.methods.parts.triangular import norm, solve_lower, solve_upper
from gdjax.problem.objective import Objective, Point
from gdjax.vectors.vector import Scalar, matmul

LARGEST = 0.75  # of 2 |D a| / |D p|, up to which the step is bent: the paper's alpha


def accelerated(
    objective: Objective,
    point: Point,
    linear: Linear,
    system: tuple[jax.Array, Scalar],
    scale: jax.Array,
    step: jax.Array,
) -> jax.Array:
    """``p + a / 2`` with ``(J'J + damping D^2) a = -J' d^2 r / dp^2``; p itself where a is too long.

    Args:
        objective: whose residuals JAX differentiates twice, forward.
        point: x.
        linear: the residuals to first order there, with their Jacobian.
        system: R of ``J D^-1`` and the damping of the step.
        scale: D.
        step: p.
    """
    residuals = lambda x: objective.residuals(x)[0]
    along = lambda x: jax.jvp(residuals, (x,), (step,))[1]
    bend = weights(point.residuals, objective.robust)[1] * jax.jvp(along, (point.x,), (step,))[1]
    pull = matmul(bend, linear.jacobian) / scale
    s, _ = factor_damped(system[0], pull, system[1])
    whole = jnp.all(pivots(s) != 0)
    s = jnp.where(whole, s, jnp.eye(s.shape[0], dtype=s.dtype))
    a = -solve_upper(s, solve_lower(s, pull))
    short = whole & (2 * norm(a) <= LARGEST * norm(scale * step))  # false for NaN
    return jnp.where(short, step + 0.5 * a / scale, step)
