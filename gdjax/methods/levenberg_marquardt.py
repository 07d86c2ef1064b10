"""Levenberg and Marquardt's method for nonlinear least squares, as a trust region in scaled parameters.

J. J. More, The Levenberg-Marquardt algorithm: implementation and theory, in Numerical Analysis, Lecture Notes in
Mathematics 630 (1978). In a box: C. Kanzow, N. Yamashita and M. Fukushima, Levenberg-Marquardt methods with strong
local convergence properties for solving nonlinear equations with convex constraints, J. Comput. Appl. Math. 172 (2004).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require, static_field
from gdjax.jaxtools.scalar_kernels import branch, one_kernel
from gdjax.methods.base import Method, Outcome, Secant, usable
from gdjax.methods.parts.bounds import at_a_bound
from gdjax.methods.parts.linearised import Linear, linearise, nothing_yet, pivots
from gdjax.methods.parts.model_step import next_step
from gdjax.methods.parts.plateau import lost_effect, sees_less
from gdjax.methods.parts.radius import ACCEPT, Verdict, by_slopes, next_radius
from gdjax.methods.parts.runaway import Run, follow, has_left, no_run
from gdjax.methods.parts.triangular import norm
from gdjax.problem.objective import Objective, Point
from gdjax.problem.residuals import compared
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar

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
    run: Run  # of steps that bring little
    pivots: jax.Array  # the most that was left of each column beside those before it, of length 1; shape (n,)
    guessed: jax.Array  # whether the radius is the first guess still, which no step has tried

    @property
    def trial(self) -> jax.Array:
        """The next point to evaluate."""
        return self.iterate.x + self.step


class Move(NamedTuple):
    """What follows from a trial; all without residuals and aux."""

    state: LevenbergMarquardtState
    taken: jax.Array  # whether the trial is the iterate now
    accepted: jax.Array  # the same, but for a start that is not finite
    failed: jax.Array
    promise: Scalar  # decrease that the model still promises
    settled: jax.Array
    blind: jax.Array
    ran_away: jax.Array
    xx: Scalar  # x'x


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
        factor: the first radius, in units of ``|D x|`` at the start (of ``|r|`` if x is 0 there). A smaller one keeps
            the first step short where residuals overflow or other minima are near. (MINPACK's 100 leads three of 77 of
            CUTEst's equations elsewhere. Both solve all of NIST's regressions, 100 in a median of 14 evaluations and 1
            in 14.5; in float32 in 9.5 and 12.5.)
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

    factor: float | jax.Array = 1.0
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
        if objective.composite is not None:
            # The sum may round to outside; and beside other problems what has ended is asked, too.
            x = jnp.clip(jnp.where(jnp.isnan(x), state.iterate.x, x), *objective.composite.ends)
        r, aux = objective.residuals(x)
        value, gained = compared(state.iterate.residuals, r, objective.robust)
        point = state.iterate._replace(x=x, value=value, grad_norm=jnp.zeros_like(value), aux=aux, residuals=r)
        return point._replace(gained=gained, smooth=None if objective.composite is None else value)

    def init(self, objective: Objective) -> LevenbergMarquardtState:
        """At the start, with a step of length zero."""
        x, zero = objective.start, jnp.zeros((), objective.dtype)
        r = jax.eval_shape(objective.residuals, x)[0]
        blank = objective.blank._replace(residuals=jnp.zeros(r.shape, r.dtype), gained=zero)
        none = jnp.zeros_like(x)
        linear = nothing_yet(objective, r.size, self.acceleration)
        if self.acceleration and r.size < x.size:
            raise ValueError(f"acceleration=True needs no fewer residuals ({r.size}) than parameters ({x.size})")
        return LevenbergMarquardtState(
            blank,
            linear,
            none,
            none,
            linear.q,
            zero,
            zero,
            no_run(blank.value),
            pivots(linear.triangle),
            jnp.asarray(True),
        )

    def step(
        self, objective: Objective, state: LevenbergMarquardtState, point: Point
    ) -> tuple[LevenbergMarquardtState, Outcome]:
        """Take the point or not, set the radius, and find the next step."""
        # Nothing of the size of the residuals goes into what is to be one kernel; a step that is bent needs them.
        small, kernel = (lambda p: p, lambda f, x: f(x)) if self.acceleration else (bare, one_kernel)
        before, trial = state._replace(iterate=small(state.iterate)), small(point)
        verdict = kernel(lambda given: self.judge(objective, *given), (before, trial))
        there = lambda _: linearise(objective, point, self.acceleration)
        linear = branch(verdict.good, there, lambda old: old, state.linear)
        move = kernel(lambda given: self.move(objective, *given), (before, trial, linear, verdict))
        whole = lambda p: (p.residuals, p.aux)
        residuals, aux = vector.where(move.taken, whole(point), whole(state.iterate))
        zero = jnp.zeros((), objective.dtype)
        outcome = Outcome(
            move.accepted,
            zero + 1,
            move.failed,
            predicted=move.promise,
            settled=move.settled,
            extra_evals=(move.state.damping > 0).astype(jnp.int32) if self.acceleration else 0,
            noise=verdict.noise,
            cosine=move.state.linear.cosine,
            blind=move.blind,
            ran_away=move.ran_away,
            secant=Secant(zero, zero, zero, zero, zero, move.xx, zero),
        )
        iterate = move.state.iterate._replace(residuals=residuals, aux=aux)
        return move.state._replace(iterate=iterate), outcome

    def judge(self, objective: Objective, state: LevenbergMarquardtState, point: Point) -> Verdict:
        """Whether a point is worth its Jacobian."""
        before, gained, (finite, keep) = state.iterate, point.gained, usable(point, state.iterate)
        predicted = -(jnp.sum(state.linear.q * state.change) + 0.5 * jnp.sum(state.change**2))
        reach, known = norm(state.linear.effects * before.x), jnp.where(before.is_blank, 0, before.value)
        size = jnp.sqrt(2 * known)
        noise = objective.noise(point.value) + BLUR * objective.eps * reach * size
        ratio = jnp.where(predicted > 0, gained / jnp.where(predicted > 0, predicted, 1), 0)
        blurred = (predicted <= noise) & (jnp.abs(gained) <= noise)  # the sums tell nothing
        good = keep & (before.is_blank | blurred | (ratio >= ACCEPT) | (gained > noise))
        return Verdict(good, finite, gained, predicted, ratio, blurred, noise, BLUR * objective.eps * (reach + size))

    def move(
        self, objective: Objective, state: LevenbergMarquardtState, point: Point, linear: Linear, verdict: Verdict
    ) -> Move:
        """Where the descent stands, and its next step; ``linear`` is at the point if that is good."""
        first, good = state.iterate.is_blank, verdict.good
        sound = jnp.all(jnp.isfinite(linear.q)) & jnp.all(jnp.isfinite(linear.triangle))
        # A plateau is no minimum. (At a bound it may be: a rate has no effect on an amplitude of 0.)
        eps, held = objective.eps, at_a_bound(objective, point.x)
        lost = lost_effect(state.scale, linear, eps) | sees_less(pivots(state.linear.triangle), linear, eps)
        sound &= ~lost | held
        length = norm(state.scale * state.step)
        seen = -0.5 * jnp.sum((state.linear.grad + linear.grad) * state.step)
        gained, ratio, worse = by_slopes(verdict, seen, length)
        sound &= ~worse
        taken = good & (first | sound)
        gained = jnp.where(verdict.finite & (taken | worse | ~good), gained, -jnp.inf)
        linear = vector.where(taken, linear, state.linear)
        grad_norm = vector.max_abs(jnp.where(linear.columns == 0, 0, linear.grad)).astype(objective.dtype)
        iterate = vector.where(taken, point._replace(grad=linear.grad, grad_norm=grad_norm), state.iterate)

        scale = jnp.maximum(state.scale, linear.effects)
        reach = norm(scale * iterate.x)
        size = jnp.where(reach > 0, reach, jnp.sqrt(2 * iterate.value))  # D x is in units of the residuals
        slope = jnp.sum(state.linear.q * state.change)
        radius = next_radius(state.radius, length, state.damping > 0, slope, gained, ratio)
        radius = jnp.where(first, self.factor * jnp.where(size > 0, size, 1), radius)
        step = next_step(objective, iterate, linear, scale, radius, state.damping, self.acceleration)
        guessed = first | (state.guessed & ~taken)
        radius = jnp.where(guessed, jnp.minimum(radius, step.length), radius)

        most = jnp.maximum(state.pivots, pivots(linear.triangle))
        blind = sees_less(most, linear, eps) & ~at_a_bound(objective, iterate.x)
        extent = norm(linear.effects * iterate.x)
        run, ran_away = follow(state.run, scale, linear.effects, extent, iterate.value, taken)
        if objective.inward is None:  # a free number at infinity may be a parameter at an end of its space
            ran_away |= has_left(objective.start, iterate.x, scale, linear, eps)
        promise, idle = step.promise, jnp.all(iterate.x + step.p == iterate.x)
        # A step that is nothing beside D x may be long in a parameter with little effect.
        short = jnp.all(jnp.abs(step.p) <= objective.eps**0.5 * jnp.abs(iterate.x))
        stuck = idle | (~taken & short & (radius <= objective.eps * reach))
        share = SETTLED if linear.triangle.shape[0] == linear.triangle.shape[1] else ALL_SETTLED
        settled = jnp.sqrt(2 * promise) <= share * objective.eps * extent
        settled |= stuck & (promise <= objective.noise(iterate.value))
        return Move(
            LevenbergMarquardtState(
                iterate, linear, scale, step.p, step.change, radius, step.damping, run, most, guessed
            ),
            taken,
            taken & jnp.isfinite(point.value) & jnp.isfinite(grad_norm),
            (settled | stuck) & (linear.cosine > 0),
            jnp.where(settled, 0, promise),
            settled,
            blind,
            ran_away,
            jnp.sum(iterate.x * iterate.x).astype(objective.dtype),
        )


def bare(point: Point) -> Point:
    """A point without what may be large."""
    return point._replace(residuals=None, aux=None)
