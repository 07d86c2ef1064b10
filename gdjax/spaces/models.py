"""Whole models as parameters: which of their leaves are numbers to fit, and how a model that is no pytree becomes one.

- An `equinox.Module`: its floating arrays are parameters, as for Equinox itself; Python's numbers are settings (unless
  there are no floating arrays in it).
- A `flax.nnx.Module` is split and merged, so that what it shares stays shared: its `nnx.Param` are parameters, random
  keys, counters and statistics are data.
- A dataclass, registered with JAX or not, or any other pytree with attributes: its floating numbers and arrays.

In dicts, lists and tuples every leaf is a parameter, and has to be floating: 1 for 1.0 is a mistake there.
"""

import copy
import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.tree_util.register_pytree_with_keys_class
class Opened:
    """An object that is no pytree, as its attributes."""

    def __init__(self, template: Any, parts: dict[str, Any]) -> None:
        self.template, self.parts = template, parts

    def tree_flatten_with_keys(self) -> tuple[Any, Any]:
        """The attributes by their names."""
        keyed = [(jax.tree_util.GetAttrKey(name), part) for name, part in self.parts.items()]
        return keyed, (Template(self.template), tuple(self.parts))

    @classmethod
    def tree_unflatten(cls, static: Any, parts: Any) -> "Opened":
        """Back."""
        template, names = static
        return cls(template.thing, dict(zip(names, parts, strict=True)))

    def closed(self) -> Any:
        """The object again, with these attributes."""
        if is_nnx(self.template):
            from flax import nnx

            graph, params = nnx.split(self.template, nnx.Param, ...)[:2]
            nnx.replace_by_pure_dict(params, {name: self.parts[name] for name in self.parts if name != REST})
            return nnx.merge(graph, params, self.parts[REST])
        made = copy.copy(self.template)
        for name, part in self.parts.items():
            object.__setattr__(made, name, part)
        return made


REST = "held"  # of an nnx model: what is no nnx.Param


@dataclasses.dataclass(frozen=True)
class Template:
    """An object to put attributes into; equal to those that differ in nothing else."""

    thing: Any

    @property
    def key(self) -> Any:
        """What tells it from others: the graph of an nnx model, the class of a dataclass."""
        if not is_nnx(self.thing):
            return type(self.thing)
        from flax import nnx

        return nnx.graphdef(self.thing)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Template) and (self.thing is other.thing or self.key == other.key)

    def __hash__(self) -> int:
        return hash(type(self.thing))


def is_nnx(x: Any) -> bool:
    """Whether it is a model of flax.nnx, which is not imported for this."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(x, nnx.Module)


def is_equinox(x: Any) -> bool:
    """Whether it is an Equinox module."""
    equinox = sys.modules.get("equinox")
    return equinox is not None and isinstance(x, equinox.Module)


def is_plain_dataclass(x: Any) -> bool:
    """Whether it is a dataclass that JAX takes for a leaf."""
    if not dataclasses.is_dataclass(x) or isinstance(x, type) or hasattr(x, "__array__"):
        return False
    return jax.tree_util.all_leaves([x])


def is_model(x: Any) -> bool:
    """Whether it is one of these, rather than a function."""
    return is_nnx(x) or is_equinox(x) or (dataclasses.is_dataclass(x) and not isinstance(x, type))


def opened(params: Any) -> Any:
    """The parameters with models that are no pytrees as such."""

    def open_one(x: Any) -> Any:
        if is_nnx(x):
            from flax import nnx

            _, params, *rest = nnx.split(x, nnx.Param, ...)
            return Opened(x, {**nnx.to_pure_dict(params), REST: rest[0]})
        if is_plain_dataclass(x):
            return Opened(x, {f.name: opened(getattr(x, f.name)) for f in dataclasses.fields(x)})
        return x

    is_closed = lambda x: is_nnx(x) or is_plain_dataclass(x)
    if not any(map(is_closed, jax.tree.leaves(params, is_leaf=is_closed))):
        return params
    return jax.tree.map(open_one, params, is_leaf=is_closed)


def closed(tree: Any) -> Any:
    """The inverse of `opened`."""
    is_opened = lambda x: isinstance(x, Opened)
    if not any(map(is_opened, jax.tree.leaves(tree, is_leaf=is_opened))):
        return tree
    close = lambda x: Opened(x.template, closed(x.parts)).closed() if is_opened(x) else x
    return jax.tree.map(close, tree, is_leaf=is_opened)


def call_unchanged(function: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
    """``function(params, *args, **kwargs)``.

    Raises:
        ValueError: if it changes what a model of flax.nnx holds besides its parameters, which would be lost in silence.
    """
    before = held_by_nnx(params)
    out = function(params, *args, **kwargs)
    for (name, was), (_, now) in zip(before, held_by_nnx(params), strict=False):
        if was is not now:
            raise ValueError(
                f"the loss changes {name} of the model, which is no nnx.Param: the change would be lost. Batch norm: "
                "normalise by running averages (model.eval()), or use nnx.LayerNorm or nnx.GroupNorm. Dropout: hand it "
                "a key in each call, as in model(x, rngs=nnx.Rngs(key)) of a loss(params, batch, key) for gdjax.train"
            )
    return out


def held_by_nnx(params: Any) -> list[tuple[str, Any]]:
    """What models of flax.nnx hold besides their parameters, with names."""
    found: list[tuple[str, Any]] = []
    for x in filter(is_nnx, jax.tree.leaves(params, is_leaf=is_nnx)):
        from flax import nnx

        rest = nnx.to_pure_dict(nnx.split(x, nnx.Param, ...)[-1])
        paths = jax.tree_util.tree_leaves_with_path(rest)
        found += [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]
    return found


def which_are_numbers(tree: Any) -> list[bool]:
    """Whether each leaf of opened parameters is one to fit, rather than a setting, a function, or data."""
    flags: list[bool] = []
    for top in jax.tree.leaves(tree, is_leaf=lambda x: is_equinox(x) or isinstance(x, Opened)):
        paths = jax.tree_util.tree_leaves_with_path(top)
        if is_equinox(top):
            arrays = [is_floating(x) and hasattr(x, "shape") for _, x in paths]
            flags += arrays if any(arrays) else [is_floating(x) for _, x in paths]
        elif isinstance(top, Opened):
            held = jax.tree_util.GetAttrKey(REST)
            data = is_nnx(top.template)
            flags += [is_floating(x) and not (data and path[0] == held) for path, x in paths]
        else:
            flags += [True] * len(paths)
    attributes = [any(isinstance(k, ATTRIBUTES) for k in path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    floating = map(is_floating, jax.tree.leaves(tree))
    return [flag and (f or not a) for flag, a, f in zip(flags, attributes, floating, strict=True)]


def is_plain(params: Any) -> bool:
    """Whether every leaf is to be fitted, or is to be complained of; so there is no model to take apart."""
    tree = opened(params)
    return tree is params and all(which_are_numbers(tree))


ATTRIBUTES = (jax.tree_util.GetAttrKey, jax.tree_util.FlattenedIndexKey)  # of a pytree with attributes


def is_floating(x: Any) -> bool:
    """Whether it is a floating or complex number or array."""
    if isinstance(x, bool | int) or not isinstance(x, float | complex | np.ndarray | np.generic | jax.Array):
        return False
    return bool(jnp.issubdtype(getattr(x, "dtype", type(x)), jnp.inexact))
