"""A descent watched from Python: the compiled loop in pieces, and what happens on the host between them.

All pieces are one compiled program, so that where one ends changes no number. (The loop of an unwatched descent is
compiled by itself; the numbers are the same unless XLA fuses the two differently, which moves a last digit.) Pieces
grow until the host is visited about ten times a second: a visit costs a fraction of a millisecond.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import vector
from gdjax.escape import Escape
from gdjax.loop import Carry, Loop, Until
from gdjax.observers import Observer, Visit
from gdjax.remembered import remembered
from gdjax.result import Result, Timing
from gdjax.stopping import Status, gradient_threshold
from gdjax.vector import Scalar

VISIT = 0.1  # seconds between two visits
RESTING = (Status.CONVERGED, Status.PRECISION_FLOOR)  # where the gradient is as good as zero
GROW = 8  # a piece has at most this many times the trips of the one before, whose time may be chance


class Glance(NamedTuple):
    """The numbers of a progress line."""

    value: Scalar  # of the iterate, in the user's sign
    grad_norm: Scalar
    threshold: Scalar  # the gradient norm that counts as zero there
    largest_norm: Scalar
    step_length: Scalar  # of the step under way, 2-norm
    steps: jax.Array
    evals: jax.Array


class Programs(NamedTuple):
    """What is compiled of a descent that is watched, as functions of the request and what else is named."""

    whole: Callable[..., tuple[Result, Carry]]  # (): all in one piece, for a result that keeps its state
    begin: Callable[..., Carry]  # (): before the first evaluation
    run: Callable[..., tuple[Carry, jax.Array]]  # (carry, until): a piece, in the memory of the carry given
    show: Callable[..., Result]  # (carry): the iterate
    answer: Callable[..., Result]  # (carry): the best point
    glance: Callable[..., Glance]  # (carry)
    check: Callable[..., tuple[Scalar, Scalar]]  # (carry): the value at the iterate, as it was and as it is
    jump: Callable[..., Carry]  # (carry, params, evals, steepest): go on from other params
    reopen: Callable[..., Carry]  # (carry): running again, if the test that ended it no longer holds

    def bind(self, *request: Any) -> "Programs":
        """The programs of one request."""

        def of_request(program: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *rest: program(*request, *rest)

        return Programs(*map(of_request, self))


def compiled(make_loop: Callable[..., Loop]) -> Programs:
    """The programs, jitted; a request is (static, capacity, arrays)."""

    def program(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        def of_request(static: Any, capacity: int, arrays: list[Any], *rest: Any) -> Any:
            return function(make_loop(static, capacity, arrays), *rest)

        return remembered(static=2, donate=donate)(of_request)

    # `run` overwrites its carry in place, so no two leaves may share memory, within the carry or with a result.
    own = lambda tree: jax.tree.map(jnp.copy, tree)
    return Programs(
        whole=program(whole),
        begin=program(lambda loop: own(loop.start())),
        run=program(Loop.run_until, donate=(3,)),
        show=program(lambda loop, carry: own(loop.report(carry, carry.state.iterate))),
        answer=program(lambda loop, carry: own(loop.answer(carry))),
        glance=program(glance),
        check=program(lambda loop, c: (c.state.iterate.value, loop.objective.evaluate(c.state.iterate.x).value)),
        jump=program(lambda loop, *rest: own(jump(loop, *rest))),
        reopen=program(lambda loop, carry: own(reopen(loop, carry))),
    )


def whole(loop: Loop) -> tuple[Result, Carry]:
    """The descent from start to end."""
    carry = loop.run(loop.start())
    return loop.answer(carry), carry


def glance(loop: Loop, carry: Carry) -> Glance:
    """What a progress line shows."""
    now, point = carry.progress, carry.state.iterate
    step = vector.subtract(carry.state.trial, point.x)
    return Glance(
        value=point.value * jnp.asarray(loop.objective.sign, point.value.dtype),
        grad_norm=point.grad_norm,
        threshold=gradient_threshold(loop.stop, point.value, now.largest_norm),
        largest_norm=now.largest_norm,
        step_length=jnp.sqrt(vector.dot(step, step)),
        steps=now.steps,
        evals=now.evals,
    )


def jump(loop: Loop, carry: Carry, params: Any, evals: jax.Array, steepest: jax.Array) -> Carry:
    """The method begins anew from ``params``; steps, evaluations, scales and history go on.

    The way there cost ``evals`` evaluations, and led through gradient norms up to ``steepest`` at least.
    """
    blank, x = loop.objective.blank, loop.objective.layout.ravel(params)
    moved = dataclasses.replace(loop.objective, start=x, blank=blank._replace(x=x))
    fresh, old = loop._replace(objective=moved, warm=None).start(), carry.progress
    progress = fresh.progress._replace(
        evals=old.evals + evals,
        steps=old.steps,
        start_value=old.start_value,
        start_norm=old.start_norm,
        largest_norm=jnp.maximum(old.largest_norm, steepest.astype(old.largest_norm.dtype)),
    )
    return fresh._replace(progress=progress, record=carry.record)


def reopen(loop: Loop, carry: Carry) -> Carry:
    """A descent that ended by a limit or tolerance goes on if the present one is not reached."""
    now, stop, point = carry.progress, loop.stop, carry.state.iterate
    holds = {
        Status.CONVERGED: point.grad_norm <= gradient_threshold(stop, point.value, now.largest_norm),
        Status.TARGET_REACHED: stop.target is not None and point.value <= stop.target,
        Status.SMALL_DECREASE: stop.decrease is not None,
        Status.SMALL_STEP: stop.step is not None,
        Status.MAX_STEPS: now.steps >= stop.max_steps,
        Status.MAX_EVALS: now.evals >= stop.max_evals,
    }
    code = carry.status
    for status, still in holds.items():
        code = jnp.where((carry.status == status) & ~jnp.asarray(still), Status.RUNNING, code)
    return carry._replace(status=code)


def drive(
    programs: Programs, observers: Sequence[Observer], carry: Carry | None = None, escape: Escape | None = None
) -> tuple[Result, Carry]:
    """Run until a test fires or an observer asks to stop: the result, and the carry, which can go on.

    At least one evaluation is made, or there would be no point to return. A ``carry`` that is given is used up.
    Where the descent comes to rest, ``escape`` may know params to go on from.
    """
    began = time.perf_counter()
    carry = programs.begin() if carry is None else carry
    for observer in observers:
        observer.start(int(carry.progress.steps), np.asarray(carry.progress.lowest))
    trips, compiling, running = 1, 0.0, 0.0
    while True:
        begin = time.perf_counter()
        carry, done = programs.run(carry, until(trips, observers, carry))
        code, count, steps, lowest = jax.device_get((carry.status, done, carry.progress.steps, carry.progress.lowest))
        now = time.perf_counter()
        rate = int(count) / (now - begin) if compiling else 0.0  # the first piece may have been compiled in its time
        running += now - begin if compiling else 0.0
        compiling = compiling or now - began
        visit = Visit(programs, carry, Status(int(code)), int(steps), lowest, now - began, compiling)
        asked = [wish for observer in observers if (wish := observer.visit(visit)) is not None]
        if not asked and escape is not None and visit.status in RESTING:
            onward = escape(programs.answer(carry).params)
            if onward is not None:
                carry = programs.jump(carry, onward[0], np.int32(onward[1]), np.float32(onward[2]))
                continue
        if asked or visit.status != Status.RUNNING:
            break
        left = min([VISIT, *(observer.seconds_left() for observer in observers)])
        # The first piece may have been compiled in its time, which tells nothing.
        rate = int(count) / (now - begin) if now - began > compiling else 0.0
        trips = int(np.clip(left * rate, 1, GROW * max(int(count), 1)))
    end = carry
    if visit.status == Status.RUNNING:
        end = carry._replace(status=jnp.asarray(asked[0], jnp.int32))
        visit = visit._replace(status=asked[0])
    for observer in observers:
        observer.end(visit)
    seconds = time.perf_counter() - began
    timing = Timing(seconds, compiling, seconds - compiling - running)
    return dataclasses.replace(programs.answer(end), timing=timing), carry


def until(trips: int, observers: Sequence[Observer], carry: Carry) -> Until:
    """The end of the next piece: when its trips are done or an observer wants to see it."""
    steps = min(observer.next_step for observer in observers)
    below = max(observer.below for observer in observers)
    return Until(np.int32(trips), np.int32(steps), np.asarray(below, carry.progress.lowest.dtype))
