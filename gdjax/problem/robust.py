"""Robust losses: what takes the place of the square of a residual, so that outliers draw less.

The loss is ``1/2 sum_i c^2 rho(r_i^2 / c^2)``, c the residual from which on it is an outlier. ``rho(s) = s`` would be
least squares, and all are that for small residuals. P. J. Huber, Robust Statistics (1981).
"""

import abc
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, require


@pytree_dataclass
class Robust(abc.ABC):
    """``c^2 rho(r^2 / c^2)`` of each residual. A subclass gives rho; its slopes are JAX's."""

    scale: float | jax.Array = 1.0

    def __post_init__(self) -> None:
        require("must be positive", self.scale, lambda c: c > 0, "scale")

    @abc.abstractmethod
    def rho(self, s: jax.Array) -> jax.Array:
        """The loss for ``s = r^2 / c^2`` of one residual: 0 at 0, with slope 1 there."""

    def of(self, r: jax.Array) -> jax.Array:
        """``c^2 rho(r^2 / c^2)`` of each residual."""
        c = jnp.asarray(self.scale).astype(r.dtype)
        return c * c * self.rho((r / c) ** 2)

    def slopes(self, r: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``rho'(s)`` and ``2 s rho''(s)`` of each residual."""
        s = (r / jnp.asarray(self.scale).astype(r.dtype)) ** 2
        one = jnp.ones_like(s)
        slope = lambda s: jax.jvp(self.rho, (s,), (one,))[1]
        first, second = jax.jvp(slope, (s,), (one,))
        return first, 2 * s * second


@pytree_dataclass
class Huber(Robust):
    """Squares up to the scale, straight beyond it: ``rho(s) = s`` to 1, then ``2 sqrt(s) - 1``.

    Args:
        scale: c, in units of the residuals, positive.

    Raises:
        ValueError: unless the scale is positive.

    >>> print(Huber(1.0).of(jnp.array([0.5, 3.0])))
    [0.25 5.  ]
    """

    def rho(self, s: jax.Array) -> jax.Array:
        """See the class."""
        return jnp.where(s <= 1, s, 2 * jnp.sqrt(jnp.where(s <= 1, 1, s)) - 1)


@pytree_dataclass
class SoftL1(Robust):
    """A smooth Huber: ``rho(s) = 2 (sqrt(1 + s) - 1)``.

    Args:
        scale: c, in units of the residuals, positive.

    Raises:
        ValueError: unless the scale is positive.

    >>> print(f"{SoftL1(1.0).of(jnp.asarray(3.0)):.2f}")
    4.32
    """

    def rho(self, s: jax.Array) -> jax.Array:
        """See the class."""
        return 2 * s / (1 + jnp.sqrt(1 + s))


@pytree_dataclass
class Cauchy(Robust):
    """``rho(s) = log(1 + s)``: outliers draw less the farther they are. There may be several minima.

    Args:
        scale: c, in units of the residuals, positive.

    Raises:
        ValueError: unless the scale is positive.

    >>> print(f"{Cauchy(1.0).of(jnp.asarray(3.0)):.2f}")
    2.30
    """

    def rho(self, s: jax.Array) -> jax.Array:
        """See the class."""
        return jnp.log1p(s)


@pytree_dataclass
class Tukey(Robust):
    """``rho(s) = (1 - (1 - s)^3) / 3`` up to the scale, 1/3 beyond: outliers do not draw at all. Start near the answer.

    Args:
        scale: c, in units of the residuals, positive; 4.685 standard deviations of the noise are usual.

    Raises:
        ValueError: unless the scale is positive.

    >>> print(f"{Tukey(4.0).of(jnp.asarray(9.0)):.2f}")
    5.33
    """

    def rho(self, s: jax.Array) -> jax.Array:
        """See the class."""
        inside = jnp.minimum(s, 1)
        return inside * (1 - inside * (1 - inside / 3))  # nothing cancels where s is small


def check_robust(robust: Any) -> None:
    """Raise TypeError unless it is None or a robust loss."""
    if robust is None or isinstance(robust, Robust):
        return
    kinds = {"huber": Huber, "soft_l1": SoftL1, "cauchy": Cauchy, "tukey": Tukey}
    kind = kinds.get(robust.lower()) if isinstance(robust, str) else robust
    hint = ""
    if isinstance(kind, type) and issubclass(kind, Robust):
        name = f"gdjax.{kind.__name__}" if kind in kinds.values() else kind.__name__
        hint = f"; write robust={name}(scale), with the residual from which on it is an outlier"
    names = ", ".join(f"gdjax.{one.__name__}(scale)" for one in kinds.values())
    raise TypeError(f"robust must be None for squares, or one of {names}; got {robust!r}{hint}")
