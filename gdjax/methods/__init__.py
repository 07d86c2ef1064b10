"""Methods: one file per family, each of which reads like its paper; and the pieces for one of your own.

Derive from `Stepping` for a method that accepts every point, from `Searching` for one that searches along a direction,
and from `Method` for any other; `method` makes the frozen dataclass. See examples/your_own_method.py.
"""

from gdjax.jaxtools.pytrees import pytree_dataclass as method
from gdjax.jaxtools.pytrees import static_field
from gdjax.methods.base import Method, Outcome, Secant, State
from gdjax.methods.searching import Move, Searching
from gdjax.methods.stepping import Stepping

__all__ = ["Method", "Move", "Outcome", "Searching", "Secant", "State", "Stepping", "method", "static_field"]
