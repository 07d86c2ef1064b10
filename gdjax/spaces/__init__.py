"""Parameter spaces: where each parameter lives, and the map from free numbers to what the loss sees.

``minimize(loss, params, space={"sigma": Positive(), "weights": Simplex(), "rate": Fixed()})``; what is not named is
free.
"""

from gdjax.spaces.base import Space
from gdjax.spaces.by_leaf import by_leaf
from gdjax.spaces.cholesky import CorrelationCholesky, CovarianceCholesky
from gdjax.spaces.elementwise import Above, Below, Interval, Positive
from gdjax.spaces.held import Fixed, Free, Scaled
from gdjax.spaces.results import Origin
from gdjax.spaces.simplex import Ordered, Simplex, UnitVector
from gdjax.spaces.stack import Stack

__all__ = [
    "Above",
    "Below",
    "CorrelationCholesky",
    "CovarianceCholesky",
    "Fixed",
    "Free",
    "Interval",
    "Ordered",
    "Origin",
    "Positive",
    "Scaled",
    "Simplex",
    "Space",
    "Stack",
    "UnitVector",
    "by_leaf",
]
