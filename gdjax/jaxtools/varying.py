"""Inside `jax.shard_map`: over which axes of the mesh an array may differ, which its type tells.

A loop wants the same type before and after each turn: constants that it begins with must be declared to vary like
what follows from the data.
"""

from collections.abc import Callable
from typing import Any

import jax

Axes = frozenset[Any]


def axes_of(kinds: Any) -> Axes:
    """The axes over which something of some of these types varies."""
    found = [getattr(kind, "manual_axis_type", kind) for kind in kinds]  # as it is called now, and was before
    return frozenset().union(*(getattr(kind, "varying", getattr(kind, "vma", ())) for kind in found))


def axes_after(function: Callable[..., Any], *args: Any) -> Axes:
    """The axes over which some array that ``function`` returns varies. Outside of `jax.shard_map` it is not traced."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return frozenset()
    return axes_of(jax.make_jaxpr(function)(*args).out_avals)


def vary(tree: Any, axes: Axes) -> Any:
    """The same, every leaf declared to vary over ``axes``."""
    if not axes:
        return tree

    def of_leaf(x: Any) -> Any:
        missing = tuple(axes - axes_of([jax.typeof(x)]))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(of_leaf, tree)


def cond(condition: Any, yes: Callable[..., Any], no: Callable[..., Any], *args: Any) -> Any:
    """`jax.lax.cond` of branches of which one may hold constants where the other's results vary."""
    axes = axes_after(lambda *args: (yes(*args), no(*args)), *args)
    alike = lambda branch: branch if not axes else lambda *args: vary(branch(*args), axes)
    return jax.lax.cond(condition, alike(yes), alike(no), *args)
