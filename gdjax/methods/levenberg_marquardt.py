"""Levenberg and Marquardt's method for nonlinear least squares, as a trust region in scaled parameters.

J. J. More, The Levenberg-Marquardt algorithm: implementation and theory, in Numerical Analysis, Lecture Notes in
Mathematics 630 (1978). In a box: C. Kanzow, N. Yamashita and M. Fukushima, Levenberg-Marquardt methods with strong
local convergence properties for solving nonlinear equations with convex constraints, J. Comput. Appl. Math. 172 (2004).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require, static_field
from gdjax.jaxtools.scalar_kernels import branch
from gdjax.methods.base import Method, Outcome, Secant, usable
from gdjax.methods.parts.damped_step import damped_step
from gdjax.methods.parts.geodesic import accelerated
from gdjax.methods.parts.linearised import Linear, linearise, nothing_yet
from gdjax.methods.parts.row_space import step_in_row_space
from gdjax.methods.parts.triangular import norm
from gdjax.problem.objective import Objective, Point
from gdjax.problem.residuals import decrease, half_sum
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, matmul

ACCEPT, POOR, GOOD = 1e-4, 0.25, 0.75  # ratios of actual to predicted decrease: More's
# Roundings of the residuals, in units of eps |D x|, D the columns as they are: what the sum of squares cannot tell,
# and where the step that is left is lost in them. (With 1 instead of 1/4, NIST's Bennett5 ends at 1.8 digits in
# float32, with 4 at 1.3; 2.0 and 3.6 digits are to be had from its two starts. With D the longest that they have been,
# ``log(p x)`` with its infimum at infinity was called done at p = 2e17.)
# Fewer residuals than parameters can all vanish, and then all of their rounding is seen: with 1/4 forty residuals
# wandered among roundings for 20 to 40 evaluations, with 1 none.
BLUR, SETTLED, ALL_SETTLED = 2.0, 0.25, 1.0
SOLVERS = "auto", "qr", "cg"


class LevenbergMarquardtState(NamedTuple):
    """The method between two evaluations of the residuals."""

    iterate: Point  # accepted point
    linear: Linear
    scale: jax.Array  # D: the longest that each column has been, shape (n,)
    step: jax.Array  # to the trial, shape (n,)
    change: jax.Array  # R y: what the model says of the residuals there, shape (n,), or (m,) if that is less
    radius: Scalar  # of the steps, |D p| <= radius
    damping: Scalar  # of the last step
    guessed: jax.Array  # whether the radius is the first guess still, which no step has tried

    @property
    def trial(self) -> jax.Array:
        """The next point to evaluate."""
        return self.iterate.x + self.step


class Step(NamedTuple):
    """What the model proposes."""

    p: jax.Array
    change: jax.Array  # R D p
    damping: Scalar
    length: Scalar  # |D p|
    promise: Scalar  # the decrease that the model has to offer without a radius


@pytree_dataclass
class LevenbergMarquardt(Method):
    """``x <- x + p`` where p minimises ``|J p + r|`` in ``|D p| <= radius``: the default of `gdjax.least_squares`.

    D holds the longest that each column of the Jacobian J has been, so that the units of parameters and residuals make
    no difference. One evaluation of the residuals a step; J at the points that are taken, by forward derivatives if
    there are no more parameters than residuals, in reverse otherwise. With a `Box` a parameter at a bound that the
    gradient points out of is held, and steps end at the bounds: the residuals are never evaluated outside.

    With m residuals and n parameters a step takes about ``2 m n^2`` operations, or ``2 n m^2`` if m < n. Conjugate
    gradients form no Jacobian: they see products with it alone, a forward and a reverse derivative of the residuals
    each, in the trust region method of T. Steihaug (`gdjax.TrustRegion` with ``J'J`` in place of the Hessian). Their
    test of convergence is that of `gdjax.minimize`, they take no bounds, and each product counts as an evaluation.
    (Where the residuals stay large, ``method=gdjax.TrustRegion()``, which sees the whole Hessian, may need fewer.)

    Args:
        factor: the first radius, in units of ``|D x|`` at the start (of ``|r|`` if x is 0 there). A smaller one, such
            as 1, keeps the first step short where residuals overflow or other minima are near.
        acceleration: whether a step p that is damped is bent to ``p + a / 2`` along the second derivative of the
            residuals, which counts as one more evaluation: geodesic acceleration, M. K. Transtrum and J. P. Sethna,
            Improvements to the Levenberg-Marquardt algorithm for nonlinear least-squares minimization, arXiv:1201.5885
            (2012). For long curved valleys. It needs no fewer residuals than parameters.
        solver: "qr", "cg" for conjugate gradients, or "auto": these if the Jacobian would have more than 2^25 entries
            (268 MB in float64) and is not given by ``jac=``, unless there are bounds.

    Raises:
        ValueError: if ``factor`` is not positive, ``solver`` is none of the three, or goes with no ``acceleration``.

    >>> import gdjax, jax.numpy as jnp
    >>> rosenbrock = lambda p: (10 * (p[1] - p[0] ** 2), 1 - p[0])
    >>> print(gdjax.least_squares(rosenbrock, jnp.array([-1.2, 1.0])).params.round(3))
    [1. 1.]
    """

    factor: float | jax.Array = 100.0
    acceleration: bool = static_field(False)
    solver: str = static_field("auto")

    searches: ClassVar[bool] = True
    models: ClassVar[bool] = True
    accepts_penalty: ClassVar[bool] = True
    least_squares: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require("must be positive", self.factor, lambda x: x > 0, "factor")
        if self.solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, got {self.solver!r}")
        if self.solver == "cg" and self.acceleration:
            raise ValueError("acceleration=True needs the Jacobian, which solver='cg' does not form")

    def learnt(self, old: Any) -> dict[str, Any]:
        """The scales of the parameters."""
        return dict(scale=old.scale)

    def ask(self, objective: Objective, state: LevenbergMarquardtState) -> Point:
        """The residuals at the trial; their gradient follows if the point is taken."""
        x = state.trial
        if objective.composite is not None:  # the sum of iterate and step may round to outside
            x = jnp.clip(x, *objective.composite.ends)
        r, aux = objective.residuals(x)
        value = half_sum(r, objective.robust)
        point = state.iterate._replace(x=x, value=value, grad_norm=jnp.zeros_like(value), aux=aux, residuals=r)
        return point if objective.composite is None else point._replace(smooth=value)

    def init(self, objective: Objective) -> LevenbergMarquardtState:
        """At the start, with a step of length zero."""
        x, zero = objective.start, jnp.zeros((), objective.dtype)
        r = jax.eval_shape(objective.residuals, x)[0]
        blank = objective.blank._replace(residuals=jnp.zeros(r.shape, r.dtype))
        none = jnp.zeros_like(x)
        linear = nothing_yet(objective, r.size, self.acceleration)
        if self.acceleration and r.size < x.size:
            raise ValueError(f"acceleration=True needs no fewer residuals ({r.size}) than parameters ({x.size})")
        return LevenbergMarquardtState(blank, linear, none, none, linear.q, zero, zero, jnp.asarray(True))

    def step(
        self, objective: Objective, state: LevenbergMarquardtState, point: Point
    ) -> tuple[LevenbergMarquardtState, Outcome]:
        """Take the point or not, set the radius, and find the next step."""
        first = state.iterate.is_blank
        taken, linear, gained, ratio, noise = self.judge(objective, state, point)
        grad_norm = vector.max_abs(jnp.where(linear.columns == 0, 0, linear.grad)).astype(objective.dtype)
        iterate = vector.where(taken, point._replace(grad=linear.grad, grad_norm=grad_norm), state.iterate)

        scale = jnp.maximum(state.scale, linear.effects)
        reach = norm(scale * iterate.x)
        size = jnp.where(reach > 0, reach, norm(iterate.residuals))  # D x is in units of the residuals
        radius = self.next_radius(state, gained, ratio)
        radius = jnp.where(first, self.factor * jnp.where(size > 0, size, 1), radius)
        step = self.next_step(objective, iterate, linear, scale, radius, state.damping)
        guessed = first | (state.guessed & ~taken)
        radius = jnp.where(guessed, jnp.minimum(radius, step.length), radius)
        new = LevenbergMarquardtState(iterate, linear, scale, step.p, step.change, radius, step.damping, guessed)

        promise, lost = step.promise, jnp.all(iterate.x + step.p == iterate.x)
        stuck = lost | (~taken & (radius <= objective.eps * reach))
        share = SETTLED if iterate.residuals.size >= iterate.x.size else ALL_SETTLED
        settled = jnp.sqrt(2 * promise) <= share * objective.eps * norm(linear.effects * iterate.x)
        settled |= stuck & (promise <= objective.noise(iterate.value))
        zero, xx = jnp.zeros((), objective.dtype), objective.dot(iterate.x, iterate.x)
        return new, Outcome(
            taken & jnp.isfinite(point.value) & jnp.isfinite(grad_norm),
            zero + 1,
            (settled | stuck) & (linear.cosine > 0),
            predicted=jnp.where(settled, 0, promise),
            settled=settled,
            extra_evals=(step.damping > 0).astype(jnp.int32) if self.acceleration else 0,
            noise=noise,
            cosine=linear.cosine,
            secant=Secant(zero, zero, zero, zero, zero, xx, zero),
        )

    def judge(
        self, objective: Objective, state: LevenbergMarquardtState, point: Point
    ) -> tuple[jax.Array, Linear, Scalar, Scalar, Scalar]:
        """Whether the point is taken, and the residuals to first order at the iterate that follows.

        Then the decrease (infinitely negative where the point is out of the question), its ratio to the predicted one,
        and how much of it may be rounding.
        """
        finite, keep = usable(point, state.iterate)
        first = state.iterate.is_blank
        gained, ratio, noise = self.compare(objective, state, point)
        good = keep & (first | (ratio >= ACCEPT) | (gained > noise))
        new = lambda _: linearise(objective, point, keep=self.acceleration)
        linear = branch(good, new, lambda old: old, state.linear)
        sound = jnp.all(jnp.isfinite(linear.q)) & jnp.all(jnp.isfinite(linear.triangle))
        # Where a parameter has lost all effect the model has gone over to a plateau, as exp(-b x) does for a large b.
        # That is no minimum, and nothing leads back. (At a bound it may be: a rate has no effect on an amplitude of 0.)
        lost = jnp.any((state.scale > 0) & (linear.effects <= objective.eps**2 * state.scale))
        sound &= ~lost | at_a_bound(objective, point.x)
        taken = good & (first | sound)
        gained = jnp.where(finite & (taken | ~good), gained, -jnp.inf)
        return taken, vector.where(taken, linear, state.linear), gained, ratio, noise

    def compare(
        self, objective: Objective, state: LevenbergMarquardtState, point: Point
    ) -> tuple[Scalar, Scalar, Scalar]:
        """The decrease, its ratio to what was predicted, and its rounding."""
        before = state.iterate
        gained = decrease(before.residuals, point.residuals, objective.robust)
        predicted = -(jnp.dot(state.linear.q, state.change) + 0.5 * jnp.sum(state.change**2))
        blur = BLUR * objective.eps * norm(state.linear.effects * before.x) * norm(before.residuals)
        noise = objective.noise(point.value) + blur
        ratio = jnp.where(predicted > 0, gained / jnp.where(predicted > 0, predicted, 1), 0)
        # Sums that differ by their rounding tell nothing: then the step of the model is taken. (If the cosine must fall
        # with it, 44 of NIST's 54 runs are solved in float32, where it is blurred itself, and otherwise 53.)
        blurred = (predicted <= noise) & (jnp.abs(gained) <= noise)
        return gained, jnp.where(blurred, 1, ratio), noise

    def next_radius(self, state: LevenbergMarquardtState, gained: Scalar, ratio: Scalar) -> Scalar:
        """More's rule: shorter by a parabola through values and slope, twice the step, or as it was."""
        length = norm(state.scale * state.step)
        slope = jnp.dot(state.linear.q, state.change)  # negative
        parabola = jnp.where(gained >= 0, 0.5, 0.5 * slope / (slope + gained))
        parabola = jnp.where(jnp.isfinite(gained), jnp.clip(parabola, 0.1, 0.5), 0.1)
        shorter = parabola * jnp.minimum(state.radius, 10 * length)
        longer = jnp.where((state.damping == 0) | (ratio >= GOOD), 2 * length, state.radius)
        poor = ~jnp.isfinite(gained) | (ratio <= POOR)
        return jnp.where(poor, shorter, longer)

    def next_step(
        self, objective: Objective, point: Point, linear: Linear, scale: jax.Array, radius: Scalar, damping: Scalar
    ) -> Step:
        """The step in the radius, and in the bounds."""
        used = jnp.where(scale > 0, scale, 1)
        r = linear.triangle * (linear.columns / used)[None, :]
        if r.shape[0] < r.shape[1]:
            y, damping, promise = step_in_row_space(r, linear.q, radius, damping)
        else:
            (y, damping), promise = damped_step(r, linear.q, radius, damping), 0.5 * jnp.sum(linear.q**2)
        p = within(objective, point.x, y / used)
        y = y if objective.composite is None else used * p
        bent = p
        if self.acceleration:  # a step of Gauss and Newton shows that the residuals are straight as far as it goes
            bend = lambda p: accelerated(objective, point, linear, (r, damping), used, p)
            bent = branch(damping > 0, bend, lambda p: p, p)
        return Step(within(objective, point.x, bent), matmul(r, y), damping, norm(y), promise)


def within(objective: Objective, x: jax.Array, step: jax.Array) -> jax.Array:
    """The step from x, as far as bounds allow it."""
    if objective.composite is None:
        return step
    return jnp.clip(x + step, *objective.composite.ends) - x


def at_a_bound(objective: Objective, x: jax.Array) -> jax.Array:
    """Whether some parameter is."""
    if objective.composite is None:
        return jnp.asarray(False)
    lower, upper = objective.composite.ends
    return jnp.any((x <= lower) | (x >= upper))
