"""A penalty of its own for each parameter."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.penalties.base import has_value, is_penalty
from gdjax.penalties.sets import NONE_ACTIVE, Box, narrowed
from gdjax.vectors.vector import Scalar, real_dtype


def by_leaf(penalties: Any) -> "ByLeaf":
    """A penalty of its own, or None, for each leaf (array) or branch of the parameters.

    `gdjax.minimize` also takes the pytree itself: ``penalty={"slope": L1(1.0)}``.

    Args:
        penalties: a pytree of penalties and None, like the parameters or a prefix of them. Keys that a dict leaves out
            count as None.

    Raises:
        TypeError: if something in it is neither a penalty nor None.

    >>> import gdjax, jax.numpy as jnp
    >>> from gdjax.penalties import L1
    >>> loss = lambda w: 0.5 * (w["slope"] - 3) ** 2 + 0.5 * (w["intercept"] - 3) ** 2
    >>> lasso = by_leaf({"slope": L1(1.0)})
    >>> w = gdjax.minimize(loss, {"slope": 0.0, "intercept": 0.0}, penalty=lasso).params
    >>> round(float(w["slope"]), 3), round(float(w["intercept"]), 3)
    (2.0, 3.0)
    """
    for penalty in jax.tree.leaves(penalties, is_leaf=ends):
        if not ends(penalty):
            raise TypeError(f"a dict or other pytree of penalties holds penalties and None; this one holds {penalty!r}")
    return ByLeaf(penalties)


def ends(x: Any) -> bool:
    """Whether ``x`` is a penalty or None."""
    return x is None or is_penalty(x)


def completed(penalties: Any, x: Any) -> Any:
    """The penalties, with None for the entries of dicts in x that have none.

    Raises:
        ValueError: on a penalty for an entry that is not there.
    """
    if ends(penalties) or not (isinstance(penalties, dict) and isinstance(x, dict)):
        return penalties
    unknown = [key for key in penalties if key not in x]
    if unknown:
        raise ValueError(f"penalty has an entry {unknown[0]!r}, but params has not: it has {', '.join(map(repr, x))}")
    return type(penalties)((key, completed(penalties.get(key), x[key])) for key in x)


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the penalty in errors about it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError):
            raise
        raise type(error)(f"penalty{name}, for params{name}: {error}") from error


@pytree_dataclass
class ByLeaf:
    """The sum of penalties of different leaves; made by `by_leaf`."""

    penalties: Any

    def split(self, x: Any) -> tuple[list[tuple[Any, Any]], Any]:
        """Each penalty with its branch of x; and the structure of the penalties."""
        penalties, treedef = jax.tree.flatten(completed(self.penalties, x), is_leaf=ends)  # type: tuple[list[Any], Any]
        try:
            return list(zip(penalties, treedef.flatten_up_to(x), strict=True)), treedef
        except ValueError as error:
            raise ValueError(f"the penalties are not a pytree like params: {error}") from None

    def parts(self, x: Any) -> list[tuple[Any, Any]]:
        """Each penalty that is not None, with its branch of x."""
        return [(penalty, branch) for penalty, branch in self.split(x)[0] if penalty is not None]

    def named(self, x: Any) -> list[tuple[str, Any, Any]]:
        """The same with the name of the branch."""
        paths = jax.tree_util.tree_leaves_with_path(completed(self.penalties, x), is_leaf=ends)
        pairs = zip(paths, self.split(x)[0], strict=True)
        return [(jax.tree_util.keystr(path), p, branch) for (path, p), (_, branch) in pairs if p is not None]

    def value(self, x: Any) -> Scalar:
        """The sum of the values of all penalties."""
        dtype = real_dtype(x)
        values = []
        for name, penalty, branch in self.named(x):
            with naming(name):
                values.append(jnp.asarray(penalty.value(branch)).astype(dtype))
        return sum(values, jnp.zeros((), dtype))

    @property
    def value_is_known(self) -> bool:
        """Whether the value of every penalty is known."""
        return all(p is None or has_value(p) for p in jax.tree.leaves(self.penalties, is_leaf=ends))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Each part by its own prox."""
        pairs, treedef = self.split(x)
        return jax.tree.unflatten(treedef, [branch if p is None else p.prox(branch, step) for p, branch in pairs])

    @property
    def is_box(self) -> bool:
        """Whether there are only boxes and leaves without a penalty."""
        penalties = jax.tree.leaves(self.penalties, is_leaf=ends)
        return all(p is None or getattr(p, "is_box", False) for p in penalties)

    def bounds(self, x: Any) -> tuple[Any, Any]:
        """Lower and upper bounds like x, if there are only boxes."""
        pairs, treedef = self.split(x)
        sides = [(Box() if p is None else p).bounds(branch) for p, branch in pairs]
        lower, upper = (jax.tree.unflatten(treedef, [side[k] for side in sides]) for k in (0, 1))
        return lower, upper

    def narrowed(self, x: Any) -> "ByLeaf":
        """The same with bounds in the dtypes of x."""
        pairs, treedef = self.split(x)
        return ByLeaf(jax.tree.unflatten(treedef, [narrowed(p, branch) for p, branch in pairs]))

    def check(self, x: Any) -> None:
        """Raise ValueError for penalties that do not fit x, as far as numbers are known."""
        for name, p, branch in self.named(x):
            with naming(name):
                if hasattr(p, "check"):
                    p.check(branch)
                if getattr(p, "is_box", False):
                    p.bounds(branch)  # raises for bounds of another shape

    def describe(self, x: Any) -> str:
        """What each penalty says about its part; bounds that hold nothing are left out."""
        described = [(name, p.describe(b)) for name, p, b in self.named(x) if hasattr(p, "describe")]
        told = [f"params{name}: {words}" for name, words in described if words != NONE_ACTIVE]
        return "; ".join(told) if told or not described else NONE_ACTIVE

    def __repr__(self) -> str:
        return repr(self.penalties)
