"""Where the descents of `multistart` begin: given, drawn by a sampler, or spread over a box."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.jaxtools.pytrees import named_leaves
from gdjax.penalties.sets import Box
from gdjax.spaces.base import Space
from gdjax.spaces.by_leaf import spaces_of
from gdjax.spaces.models import closed, is_model, opened, which_are_numbers

ENDS = ("lower", "upper")


def make_starts(starts: Any, num_starts: int | None, key: Any, space: Any = None) -> Any:
    """Params with a leading axis of starts.

    Args:
        starts: such params, or a `Result` of many; or a function of a random key to one start; or a `Box` with finite
            ends of the shapes of params, or a pytree of such.
        num_starts: how many, of a sampler or in a box.
        key: a JAX random key, or a whole number that makes one.
        space: the option of that name: of a box, what is inside is drawn from.

    Raises:
        TypeError, ValueError: if there is no ``num_starts`` where there must be one, or there is where there must not;
            if an end of a box is missing or infinite.
    """
    boxes = jax.tree.leaves(starts, is_leaf=is_box)
    boxed = any(map(is_box, boxes))
    if not ((callable(starts) and not is_model(starts)) or boxed):
        if num_starts is not None:
            raise ValueError("num_starts is for a sampler or a box; these starts have an axis of their own")
        return starts.params if isinstance(starts, Result) else starts
    if isinstance(num_starts, bool) or not isinstance(num_starts, int | np.integer) or num_starts < 1:
        what = "box" if boxed else "sampler"
        raise ValueError(f"a {what} needs num_starts, a number of starts; got {num_starts!r}")
    key = jax.random.key(key) if isinstance(key, int) else key
    if not boxed:
        return drawn(starts, jax.random.split(key, int(num_starts)))
    if not all(map(is_box, boxes)):
        raise TypeError("starts must be a box, or a pytree of boxes alone: one for each leaf of params")
    return spread_out(starts, int(num_starts), key, space)


def drawn(sampler: Any, keys: Any) -> Any:
    """A start for each key; of models, their arrays and numbers to fit."""
    static: list[Any] = []

    def one(key: Any) -> list[Any]:
        tree = opened(sampler(key))
        leaves, treedef = jax.tree.flatten(tree)
        varies = [flag or hasattr(x, "shape") for flag, x in zip(which_are_numbers(tree), leaves, strict=True)]
        static[:] = [(x, v) for x, v in zip(leaves, varies, strict=True)], treedef
        return [x for x, v in zip(leaves, varies, strict=True) if v]

    arrays = iter(jax.vmap(one)(keys))
    leaves, treedef = static
    return closed(jax.tree.unflatten(treedef, [next(arrays) if varies else x for x, varies in leaves]))


def is_box(x: Any) -> bool:
    """Whether it is a `Box`."""
    return isinstance(x, Box)


def spread_out(boxes: Any, count: int, key: Any, space: Any = None) -> Any:
    """A Latin hypercube: each entry has one start in each of ``count`` equal parts of its range, in random order.

    M. D. McKay, R. J. Beckman and W. J. Conover, A comparison of three methods for selecting values of input variables
    in the analysis of output from a computer code, Technometrics 21 (1979).
    """
    lower, upper = (jax.tree.map(lambda box, end=end: getattr(box, end), boxes, is_leaf=is_box) for end in ENDS)
    like: Any = jax.tree.structure(lower)
    ends = [*named_leaves("lower", lower), *named_leaves("upper", upper)]
    if like != jax.tree.structure(upper) or not all(np.isfinite(x).all() for _, x in ends):
        raise ValueError(
            f"a box to draw starts from has two finite ends, each like params; got {lower!r} and {upper!r}"
        )
    named, treedef = named_leaves("params", lower), jax.tree.structure(lower)
    spaces = spaces_of(space, lower)
    sides = [of_one(s, *pair, high) for s, pair, high in zip(spaces, named, jax.tree.leaves(upper), strict=True)]
    keys = jax.random.split(key, len(sides))

    def draw(key: Any, low: Any, high: Any) -> jax.Array:
        dtype = jnp.result_type(float, low, high)
        low, high = jnp.broadcast_arrays(jnp.asarray(low, dtype), jnp.asarray(high, dtype))
        shape, low, high = (count, *low.shape), low[None], high[None]
        order, within = jax.random.split(key)
        part = jnp.argsort(jax.random.uniform(order, shape), axis=0).astype(dtype)
        share = (part + jax.random.uniform(within, shape, dtype)) / count
        return jnp.clip(low + share * (high - low), low, high)

    found = [s.brought_inside(draw(k, *side)) for s, k, side in zip(spaces, keys, sides, strict=True)]
    return jax.tree.unflatten(treedef, found)


def of_one(space: Space, name: str, lower: Any, upper: Any) -> tuple[Any, Any]:
    """What of the box of one leaf is inside its space; ValueError if nothing is."""
    low, high = space.cut(np.asarray(lower), np.asarray(upper))
    if np.any(low > high) and not np.any(np.asarray(lower) > np.asarray(upper)):
        raise ValueError(f"the box from which {name} is drawn, {lower} to {upper}, lies outside of {space!r}")
    return low, high
