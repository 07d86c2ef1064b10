"""Newton's method in a trust region: conjugate gradients on exact Hessian-vector products.

A. R. Conn, N. I. M. Gould and P. L. Toint, Trust-Region Methods (2000), sections 17.1 (radius) and 17.4.2 (rounding).
The subproblem is `gdjax.methods.parts.steihaug`'s.
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.jaxtools.scalar_kernels import branch
from gdjax.jaxtools.varying import cond
from gdjax.line_search.base import believable, noise_shown
from gdjax.methods.base import Method, Outcome, usable
from gdjax.methods.parts import steihaug
from gdjax.methods.parts.steihaug import Inner
from gdjax.problem.objective import Objective, Point
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

# The inner iteration's residual, in units of the gradient's norm, is at most this. On long valleys (FLETCHCR,
# CHAINWOO, GENHUMPS) 0.3 takes a sixth fewer products than 0.1; from 0.5 the steps are too rough again.
FORCING = 0.3
# Products after which the model's promise is believed. The first shows the decrease along the gradient alone, nothing
# of flat valleys: a regression on raw columns was called converged at 1.75 times its minimum. More cost evaluations
# where the descent was done (waiting for the whole inner solve 25% on the development problems).
TELLING = 10
LONGER = 1000.0  # factor on a first radius whose step is lost in the rounding of the loss


class TrustRegionState(NamedTuple):
    """The trust region method between two trips: a Hessian product or an evaluation."""

    iterate: Point  # accepted point
    inner: Inner
    diagonal: Vector  # D, of the norm |z| = sqrt(z'Dz) and of the inner iteration
    wants_product: jax.Array  # whether the next trip is a Hessian product along p rather than an evaluation at x + z
    radius: Scalar
    at_boundary: jax.Array  # whether z ends at the boundary
    lowest: Scalar  # lowest value accepted
    start_norm: Scalar  # 2-norm of the gradient at the start
    noise: Scalar  # of the loss beyond the rounding of its value, as a vanishing radius has shown it
    shown: Scalar  # and what the steps refused since the last one taken show of it
    largest: Scalar  # largest value accepted, without its sign
    settled: jax.Array  # whether the last whole Newton step was within the rounding of x
    guessed: jax.Array  # whether the radius is the first guess still, which no step has tried

    @property
    def trial(self) -> Vector:
        """The next point to evaluate."""
        return vector.add(self.iterate.x, self.inner.z)

    @property
    def tangent(self) -> Vector:
        """The direction of the next Hessian product, at the iterate."""
        return self.inner.p


class Comparison(NamedTuple):
    """The loss at the end of a step beside what the model had promised."""

    first: jax.Array  # whether the point is the start, to which no step has led
    finite: jax.Array  # whether loss and gradient are, there
    size: Scalar  # |z|, in the parameters' own units
    promised: Scalar  # -m(z)
    ratio: Scalar  # rho, of actual to predicted decrease
    rounding: Scalar  # change of the loss that the rounding of x makes
    noise: Scalar  # differences of the loss that tell nothing
    lost: jax.Array  # whether the step is lost in the rounding of x: it has changed neither value nor slope
    shown: Scalar  # noise that the step shows, and others since the last one taken


class Decision(NamedTuple):
    """What becomes of a step."""

    taken: jax.Array
    longer: jax.Array  # whether it was much too short, and a longer one is tried
    vanished: jax.Array  # whether it was shortened to nothing
    noisier: jax.Array  # because the loss has more noise than was thought, by which the next steps are judged

    @property
    def anew(self) -> jax.Array:
        """Whether the next trip is the first of another subproblem."""
        return self.taken | self.noisier | self.longer


@pytree_dataclass
class TrustRegion(Method):
    """``x <- x + z``, where z minimises ``g'z + z'Hz / 2`` in ``z'Dz <= radius^2``, by truncated conjugate gradients.

    The inner iteration is preconditioned by D. It ends when the residual has fallen to ``forcing`` times its first
    value, with ``forcing = min(0.3, sqrt(|g| / |g_0|))``, or at the boundary. A direction of negative curvature is
    followed to the boundary. A step is taken if it brings ``accept`` times the predicted decrease. D is diagonal and
    costs no products: each direction p of positive curvature updates it for the next subproblem by the diagonal of the
    BFGS update, ``D - diag(Dp p'D) / p'Dp + diag(Hp p'H) / p'Hp``, so parameters may differ in scale. Every Hessian
    product and every evaluation is one iteration of the loop and counts as one evaluation. The state holds 7 vectors.

    Args:
        accept: smallest ratio of actual to predicted decrease at which a step is taken.
        good: smallest ratio at which the radius grows to ``grow`` times the step.
        shrink: after a rejected step, the fraction of it that is tried next, and the new radius (the shorter step needs
            no new Hessian products, which saves a third of them in all).
        grow: see ``good``.

    Raises:
        ValueError: unless 0 < accept < good < 1, 0 < shrink < 1 < grow.

    >>> import gdjax, jax.numpy as jnp
    >>> rosenbrock = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    >>> gdjax.minimize(rosenbrock, jnp.zeros(10), method=TrustRegion()).status.name
    'CONVERGED'
    """

    accept: float | jax.Array = 1e-4
    good: float | jax.Array = 0.75
    shrink: float | jax.Array = 0.5
    grow: float | jax.Array = 3.0

    leafwise: ClassVar[bool] = True
    searches: ClassVar[bool] = True
    second_order: ClassVar[bool] = True
    models: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("accept", "good", "shrink"):
            require("must lie between 0 and 1", getattr(self, name), lambda x: (x > 0) & (x < 1), name)
        require("must be above 1", self.grow, lambda x: x > 1, "grow")

    def learnt(self, old: Any) -> dict[str, Any]:
        """What it knows of the scales."""
        return dict(inner=old.inner._replace(z=jax.tree.map(jnp.zeros_like, old.inner.z)))

    def ask(self, objective: Objective, state: TrustRegionState) -> Point:
        """A Hessian product, in the point's grad, or the loss at the trial."""
        return cond(
            state.wants_product,
            lambda: objective.product(state.iterate.x, state.tangent),
            lambda: objective.evaluate(state.trial),
        )

    def init(self, objective: Objective) -> TrustRegionState:
        """At the start, with a step of length zero."""
        zero, no = jnp.zeros((), objective.dtype), jnp.asarray(False)
        inner, blank = steihaug.nothing(vector.zeros_like(objective.start), zero), objective.blank
        scalars = (blank.value, zero, zero, zero, zero)
        return TrustRegionState(blank, inner, inner.learnt, no, zero, no, *scalars, no, jnp.asarray(True))

    def step(self, objective: Objective, state: TrustRegionState, point: Point) -> tuple[TrustRegionState, Outcome]:
        """Digest a Hessian product (in ``point.grad``) or an evaluation."""
        return branch(
            state.wants_product,
            lambda state: self.inner_step(objective, state, point.grad),
            lambda state: self.outer_step(objective, state, point),
            state,
        )

    def inner_step(self, objective: Objective, state: TrustRegionState, hp: Vector) -> tuple[TrustRegionState, Outcome]:
        """One conjugate gradient step; what the model promises is known after enough of them, if within the radius."""
        inner, leaves, done = steihaug.advance(objective, state.inner, state.diagonal, state.radius, hp)
        new = state._replace(inner=inner, wants_product=~done, at_boundary=leaves)
        no, zero = jnp.asarray(False), jnp.zeros((), objective.dtype)
        known = (done | (inner.products >= TELLING)) & ~(leaves & (inner.ry > 0))
        promised = jnp.where(known, inner.promised, jnp.inf)
        return new, Outcome(
            no, zero, no, predicted=promised, settled=state.settled, noise=zero, span=zero, product=jnp.asarray(True)
        )

    def outer_step(
        self, objective: Objective, state: TrustRegionState, point: Point
    ) -> tuple[TrustRegionState, Outcome]:
        """Take the step or not; then the next subproblem, or a share of the step."""
        trial = compare(objective, state, point)
        end = self.decide(objective, state, trial)
        first, promised, rounding = trial.first, trial.promised, trial.rounding
        iterate = vector.where(end.taken, point, state.iterate)
        new = state._replace(
            iterate=iterate,
            wants_product=end.anew,
            at_boundary=~end.anew,
            lowest=jnp.where(end.taken, jnp.minimum(state.lowest, point.value), state.lowest),
            noise=jnp.where(end.noisier, trial.shown, state.noise),
            shown=jnp.where(end.taken | end.noisier, 0, trial.shown),
            largest=jnp.maximum(state.largest, jnp.abs(iterate.value)),
            settled=jnp.where(state.at_boundary, state.settled & ~end.taken, ~first & (promised <= rounding)),
            guessed=first | (state.guessed & end.longer),
        )
        new = self.next_subproblem(objective, state, new, trial, end)
        # The model's promise counts as all that is left only where the radius did not cut it short; of a new iterate
        # it is not known before the first product.
        whole = ~(state.at_boundary | first | end.taken)
        left = jnp.where(whole, jnp.where(promised <= rounding + state.noise, 0, promised), jnp.inf)
        accepted, failed, one = trial.finite & end.taken, end.vanished & ~end.noisier, jnp.ones_like(left)
        rest: Any = dict(noise=trial.noise, span=objective.span(iterate.x, iterate.grad), product=jnp.asarray(False))
        return new, Outcome(accepted, one, failed, left, new.settled, **rest)

    def decide(self, objective: Objective, state: TrustRegionState, trial: Comparison) -> Decision:
        """Whether the step is taken; if not, whether it is too short to be shortened again, and what that shows."""
        # A step that is lost in the rounding of x is none; one that brings less than it should is taken all the same.
        taken = trial.first | (trial.finite & (trial.ratio >= self.accept) & ~trial.lost)
        longer = trial.lost & state.guessed & state.at_boundary  # the first radius was too short for the scale of x
        # A step that vanishes has met noise that is larger than that, or there is no decrease to be had.
        size = jnp.sqrt(objective.dot(state.iterate.x, state.iterate.x))
        vanished = ~taken & ~longer & (trial.lost | (self.shrink * trial.size <= objective.eps * size))
        return Decision(taken, longer, vanished, vanished & believable(trial.shown, trial.noise, state.largest))

    def next_subproblem(
        self, objective: Objective, old: TrustRegionState, new: TrustRegionState, trial: Comparison, end: Decision
    ) -> TrustRegionState:
        """The radius (section 17.1), in the norm of the new D, and conjugate gradients from z = 0 or a share of z."""
        first, inner, grad = trial.first, old.inner, new.iterate.grad
        gg = objective.dot(grad, grad)
        g_norm = jnp.sqrt(jax.lax.stop_gradient(gg))  # compared with, no more
        start_norm = jnp.where(first, g_norm, old.start_norm)
        forcing = jnp.minimum(FORCING, jnp.sqrt(g_norm / jnp.where(start_norm > 0, start_norm, 1)))
        diagonal = vector.where(end.anew, inner.learnt, old.diagonal)
        afresh = steihaug.begin(objective, inner, diagonal, grad, forcing)

        zz = jnp.where(first, 1, inner.zz)
        length = jnp.sqrt(zz)
        kept = jnp.where(trial.ratio >= self.good, jnp.maximum(old.radius, self.grow * length), old.radius)
        radius = jnp.where(end.taken, kept, jnp.where(end.longer, LONGER, self.shrink) * length)
        turned = objective.dot(inner.z, vector.multiply(diagonal, inner.z))  # z'Dz, of the new D
        radius = radius * jnp.where(end.taken & ~first, vector.root(turned / zz), 1)
        radius = jnp.where(first, jnp.sqrt(jnp.clip(gg, 1e2, 1e6)) / 10, radius)
        radius = jnp.where(end.noisier | (first & inner.scaled), vector.root(afresh.ry), radius)
        inner = vector.where(end.anew, afresh, steihaug.shorten(inner, grad, self.shrink))
        return new._replace(inner=inner, diagonal=diagonal, radius=radius, start_norm=start_norm)


def compare(objective: Objective, state: TrustRegionState, point: Point) -> Comparison:
    """The actual decrease beside the predicted one, where values may differ by rounding alone (section 17.4.2)."""
    before, z = state.iterate, state.inner.z
    zz, slope, zr, slope_new = objective.dots((z, z), (z, before.grad), (z, state.inner.r), (z, point.grad))
    first, (finite, _) = before.is_blank, usable(point, before)
    promised = -0.5 * (slope - zr)  # -m(z), since Hz = -g - r
    # Values within their rounding tell nothing: then the slopes at both ends do (the trapezoid rule).
    # (The rounding of x counts as at the accepted point: an enormous gradient at the trial excuses no rise.)
    rounding = objective.rounding(before.x, before.grad)
    noise = objective.blur(state.lowest) + rounding + state.noise
    gained = state.lowest - point.value  # from the lowest value: noise that was accepted must not add up
    gained = jnp.where(jnp.abs(gained) <= noise, -0.5 * (slope + slope_new), gained)
    return Comparison(
        first=first,
        finite=finite,
        size=jnp.sqrt(zz),
        promised=promised,
        ratio=jnp.where(finite, gained / promised, -jnp.inf),
        rounding=rounding,
        noise=noise,
        lost=~first & (point.value == before.value) & (slope_new == slope),
        shown=noise_shown(before.value, slope, jnp.ones_like(slope), point.value, slope_new, state.shown),
    )
