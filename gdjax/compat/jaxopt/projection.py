"""`jaxopt.projection`: projections ``projection(x, hyperparams)`` onto the sets of `gdjax.penalties`, or by optax."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gdjax.compat.jaxopt.absent import Absent, where_to_go
from gdjax.compat.jaxopt.prox import MAKE
from gdjax.penalties import AffineSet, Box, BoxSection, Halfspace, Hyperplane, L1Ball, L2Ball, NonNegative, Simplex
from gdjax.penalties.base import squared_norm
from gdjax.penalties.sets import mixed


def onto(make: Callable[[Any], Any], default: Any = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a projection is that onto the set that ``make`` makes of its hyperparameters.

    These have the name that the function gives them.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        (name,) = list(inspect.signature(function).parameters)[1:]
        made = lambda given: make(default if given is None else given)

        def projection(x: Any, hyperparams: Any = None, **named: Any) -> Any:
            if named and set(named) != {name}:
                raise TypeError(f"{function.__name__} has no argument {next(iter(named))!r}")
            return made(named.get(name, hyperparams)).prox(jax.tree.map(jnp.asarray, x), 1.0)

        projection.__name__ = projection.__qualname__ = function.__name__
        projection.__doc__ = function.__doc__
        MAKE[projection] = made
        return projection

    return decorate


@onto(lambda _: NonNegative())
def projection_non_negative(x: Any, hyperparams: None) -> None:
    """x >= 0."""


@onto(lambda bounds: Box(*bounds))
def projection_box(x: Any, hyperparams: Any) -> None:
    """``lower <= x <= upper``, hyperparams ``(lower, upper)``."""


@onto(lambda unit: Box(0.0, unit), 1.0)
def projection_hypercube(x: Any, unit: Any) -> None:
    """``0 <= x <= unit``."""


@onto(lambda value: Simplex(value), 1.0)
def projection_simplex(x: Any, value: Any) -> None:
    """x >= 0 with the sum ``value``; of a pytree or a matrix the sum of all entries."""


@onto(lambda radius: L1Ball(radius), 1.0)
def projection_l1_ball(x: Any, max_value: Any) -> None:
    """``|x|_1 <= max_value``."""


@onto(lambda radius: L2Ball(radius), 1.0)
def projection_l2_ball(x: Any, max_value: Any) -> None:
    """``|x|_2 <= max_value``; its derivative at 0 is the identity, not NaN."""


@onto(lambda radius: Box(-radius, radius), 1.0)
def projection_linf_ball(x: Any, max_value: Any) -> None:
    """``|x|_inf <= max_value``."""


@onto(lambda hyperparams: Hyperplane(*hyperparams))
def projection_hyperplane(x: Any, hyperparams: Any) -> None:
    """``a . x = b``, hyperparams ``(a, b)``."""


@onto(lambda hyperparams: Halfspace(*hyperparams))
def projection_halfspace(x: Any, hyperparams: Any) -> None:
    """``a . x <= b``, hyperparams ``(a, b)``."""


@onto(lambda hyperparams: AffineSet(*hyperparams))
def projection_affine_set(x: Any, hyperparams: Any) -> None:
    """``A x = b``, hyperparams ``(A, b)``."""


def projection_box_section(x: Any, hyperparams: Any, check_feasible: bool = False) -> Any:
    """``lower <= x <= upper`` and ``w . x = c``, hyperparams ``(lower, upper, w, c)``."""
    return section(hyperparams).prox(x, jnp.ones(()))


def section(hyperparams: Any) -> BoxSection:
    """The set of `projection_box_section`."""
    lower, upper, w, c = hyperparams
    return BoxSection(w, c, lower, upper)


MAKE[projection_box_section] = section


def projection_l1_sphere(x: Any, value: Any = 1.0) -> Any:
    """``|x|_1 = value``."""
    with mixed():
        return optax.projections.projection_l1_sphere(x, value)


def projection_l2_sphere(x: Any, value: Any = 1.0) -> Any:
    """``|x|_2 = value``; of 0, from which all of the sphere is as far, the point with equal entries."""
    leaves = jax.tree.leaves(x)
    squares, size = squared_norm(x), sum(leaf.size for leaf in leaves)
    here = squares > 0
    scale = value / jnp.sqrt(jnp.where(here, squares, 1))
    middle = value / size**0.5
    return jax.tree.map(
        lambda leaf: jnp.where(here, leaf * scale.astype(leaf.real.dtype), middle).astype(leaf.dtype), x
    )


def __getattr__(name: str) -> Absent:
    """A projection that jaxopt has and gdjax has not: used, it says where to go."""
    return where_to_go("projection", name)
