"""The accelerated proximal gradient method with restarts, one evaluation a step.

A. Beck and M. Teboulle, A fast iterative shrinkage-thresholding algorithm, SIAM J. Imaging Sci. 2 (2009).
B. O'Donoghue and E. Candes, Adaptive restart for accelerated gradient schemes, Found. Comput. Math. 15 (2015).
"""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.methods.base import Method, Outcome, usable
from gdjax.methods.parts import nesterov
from gdjax.methods.parts.curvature import LEAP, probe, steepness
from gdjax.problem.objective import Objective, Point
from gdjax.problem.penalized import step_norm
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

GROW = 1.2  # factor on the step after a restart, where the curvature may be another
MAX_TRIALS = 60  # rejected steps before the search has failed


class AcceleratedProximalState(NamedTuple):
    """FISTA between two evaluations."""

    iterate: Point  # y, where the loss was evaluated
    x: Vector  # last prox-gradient point
    x_next: Vector  # prox-gradient point of y
    trial: Vector  # next y: x_next + beta (x_next - x)
    rate: Scalar  # step from y to x_next; 0 before the start is evaluated
    theta: Scalar  # the sequence t of the paper
    points: jax.Array  # accepted
    trials: jax.Array  # rejected since y


@pytree_dataclass
class AcceleratedProximalGradient(Method):
    """FISTA: ``x+ = prox(y - t g(y), t)``, ``y+ = x+ + (theta - 1) / theta+ (x+ - x)``, with restarts.

    (prox is the proximal operator of the penalty.) ``theta+ = (1 + sqrt(1 + 4 theta^2)) / 2``; theta restarts at 1 if
    ``(y - x+)'(x+ - x) > 0``. The loss is only evaluated at y. From one y to the next the step t must satisfy
    ``t |g+ - g|^2 <= (g+ - g)'(y+ - y)``, which every t <= 1 / L does if the loss is convex. A y+ that violates this
    is rejected, and t is shortened. The returned point is a y, projected onto the set if the penalty is a set.

    Args:
        learning_rate: None to search for t, or a fixed number.

    Raises:
        ValueError: if the learning rate is not positive.

    >>> import gdjax
    >>> loss = lambda x: jnp.sum((x - jnp.array([3.0, 0.2])) ** 2)
    >>> fista = AcceleratedProximalGradient()
    >>> print(gdjax.minimize(loss, jnp.zeros(2), penalty=gdjax.penalties.L1(1.0), method=fista).params.round(2))
    [2.5 0. ]
    """

    learning_rate: float | jax.Array | None = None

    searches: ClassVar[bool] = True
    monotone: ClassVar[bool] = False
    accepts_penalty: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require("must be positive", self.learning_rate, lambda x: x > 0, "learning_rate")

    def learnt(self, old: AcceleratedProximalState) -> dict[str, Any]:
        """The step."""
        return dict(rate=old.rate, points=old.points)

    def init(self, objective: Objective) -> AcceleratedProximalState:
        """At the start."""
        zero, count, x = jnp.zeros((), objective.dtype), jnp.asarray(0, jnp.int32), objective.start
        return AcceleratedProximalState(objective.blank, x, x, x, zero, zero + 1, count, count)

    def step(
        self, objective: Objective, state: AcceleratedProximalState, point: Point
    ) -> tuple[AcceleratedProximalState, Outcome]:
        """Accept the point, or shorten the step to it; then the next prox-gradient point and the momentum."""
        finite, keep = usable(point, state.iterate)
        first = state.iterate.is_blank
        curvature = steepness(objective, state.iterate, point)
        fits = state.rate * curvature <= 1.0 + 1e-6
        if self.learning_rate is not None:
            fits = jnp.asarray(True)
        taken = keep & (first | (state.points == 1) | (finite & fits))
        base = vector.where(taken, point, state.iterate)
        x = vector.where(taken, state.x_next, state.x)
        theta = jnp.where(taken, nesterov.advance(state.theta)[0], state.theta)
        rate = self.next_rate(objective, state, point, curvature, taken)

        x_next = objective.descend(base, rate)
        pairs = (vector.subtract(base.x, x_next), vector.subtract(x_next, x))
        gap, turn = objective.dots((pairs[0], pairs[0]), pairs)
        # Momentum would carry a shortened step out of the domain of the loss again.
        theta = jnp.where((turn > 0) | (state.points == 0) | ~finite, 1, theta)
        _, beta = nesterov.advance(theta)
        trial = vector.add_scaled(x_next, beta, pairs[1])
        if objective.composite is not None:
            trial = objective.composite.into_domain(trial, objective.composite.value(trial))
            base = base._replace(grad_norm=step_norm(base.x, base.grad, x_next, rate))
        trials = jnp.where(taken, 0, state.trials + 1)
        points = state.points + taken.astype(jnp.int32)
        new = AcceleratedProximalState(base, x, x_next, trial, rate, theta, points, trials)
        # A step that was shortened until rounding swallowed it leads nowhere.
        failed = ~taken & ((trials >= MAX_TRIALS) | jnp.all(pairs[0] == 0))
        return new, Outcome(taken & finite, state.rate, failed, 0.5 * gap / rate)

    def next_rate(
        self, objective: Objective, state: AcceleratedProximalState, point: Point, curvature: Scalar, taken: jax.Array
    ) -> Scalar:
        """The step t: a probe, then what the probe found, then shortened when it must be."""
        if self.learning_rate is not None:
            return jnp.asarray(self.learning_rate)
        gg, xx = objective.dots((point.grad, point.grad), (point.x, point.x))
        found = jnp.where(curvature > 0, 1 / jnp.where(curvature > 0, curvature, 1), jnp.inf)
        found = jnp.clip(found, 0.1 * state.rate, LEAP * state.rate)
        # Where the loss shows less than a tenth of the curvature that the step allows for. No more than tenfold at
        # once: |y - x+| / t is at most so much smaller than at the step that was just taken, so that a step that is
        # suddenly far too long does not look like a minimum.
        flat = (state.points == 1) | (state.rate * curvature < 1 / LEAP)
        kept = jnp.where(state.theta == 1, GROW, 1) * state.rate
        longer = jnp.where(flat, found, kept)
        shorter = jnp.where(jnp.isfinite(curvature), jnp.minimum(found, 0.5 * state.rate), 0.1 * state.rate)
        begun = jnp.where(state.points == 0, probe(gg, xx, point.loss), state.rate)
        return jnp.where(state.iterate.is_blank, begun, jnp.where(taken, longer, shorter))
