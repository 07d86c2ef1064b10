"""A penalty on the user's parameters as one on free numbers: where these are the parameters themselves."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.penalties.by_leaf import ByLeaf, by_leaf, completed, ends
from gdjax.penalties.sets import Box
from gdjax.spaces.base import Space
from gdjax.spaces.chart import Chart
from gdjax.spaces.held import Scaled
from gdjax.spaces.models import opened


def penalty_of_free(penalty: Any, chart: Chart, params: Any) -> Any:
    """The penalty that the descent sees.

    A penalty of what is held is a constant, and left out. Bounds on a parameter in another unit are in that unit.

    Raises:
        ValueError: if it acts on a parameter that lives in a space of its own.
    """
    if penalty is None:
        return None
    tree = opened(params)
    if ends(penalty) and not isinstance(penalty, ByLeaf):
        return of_branch(penalty, chart.spaces, chart.names, tree)
    given = completed(penalty.penalties if isinstance(penalty, ByLeaf) else penalty, tree)
    parts, treedef = jax.tree.flatten(given, is_leaf=ends)  # type: tuple[list[Any], Any]
    if not all(map(ends, parts)):
        return penalty  # its check says what is wrong with it
    branches: list[Any] = treedef.flatten_up_to(tree)
    spaces, names, found = iter(chart.spaces), iter(chart.names), []
    for part, branch in zip(parts, branches, strict=True):
        count = len(jax.tree.leaves(branch))
        own, named = [next(spaces) for _ in range(count)], [next(names) for _ in range(count)]
        found.append(None if part is None else of_branch(part, own, named, branch))
    return by_leaf(jax.tree.unflatten(treedef, found)) if any(part is not None for part in found) else None


def of_branch(penalty: Any, spaces: list[Space], names: list[str], branch: Any) -> Any:
    """The penalty of a branch of the parameters; None if all of it is held."""
    if all(s.is_fixed for s in spaces):
        return None
    mapped = [(name, s) for name, s in zip(names, spaces, strict=True) if s.is_map and not s.is_fixed]
    if not mapped:
        return penalty
    only_scaled = all(isinstance(s, Scaled) for _, s in mapped)
    if only_scaled and getattr(penalty, "is_box", False):
        sides = [jax.tree.leaves(side) for side in penalty.bounds(jax.tree.map(jnp.asarray, branch))]
        treedef: Any = jax.tree.structure(branch)
        lower, upper = ([s.to_free(x) for s, x in zip(spaces, side, strict=True)] for side in sides)
        flipped = [jnp.asarray(s.scale) < 0 if isinstance(s, Scaled) else False for s in spaces]
        low = [jnp.where(f, b, a) for f, a, b in zip(flipped, lower, upper, strict=True)]
        high = [jnp.where(f, a, b) for f, a, b in zip(flipped, lower, upper, strict=True)]
        return Box(jax.tree.unflatten(treedef, low), jax.tree.unflatten(treedef, high))
    name, space = mapped[0]
    raise ValueError(
        f"the penalty {type(penalty).__name__} acts on {name}, which lives in {space!r}: its prox is known for the "
        "parameter itself, not for the free numbers behind it. Give penalties by leaf, to the others "
        '(penalty={"weights": L1(0.1)}), or add to the loss what is smooth'
    )
