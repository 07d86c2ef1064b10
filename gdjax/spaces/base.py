"""What a parameter space is: a map between free numbers, which may be any, and a parameter, which may not.

The descent works on free numbers; the loss sees the parameter. J. Nocedal and S. J. Wright, Numerical Optimization
(2006), section 15.3, on changes of variables; B. Carpenter et al., Stan: a probabilistic programming language, J. Stat.
Softw. 76 (2017), on those for scales, simplexes and correlations.
"""

import abc
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

REACH = -2  # power of eps: how much farther inside, where ends may be at any distance, a start too near them may lead


def far(dtype: Any) -> float:
    """Logarithm of ``eps ** REACH``."""
    return REACH * float(np.log(jnp.finfo(dtype).eps))


@runtime_checkable
class SpaceLike(Protocol):
    """What a space of your own needs. It may also have ``log_det(free)``, see `Space`."""

    def to_user(self, free: jax.Array) -> jax.Array:
        """The parameter that belongs to free numbers; differentiable."""

    def to_free(self, user: jax.Array) -> jax.Array:
        """Its inverse: the free numbers of a parameter inside the space."""


class Edges(NamedTuple):
    """How near a parameter is to the ends of its space, and which way the loss pulls it there."""

    share: jax.Array  # distance to the nearest end, over the size of the space
    inward: jax.Array  # by how much the loss would fall, to first order, over that size inward; negative: it rises


class Space(abc.ABC):
    """The space of one leaf (array) of the parameters."""

    is_map = True  # whether the descent sees other numbers than the loss
    is_fixed = False  # whether the descent sees nothing
    takes_complex = False
    has_ends = False  # whether `edges` tells where they are
    endless: Any = False  # whether that distance may be any, of all ends or of each along the last axis
    mixes = False  # whether the distance to an end depends on several free numbers

    @property
    def levels_off(self) -> bool:
        """Whether the map is flat anywhere: at its ends, if `has_ends`."""
        return self.has_ends

    def bind(self, start: Any) -> "Space":
        """The space with what it takes from the start; by default nothing."""
        return self

    def check(self, name: str, start: Any) -> None:  # noqa: B027 (most have nothing to check)
        """Raise ValueError, naming the leaf, if the start is not inside. Its numbers are known."""

    @abc.abstractmethod
    def to_user(self, free: Any) -> Any:
        """The parameter that belongs to free numbers."""

    @abc.abstractmethod
    def to_free(self, user: Any) -> Any:
        """The free numbers of a parameter."""

    def fixed(self, shape: tuple[int, ...]) -> np.ndarray:
        """Which entries of a leaf of this shape stay as they were given."""
        return np.full(shape, self.is_fixed)

    def log_det(self, free: jax.Array) -> jax.Array:
        """``log |det d user / d free|``, shape (): what a density by the parameter gains as one by the free numbers.

        Of a space with fewer free numbers than entries it is that by the entries that determine the others.
        """
        raise NotImplementedError(f"{self!r} has no log_det")

    @abc.abstractmethod
    def grad_to_user(self, free: Any, grad: Any) -> Any:
        """The gradient by the parameter, as far as the space lets it move, from that by the free numbers."""

    def edges(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges | None:
        """Where it is; ``start`` are the free numbers at first. None if the space has no ends, or they are unknown."""
        return None

    def flats(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges | None:
        """Where the map is flat: at the `edges`, by default."""
        return self.edges(free, grad, start)

    def seen(self, free: jax.Array, slopes: jax.Array, start: jax.Array) -> Edges | None:
        """The same by ``slopes``, the gradient by the parameter, which no map hides."""
        return None

    def inward(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> jax.Array | None:
        """By how much the loss would fall, to first order, over the size of the space away from where the map is flat.

        Of any shape; what is negative or 0 does not count. None if the map is flat nowhere. By default that of `flats`,
        and where these may be at any distance as far as numbers reach.
        """
        edges = self.flats(free, grad, start)
        return None if edges is None else edges.inward * jnp.where(self.endless, jnp.finfo(free.dtype).eps ** REACH, 1)

    def cut(self, lower: Any, upper: Any) -> tuple[Any, Any]:
        """What of a box, to draw starts from, is inside."""
        return lower, upper

    def brought_inside(self, drawn: jax.Array) -> jax.Array:
        """A start inside, of one drawn from what is left of a box."""
        return drawn

    def by_distance(self, free: jax.Array, slopes: jax.Array) -> jax.Array:
        """Of slopes by the free numbers, those by the logarithm of the distance to each end: of the shape of `edges`.

        Only where ``has_ends``.
        """
        raise NotImplementedError(f"{self!r} has no ends")

    def without(self, free: jax.Array, slopes: jax.Array, where: jax.Array) -> jax.Array:
        """Of slopes by the free numbers, what is left if the distances ``where`` (like the edges) do not change."""
        return slopes

    def known(self, where: jax.Array) -> jax.Array:
        """Which entries of the parameter are known if it is at the ends ``where``."""
        return where

    def inside(self, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        """Free numbers with the parameter moved well inside ``where`` (of the shape of the flats) it is not."""
        return free

    def farther(self, start: jax.Array) -> jax.Array:
        """A start as far from ends as numbers reach, where these may be at any distance."""
        return start

    def way(self, free: jax.Array, start: jax.Array, where: jax.Array, share: jax.Array) -> jax.Array:
        """Free numbers at this share of the way there."""
        return free + share * (self.inside(free, start, where) - free)


def refuse(name: str, space: Any, start: Any, what: str) -> None:
    """Raise ValueError for a start that is not inside its space."""
    shown = np.array2string(np.asarray(start), threshold=6, precision=6)
    raise ValueError(f"{name} starts at {shown}, which is not inside {space!r}: {what}")
