"""Least squares whose Jacobian is too large: a trust region, and conjugate gradients on products with it.

T. Steihaug, The conjugate gradient method and trust regions in large scale optimization, SIAM J. Numer. Anal. 20
(1983). M. F. Hutchinson, A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines,
Commun. Stat. Simul. Comput. 19 (1990) (the diagonal that conjugate gradients begin with).
"""

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.jaxtools.varying import cond
from gdjax.methods.parts.linearised import weights
from gdjax.methods.trust_region import TrustRegion, TrustRegionState
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Vector

PROBES = 8  # products that the first diagonal is estimated from: each entry to about a half


@pytree_dataclass
class TruncatedGaussNewton(TrustRegion):
    """`TrustRegion` with ``J'J``, J the Jacobian of the residuals, in place of the Hessian of their sum of squares.

    That is never indefinite, needs no second derivatives, and is as good where the residuals are small or nearly
    linear. The norm of the region begins with the squared lengths of J's columns, as `LevenbergMarquardt`'s does; here
    they are estimated, by products of J' with random signs.
    """

    @property
    def name(self) -> str:
        """As it was asked for."""
        return "LevenbergMarquardt"

    def ask(self, objective: Objective, state: TrustRegionState) -> Point:
        """A product with ``J'J``, in the point's grad, or the sum of squares at the trial."""
        return cond(
            state.wants_product,
            lambda: objective.blank._replace(grad=product(objective, state.iterate.x, state.tangent)),
            lambda: objective.evaluate(state.trial),
        )

    def init(self, objective: Objective) -> TrustRegionState:
        """At the start, with a step of length zero."""
        state = super().init(objective)
        diagonal = squared_columns(objective, objective.start)
        inner = state.inner._replace(learnt=diagonal, scaled=jnp.asarray(True))
        return state._replace(inner=inner, diagonal=diagonal)


def product(objective: Objective, x: Vector, v: Vector) -> Vector:
    """``J'J v``; of a robust loss with the corrected Jacobian, see `gdjax.methods.parts.linearised.corrected`."""
    r, push = jax.linearize(lambda x: objective.residuals(x)[0], x)
    root = weights(r, objective.robust)[1]
    return jax.linear_transpose(push, x)(root * root * push(v))[0]


def squared_columns(objective: Objective, x: Vector) -> Vector:
    """About the squares of the lengths of J's columns: means of ``(J's)^2``, s random signs.

    Where a parameter has no effect yet, the largest of them: it begins as stiff, and is learnt.
    """
    r, push = jax.linearize(lambda x: objective.residuals(x)[0], x)
    root, pull = weights(r, objective.robust)[1], jax.linear_transpose(push, x)
    signs = jax.random.rademacher(jax.random.key(0), (PROBES, r.size), r.dtype)
    square = lambda s: jax.tree.map(lambda g: jnp.abs(g) ** 2, pull(root * s)[0])
    found = jax.tree.map(lambda g: jnp.mean(g, axis=0), jax.lax.map(square, signs))
    most = vector.max_abs(found)
    most = jnp.where(most > 0, most, 1)
    return jax.tree.map(lambda d: jnp.where(d > 0, d, most.astype(d.dtype)), found)
