"""Line searches: one file each, scalar state machines that are fed one (value, slope) per evaluation.

For one of your own: the protocol `LineSearch`, the records `Trial` and `Verdict`, and the two conditions of Wolfe,
`decreases` and `flattens`. See examples/your_own_pieces.py.
"""

from gdjax.line_search.backtracking import Backtracking
from gdjax.line_search.base import LineSearch, Trial, Verdict, decreases, flattens
from gdjax.line_search.hager_zhang import HagerZhang
from gdjax.line_search.more_thuente import MoreThuente
from gdjax.line_search.weak_wolfe import WeakWolfe

__all__ = [
    "Backtracking",
    "HagerZhang",
    "LineSearch",
    "MoreThuente",
    "Trial",
    "Verdict",
    "WeakWolfe",
    "decreases",
    "flattens",
]
