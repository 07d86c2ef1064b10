"""The numbers of a method: a whole number given for a float becomes one, and floats come in the dtype of the loss."""

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.hoisted import Hoisted
from gdjax.jaxtools.pytrees import is_traceable


def with_floats(part: Any) -> Any:
    """A method, or a part of one, with each whole number that was given for a float made a float.

    ``GradientDescent(1)`` is then the same program as ``GradientDescent(1.0)``. The annotation of the field decides:
    ``max_trials: int`` stays whole.
    """
    if not dataclasses.is_dataclass(part):
        return part
    new = copy.copy(part)
    for field in dataclasses.fields(part):
        x = getattr(part, field.name)
        if dataclasses.is_dataclass(x) and not callable(x):
            object.__setattr__(new, field.name, with_floats(x))  # the class is frozen
        elif is_whole(x) and "float" in str(field.type):
            object.__setattr__(new, field.name, float(x) if isinstance(x, int) else x.astype(float))
    return new


def is_whole(x: Any) -> bool:
    """Whether a hyperparameter is a whole number, of Python's, NumPy's or JAX's."""
    is_int = isinstance(x, int) and not isinstance(x, bool)
    return is_int or (hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.integer))


def in_dtype(method: Any, dtype: Any) -> Any:
    """The method with its floats as scalars of this dtype; what was traced stays as it is."""

    def convert(x: Any) -> Any:
        is_float = is_traceable(x) and jnp.issubdtype(jnp.result_type(x), jnp.floating)
        return jnp.asarray(x).astype(dtype) if is_float else x

    return jax.tree.map(convert, method, is_leaf=lambda x: isinstance(x, Hoisted))
