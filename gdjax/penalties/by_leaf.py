"""A penalty for each parameter: sums by leaf."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.penalties.base import is_penalty
from gdjax.penalties.sets import Box
from gdjax.pytrees import pytree_dataclass
from gdjax.vector import Scalar, real_dtype


def by_leaf(penalties: Any) -> "ByLeaf":
    """Another penalty, or None, for each leaf or branch of the parameters.

    Args:
        penalties: a pytree like the parameters, which may stop short of their leaves, with penalties and None.

    Raises:
        TypeError: if something in it is neither.

    >>> import gdjax, jax.numpy as jnp
    >>> from gdjax.penalties import L1
    >>> loss = lambda w: 0.5 * (w["slope"] - 3) ** 2 + 0.5 * (w["intercept"] - 3) ** 2
    >>> lasso = by_leaf({"slope": L1(1.0), "intercept": None})
    >>> w = gdjax.minimize(loss, {"slope": 0.0, "intercept": 0.0}, penalty=lasso).params
    >>> round(float(w["slope"]), 3), round(float(w["intercept"]), 3)
    (2.0, 3.0)
    """
    for penalty in jax.tree.leaves(penalties, is_leaf=ends):
        if not ends(penalty):
            raise TypeError(f"by_leaf takes a pytree of penalties and None, got {penalty!r}")
    return ByLeaf(penalties)


def ends(x: Any) -> bool:
    """Whether ``x`` is a penalty or None."""
    return x is None or is_penalty(x)


@pytree_dataclass
class ByLeaf:
    """The sum of penalties of different leaves; made by `by_leaf`."""

    penalties: Any

    def parts(self, x: Any) -> list[tuple[Any, Any]]:
        """Each penalty with its branch of x."""
        penalties, treedef = jax.tree.flatten(self.penalties, is_leaf=ends)  # type: tuple[list[Any], Any]
        try:
            return list(zip(penalties, treedef.flatten_up_to(x), strict=True))
        except ValueError as error:
            raise ValueError(f"the penalties of by_leaf are no pytree like params: {error}") from None

    def join(self, branches: list[Any]) -> Any:
        """The pytree of branches."""
        return jax.tree.unflatten(jax.tree.structure(self.penalties, is_leaf=ends), branches)

    def value(self, x: Any) -> Scalar:
        """The sum."""
        dtype = real_dtype(x)
        values = [jnp.asarray(penalty.value(branch)).astype(dtype) for penalty, branch in self.parts(x) if penalty]
        return sum(values, jnp.zeros((), dtype))

    def prox(self, x: Any, step: Scalar) -> Any:
        """Each its own."""
        return self.join([p.prox(branch, step) if p else branch for p, branch in self.parts(x)])

    @property
    def is_box(self) -> bool:
        """Whether there are only boxes and leaves without a penalty."""
        penalties = jax.tree.leaves(self.penalties, is_leaf=ends)
        return all(p is None or getattr(p, "is_box", False) for p in penalties)

    def bounds(self, x: Any) -> tuple[Any, Any]:
        """Lower and upper bounds like x, if there are only boxes."""
        pairs = [(p or Box()).bounds(branch) for p, branch in self.parts(x)]
        lower, upper = zip(*pairs, strict=True)
        return self.join(list(lower)), self.join(list(upper))

    def describe(self, x: Any) -> str:
        """Each in words."""
        described = [(type(p).__name__, p.describe(b)) for p, b in self.parts(x) if hasattr(p, "describe")]
        return "; ".join(f"{name}: {words}" for name, words in described)
