"""Do the value and the prox of a penalty belong together? Points that would have to be worse are tried."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.penalties.base import has_value
from gdjax.problem.penalized import Composite, as_penalty, compose
from gdjax.problem.problem import check_params
from gdjax.vectors.layout import Flat

STEPS = 0.1, 1.0, 10.0
ROUNDINGS = 100.0  # of the two sums that are compared, which a prox may lose
ALONG = -1.0, -0.1, -0.01, 0.01, 0.1, 0.5, 1.0  # points on the line from the prox to x, which is the last


@dataclasses.dataclass(frozen=True)
class PenaltyReport:
    """What `check_penalty` found; ``print`` it."""

    problems: list[str]  # a sentence each
    trials: int  # of the prox

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def raise_if_wrong(self) -> None:
        """Raise ValueError with the problems, if there are any."""
        if self.problems:
            raise ValueError(str(self))

    def __str__(self) -> str:
        """The problems, or that there are none."""
        if self.ok:
            return f"value and prox belong together, as far as {self.trials} trials can tell"
        return f"value and prox do not belong together: {'; '.join(self.problems)}"


def check_penalty(penalty: Any, params: Any, *, points: int = 100, seed: int = 0) -> PenaltyReport:
    """Look for contradictions between the value and the prox of a penalty of your own.

    The proximal operator ``z = prox(x, step)`` must minimise ``step * value(z) + |z - x|^2 / 2``. Its z is compared
    with x, with points on the line through x and z, and with random points near z and far from it. This is done for x
    at params, near them and far from them, with steps 0.1, 1 and 10. If the prox belongs to another function, a method
    stops at a point that does not minimise the sum of loss and value.

    Args:
        penalty: as for `gdjax.minimize`.
        params: a pytree of the kind that the penalty is for, with numbers of the usual size.
        points: number of random points in each trial.
        seed: of the random points.

    Raises:
        TypeError: if it is not a penalty. ValueError: if it has no value, or if value or prox return the wrong shape.

    >>> class Wrong:
    ...     def value(self, x):
    ...         return jnp.sum(jnp.abs(x))
    ...     def prox(self, x, step):
    ...         return jnp.sign(x) * jnp.maximum(jnp.abs(x) - 2 * step, 0)  # of twice the value
    >>> check_penalty(Wrong(), jnp.array([3.0, -1.0])).ok
    False
    """
    params = check_params(params)
    penalty = as_penalty(penalty, params)
    if penalty is None or not has_value(penalty):
        raise ValueError("there is nothing to compare the prox with: the penalty has no value")
    layout = Flat.of(params)
    eps = float(jnp.finfo(layout.dtype).eps)
    composite = compose(penalty, params, layout, layout.dtype, eps)
    assert composite is not None
    start, rng, problems = np.asarray(layout.ravel(params)), np.random.default_rng(seed), []
    size = 1 + float(np.max(np.abs(start)))
    places = {"at params": 0.0, "near params": 0.3 * size, "far from params": 10 * size}
    for where, far in places.items():
        x = (start + far * rng.standard_normal(start.size)).astype(start.dtype)
        for step in STEPS:
            spread = 10.0 ** rng.uniform(-4, 1, (points, 1)) * size
            found = compare(composite, x, step, spread * rng.standard_normal((points, x.size)))
            problems += [f"{where}, at step {step:g}, {found}"] if found else []
    return PenaltyReport(problems, len(places) * len(STEPS))


def compare(composite: Composite, x: np.ndarray, step: float, around: np.ndarray) -> str | None:
    """What is wrong with the prox of x, in words; ``around`` are offsets from it, shape (points, n)."""
    z = np.asarray(composite.prox(jnp.asarray(x), jnp.asarray(step, x.dtype)))
    if not np.isfinite(z).all():
        return "the prox is not finite"
    line = np.stack([z + s * (x - z) for s in ALONG])
    others = np.concatenate([line, z + around]).astype(x.dtype)
    values = np.asarray(jax.vmap(composite.value)(jnp.asarray(np.concatenate([z[None], others]))), np.float64)
    squares = np.sum((np.concatenate([z[None], others]).astype(np.float64) - x) ** 2, axis=1)
    if not np.isfinite(values[0]):
        return f"the value at the prox is {values[0]}"
    sums = step * values + 0.5 * squares
    # A constraint counts as kept up to the root of the rounding error.
    eps, way = float(np.finfo(x.dtype).eps), squares[0] ** 0.5 * (1 + float(np.sum(np.abs(x))))
    slack = ROUNDINGS * eps * (abs(step * values[0]) + squares[0] + way)
    if not np.isfinite(values).all():
        slack += 2 * eps**0.5 * (way + eps**0.5)
    least = np.nanmin(sums[1:])
    if sums[0] <= least + slack:
        return None
    return f"step * value(z) + |z - x|^2 / 2 is {sums[0]:.6g} at the prox, but {least:.6g} at another point"
