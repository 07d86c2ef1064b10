"""The vector algebra, and the way from parameters to a vector.

A vector is a pytree of arrays, whatever the parameters are. A method that only uses these functions works for all.
"""

from gdjax.vectors.vector import (
    Scalar,
    Vector,
    add,
    add_scaled,
    apply,
    divide,
    dot,
    dots,
    max_abs,
    multiply,
    negative,
    scale,
    subtract,
    where,
    zeros_like,
)

__all__ = [
    "Scalar",
    "Vector",
    "add",
    "add_scaled",
    "apply",
    "divide",
    "dot",
    "dots",
    "max_abs",
    "multiply",
    "negative",
    "scale",
    "subtract",
    "where",
    "zeros_like",
]
