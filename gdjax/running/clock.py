"""Where the time of a descent goes when it runs from Python."""

import dataclasses
import time

from gdjax.descent.result import Timing


@dataclasses.dataclass
class Clock:
    """Where the time of a descent goes."""

    began: float
    compiling: float = 0.0  # seconds until the first piece was done
    running: float = 0.0  # in later pieces
    pace: float = 0.0  # trips in a second there

    def enter(self, trips: int, began: float) -> None:
        """A piece is done. The first one may include compiling, which says nothing about the pace."""
        now = time.perf_counter()
        if not self.compiling:
            self.compiling = now - self.began
        else:
            self.running += now - began
            self.pace = trips / (now - began)

    @property
    def seconds(self) -> float:
        """Seconds since the call."""
        return time.perf_counter() - self.began

    def timing(self) -> Timing:
        """The `Timing` of the whole descent."""
        seconds = self.seconds
        return Timing(seconds, self.compiling, seconds - self.compiling - self.running)
