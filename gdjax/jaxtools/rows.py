"""Some rows of data, wherever they are."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from gdjax.jaxtools.pytrees import named_leaves
from gdjax.vectors.vector import explicit_place


def count_rows(name: str, data: Any) -> int:
    """The number of rows that all arrays have.

    Raises:
        ValueError, TypeError: naming the first one that has none, or another number.
    """
    leaves = named_leaves(name, data)
    if not leaves:
        raise TypeError(f"{name} holds no array")
    for leaf_name, leaf in leaves:
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(f"{leaf_name} is a {type(leaf).__name__}, not an array with rows along its first axis")
        if len(leaf.shape) == 0 or leaf.shape[0] == 0:
            raise ValueError(f"{leaf_name} has shape {tuple(leaf.shape)}: there are no rows along its first axis")
        if leaf.shape[0] != leaves[0][1].shape[0]:
            raise ValueError(
                f"{leaf_name} has {leaf.shape[0]} rows, {leaves[0][0]} has {leaves[0][1].shape[0]}: they must be alike"
            )
    return int(leaves[0][1].shape[0])


def rows_at(data: Any, places: jax.Array) -> Any:
    """The rows at these different places along the first axes."""
    return jax.tree.map(lambda x: x.at[places].get(unique_indices=True, **kept_place(x, places.shape[0])), data)


def rows_from(data: Any, start: Any, count: int) -> Any:
    """So many rows behind one another."""

    def cut(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        if kept_place(x, count)["out_sharding"] is None:
            return jax.lax.dynamic_slice_in_dim(x, start, count)
        return rows_at(x, start + jnp.arange(count))

    return jax.tree.map(cut, data)


def kept_place(x: jax.Array, count: int) -> dict[str, Any]:
    """Of an array on explicit axes of a mesh, where some of its rows are to be: JAX does not decide that by itself.

    Where the rows were, if each device gets as many; else whole on each.
    """
    place = explicit_place(x)
    if place is None:
        return dict(mode="clip", out_sharding=None)
    axes = place.spec[0]
    shares = math.prod(place.mesh.shape[name] for name in ([axes] if isinstance(axes, str) else axes or ()))
    spec = PartitionSpec(axes if count % shares == 0 else None, *place.spec[1:])
    return dict(mode="clip", out_sharding=NamedSharding(place.mesh, spec))


def beside(tree: Any, data: Any) -> Any:
    """The arrays whole on each device, if data (not traced) are on explicit axes of a mesh: JAX asks for this."""
    meshes = [x.sharding.mesh for x in jax.tree.leaves(data) if explicit_place(x) is not None]
    if not meshes:
        return tree
    whole = NamedSharding(meshes[0], PartitionSpec())
    put = lambda x: x if explicit_place(x := jnp.asarray(x)) is not None else jax.device_put(x, whole)
    return jax.tree.map(put, tree)
