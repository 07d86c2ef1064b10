"""What is handed to a compiled loop of many descents, and what it returns."""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gdjax.descent.loop import Loop
from gdjax.descent.stopping import Status
from gdjax.jaxtools.packing import pack, with_keys, without_keys, zeros
from gdjax.jaxtools.pytrees import Static, merge, pytree_dataclass, static_field
from gdjax.jaxtools.remembered import remembered
from gdjax.jaxtools.scalar_kernels import batched
from gdjax.jaxtools.small_programs import is_allowed
from gdjax.running.programs import make_loop

NONE = -1  # number of the problem in an idle lane


class Lanes(NamedTuple):
    """B descents under way."""

    carry: Any  # of the loop, leaves (B, ...); random keys as their data
    own: list[Any]  # the arrays in which each lane's problem differs from the others, (B, ...); keys as their data
    ids: Any  # the number of each lane's problem, or NONE; an idle lane's status is not RUNNING


class Page(NamedTuple):
    """P problems that wait."""

    own: list[Any]  # (P, ...)
    ids: Any  # (P,)


class Orders(NamedTuple):
    """How far to go, in numbers that are traced."""

    first: Any  # problem of the page to begin with
    count: Any  # problems on the page: the rest of it is padding
    floor: Any  # when no problem waits, come back as soon as no more lanes than this are running
    trips: Any  # come back after so many trips at most
    ending: Any  # a status that ends each descent after its next evaluation, or RUNNING


class Log(NamedTuple):
    """The answers to the problems that were finished, in the order in which they were."""

    answers: dict[str, Any]  # results as `pack` makes them of each, (P + B, ...): the first ``size`` rows count
    ids: Any  # the numbers of these problems
    size: Any


class Report(NamedTuple):
    """Where things stand."""

    first: jax.Array  # problem of the page that is next
    running: jax.Array  # lanes
    trips: jax.Array  # made in this call


class LaneProgram(NamedTuple):
    """A descent of one problem and which of its arrays are each problem's own; selects what is compiled."""

    key: Static  # of the request
    batched: tuple[bool, ...]  # for each array
    keys: tuple[Any, ...]  # for each that is each problem's own the kind of its random keys; None if it holds none

    def arrays(self, own: Sequence[Any], shared: Sequence[Any]) -> list[Any]:
        """Those of one problem."""
        mine, common = iter(own), iter(shared)
        return [next(mine if is_own else common) for is_own in self.batched]

    def loop(self, own: Sequence[Any], shared: Sequence[Any]) -> Loop:
        """The loop of one problem, inside a trace."""
        mine = [
            x if kind is None else jax.random.wrap_key_data(x, impl=kind)
            for x, kind in zip(own, self.keys, strict=True)
        ]
        return make_loop(merge(self.arrays(mine, shared), self.key))

    def start(self, own: Sequence[Any], shared: Sequence[Any]) -> Any:
        """The carry of one problem before its first evaluation."""
        return without_keys(self.loop(own, shared).start())

    def trip(self, own: Sequence[Any], shared: Sequence[Any], carry: Any) -> Any:
        """The next carry of one problem."""
        loop = self.loop(own, shared)
        with batched():
            return without_keys(loop.trip(with_keys(carry, jax.eval_shape(loop.start))))

    def asked(self, own: Sequence[Any], shared: Sequence[Any], carry: Any) -> Any:
        """Where one problem with a penalty evaluates next; of one without, nothing."""
        loop = self.loop(own, shared)
        state = with_keys(carry, jax.eval_shape(loop.start)).state
        return () if loop.objective.composite is None else state.trial

    def answer(self, own: Sequence[Any], shared: Sequence[Any], carry: Any) -> Any:
        """The result of one problem."""
        loop = self.loop(own, shared)
        return loop.answer(with_keys(carry, jax.eval_shape(loop.start)))


@pytree_dataclass
class Shapes:
    """What one problem is before its first evaluation; of interest are shapes and dtypes."""

    carry: Any
    packed: Any  # the carry, packed
    result: Any
    is_small: bool = static_field(False)  # whether its loss is so cheap that launching kernels is what takes time


@remembered(static=1)
def before(program: LaneProgram, shared: list[Any], own: list[Any]) -> Shapes:
    """The carry and the result of one problem before its first evaluation."""
    carry = program.start(own, shared)
    small = program.loop(own, shared).objective.is_small
    return Shapes(carry, pack(carry), program.answer(own, shared, carry), small)


_shapes: weakref.WeakKeyDictionary[Static, dict[Any, Shapes]] = weakref.WeakKeyDictionary()


def shapes_of(program: LaneProgram, shared: list[Any], own: list[Any]) -> Shapes:
    """What `before` returns, in shapes and dtypes, given the arrays of several problems."""
    one = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in own]
    kinds = tuple([(np.shape(x), getattr(x, "dtype", type(x))) for x in (*shared, *one)])
    variant = program.batched, program.keys, kinds, is_allowed(), jax.dtypes.canonicalize_dtype(np.float64)
    known = _shapes.setdefault(program.key, {})
    if variant not in known:
        known[variant] = before.eval_shape(program, shared, one)
    return known[variant]


def idle(carry: Any, own: list[Any], width: int) -> Lanes:
    """Lanes without problems, for a carry of these shapes."""
    carry = zeros(carry, width)._replace(status=np.full(width, Status.CONVERGED, np.int32))
    return Lanes(carry, [np.zeros((width, *x.shape[1:]), x.dtype) for x in own], np.full(width, NONE, np.int32))
