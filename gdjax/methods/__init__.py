"""Methods: one file a family, each reading like its paper; and what one of your own is made of.

`Stepping` for methods that accept every point, `Searching` for those that search along a direction, `Method` for all
else; `method` makes the frozen dataclass. See examples/your_own_method.py.
"""

from gdjax.jaxtools.pytrees import pytree_dataclass as method
from gdjax.jaxtools.pytrees import static_field
from gdjax.methods.base import Method, Outcome, Secant, State
from gdjax.methods.searching import Move, Searching
from gdjax.methods.stepping import Stepping

__all__ = ["Method", "Move", "Outcome", "Searching", "Secant", "State", "Stepping", "method", "static_field"]
