"""What a user gives as ``method=``, made a method of gdjax."""

from typing import Any

import optax

from gdjax import other_names
from gdjax.methods.base import Method
from gdjax.methods.choice import with_constraints, with_penalty
from gdjax.methods.optax import Optax


def as_method(method: Any, penalty: Any = None, constraints: Any = None) -> Method:
    """A gdjax method as it is, an optax optimiser wrapped.

    Raises:
        TypeError: for anything else, with what to write instead; ValueError: if it takes no penalty, or no constraints.
    """
    if constraints is not None:
        return with_constraints(method if method is None else as_method(method), penalty)
    if penalty is not None:
        return with_penalty(as_method(method), penalty)
    if isinstance(method, optax.GradientTransformation | optax.MultiSteps):
        return Optax(method)
    if isinstance(method, Method):
        return method
    hint = other_names.for_method(method) if isinstance(method, str) else ""
    if isinstance(method, str) and not hint and hasattr(optax, method.lower()):
        hint = f"; for optax's write method=optax.{method.lower()}(...)"
    elif callable(method):
        hint = "; it is a class or function: call it first, with its hyperparameters"
    raise TypeError(f"method must be a gdjax method or an optax optimiser, got {method!r}{hint}")
