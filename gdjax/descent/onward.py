"""Where a descent goes on that has come to rest where it should not."""

from collections.abc import Callable
from typing import Any, NamedTuple

from gdjax.descent.result import Result


class Onward(NamedTuple):
    """A better point."""

    params: Any
    evals: Any  # evaluations that were made to find it
    steepest: Any  # a lower bound of the largest gradient norm on the way there


Escape = Callable[[Result], Onward | None]  # of the result where it rests; None: it stays there
