"""Many small arrays as few: a vector for each dtype. To hand over an array costs a kernel, and a visit to Python."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field


@pytree_dataclass
class Packed:
    """A pytree of arrays as `pack` leaves it; `unpack` is the inverse."""

    vectors: dict[str, Any]  # the small leaves of each dtype behind one another
    large: list[Any]  # the others
    most: float = static_field(math.inf)  # numbers of a small one


def pack(tree: Any, most: float = math.inf) -> Packed:
    """The leaves of up to ``most`` numbers behind one another; random keys as their data."""
    parts: dict[str, list[jax.Array]] = {}
    leaves = jax.tree.leaves(without_keys(tree))
    for leaf in leaves:
        if leaf.size <= most:
            parts.setdefault(leaf.dtype.name, []).append(leaf.reshape(-1))
    vectors = {name: jnp.concatenate(small) for name, small in parts.items()}
    return Packed(vectors, [leaf for leaf in leaves if leaf.size > most], most)


def unpack(packed: Packed, like: Any) -> Any:
    """A pytree like ``like`` (of shapes and dtypes); what axes the vectors have in front, its leaves have, too."""
    leaves, treedef = jax.tree.flatten(like)
    large = iter(packed.large)

    def take(slot: Slot) -> Any:
        if slot.name is None:
            return wrapped(next(large), slot.key)
        rows = packed.vectors[slot.name][..., slot.begin : slot.end]
        return wrapped(rows.reshape((*rows.shape[:-1], *slot.shape)), slot.key)

    return jax.tree.unflatten(treedef, map(take, slots(tuple([(x.shape, x.dtype) for x in leaves]), packed.most)))


class Slot(NamedTuple):
    """Where a leaf is."""

    name: str | None  # of the dtype, whose vector holds it; None: it is a large one
    begin: int
    end: int
    shape: tuple[int, ...]
    key: Any  # the generator of random keys; None for numbers


@functools.lru_cache(maxsize=256)
def slots(kinds: tuple[tuple[tuple[int, ...], Any], ...], most: float) -> list[Slot]:
    """Of leaves of these shapes and dtypes, in their order."""
    used, found = dict[str, int](), []
    for shape, dtype in kinds:
        leaf = jax.ShapeDtypeStruct(shape, dtype)
        data = as_data(leaf)
        name = data.dtype.name if data.size <= most else None
        begin = used.get(name or "", 0)
        if name is not None:
            used[name] = begin + data.size
        found.append(Slot(name, begin, begin + data.size, data.shape, kind_of_key(leaf) if is_key(leaf) else None))
    return found


def wrapped(x: Any, key: Any) -> Any:
    """Numbers, or random keys of which they are the data."""
    return x if key is None else jax.random.wrap_key_data(x, impl=key)


def is_key(leaf: Any) -> bool:
    """Whether an array holds random keys, of which NumPy and XLA know nothing."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def without_keys(tree: Any) -> Any:
    """The pytree with the data of random keys in their place."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def as_data(like: Any) -> Any:
    """A pytree of shapes and dtypes with those of the data of random keys in their place."""
    return jax.eval_shape(without_keys, like) if any(map(is_key, jax.tree.leaves(like))) else like


def with_keys(tree: Any, like: Any) -> Any:
    """The inverse of `without_keys`, for a pytree of the dtypes of ``like``."""
    if not any(map(is_key, jax.tree.leaves(like))):
        return tree
    return jax.tree.map(lambda x, kind: wrapped(x, kind_of_key(kind) if is_key(kind) else None), tree, like)


def kind_of_key(leaf: Any) -> Any:
    """The generator that random keys of this dtype are for."""
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), leaf)
    return found[0]


def zeros(like: Any, *axes: int) -> Any:
    """NumPy's zeros of these shapes and dtypes, with further axes in front; for keys their data's."""
    return jax.tree.map(lambda x: np.zeros((*axes, *x.shape), x.dtype), as_data(like))


HANDED = 32  # times that arrays of the same shapes are handed over one by one, before a program is compiled for that


class Handing:
    """Hands NumPy arrays of the same shapes to the device."""

    def __init__(self, *_: Any) -> None:
        self.times, self.together = 0, jax.jit(lambda leaves: leaves)

    def __call__(self, leaves: list[Any]) -> list[Any]:
        """The arrays."""
        self.times += 1
        return jax.device_put(leaves) if self.times <= HANDED else self.together(leaves)


_handings = functools.lru_cache(maxsize=64)(Handing)


def on_device(tree: Any) -> Any:
    """`jax.device_put` of NumPy arrays, which takes 10 us for each; if they come often, as one compiled call."""
    leaves, treedef = jax.tree.flatten(tree)
    kinds = tuple([(x.shape, x.dtype) for x in leaves])
    return jax.tree.unflatten(treedef, _handings(kinds)(leaves))
