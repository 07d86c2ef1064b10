"""Which space each leaf of the parameters lives in."""

import re
from collections.abc import Iterator
from typing import Any

import jax

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.spaces.base import Space
from gdjax.spaces.foreign import as_space, is_space
from gdjax.spaces.held import Fixed, Free
from gdjax.spaces.models import which_are_numbers

Steps = tuple[str, ...]


@pytree_dataclass
class ByLeaf:
    """A space for each leaf; made by `by_leaf`."""

    spaces: Any
    otherwise: Any = Free()

    def __repr__(self) -> str:
        return f"by_leaf({self.spaces!r})"


def by_leaf(spaces: Any, otherwise: Any = None) -> ByLeaf:
    """A space of its own for each leaf (array) or branch of the parameters; what is not named is free.

    ``gdjax.minimize`` also takes the pytree itself: ``space={"sigma": Positive()}``.

    Args:
        spaces: a dict by name, or a pytree, of spaces. A name is a key, an attribute, or a path to what is further
            inside: ``{"layers[0]": Fixed(), "noise.sigma": Positive()}``. A space named for a branch is that of each
            leaf in it.
        otherwise: the space of all that is not named, such as ``Fixed()``. Default: `Free`.

    >>> import gdjax, jax.numpy as jnp
    >>> from gdjax.spaces import Interval, Positive
    >>> loss = lambda p: jnp.log(p["sigma"]) + 2 / p["sigma"] ** 2 + jnp.cos(p["angle"])
    >>> space = by_leaf({"sigma": Positive(), "angle": Interval(0.0, 6.0)})
    >>> found = gdjax.minimize(loss, {"sigma": 1.0, "angle": 1.0}, space=space)
    >>> round(float(found.params["sigma"]), 2), round(float(found.params["angle"]), 2)
    (2.0, 3.14)
    """
    return ByLeaf(spaces, Free() if otherwise is None else as_space(otherwise))


def spaces_of(space: Any, tree: Any) -> list[Space]:
    """The space of each leaf, in their order.

    Raises:
        TypeError: for what is no space, or one named for a leaf that is no floating array; ValueError: if one is named
            for what is not there.
    """
    space = Free() if space is None else space
    space = space if is_space(space) or isinstance(space, ByLeaf | type) else by_leaf(space)
    paths = [steps_to(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    if not isinstance(space, ByLeaf):
        return [own(as_space(space), path) for path in paths]
    moves = which_are_numbers(tree)
    named, unused = [(steps, as_space(s)) for steps, s in entries(space.spaces)], set[Steps]()
    found: list[Space] = [space.otherwise] * len(paths)
    for steps, chosen in sorted(named, key=lambda pair: len(pair[0])):  # what is named closest counts
        inside = [i for i, path in enumerate(paths) if path[: len(steps)] == steps]
        unused |= set() if inside else {steps}
        for i in inside:
            found[i] = chosen
            if paths[i] == steps and not (moves[i] or isinstance(chosen, Fixed | Free)):
                raise TypeError(f"params.{in_words(steps)} is held, being no floating array; {chosen!r} is for one")
    if unused:
        if paths == [()]:
            raise ValueError(
                f"space has an entry {in_words(min(unused))!r}, but params is one array, without names: give one space "
                "for it, such as gdjax.spaces.Fixed(mask), or gdjax.spaces.Stack([...]) with one for each entry"
            )
        names = ", ".join(map(in_words, paths[:8])) + ", ..." * (len(paths) > 8)
        raise ValueError(f"space has an entry {in_words(min(unused))!r}, but params has not: it has {names}")
    return [own(s, path) for s, path in zip(found, paths, strict=True)]


def own(space: Space, path: Steps) -> Space:
    """A space for one leaf: of `Fixed` by a predicate, what that says."""
    return space.of_path(in_words(path)) if isinstance(space, Fixed) else space


def entries(spaces: Any, before: Steps = ()) -> Iterator[tuple[Steps, Any]]:
    """Each space with the steps to it; None is left out.

    Raises:
        TypeError: for what is no space, nor a dict or pytree of such.
    """
    if spaces is None:
        return
    if is_space(spaces) or isinstance(spaces, type):
        yield before, spaces
    elif isinstance(spaces, dict):
        for name, inner in spaces.items():
            yield from entries(inner, (*before, *(parsed(name) if isinstance(name, str) else (str(name),))))
    else:
        children = jax.tree_util.tree_flatten_with_path(spaces, is_leaf=lambda x: x is not spaces)[0]
        if [path for path, _ in children] in ([], [()]):
            as_space(spaces)  # raises
        for path, inner in children:
            yield from entries(inner, (*before, *steps_to(path)))


def parsed(name: str) -> Steps:
    """The steps of a path, "layers[0].weight"."""
    return tuple(re.findall(r"[^.\[\]'\"]+", name)) or (name,)


def steps_to(path: tuple[Any, ...]) -> Steps:
    """A path of JAX's as steps."""
    names = [next((getattr(k, n) for n in ("key", "name", "idx") if hasattr(k, n)), k) for k in path]
    return tuple(step for name in names for step in parsed(str(name)))


def in_words(path: Steps) -> str:
    """The path as one writes it."""
    return "".join(f"[{s}]" if s.isdigit() else f".{s}" for s in path).removeprefix(".")
