"""A penalty on the user's parameters as one on free numbers: where these are the parameters themselves."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import is_concrete
from gdjax.penalties.by_leaf import ByLeaf, by_leaf, completed, ends
from gdjax.penalties.sets import Box
from gdjax.spaces.base import Space
from gdjax.spaces.chart import Chart
from gdjax.spaces.held import Held, Scaled
from gdjax.spaces.models import is_floating, opened


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
    given, branches = branches_of(penalty, chart, tree)
    if not all(ends(part) for part, *_ in branches):
        return penalty  # its check says what is wrong with it
    found = [None if part is None else of_branch(part, *rest) for part, *rest in branches]
    return by_leaf(jax.tree.unflatten(given, found)) if any(part is not None for part in found) else None


def branches_of(penalty: Any, chart: Chart, tree: Any) -> tuple[Any, list[tuple[Any, list[Space], list[str], Any]]]:
    """The structure of penalties by leaf; and each, with spaces, names and parameters of the branch that it acts on."""
    given = completed(penalty.penalties if isinstance(penalty, ByLeaf) else penalty, tree)
    parts, treedef = jax.tree.flatten(given, is_leaf=ends)  # type: tuple[list[Any], Any]
    branches: list[Any] = treedef.flatten_up_to(tree)
    spaces, names, found = iter(chart.spaces), iter(chart.names), []
    for part, branch in zip(parts, branches, strict=True):
        count = len(jax.tree.leaves(branch))
        found.append((part, [next(spaces) for _ in range(count)], [next(names) for _ in range(count)], branch))
    return treedef, found


def held_within(penalty: Any, chart: Chart, params: Any) -> Chart:
    """The chart, NaN where what is held is outside of the bounds that a penalty has for it: no descent can meet these.

    Args:
        penalty: the user's.
        chart: of one problem, or of many: then what is held may have an axis of problems in front.
        params: of one problem.

    Raises:
        ValueError: if all of it is known to be outside.
    """
    tree = opened(params)
    if penalty is None or not any(s.is_fixed for s in chart.spaces):
        return chart
    alone = ends(penalty) and not isinstance(penalty, ByLeaf)
    branches = [(penalty, chart.spaces, chart.names, tree)] if alone else branches_of(penalty, chart, tree)[1]
    found = [s for part, *rest in branches for s in spaces_within(part, *rest)]
    return Chart(found, chart.start, chart.treedef)


def spaces_within(penalty: Any, spaces: list[Space], names: list[str], branch: Any) -> list[Space]:
    """The same of the spaces of a branch."""
    leaves = jax.tree.leaves(branch)
    bounded = getattr(penalty, "is_box", False) and any(s.is_fixed for s in spaces)
    if not (bounded and all(is_floating(x) and not jnp.iscomplexobj(x) for x in leaves)):
        return spaces
    sides = map(jax.tree.leaves, penalty.bounds(jax.tree.map(jnp.asarray, branch)))
    found = []
    for s, name, x, low, high in zip(spaces, names, leaves, *sides, strict=True):
        if s.is_fixed:
            value = jnp.asarray(s.to_user(None))
            outside = (value < low) | (value > high)
            own = outside.reshape(*outside.shape[: value.ndim - jnp.ndim(x)], -1).any(-1)  # of each problem
            if is_concrete(own) and own.all():
                raise ValueError(
                    f"{name} is held outside of the bounds that {penalty!r} has for it: nothing meets them"
                )
            s = s if is_concrete(own) and not own.any() else Held(jnp.where(outside, jnp.nan, value))
        found.append(s)
    return found


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
