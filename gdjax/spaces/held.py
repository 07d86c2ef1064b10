"""Spaces that are no maps to speak of: free, fixed, on another scale."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import is_concrete, pytree_dataclass, require, static_field, strong
from gdjax.spaces.base import Space, refuse


@pytree_dataclass
class Free(Space):
    """All numbers: the parameter is what the descent works on. What no space is named for is free."""

    is_map = False
    takes_complex = True

    def to_user(self, free: Any) -> Any:
        """The same."""
        return free

    def to_free(self, user: Any) -> Any:
        """The same."""
        return user

    def log_det(self, free: jax.Array) -> jax.Array:
        """0."""
        return jnp.zeros((), free.dtype)

    def grad_to_user(self, free: Any, grad: Any) -> Any:
        """The same."""
        return grad


@pytree_dataclass
class Fixed(Space):
    """What stays as it was given. It is data: a new value compiles nothing, and the solution has derivatives by it.

    Args:
        where: None for the whole leaf. Or a mask of its entries, True where they stay, whose values are known (not
            traced). Or a function of the leaf's path, ``"layers[0].weight"``, to whether it stays; the others are free.

    >>> import gdjax
    >>> loss = lambda p: (p["a"] - 1) ** 2 + (p["b"] - p["a"]) ** 2
    >>> found = gdjax.minimize(loss, {"a": 3.0, "b": 0.0}, space={"a": Fixed()})
    >>> float(found.params["a"]), round(float(found.params["b"]), 3)
    (3.0, 3.0)
    """

    where: Any = static_field(None)

    is_fixed = True
    takes_complex = True

    def __post_init__(self) -> None:
        where = self.where
        if where is None or callable(where):
            return
        if not is_concrete(where) and not isinstance(where, np.bool_ | bool | list | tuple):
            raise TypeError(f"Fixed takes nothing, a mask of bools, or a function of a path; got {where!r}")
        mask = np.asarray(where)
        if mask.dtype != bool:
            raise TypeError(f"the mask of Fixed must be of bools, True where entries stay; got dtype {mask.dtype}")
        object.__setattr__(self, "where", Mask(mask))

    def of_path(self, path: str) -> Space:
        """What it is for one leaf."""
        if not callable(self.where):
            return self
        return Fixed() if self.where(path) else Free()

    def check(self, name: str, start: Any) -> None:
        """A mask must have the shape of the leaf."""
        if isinstance(self.where, Mask) and self.where.array.shape not in ((), np.shape(start)):
            raise ValueError(f"{name} has shape {np.shape(start)}, its mask in Fixed {self.where.array.shape}")

    def bind(self, start: Any) -> Space:
        """With the values that stay."""
        if self.where is None:
            return held(start)
        mask = np.broadcast_to(self.where.array, np.shape(start))
        return Held(start) if mask.all() else Free() if not mask.any() else Partly(start, Mask(mask))

    def to_user(self, free: Any) -> Any:
        """Only with the values that stay: see `bind`."""
        raise TypeError("Fixed alone has no values; bind(start) gives it those")

    def to_free(self, user: Any) -> Any:
        """See `to_user`."""
        return self.to_user(user)

    def grad_to_user(self, free: Any, grad: Any) -> Any:
        """See `to_user`."""
        return self.to_user(free)


def held(leaf: Any) -> "Held":
    """A leaf that stays: an array as data, and so is a floating number; anything else selects a program."""
    if isinstance(leaf, float | complex):
        return Held(strong(leaf))
    return Held(leaf) if hasattr(leaf, "shape") else Setting(leaf)


class Mask:
    """An array of bools that can be compared: part of what selects a program."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.key = array.shape, array.tobytes()

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Mask) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return np.array2string(self.array, threshold=6)


@pytree_dataclass
class Held(Space):
    """A leaf that stays, of any kind."""

    value: Any
    is_fixed = True

    def to_user(self, free: Any) -> Any:
        """The value."""
        return self.value

    def to_free(self, user: Any) -> Any:
        """Nothing."""
        return None

    def grad_to_user(self, free: Any, grad: Any) -> Any:
        """Nothing is asked of it: 0 of what is floating, None of anything else."""
        floating = hasattr(self.value, "dtype") and jnp.issubdtype(self.value.dtype, jnp.inexact)
        return jnp.zeros_like(self.value) if floating or isinstance(self.value, float | complex) else None


@pytree_dataclass
class Setting(Held):
    """What is no array, and selects a program: a function, a size, a switch."""

    value: Any = static_field(None)


@pytree_dataclass
class Partly(Space):
    """An array of which some entries stay; the others are one free vector."""

    value: Any
    mask: Any = static_field(None)
    takes_complex = True

    def to_user(self, free: jax.Array) -> jax.Array:
        """The free entries in their places."""
        return jnp.asarray(self.value, free.dtype).at[~self.mask.array].set(free)

    def to_free(self, user: jax.Array) -> jax.Array:
        """The free entries."""
        return jnp.asarray(user)[~self.mask.array]

    def fixed(self, shape: tuple[int, ...]) -> np.ndarray:
        """The mask."""
        return self.mask.array

    def log_det(self, free: jax.Array) -> jax.Array:
        """0."""
        return jnp.zeros((), free.dtype)

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """0 for the entries that stay."""
        return jnp.zeros(self.mask.array.shape, grad.dtype).at[~self.mask.array].set(grad)


@pytree_dataclass
class Scaled(Space):
    """A parameter in a unit of its own, ``u = scale z``: volts beside nanoseconds.

    Args:
        scale: a number, or an array like the parameter; not 0. By default the size of the start, entry by entry (of
            entries that are 0, the largest of the leaf).

    >>> import gdjax
    >>> loss = lambda p: (p["tau"] / 1e-9 - 3) ** 2 + (p["volts"] - 2) ** 2
    >>> found = gdjax.minimize(loss, {"tau": 1e-9, "volts": 1.0}, space={"tau": Scaled(1e-9)})
    >>> print(f"{float(found.params['tau']):.3g}")
    3e-09
    """

    scale: Any = None
    takes_complex = True

    def __post_init__(self) -> None:
        require("must be finite and not 0", self.scale, lambda s: np.isfinite(s) & (s != 0), "scale")

    def bind(self, start: Any) -> "Scaled":
        """With the size of the start, if no scale was given."""
        if self.scale is not None:
            return self
        size = jnp.abs(jax.lax.stop_gradient(jnp.asarray(start)))
        largest = jnp.max(size, initial=0)
        return Scaled(jnp.where(size > 0, size, jnp.where(largest > 0, largest, 1)))

    def check(self, name: str, start: Any) -> None:
        """The scale must fit the leaf."""
        shape = np.shape(start)
        try:
            fits = np.broadcast_shapes(np.shape(0 if self.scale is None else self.scale), shape) == shape
        except ValueError:
            fits = False
        if not fits:
            refuse(name, self, start, f"its scale has shape {np.shape(self.scale)}, the leaf {shape}")

    def factor(self, free: Any) -> jax.Array:
        """The scale, in the dtype of what it multiplies."""
        return jnp.asarray(self.scale).astype(free.dtype)

    def to_user(self, free: jax.Array) -> jax.Array:
        """``scale z``."""
        return self.factor(free) * free

    def to_free(self, user: jax.Array) -> jax.Array:
        """``u / scale``."""
        user = jnp.asarray(user)
        return user / self.factor(user)

    def log_det(self, free: jax.Array) -> jax.Array:
        """``sum log |scale|``."""
        return jnp.sum(jnp.broadcast_to(jnp.log(jnp.abs(self.factor(free))), free.shape))

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """``df/du = df/dz / scale``."""
        return grad / self.factor(grad)
