"""`jaxopt.prox`: proximal operators ``prox(x, hyperparams, scaling)``, those of `gdjax.penalties`.

`as_penalty` gives a solver the penalty itself, if it knows the operator: then values are known too.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.penalties import L1, L2, ElasticNet, SquaredL2
from gdjax.penalties.base import total

MAKE: dict[Callable[..., Any], Callable[[Any], Any]] = {}


@pytree_dataclass
class NonNegativeElasticNet:
    """``l1 sum x + l2 / 2 sum x^2`` for x >= 0."""

    l1: Any
    l2: Any

    def value(self, x: Any) -> Any:
        """inf where an entry is negative."""
        below = total([jnp.maximum(-leaf, 0) for leaf in jax.tree.leaves(x)])
        return jnp.where(below > 0, jnp.inf, ElasticNet(self.l1, self.l2).value(x))

    def prox(self, x: Any, step: Any) -> Any:
        """That without the sign, and then no negative entry."""
        return jax.tree.map(jax.nn.relu, ElasticNet(self.l1, self.l2).prox(x, step))


@pytree_dataclass
class Prox:
    """A penalty of which only the proximal operator is known, as jaxopt's solvers are given it."""

    hyperparams: Any
    function: Callable[..., Any] = static_field(None)

    def prox(self, x: Any, step: Any) -> Any:
        """``function(x, hyperparams, step)``."""
        return self.function(x, self.hyperparams, step)


def as_penalty(function: Callable[..., Any], hyperparams: Any) -> Any:
    """The penalty that a prox belongs to; None for `prox_none`."""
    make = MAKE.get(function)
    return Prox(hyperparams, function) if make is None else make(hyperparams)


def of(make: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a prox is that of the penalty that ``make`` makes of its hyperparameters."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def prox(x: Any, hyperparams: Any = None, scaling: Any = 1.0) -> Any:
            return make(hyperparams).prox(jax.tree.map(jnp.asarray, x), scaling)

        prox.__name__ = prox.__qualname__ = function.__name__
        prox.__doc__ = function.__doc__
        MAKE[prox] = make
        return prox

    return decorate


def strength(given: Any) -> Any:
    """1 by default."""
    return 1.0 if given is None else given


def pair(hyperparams: Any) -> tuple[Any, Any]:
    """``l1`` and ``l1 * gamma`` for a prefix pytree or numbers, of ``(l1, gamma)``."""
    l1, gamma = (1.0, 1.0) if hyperparams is None else hyperparams
    one, other = len(jax.tree.leaves(l1)), len(jax.tree.leaves(gamma))
    if one == other:
        return l1, jax.tree.map(lambda a, b: a * b, l1, gamma)
    if other == 1:
        return l1, jax.tree.map(lambda a: a * gamma, l1)
    return l1, jax.tree.map(lambda b: l1 * b, gamma)


def prox_none(x: Any, hyperparams: Any = None, scaling: Any = 1.0) -> Any:
    """No penalty: x."""
    return x


MAKE[prox_none] = lambda _: None


@of(lambda l1reg: L1(strength(l1reg)))
def prox_lasso() -> None:
    """Of ``l1reg |x|_1``."""


@of(lambda l1reg: NonNegativeElasticNet(strength(l1reg), 0.0))
def prox_non_negative_lasso() -> None:
    """Of ``l1reg |x|_1`` for x >= 0."""


@of(lambda hyperparams: ElasticNet(*pair(hyperparams)))
def prox_elastic_net() -> None:
    """Of ``l1reg (|x|_1 + gamma / 2 |x|^2)``, hyperparams ``(l1reg, gamma)``."""


@of(lambda l2reg: L2(strength(l2reg)))
def prox_group_lasso() -> None:
    """Of ``l2reg |x|_2``, all of x one group; its derivative at 0 is 0, not NaN."""


@of(lambda l2reg: SquaredL2(strength(l2reg)))
def prox_ridge() -> None:
    """Of ``l2reg / 2 |x|^2``: ``x / (1 + scaling l2reg)``, which is what jaxopt computes, too."""


@of(lambda l2reg: NonNegativeElasticNet(0.0, strength(l2reg)))
def prox_non_negative_ridge() -> None:
    """Of ``l2reg / 2 |x|^2`` for x >= 0."""


def make_prox_from_projection(projection: Callable[..., Any]) -> Callable[..., Any]:
    """The projection as a prox: it does not depend on the step."""

    def prox(x: Any, hyperparams: Any = None, scaling: Any = 1.0) -> Any:
        return projection(x, hyperparams)

    MAKE[prox] = lambda hyperparams: as_constraint(projection, hyperparams)
    return prox


@pytree_dataclass
class Projection:
    """A set of which only the projection is known."""

    hyperparams: Any
    function: Callable[..., Any] = static_field(None)

    def prox(self, x: Any, step: Any) -> Any:
        """``function(x, hyperparams)``."""
        return self.function(x, self.hyperparams)


def as_constraint(projection: Callable[..., Any], hyperparams: Any) -> Any:
    """The set that a projection belongs to."""
    make = MAKE.get(projection)
    return Projection(hyperparams, projection) if make is None else make(hyperparams)
