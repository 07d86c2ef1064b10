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

from gdjax.vectors.vector import matmul

REACH = -2  # power of eps: how much farther inside, where ends may be at any distance, a start too near them may lead
MOST_DENSE = 200  # numbers of a parameter up to which the slopes of somebody else's map are formed as a matrix


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

    def inward(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> jax.Array | None:
        """By how much the loss would fall, to first order, over the size of the space away from where the map is flat.

        Of any shape; what is negative or 0 does not count. None if the map is flat nowhere. By default that of `edges`,
        and where these may be at any distance as far as numbers reach.
        """
        edges = self.edges(free, grad, start)
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
        """Free numbers with the parameter moved well inside ``where`` (of the shape of the edges) it is not."""
        return free


def refuse(name: str, space: Any, start: Any, what: str) -> None:
    """Raise ValueError for a start that is not inside its space."""
    shown = np.array2string(np.asarray(start), threshold=6, precision=6)
    raise ValueError(f"{name} starts at {shown}, which is not inside {space!r}: {what}")


class Adopted(Space):
    """Somebody else's map, with ``to_user`` and ``to_free``: of the user's, numpyro's or distrax's."""

    def __init__(self, space: Any) -> None:
        self.space = space

    def check(self, name: str, start: Any) -> None:
        """The start must come back from its free numbers."""
        free = self.to_free(jnp.asarray(start))
        back = np.asarray(self.to_user(free))
        start = np.asarray(start)
        if not np.isfinite(np.asarray(free)).all():
            refuse(name, self, start, "its free numbers are not finite, so it is at an end of the space or beyond")
        if back.shape != start.shape:
            raise ValueError(f"{name} has shape {start.shape}, but {self!r} makes it one of shape {back.shape}")
        error = np.abs(back - start).max(initial=0)
        if not error <= 1e-2 * max(1.0, float(np.abs(start).max(initial=0))):
            refuse(name, self, start, f"to_user(to_free(start)) differs from it by {error:.3g}")

    def to_user(self, free: jax.Array) -> jax.Array:
        """As theirs, in the dtype of the free numbers."""
        return jnp.asarray(self.space.to_user(free)).astype(free.dtype)

    def to_free(self, user: jax.Array) -> jax.Array:
        """As theirs."""
        return jnp.asarray(self.space.to_free(user)).astype(user.dtype)

    def log_det(self, free: jax.Array) -> jax.Array:
        """As theirs."""
        return jnp.sum(self.space.log_det(free))

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """The shortest gradient that has this one by the free numbers; NaN if the map is too large to be formed."""
        user = jax.eval_shape(self.to_user, free)
        if max(free.size, user.size) > MOST_DENSE:
            return jnp.full(user.shape, jnp.nan, user.dtype)
        slopes = jax.jacfwd(self.to_user)(free).reshape(user.size, free.size)
        return matmul(jnp.linalg.pinv(slopes.T), grad.reshape(-1)).reshape(user.shape)

    def inward(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> jax.Array | None:
        """See `Space`. Where the ends are is not known, but that the map is the flatter the nearer they are."""
        if free.size > MOST_DENSE:
            return None
        unit: Any = lambda i: (jnp.arange(free.size) == i).astype(free.dtype).reshape(free.shape)
        moved = lambda z, i: jnp.linalg.norm(jax.jvp(self.to_user, (z,), (unit(i),))[1])
        own = lambda i: (*jax.jvp(lambda z: moved(z, i), (free,), (unit(i),)), moved(start, i))
        speed, change, first = jax.vmap(own)(jnp.arange(free.size))  # of the parameter, for each free number
        slopes = -jnp.sign(change) * grad.ravel() / jnp.where(speed > 0, speed, 1)
        return slopes * jnp.maximum(speed, first) * jnp.finfo(free.dtype).eps ** REACH

    def __repr__(self) -> str:
        return repr(self.space)
