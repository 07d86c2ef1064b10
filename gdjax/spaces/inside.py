"""Leave the ends of spaces: a descent that stopped where a map hides that the loss falls goes on from inside."""

from gdjax.descent.onward import Onward
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.spaces.chart import Chart
from gdjax.spaces.ends import Review, review
from gdjax.spaces.merit import Value, between

MOST = 20  # times; each lowers the loss by more than a tolerance


class Inside:
    """Looks at the loss on the way inside where a descent came to rest, and says where to go on."""

    def __init__(self, chart: Chart, value: Value) -> None:
        self.chart, self.value, self.left = chart, value, MOST
        self.last: tuple[Result, Review] | None = None

    def __call__(self, result: Result) -> Onward | None:
        """To the lowest point on the way; None if the loss does not fall there."""
        if self.left == 0:
            return None
        self.left -= 1
        found = self.review(result, self.chart)
        return found.onward if int(found.code) == Status.AT_EDGE else None

    def review(self, result: Result, chart: Chart) -> Review:
        """What is found of a result by free numbers, looked at once; ``chart`` has the axes of many."""
        if self.last is None or self.last[0].params is not result.params or self.last[0].code is not result.code:
            value = self.value if result.conditions is None else between(self.value, result)
            self.last = result, review(result, chart, value)
        return self.last[1]
