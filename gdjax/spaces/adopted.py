"""Somebody else's map as a space."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import merge, split
from gdjax.spaces.base import Edges, Space, far, refuse
from gdjax.vectors.vector import matmul

MOST_DENSE = 200  # numbers of a parameter up to which the slopes of somebody else's map are formed as a matrix


@jax.tree_util.register_pytree_node_class
class Adopted(Space):
    """Somebody else's map, with ``to_user`` and ``to_free``: of the user's, numpyro's or distrax's.

    Where its ends are is not known, but that the map is the flatter the nearer they are. It is a pytree, of the arrays
    of theirs if that is one.
    """

    levels_off = endless = mixes = True

    def __init__(self, space: Any, rest: Any = None) -> None:
        self.space = space
        arrays, static = split(space)
        is_pytree = static.leaves[:1] != (space,)
        self.arrays, self.rest = arrays, rest or (static if is_pytree else Alike(space))

    def tree_flatten(self) -> tuple[list[Any], Any]:
        """The arrays, and the rest."""
        return self.arrays, self.rest

    @classmethod
    def tree_unflatten(cls, rest: Any, arrays: Any) -> "Adopted":
        """The same with these arrays."""
        return cls(rest.one if isinstance(rest, Alike) else merge(list(arrays), rest), rest)

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

    def flats(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges | None:
        """See `Space`: for each free number, by how fast the parameter moves with it."""
        if free.size > MOST_DENSE:
            return None
        _, speed, change = self.moves(free)
        return edges_of(free, speed, change, grad.ravel(), jnp.maximum(speed, self.moves(start)[1]))

    def seen(self, free: jax.Array, slopes: jax.Array, start: jax.Array) -> Edges | None:
        """See `Space`."""
        if free.size > MOST_DENSE:
            return None
        columns, speed, change = self.moves(free)
        directions = columns / jnp.where(speed > 0, speed, 1)[:, None]
        by_length = matmul(directions, slopes.ravel())
        return edges_of(free, speed, change, speed * by_length, jnp.maximum(speed, self.moves(start)[1]))

    def moves(self, free: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """How the parameter moves with each free number, how fast, and how that speed changes with this number."""
        unit: Any = lambda i: (jnp.arange(free.size) == i).astype(free.dtype).reshape(free.shape)
        column = lambda z, i: jax.jvp(self.to_user, (z,), (unit(i),))[1].ravel()

        def speed(z: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
            moved = column(z, i)
            return jnp.linalg.norm(moved), moved

        def own(i: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            length, change, moved = jax.jvp(lambda z: speed(z, i), (free,), (unit(i),), has_aux=True)
            return moved, length, jnp.where(jnp.isfinite(change), change, 0)

        return jax.vmap(own)(jnp.arange(free.size))

    def inside(self, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`: to the start, if that is where it moves faster."""
        change = self.moves(free)[2].reshape(free.shape)
        ahead = jnp.where(change == 0, start - free, change)
        return jnp.where(where & (ahead * (start - free) > 0), start, free)

    def farther(self, start: jax.Array) -> jax.Array:
        """See `Space`: to where it moves faster still."""
        return start + far(start.dtype) * jnp.sign(self.moves(start)[2]).reshape(start.shape)

    def __repr__(self) -> str:
        return repr(self.space)


class Alike:
    """An object as a key of compiled programs: another of its class with the same attributes is as good.

    What is made anew for each call (``space=Mine()``) would otherwise be compiled anew. If there is anything among them
    that may change, it is compiled anew, since it may have changed.
    """

    def __init__(self, one: Any) -> None:
        self.one = one
        settings = vars(one) if hasattr(one, "__dict__") else {"": one}
        known = all(type(x) in (bool, int, float, str, type(None)) for x in settings.values())
        # By repr, which tells True from 1 and from 1.0: to Python they are equal, to what is traced they are not.
        self.key: Any = (type(one), repr(sorted(settings.items()))) if known else object()

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Alike) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def edges_of(free: jax.Array, speed: jax.Array, change: jax.Array, grad: jax.Array, size: jax.Array) -> Edges:
    """Where the map is flat and which way the loss falls: by a gradient by the free numbers, flat."""
    known = speed > 0
    inward = jnp.where(known, -jnp.sign(change) * grad / jnp.where(known, speed, 1) * size, jnp.inf)
    return Edges(*((x.reshape(free.shape)) for x in (speed / jnp.where(size > 0, size, 1), inward)))
