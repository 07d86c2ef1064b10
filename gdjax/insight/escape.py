"""Leave saddles: a descent that stopped where the curvature is negative goes on from a point beside it.

Moving along a direction of negative curvature to a lower point is the second-order step of J. J. More and
D. C. Sorensen, On the use of directions of negative curvature in a modified Newton method, Math. Program. 16 (1979).
"""

import dataclasses
import math

import jax

from gdjax.descent.certificate import CriticalPoint, Kind
from gdjax.descent.onward import Onward
from gdjax.descent.result import Result
from gdjax.insight.critical_point import TRIALS, classify, follow
from gdjax.insight.curvature import measure, unravel
from gdjax.jaxtools.pytrees import split
from gdjax.problem.problem import Problem


class Saddles:
    """Looks at the curvature where a descent came to rest, and says where to go on."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.certificate: CriticalPoint | None = None  # of the point last looked at

    def __call__(self, result: Result) -> Onward | None:
        """To a lower value along a direction of negative or zero curvature; None if there is none."""
        params = result.params
        problem = dataclasses.replace(self.problem, params=params)
        found = measure(problem)
        point = classify(problem, found, math.inf)
        self.certificate = upside_down(point) if problem.maximize else point
        if point.kind is Kind.MINIMUM:
            return None
        _, t, steepest = follow(problem, found, found.smallest)
        if t is None:
            return None
        arrays, static = split(problem)
        direction = unravel(static, arrays, found.smallest.vector)
        moved = jax.tree.map(lambda x, v: x + t * v, params, direction)
        there = jax.tree.map(lambda x, p: x.astype(p.dtype), moved, params)
        return Onward(there, found.products + 2 * TRIALS, steepest)


def upside_down(point: CriticalPoint) -> CriticalPoint:
    """The same verdict for the negative of the loss."""
    swapped = {Kind.MINIMUM: Kind.MAXIMUM, Kind.MAXIMUM: Kind.MINIMUM}
    return dataclasses.replace(
        point,
        value=-point.value,
        smallest=-point.largest,
        smallest_error=point.largest_error,
        largest=-point.smallest,
        largest_error=point.smallest_error,
        kind=swapped.get(point.kind, point.kind),
        flat=None if point.flat is None else "its value barely changes along one direction",
    )
