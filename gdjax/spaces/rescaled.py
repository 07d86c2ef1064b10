"""A space whose free numbers are in units of their own."""

from typing import Any

import jax
import numpy as np

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.spaces.base import Edges, Space
from gdjax.spaces.held import Free, Scaled


@pytree_dataclass
class Rescaled(Space):
    """``u = map(unit z)``."""

    inner: Any
    unit: Any

    @property
    def has_ends(self) -> bool:  # type: ignore[override]
        """As the space."""
        return self.inner.has_ends

    def fixed(self, shape: tuple[int, ...]) -> np.ndarray:
        """As the space."""
        return self.inner.fixed(shape)

    def to_user(self, free: jax.Array) -> jax.Array:
        """See `Space`."""
        return self.inner.to_user(self.unit.astype(free.dtype) * free)

    def to_free(self, user: jax.Array) -> jax.Array:
        """See `Space`."""
        free = self.inner.to_free(user)
        return free / self.unit.astype(free.dtype)

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.grad_to_user(unit * free, grad / unit)

    def edges(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges | None:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.edges(unit * free, grad / unit, unit * start)

    @property
    def levels_off(self) -> bool:
        """As the space."""
        return self.inner.levels_off

    def flats(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges | None:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.flats(unit * free, grad / unit, unit * start)

    def seen(self, free: jax.Array, slopes: jax.Array, start: jax.Array) -> Edges | None:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.seen(unit * free, slopes, unit * start)

    def way(self, free: jax.Array, start: jax.Array, where: jax.Array, share: jax.Array) -> jax.Array:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.way(unit * free, unit * start, where, share) / unit

    def farther(self, start: jax.Array) -> jax.Array:
        """See `Space`."""
        unit = self.unit.astype(start.dtype)
        return self.inner.farther(unit * start) / unit

    def inward(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> jax.Array | None:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.inward(unit * free, grad / unit, unit * start)

    @property
    def endless(self) -> Any:
        """As the space."""
        return self.inner.endless

    @property
    def mixes(self) -> bool:  # type: ignore[override]
        """As the space."""
        return self.inner.mixes

    def by_distance(self, free: jax.Array, slopes: jax.Array) -> jax.Array:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.by_distance(unit * free, slopes / unit)

    def without(self, free: jax.Array, slopes: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.without(unit * free, slopes / unit, where) * unit

    def known(self, where: jax.Array) -> jax.Array:
        """See `Space`."""
        return self.inner.known(where)

    def inside(self, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`."""
        unit = self.unit.astype(free.dtype)
        return self.inner.inside(unit * free, unit * start, where) / unit

    def __repr__(self) -> str:
        return repr(self.inner)


def rescaled(space: Space, unit: Any) -> Space:
    """The space with free numbers in these units; as it is where nothing moves."""
    if space.is_fixed:
        return space
    return Scaled(unit) if isinstance(space, Free) else Rescaled(space, unit)
