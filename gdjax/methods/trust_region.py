"""Newton's method in a trust region: conjugate gradients on exact Hessian-vector products.

T. Steihaug, The conjugate gradient method and trust regions in large scale optimization, SIAM J. Numer. Anal. 20
(1983); P. L. Toint (1981). A. R. Conn, N. I. M. Gould and P. L. Toint, Trust-Region Methods (2000), sections 7.5
(the subproblem), 17.1 (radius) and 17.4.2 (rounding).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import vector
from gdjax.layout import Flat
from gdjax.line_search.base import believable, noise_shown
from gdjax.methods.base import Outcome, usable
from gdjax.objective import Objective, Point
from gdjax.pytrees import pytree_dataclass, require
from gdjax.vector import Scalar, Vector

# The inner iteration's residual, in units of the gradient's norm, is at most this. On long valleys (FLETCHCR,
# CHAINWOO, GENHUMPS) 0.3 takes a sixth fewer products than 0.1; from 0.5 the steps are too rough again.
FORCING = 0.3


class Inner(NamedTuple):
    """Conjugate gradients on the model m(z) = g'z + z'Hz / 2."""

    z: Vector  # step so far
    r: Vector  # residual -g - Hz
    p: Vector  # direction
    rr: Scalar  # r'r
    products: jax.Array  # Hessian products so far


class TrustRegionState(NamedTuple):
    """The trust region method between two trips: a Hessian product or an evaluation."""

    iterate: Point  # accepted point
    inner: Inner
    wants_product: jax.Array  # whether the next trip is a Hessian product along p rather than an evaluation at x + z
    radius: Scalar
    at_boundary: jax.Array  # whether z ends at the boundary
    lowest: Scalar  # lowest value accepted
    start_norm: Scalar  # 2-norm of the gradient at the start
    noise: Scalar  # of the loss beyond the rounding of its value, as a vanishing radius has shown it
    shown: Scalar  # and what the steps refused since the last one taken show of it
    largest: Scalar  # largest value accepted, without its sign

    @property
    def trial(self) -> Vector:
        """The next point to evaluate."""
        return vector.add_scaled(self.iterate.x, jnp.ones_like(self.radius), self.inner.z)

    @property
    def tangent(self) -> Vector:
        """The direction of the next Hessian product, at the iterate."""
        return self.inner.p


@pytree_dataclass
class TrustRegion:
    """``x <- x + z`` where z minimises ``g'z + z'Hz / 2`` in ``|z| <= radius``, as far as conjugate gradients go.

    The inner iteration ends when the residual is ``forcing * |g|`` with ``forcing = min(0.3, sqrt(|g| / |g_0|))``,
    at the boundary, or along a direction of negative curvature, which is followed to the boundary. A step is
    taken if it brings ``accept`` of the predicted decrease. Every Hessian product and every evaluation is one
    trip of the loop and counts as one evaluation. The state holds 5 vectors.

    Args:
        accept: ratio of actual to predicted decrease from which a step is taken.
        good: ratio from which the radius grows to ``grow`` times the step.
        shrink: after a step that was not taken, the share of it that is tried next (without new Hessian
            products, a third fewer in all), and the radius.
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

    layout: ClassVar[Any] = Flat
    leafwise: ClassVar[bool] = True
    searches: ClassVar[bool] = True
    second_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("accept", "good", "shrink"):
            require("must lie between 0 and 1", getattr(self, name), lambda x: (x > 0) & (x < 1), name)
        require("must be above 1", self.grow, lambda x: x > 1, "grow")

    def init(self, objective: Objective) -> TrustRegionState:
        """At the start, with a step of length zero."""
        zero, no = jnp.zeros((), objective.dtype), jnp.asarray(False)
        o = vector.zeros_like(objective.start)
        inner = Inner(o, o, o, zero, jnp.asarray(0, jnp.int32))
        return TrustRegionState(objective.blank, inner, no, zero, no, objective.blank.value, zero, zero, zero, zero)

    def step(self, objective: Objective, state: TrustRegionState, point: Point) -> tuple[TrustRegionState, Outcome]:
        """Digest a Hessian product (in ``point.grad``) or an evaluation."""
        return jax.lax.cond(
            state.wants_product,
            lambda: self.inner_step(objective, state, point.grad),
            lambda: self.outer_step(objective, state, point),
        )

    def inner_step(self, objective: Objective, state: TrustRegionState, hp: Vector) -> tuple[TrustRegionState, Outcome]:
        """One conjugate gradient step (Steihaug's algorithm)."""
        z, r, p, rr, products = state.inner
        dtype = objective.dtype
        php, zz, zp, pp = (v.astype(dtype) for v in vector.dots((p, hp), (z, z), (z, p), (p, p)))
        alpha = rr / jnp.where(php > 0, php, 1)
        length_squared = zz + 2 * alpha * zp + alpha**2 * pp
        leaves = ~(php > 0) | ~(length_squared < state.radius**2)
        # Where the line z + tau p leaves the region; written so that nothing cancels for z'p >= 0.
        gap = jnp.maximum(state.radius**2 - zz, 0)
        tau = gap / (zp + jnp.sqrt(zp**2 + pp * gap))
        step = jnp.where(leaves, tau, alpha)

        z, r = vector.add_scaled(z, step, p), vector.add_scaled(r, -step, hp)
        rr_new = vector.dot(r, r).astype(dtype)
        g_norm = jnp.sqrt(vector.dot(state.iterate.grad, state.iterate.grad)).astype(dtype)
        forcing = jnp.minimum(FORCING, jnp.sqrt(g_norm / state.start_norm))
        done = leaves | (jnp.sqrt(rr_new) <= forcing * g_norm) | (products >= 2 * vector.size(z) + 10)
        p = vector.add_scaled(r, rr_new / rr, p)
        inner = Inner(z, r, p, rr_new, products + 1)
        new = state._replace(inner=inner, wants_product=~done, at_boundary=leaves)
        no = jnp.asarray(False)
        return new, Outcome(
            no,
            jnp.zeros((), dtype),
            no,
            jnp.asarray(jnp.inf, dtype),
            noise=jnp.zeros((), dtype),
            product=jnp.asarray(True),
        )

    def outer_step(
        self, objective: Objective, state: TrustRegionState, point: Point
    ) -> tuple[TrustRegionState, Outcome]:
        """Take the step or not, set the radius, and begin the next subproblem."""
        finite, keep = usable(point, state.iterate)
        z, dtype = state.inner.z, objective.dtype
        before = state.iterate
        pairs = (z, z), (z, before.grad), (z, state.inner.r), (z, point.grad)
        zz, slope, zr, slope_new = (v.astype(dtype) for v in vector.dots(*pairs))
        first = before.value == jnp.inf
        length = jnp.sqrt(jnp.where(first, 1, zz))
        promised = -0.5 * (slope - zr)  # -m(z), since Hz = -g - r
        # Values within their rounding tell nothing: then the slopes at both ends do (the trapezoid rule).
        rounding = 8 * objective.eps * vector.abs_dot(point.x, point.grad).astype(dtype)
        noise = 10 * objective.noise(state.lowest) + rounding + state.noise
        gained = state.lowest - point.value  # from the lowest value: noise that was accepted must not add up
        gained = jnp.where(jnp.abs(gained) <= noise, -0.5 * (slope + slope_new), gained)
        ratio = jnp.where(finite, gained / promised, -jnp.inf)
        taken = keep & (first | (ratio >= jnp.asarray(self.accept).astype(dtype)))

        grow, shrink, good = (jnp.asarray(v).astype(dtype) for v in (self.grow, self.shrink, self.good))
        radius = jnp.where(ratio >= good, jnp.maximum(state.radius, grow * length), state.radius)
        radius = jnp.where(taken, radius, shrink * length)
        iterate = vector.where(taken, point, before)
        gg = vector.dot(iterate.grad, iterate.grad).astype(dtype)
        g_norm = jnp.sqrt(jax.lax.stop_gradient(gg))  # compared with, no more
        r = vector.negative(iterate.grad)
        # A radius that vanishes has met noise that is larger than that, or there is no decrease to be had.
        one = jnp.ones((), dtype)
        shown = noise_shown(before.value, slope, one, point.value, slope_new, state.shown)
        size = jnp.sqrt(vector.dot(iterate.x, iterate.x)).astype(dtype)
        vanished = ~taken & (radius <= objective.eps * size)
        noisier = vanished & believable(shown, noise, state.largest)
        radius = jnp.where(noisier | first, jnp.sqrt(jnp.clip(gg, 1e2, 1e6)) / 10, radius)
        afresh = Inner(vector.zeros_like(z), r, r, gg, jnp.zeros_like(state.inner.products))
        shorter = shorten(state.inner, iterate.grad, shrink)
        again = taken | noisier
        new = TrustRegionState(
            iterate=iterate,
            inner=vector.where(again, afresh, shorter),
            wants_product=again,
            radius=radius,
            at_boundary=~again,
            lowest=jnp.where(taken, jnp.minimum(state.lowest, point.value), state.lowest),
            start_norm=jnp.where(first, g_norm, state.start_norm),
            noise=jnp.where(noisier, shown, state.noise),
            shown=jnp.where(taken | noisier, 0, shown),
            largest=jnp.maximum(state.largest, jnp.abs(iterate.value)),
        )
        # The model's promise counts as all that is left only where the radius did not cut it short.
        known = rounding + state.noise
        left = jnp.where(state.at_boundary | first, jnp.inf, jnp.where(promised <= known, 0, promised))
        failed = vanished & ~noisier
        return new, Outcome(finite & taken, one, failed, left, noise=noise, product=jnp.asarray(False))


def shorten(inner: Inner, grad: Vector, share: Scalar) -> Inner:
    """The step scaled by a share, with its residual -g - share Hz."""
    z = vector.add_scaled(vector.zeros_like(inner.z), share, inner.z)
    r = vector.add_scaled(vector.add_scaled(vector.zeros_like(grad), share - 1, grad), share, inner.r)
    return inner._replace(z=z, r=r)
