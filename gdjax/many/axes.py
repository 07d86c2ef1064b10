"""Where many problems have their axes: what `jax.vmap` calls ``in_axes``, leaf by leaf."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.packing import is_key
from gdjax.jaxtools.pytrees import is_concrete, is_traceable, named_leaves
from gdjax.jaxtools.scalar_kernels import for_cpu


class Axis(NamedTuple):
    """An axis of problems in the place of a leaf; no pytree of the user's is one."""

    number: Any


class Input(NamedTuple):
    """A leaf of params or args."""

    name: str
    leaf: Any
    axis: int | None  # of problems; None: shared


def spread_axes(in_axes: Any, trees: tuple[Any, ...]) -> list[Input]:
    """The leaves of (params, *args) with their axes."""
    given = tuple(in_axes) if isinstance(in_axes, tuple | list) else (in_axes,) * len(trees)
    if len(given) != len(trees):
        raise ValueError(
            f"in_axes must be an axis or a tuple of {len(trees)}, one for params and one for each of the data that "
            f"follow; got {in_axes!r}"
        )
    inputs = []
    for i, (axes, tree) in enumerate(zip(given, trees, strict=True)):
        name = f"args[{i - 1}]" if i else "params"
        spread = lambda axis, below: jax.tree.map(lambda _: Axis(axis), below)
        try:
            spread_out = jax.tree.map(spread, axes, tree, is_leaf=lambda axis: axis is None)
        except ValueError:
            leaves = ", ".join(leaf_name for leaf_name, _ in named_leaves(name, tree)[:8])
            raise ValueError(
                f"in_axes does not fit {name}: it has {axes!r} there, and must have one axis (or None) for all of it, "
                f"or one for each of {leaves}"
            ) from None
        found = jax.tree.leaves(spread_out, is_leaf=lambda x: isinstance(x, Axis))
        for (leaf_name, leaf), (axis,) in zip(named_leaves(name, tree), found, strict=True):
            if not (axis is None or (isinstance(axis, int) and not isinstance(axis, bool))):
                raise TypeError(f"in_axes must hold axes (whole numbers) or None, got {axis!r} for {leaf_name}")
            inputs.append(Input(leaf_name, leaf, axis if is_traceable(leaf) else None))
    return inputs


def count_problems(inputs: list[Input]) -> int:
    """Length of the axes of problems.

    Raises:
        ValueError: naming the leaf, if there is no such axis, if it is empty, or if it is not as long as the first.
    """
    first, problems = None, 0
    for x in inputs:
        if x.axis is None:
            continue
        shape = jnp.shape(x.leaf)
        if not -len(shape) <= x.axis < len(shape):
            raise ValueError(
                f"{x.name} has shape {shape} and no axis {x.axis} of problems; with None in its place in in_axes, "
                "all problems share it"
            )
        if first is None:
            first, problems = x, shape[x.axis]
        if shape[x.axis] != problems:
            raise ValueError(
                f"{x.name} holds {shape[x.axis]} problems (axis {x.axis} of shape {shape}), {first.name} {problems}"
            )
    if first is None:
        raise ValueError("nothing has an axis of problems: all of in_axes is None; gdjax.minimize solves one problem")
    if problems == 0:
        raise ValueError(f"there are no problems: {first.name} has shape {jnp.shape(first.leaf)}")
    return problems


def note_shared(error: Exception, inputs: list[Input], problems: int) -> None:
    """Say which shared leaves look as if each problem had its own, in case that this is why a function fails."""
    alike = [x for x in inputs if x.axis is None and is_traceable(x.leaf) and jnp.shape(x.leaf)[:1] == (problems,)]
    if alike:
        listed = ", ".join(f"{x.name} of shape {jnp.shape(x.leaf)}" for x in alike[:4]) + ", ..." * (len(alike) > 4)
        error.add_note(
            f"gdjax: there are {problems} problems, and in_axes says that all of them share {listed}. If each has its "
            "own, say so by 0 in its place in in_axes, which goes (params, *data), such as in_axes=(0, None)"
        )


def problems_first(leaf: Any, axis: int) -> Any:
    """The leaf with the axis of problems in front: on a CPU a NumPy array if its numbers are known."""
    stays = lambda x: not for_cpu() or is_key(x) or len(x.devices()) > 1
    if not is_concrete(leaf) or (isinstance(leaf, jax.Array) and stays(leaf)):
        return jnp.moveaxis(leaf, axis, 0)
    return np.moveaxis(np.asarray(leaf), axis, 0)
