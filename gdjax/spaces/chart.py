"""The parameters of a problem as free numbers and back: every leaf by the map of its own space."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import (
    Static,
    is_concrete,
    is_traceable,
    merge,
    named_leaves,
    pytree_dataclass,
    split,
    static_field,
)
from gdjax.jaxtools.remembered import remembered
from gdjax.problem.problem import check_number
from gdjax.spaces.adopted import Adopted
from gdjax.spaces.base import Edges, Space
from gdjax.spaces.by_leaf import spaces_of
from gdjax.spaces.held import Held, Setting
from gdjax.spaces.models import closed, opened, which_are_numbers


@pytree_dataclass
class Chart:
    """How free numbers, a pytree like the parameters with None for what is held, become parameters."""

    spaces: list[Space]  # of each leaf of the opened parameters, with what it took from the start
    start: list[Any]  # the free numbers at first, of each leaf; None where it is held
    treedef: Any = static_field(None)  # of the opened parameters

    def of_leaves(self, leaves: list[Any]) -> Any:
        """The user's object with these leaves."""
        return closed(jax.tree.unflatten(self.treedef, leaves))

    def free_tree(self, leaves: list[Any]) -> Any:
        """Free numbers of each leaf (None where it is held) as a pytree like the parameters."""
        return jax.tree.unflatten(self.treedef, leaves)

    def free_leaves(self, free: Any) -> list[Any]:
        """The inverse."""
        return self.treedef.flatten_up_to(free)

    def moving(self, free: Any) -> list[tuple[Space, Any]]:
        """The space and the free numbers of each leaf that is not held."""
        return [(s, z) for s, z in zip(self.spaces, self.free_leaves(free), strict=True) if not s.is_fixed]

    def numbers(self, free: Any) -> list[Any]:
        """The parameters, as the list of the leaves that are not held: differentiable."""
        return [s.to_user(z) for s, z in self.moving(free)]

    def to_user(self, free: Any) -> Any:
        """The user's object."""
        return self.of_numbers(self.numbers(free))

    def of_numbers(self, numbers: list[Any]) -> Any:
        """The same of these `numbers`."""
        moving = iter(numbers)
        return self.of_leaves([s.to_user(None) if s.is_fixed else next(moving) for s in self.spaces])

    def to_free(self, params: Any) -> Any:
        """The free numbers of an object like the parameters."""
        leaves = self.treedef.flatten_up_to(opened(params))
        found = [None if s.is_fixed else s.to_free(jnp.asarray(x)) for s, x in zip(self.spaces, leaves, strict=True)]
        return self.free_tree(found)

    def check(self, params: Any) -> None:
        """Raise ValueError, naming the leaf, if an object like the parameters is not inside, or what is held is other.

        As far as its numbers are known.
        """
        for name, s, x in zip(self.names, self.spaces, self.treedef.flatten_up_to(opened(params)), strict=True):
            held: Any = s.to_user(None) if s.is_fixed else None
            if is_concrete(x) and not s.is_fixed:
                s.check(name, x)
            elif is_concrete(x) and is_concrete(held) and not np.array_equal(x, held):
                raise ValueError(f"{name} is held at {held}, and cannot become {x}")

    def pull_back(self, free: Any, grad: Any) -> Any:
        """The gradient by the free numbers, from one by the parameters in `jax.grad`'s convention."""
        leaves = self.treedef.flatten_up_to(opened(grad))
        moving = [g for s, g in zip(self.spaces, leaves, strict=True) if not s.is_fixed]
        numbers, pull = jax.vjp(self.numbers, free)
        return pull([jnp.asarray(g).astype(x.dtype).reshape(x.shape) for g, x in zip(moving, numbers, strict=True)])[0]

    def grad_to_user(self, free: Any, grad: Any) -> Any:
        """The gradient by the parameters, see `gdjax.spaces.base.Space.grad_to_user`."""
        triples = zip(self.spaces, self.free_leaves(free), self.free_leaves(grad), strict=True)
        return self.of_leaves([s.grad_to_user(z, g) for s, z, g in triples])

    def edges(self, free: Any, grad: Any) -> list[Edges | None]:
        """Where each leaf is in its space."""
        four = zip(self.spaces, self.free_leaves(free), self.free_leaves(grad), self.start, strict=True)
        return [None if s.is_fixed else s.edges(z, g, z0) for s, z, g, z0 in four]

    def flats(self, free: Any, grad: Any, slopes: list[Any] | None) -> list[Edges | None]:
        """Where the map of each leaf is flat; by ``slopes`` of the parameters that move, if they are known."""
        seen = iter(slopes or ())
        five = zip(self.spaces, self.free_leaves(free), self.free_leaves(grad), self.start, strict=True)
        by = lambda s, z, g, z0: s.flats(z, g, z0) if slopes is None else s.seen(z, next(seen), z0)
        return [None if s.is_fixed else by(s, z, g, z0) for s, z, g, z0 in five]

    def inward(self, points: tuple[Any, Any, Any]) -> jax.Array | None:
        """Of (free numbers, gradient, start) what `Space.inward` says of each leaf, as one vector.

        What a map that is flat to the last digit hides counts as 0.
        """
        leaves = zip(self.spaces, *map(self.free_leaves, points), strict=True)
        found = [s.inward(z, g, z0) for s, z, g, z0 in leaves if not s.is_fixed]
        parts = [jnp.where(jnp.isfinite(x), x, 0).ravel() for x in found if x is not None]
        return jnp.concatenate(parts) if parts else None

    @property
    def settings(self) -> list[str]:
        """Names of the numbers that a model was given as settings, but for whole ones of an Equinox module."""
        pairs = zip(self.names, self.spaces, strict=True)
        return [name for name, s in pairs if isinstance(s, Setting) and type(s.value) in (int, float, complex)]

    def spread(self, shared: list[bool], shape: tuple[int, ...]) -> "Chart":
        """With axes of problems, of this shape, in front of what has none, leaf by leaf."""

        def wide(part: Any) -> Any:
            return jax.tree.map(lambda x: broadcast(x, shape) if is_traceable(x) else x, part)

        spaces = [wide(s) if all_share else s for s, all_share in zip(self.spaces, shared, strict=True)]
        start = [wide(z) if all_share else z for z, all_share in zip(self.start, shared, strict=True)]
        return Chart(spaces, start, self.treedef)

    @property
    def names(self) -> list[str]:
        """Of the leaves."""
        marked = jax.tree.unflatten(self.treedef, list(range(len(self.spaces))))
        return [name for name, _ in named_leaves("params", marked)]


def broadcast(x: Any, shape: tuple[int, ...]) -> Any:
    """``x`` with axes in front, of which no copy is made where its numbers are known."""
    if is_concrete(x) and not jnp.issubdtype(jnp.result_type(x), jax.dtypes.extended):
        return np.broadcast_to(np.asarray(x), (*shape, *np.shape(x)))
    return jnp.broadcast_to(x, (*shape, *jnp.shape(x)))


def chart_of(space: Any, params: Any) -> tuple[Chart, Any]:
    """The chart of one problem, and its start as free numbers.

    Raises:
        TypeError, ValueError: if a space is none, is named for what is not there, or the start is not inside of it.
    """
    tree = opened(params)
    spaces, flags, named = spaces_of(space, tree), which_are_numbers(tree), named_leaves("params", tree)
    bound = list(map(bind, spaces, flags, named))
    check_some(bound)
    chart = Chart(bound, starts(bound, [x for _, x in named]), jax.tree.structure(tree))
    return chart, chart.free_tree(chart.start)


def starts(spaces: list[Space], leaves: list[Any]) -> list[Any]:
    """The free numbers of each leaf; None where it is held.

    Of our own maps in one program: as operations one by one they would be compiled one by one. Somebody else's may look
    at the numbers.
    """
    ours = [not (s.is_fixed or isinstance(s, Adopted)) for s in spaces]
    arrays, static = split([(s, x) for s, x, our in zip(spaces, leaves, ours, strict=True) if our])
    found = iter(_starts(static, arrays))
    theirs = lambda s, x: None if s.is_fixed else s.to_free(jnp.asarray(x))
    return [next(found) if our else theirs(s, x) for s, x, our in zip(spaces, leaves, ours, strict=True)]


@remembered(static=1)
def _bound(static: Static, arrays: list[Any], leaf: Any) -> tuple[Space, Any]:
    """The space of a leaf of many problems, with what it takes from their starts, and their free numbers."""
    space = merge(arrays, static)
    own = lambda x: (bound := space.bind(x), None if bound.is_fixed else bound.to_free(x))
    return jax.vmap(own)(jnp.asarray(leaf))


@remembered(static=1)
def _starts(static: Static, arrays: list[Any]) -> list[Any]:
    """The same of arrays, of our own maps."""
    return [s.to_free(jnp.asarray(x)) for s, x in merge(arrays, static)]


def chart_of_many(space: Any, tree: Any, shared: list[bool]) -> tuple[Chart, Any]:
    """The same of many problems: opened parameters with an axis of problems in front of each leaf not ``shared``.

    Spaces that take something from the start have axes of problems too.
    """
    spaces, flags, named = spaces_of(space, tree), which_are_numbers(tree), named_leaves("params", tree)
    pairs = [bind_many(*four) for four in zip(spaces, flags, named, shared, strict=True)]
    check_some([s for s, _ in pairs])
    chart = Chart([s for s, _ in pairs], [z for _, z in pairs], jax.tree.structure(tree))
    return chart, chart.free_tree(chart.start)


def check_some(spaces: list[Space]) -> None:
    """Raise ValueError if nothing moves."""
    if all(s.is_fixed for s in spaces):
        raise ValueError(
            "all of params is held: nothing is left to minimise over. It needs a floating array, or number"
        )


def bind_many(space: Space, is_number: bool, named: tuple[str, Any], all_share: bool) -> tuple[Space, Any]:
    """The space of a leaf, and its free numbers."""
    name, leaf = named
    if all_share or not is_number:
        bound = bind(space, is_number, named)
        return bound, None if bound.is_fixed else bound.to_free(jnp.asarray(leaf))
    check_kind(space, name, leaf)
    if is_concrete(leaf) and space.is_fixed:
        space.check(name, leaf[0])
    arrays, static = split(space)
    found, free = _bound(static, arrays, leaf)
    if free is not None and is_concrete(free):
        # A start that is not inside is the affair of its own problem, unless no other is.
        inside = np.isfinite(np.asarray(free)).reshape(len(free), -1).all(axis=1)
        space.check(name, leaf[int(np.argmax(inside))])
    return found, free


def bind(space: Space, is_number: bool, named: tuple[str, Any]) -> Space:
    """The space of a leaf with what it takes from the start, which is checked."""
    name, leaf = named
    if not is_number:
        return Held(leaf) if hasattr(leaf, "shape") else Setting(leaf)
    check_kind(space, name, leaf)
    if is_concrete(leaf):
        space.check(name, leaf)
    return space.bind(leaf)


def check_kind(space: Space, name: str, leaf: Any) -> None:
    """Raise TypeError unless a leaf that moves is of real numbers, or of complex ones if the space is for these."""
    if space.is_fixed:
        return
    check_number(name, leaf)
    if jnp.iscomplexobj(leaf) and not space.takes_complex:
        raise TypeError(f"{name} is complex; {space!r} is for real numbers: make real and imaginary parts parameters")
