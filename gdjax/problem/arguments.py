"""How a model takes its parameters: as one pytree, ``model(params, x)``, or as SciPy does, ``model(x, a, b)``."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def one_by_one(p0: Any) -> jax.Array:
    """The start in SciPy's way to call it; whole numbers become floats, as in SciPy. TypeError if it is no array."""
    try:
        return jnp.asarray(p0, jnp.result_type(float))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"p0 must be a list of numbers, for a model with its parameters one by one, model(x, a, b); got {p0!r}. "
            "Named parameters come second, without p0=: curve_fit(model, params, x, y), with model(params, x)"
        ) from error


def check_model(model: Callable[..., Any]) -> None:
    """Raise TypeError if the model takes its parameters one by one, and is not to be called as ``model(params, x)``."""
    try:
        taken = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        return
    names = [p.name for p in taken if p.kind in (0, 1) and p.default is p.empty]
    if len(names) > 2:
        raise TypeError(
            f"the model takes {len(names)} arguments ({', '.join(names)}), but is called as model(params, x) here. For "
            "a model with its parameters one by one give the start by name: curve_fit(model, x, y, p0=[...])"
        )


def names_of_arguments(model: Callable[..., Any], count: int) -> tuple[str, ...] | None:
    """What ``model(x, a, b, c)`` calls its parameters; None if that is not to be seen."""
    try:
        names = [p.name for p in inspect.signature(model).parameters.values() if p.kind in (0, 1)][1:]
    except (TypeError, ValueError):
        return None
    return tuple(names) if len(names) == count else None
