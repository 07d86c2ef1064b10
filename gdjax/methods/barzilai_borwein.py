"""Gradient descent with the steps of Barzilai and Borwein, allowed to rise for a while.

J. Barzilai and J. M. Borwein, Two-point step size gradient methods, IMA J. Numer. Anal. 8 (1988); G. Frassoldati,
L. Zanni and G. Zanghirati, New adaptive stepsize selections in gradient methods, J. Ind. Manag. Optim. 4 (2008);
H. Zhang and W. W. Hager, A nonmonotone line search technique, SIAM J. Optim. 14 (2004).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gdjax.jaxtools.forward_jacobian import piecewise
from gdjax.jaxtools.pytrees import pytree_dataclass, require
from gdjax.line_search.backtracking import Backtracking
from gdjax.methods.searching import Move, Searching
from gdjax.problem.objective import Objective
from gdjax.vectors import vector
from gdjax.vectors.vector import Scalar, Vector

SHORTEST, LONGEST = 1e-10, 1e10  # bounds on a first trial (Birgin, Martinez and Raydan 2000), in units of the last step
REMEMBERED = 5  # short steps of which the smallest is taken (Frassoldati et al.: m = 5)
SWITCH = 0.8  # ratio of short to long step below which the short one is (ibid., tau)


class Steps(NamedTuple):
    """What Barzilai and Borwein's rule remembers."""

    short: jax.Array  # the last short steps s'y / y'y, infinite where there are none yet
    reference: Scalar  # C, the mean of values that a new value must not exceed
    weight: Scalar  # Q of that mean
    steps: jax.Array


@pytree_dataclass
class BarzilaiBorwein:
    """Step-size rule: the secant step ``s's / s'y``, or the shorter ``s'y / y'y`` if the two differ a lot.

    On most problems this is the best of the rules that only use the gradient. Values may rise for a while: a step is
    accepted if ``f(x - alpha g) <= C - decrease * alpha * g'g``, where C is a mean of the earlier values that forgets
    with the factor ``memory``. Otherwise the step is shortened as in `gdjax.Backtracking`. The steps are the ABBmin
    rule of Frassoldati et al.

    Args:
        decrease: fraction of the linear prediction that must be achieved.
        memory: with 0 every value must fall, with 1 C is the mean of all values (Zhang & Hager: 0.85).

    Raises:
        ValueError: if ``decrease`` is outside (0, 1) or ``memory`` outside [0, 1].

    >>> import gdjax, jax.numpy as jnp
    >>> loss = lambda x: jnp.sum(jnp.array([1.0, 10.0, 100.0]) * (x - 1) ** 2)
    >>> gdjax.minimize(loss, jnp.zeros(3), method=gdjax.GradientDescent(BarzilaiBorwein())).status.name
    'CONVERGED'
    """

    decrease: float | jax.Array = 1e-4
    memory: float | jax.Array = 0.85

    def __post_init__(self) -> None:
        require("must lie between 0 and 1", self.decrease, lambda x: (x > 0) & (x < 1), "decrease")
        require("must be between 0 and 1", self.memory, lambda x: (x >= 0) & (x <= 1), "memory")


class SecantDescent(Searching):
    """Gradient descent with Barzilai and Borwein's first trials and Zhang and Hager's reference value."""

    def __init__(self, rule: BarzilaiBorwein) -> None:
        self.rule, self.line_search = rule, Backtracking(decrease=rule.decrease)

    def empty(self, objective: Objective) -> Steps:
        """No steps."""
        zero, count = jnp.zeros((), objective.dtype), jnp.asarray(0, jnp.int32)
        return Steps(jnp.full(REMEMBERED, jnp.inf, objective.dtype), zero, zero, count)

    def learn(self, memory: Steps, move: Move) -> tuple[Steps, Vector, Scalar]:
        """The next step from the last two gradients."""
        ss, sy, yy = move.secant.ss, move.secant.sy, move.secant.yy
        shorts, first = piecewise(first_trial)(memory.short, memory.steps, move.step_size, ss, sy, yy)

        eta, value = self.rule.memory, move.after.value
        weight = jnp.where(memory.steps > 0, eta * memory.weight + 1, 1)
        mean = jnp.where(memory.steps > 0, (eta * memory.weight * memory.reference + value) / weight, value)
        return Steps(shorts, mean, weight, memory.steps + 1), vector.negative(move.after.grad), first

    def reference(self, memory: Steps, lowest: Scalar) -> Scalar:
        """C."""
        return memory.reference

    def forget(self, memory: Steps) -> Steps:
        """No steps."""
        return jax.tree.map(jnp.zeros_like, memory)._replace(short=jnp.full_like(memory.short, jnp.inf))

    def has_learnt(self, memory: Steps) -> jax.Array:
        """Whether a step was taken."""
        return memory.steps > 1


def first_trial(
    shorts: jax.Array, steps: jax.Array, step_size: Scalar, ss: Scalar, sy: Scalar, yy: Scalar
) -> tuple[jax.Array, Scalar]:
    """The short steps to remember, and the step to try."""
    long, short = ss / sy, sy / yy
    curved = (step_size > 0) & (sy > 0)
    shorts = jnp.where(curved & (jnp.arange(REMEMBERED, dtype=steps.dtype) == steps % REMEMBERED), short, shorts)
    alpha = jnp.where(short < SWITCH * long, jnp.min(shorts), long)
    alpha = jnp.where(curved, alpha, 10 * step_size)  # no curvature: as far as ever
    alpha = jnp.clip(alpha, SHORTEST * step_size, LONGEST * step_size)
    return shorts, jnp.where(step_size > 0, alpha, jnp.nan)
