"""How far a point is from the optimality conditions of a problem with constraints, in numbers that have no units.

The gradient of the Lagrangian is small beside that of the loss, or else beside the loss; a violation beside the
constraint; and what a multiplier does to the gradient beside the gradient, or the distance from its bound beside the
constraint. Multiplying a constraint by any number changes none of them; nor does multiplying the loss, except that its
value at the start counts as 1 at most, for it may have been steep there.
"""

import jax
import jax.numpy as jnp

from gdjax.methods.base import Kkt
from gdjax.methods.parts.merit import CONSTRAINT, LOSS, Terms, beside, known, part, seen
from gdjax.methods.parts.outer import largest_multiplier
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

SPAN = 3.0  # as in `gdjax.descent.stopping`


def conditions(objective: Objective, terms: Terms, point: Point) -> Kkt:
    """Those at a point."""
    constrained, shown, no = known(objective), seen(point), jnp.asarray(False)
    of_lagrangian = shown.weight > 0
    weight = jnp.where(of_lagrangian, shown.weight, terms.weight)
    # The parts that constraints have in the gradient. (A. Waechter and L. T. Biegler, 2006, equation 6: large ones make
    # it so.)
    pulls = jnp.abs(shown.multipliers) * CONSTRAINT / terms.scales / weight
    here, start = vector.max_abs(shown.grad).astype(point.loss.dtype), jnp.abs(terms.start)
    steep = jnp.maximum(terms.steep, here)
    of_loss = beside(objective, here, jnp.abs(point.loss) + jnp.minimum(1, start), steep)
    large = jnp.maximum(1, jnp.mean(pulls) * terms.weight / (10 * LOSS))
    own = positive(jnp.minimum(steep / 10, of_loss)) * large
    norm = point.grad_norm / weight / own
    # As for `gdjax.minimize`, the change of the value if each parameter changes by its own size must be small, too.
    value = (
        jnp.abs(point.loss)
        + jnp.minimum(1, part(objective) * start)
        + vector.dot(jnp.abs(point.x), jnp.abs(shown.grad))
    )
    relative = span(objective, point) / weight / positive(SPAN * float(point.x.size) ** 0.5 * value)
    return Kkt(
        stationarity=jnp.where(of_lagrangian, jnp.maximum(norm, relative), jnp.inf),
        violation=vector.largest(jnp.abs(constrained.excess(shown.c)) / terms.sizes),
        complementarity=constrained.complementarity(shown.c, shown.multipliers, pulls / own, terms.sizes),
        weight=weight,
        impossible=no,
        degenerate=jnp.any(jnp.abs(terms.multipliers) >= largest_multiplier(terms.penalty.dtype)),
        exhausted=no,
    )


def positive(x: Scalar) -> Scalar:
    """A number to divide by; 1 in place of 0."""
    return jnp.where(x > 0, x, 1)


def residual(objective: Objective, terms: Terms, point: Point) -> Scalar:
    """How far a point with its multipliers is from the optimality conditions: their natural residual, scaled."""
    constrained, shown, s = known(objective), seen(point), terms.scales
    c = s * shown.c
    off = vector.max_abs(c - jnp.clip(c + shown.multipliers / s, s * constrained.lower, s * constrained.upper))
    return jnp.maximum(off, projected(objective, point))


def projected(objective: Objective, point: Point) -> Scalar:
    """The norm of ``x - clip(x - g)``."""
    return vector.max_abs(point.x - jnp.clip(point.x - point.grad, *ends(objective))).astype(objective.dtype)


def span(objective: Objective, point: Point) -> Scalar:
    """``sum |x_i g_i|`` of what bounds leave of the gradient."""
    (low, high), x, g = ends(objective), point.x, point.grad
    held = ((x <= low) & (g > 0)) | ((x >= high) & (g < 0))
    return vector.dot(jnp.abs(x), jnp.where(held, 0, jnp.abs(g))).astype(objective.dtype)


def ends(objective: Objective) -> tuple[jax.Array, jax.Array]:
    """The bounds of x."""
    infinite = jnp.full_like(objective.start, jnp.inf)
    return (-infinite, infinite) if objective.composite is None else objective.composite.ends
