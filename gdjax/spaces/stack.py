"""Spaces side by side in one array."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.spaces.base import Edges, Space
from gdjax.spaces.foreign import as_space
from gdjax.spaces.held import Free


@pytree_dataclass
class Stack(Space):
    """A space for each entry of an array, along its last axis: for parameters that are one vector.

    None is `Free`. Each is of single numbers: for whole vectors (`Simplex`) keep the parameters in a dict.

    >>> import gdjax, jax.numpy as jnp
    >>> from gdjax.spaces import Fixed, Positive
    >>> loss = lambda p: (jnp.log(p[0]) - 1) ** 2 + (p[1] - p[2]) ** 2
    >>> found = gdjax.minimize(loss, jnp.array([1.0, 0.0, 5.0]), space=Stack([Positive(), None, Fixed()]))
    >>> [round(float(x), 2) for x in found.params]
    [2.72, 5.0, 5.0]
    """

    spaces: Any

    has_ends = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "spaces", [Free() if s is None else as_space(s) for s in self.spaces])

    @property
    def is_fixed(self) -> bool:  # type: ignore[override]
        """Whether every entry is."""
        return all(s.is_fixed for s in self.spaces)

    @property
    def endless(self) -> Any:
        """Entry by entry."""
        return np.array([bool(s.endless) for s in self.spaces if not s.is_fixed])

    def check(self, name: str, start: Any) -> None:
        """Each entry must be inside its own."""
        x = np.asarray(start)
        if x.ndim == 0 or x.shape[-1] != len(self.spaces):
            raise ValueError(f"{name} has shape {x.shape}; its Stack is of {len(self.spaces)} entries")
        for i, space in enumerate(self.spaces):
            space.check(f"{name}[..., {i}]" if x.ndim > 1 else f"{name}[{i}]", x[..., i])

    def bind(self, start: Any) -> Space:
        """With what each takes from its entry."""
        start = jnp.asarray(start)
        return Stack([s.bind(start[..., i]) for i, s in enumerate(self.spaces)])

    def cut(self, lower: Any, upper: Any) -> tuple[Any, Any]:
        """Entry by entry."""
        lower, upper = np.broadcast_arrays(lower, upper)
        ends = [s.cut(lower[..., i], upper[..., i]) for i, s in enumerate(self.spaces)]
        return tuple(np.stack(side, axis=-1) for side in zip(*ends, strict=True))  # type: ignore[return-value]

    def brought_inside(self, drawn: jax.Array) -> jax.Array:
        """Entry by entry."""
        return jnp.stack([s.brought_inside(drawn[..., i]) for i, s in enumerate(self.spaces)], axis=-1)

    def moving(self, free: jax.Array) -> list[tuple[Space, Any]]:
        """Each space with its free numbers; None where the entry is fixed."""
        entries = iter(jnp.moveaxis(free, -1, 0)) if free is not None else iter(())
        return [(s, None if s.is_fixed else next(entries)) for s in self.spaces]

    def to_user(self, free: jax.Array) -> jax.Array:
        """See `Space`."""
        parts = [s.to_user(z) for s, z in self.moving(free)]
        return jnp.stack([jnp.asarray(x, parts[0].dtype if free is None else free.dtype) for x in parts], axis=-1)

    def to_free(self, user: jax.Array) -> jax.Array:
        """See `Space`."""
        return jnp.stack([s.to_free(user[..., i]) for i, s in enumerate(self.spaces) if not s.is_fixed], axis=-1)

    def fixed(self, shape: tuple[int, ...]) -> np.ndarray:
        """Entry by entry."""
        return np.stack([s.fixed(shape[:-1]) for s in self.spaces], axis=-1)

    def log_det(self, free: jax.Array) -> jax.Array:
        """The sum of those of the entries."""
        return sum((s.log_det(z) for s, z in self.moving(free) if z is not None), jnp.zeros((), free.dtype))

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """Entry by entry."""
        triples = zip(self.moving(free), self.moving(grad), strict=True)
        parts = [s.grad_to_user(z, g) for (s, z), (_, g) in triples]
        return jnp.stack([jnp.asarray(x, parts[0].dtype if grad is None else grad.dtype) for x in parts], axis=-1)

    def edges(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges:
        """Entry by entry; what has no ends is not near one."""
        three = zip(self.moving(free), self.moving(grad), self.moving(start), strict=True)
        return stacked((z, s.edges(z, g, z0)) for (s, z), (_, g), (_, z0) in three if z is not None)

    def flats(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges:
        """Entry by entry."""
        three = zip(self.moving(free), self.moving(grad), self.moving(start), strict=True)
        return stacked((z, s.flats(z, g, z0)) for (s, z), (_, g), (_, z0) in three if z is not None)

    def seen(self, free: jax.Array, slopes: jax.Array, start: jax.Array) -> Edges:
        """Entry by entry."""
        pairs = enumerate(zip(self.moving(free), self.moving(start), strict=True))
        return stacked((z, s.seen(z, slopes[..., i], z0)) for i, ((s, z), (_, z0)) in pairs if z is not None)

    def inward(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> jax.Array | None:
        """Entry by entry."""
        three = zip(self.moving(free), self.moving(grad), self.moving(start), strict=True)
        found = [s.inward(z, g, z0) for (s, z), (_, g), (_, z0) in three if z is not None]
        parts = [x.ravel() for x in found if x is not None]
        return jnp.concatenate(parts) if parts else None

    def by_distance(self, free: jax.Array, slopes: jax.Array) -> jax.Array:
        """Entry by entry; 0 where there are no ends."""
        pairs = zip(self.moving(free), self.moving(slopes), strict=True)
        parts = [s.by_distance(z, g) if s.has_ends else jnp.zeros_like(g) for (s, z), (_, g) in pairs if z is not None]
        return jnp.stack(parts, axis=-1)

    def without(self, free: jax.Array, slopes: jax.Array, where: jax.Array) -> jax.Array:
        """Entry by entry."""
        triples = zip(self.moving(free), self.moving(slopes), self.moving(where), strict=True)
        return jnp.stack([s.without(z, g, m) for (s, z), (_, g), (_, m) in triples if z is not None], axis=-1)

    def known(self, where: jax.Array) -> jax.Array:
        """Entry by entry; what is fixed is not meant."""
        parts = [jnp.zeros_like(where[..., 0]) if m is None else m for _, m in self.moving(where)]
        return jnp.stack(parts, axis=-1)

    def inside(self, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        """Entry by entry."""
        triples = zip(self.moving(free), self.moving(start), self.moving(where), strict=True)
        return jnp.stack([s.inside(z, z0, m) for (s, z), (_, z0), (_, m) in triples if z is not None], axis=-1)

    def farther(self, start: jax.Array) -> jax.Array:
        """Entry by entry."""
        return jnp.stack([s.farther(z) for s, z in self.moving(start) if z is not None], axis=-1)


def stacked(found: Iterable[tuple[jax.Array, Edges | None]]) -> Edges:
    """Of each entry with its free number, as one; what is None is near no end."""
    every = [e or Edges(jnp.ones_like(z), jnp.zeros_like(z)) for z, e in found]
    return Edges(*(jnp.stack(parts, axis=-1) for parts in zip(*every, strict=True)))
