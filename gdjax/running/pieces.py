"""The compiled program that runs a descent in pieces, and what happens to it between two pieces.

One program makes all pieces, including the first and the last. So it changes no number where a piece ends, and only
this program is compiled for a descent that nobody watches. It begins the descent if it is told to, makes as many passes
of the loop as it is told, and returns the carry and the best point so far.
"""

import dataclasses
import functools
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent import constrained, runaways
from gdjax.descent.loop import Carry, Loop, Until
from gdjax.descent.new_data import begin_at
from gdjax.descent.progress import gradient_threshold
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status, is_stationary
from gdjax.jaxtools.packing import Packed, pack, unpack
from gdjax.jaxtools.pytrees import Static, merge
from gdjax.jaxtools.remembered import Remembered, remembered
from gdjax.jaxtools.scalar_kernels import one_kernel, update_if
from gdjax.vectors import vector
from gdjax.vectors.layout import Apart
from gdjax.vectors.vector import Scalar

MOST = 2**12  # numbers of an array that is packed with others: copying it costs less than handing it over


class Report(NamedTuple):
    """What the host looks at after each piece."""

    counts: jax.Array  # trips of the piece, status, accepted steps; int32
    lowest: Scalar  # value seen, in the minimiser's sign


class Glance(NamedTuple):
    """The numbers of a progress line."""

    value: Scalar  # of the iterate, in the user's sign
    grad_norm: Scalar
    threshold: Scalar  # the gradient norm that counts as zero there
    largest_norm: Scalar
    step_length: Scalar  # of the step under way, 2-norm
    steps: jax.Array
    evals: jax.Array


class Comparison(NamedTuple):
    """A point of a descent, and the same point as the loss has it now."""

    value: Scalar  # as it was
    value_now: Scalar
    grad_norm: Scalar  # of the gradient as it is now
    change: Scalar  # of the gradient, the largest of an entry
    size: Scalar  # largest entry of params


class Memory(NamedTuple):
    """What is remembered about a program that was run before."""

    like: Carry  # shapes and dtypes
    blank: Packed  # the same
    pace: dict[str, float]  # "trips": in a second, as last measured


class Programs(NamedTuple):
    """The compiled functions: of a request, split into (key, arrays), and of the other arguments named here."""

    run: Callable[..., tuple[Packed, Report, Result]]  # (packed, until, fresh): a piece, in the memory of packed
    begin: Callable[..., Packed]  # (): before the first evaluation, where several devices share the arrays
    shapes: Callable[..., tuple[Carry, Packed]]  # (): what `begin` returns, not packed and packed
    show: Callable[..., Result]  # (packed): the iterate
    glance: Callable[..., Glance]  # (packed)
    jump: Callable[..., Packed]  # (packed, params, evals, steepest): go on from other params
    check: Callable[..., Comparison]  # (carry): the loss at the iterate, as it was and as it is
    review: Callable[..., jax.Array]  # (code, params, squares): the status, see `gdjax.descent.runaways`
    reopen: Callable[..., Packed]  # (carry): running again, if the test that ended it no longer holds

    def bind(self, key: Static, arrays: list[Any]) -> "Descent":
        """The programs of one request."""
        return Descent(self, key, arrays)


def compiled(make_loop: Callable[..., Loop]) -> Programs:
    """The programs, each under `jax.jit`."""

    def program(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Remembered:
        def of_request(key: Static, arrays: list[Any], *rest: Any) -> Any:
            return function(make_loop(merge(arrays, key)), *rest)

        return remembered(static=1, donate=donate)(of_request)

    return Programs(
        run=program(piece, donate=(2,)),
        begin=program(lambda loop: packed(loop, loop.start())),
        shapes=program(lambda loop: (loop.start(), packed(loop, loop.start()))).eval_shape,
        show=program(lambda loop, p: apart(loop.report((carry := opened(loop, p)), carry.state.iterate))),
        glance=program(lambda loop, p: glance(loop, opened(loop, p))),
        jump=program(lambda loop, p, *rest: packed(loop, jump(loop, opened(loop, p), *rest))),
        check=program(check),
        review=program(review),
        reopen=program(lambda loop, carry: packed(loop, reopen(loop, carry))),
    )


_memories: weakref.WeakKeyDictionary[Any, dict[Any, Memory]] = weakref.WeakKeyDictionary()


class Descent:
    """The programs of one request, and what is known about them, as long as JAX keeps the compiled program."""

    def __init__(self, programs: Programs, key: Static, arrays: list[Any]) -> None:
        self.programs, self.key, self.arrays = programs, key, arrays

        def bound(program: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *rest: program(key, arrays, *rest)

        self.run, self.show, self.glance = bound(programs.run), bound(programs.show), bound(programs.glance)
        self.review, self.jump, self.check, self.reopen = (
            bound(programs.review),
            bound(programs.jump),
            bound(programs.check),
            bound(programs.reopen),
        )

    @functools.cached_property
    def memory(self) -> Memory:
        """The memory of this program for arrays of these shapes."""
        shapes = tuple((np.shape(x), getattr(x, "dtype", type(x))) for x in self.arrays)
        variant = shapes, jax.dtypes.canonicalize_dtype(np.float64)
        known = _memories.setdefault(self.key, {})
        if variant not in known:
            known[variant] = Memory(*self.programs.shapes(self.key, self.arrays), {})
        return known[variant]

    def begin(self) -> tuple[Packed, bool]:
        """What to run the first piece with: arrays of the right shapes, and whether the descent has to begin."""
        devices = {device for x in self.arrays if isinstance(x, jax.Array) for device in x.devices()}
        if len(devices) > 1:
            return self.programs.begin(self.key, self.arrays), False
        blank = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self.memory.blank)
        fixed = any(getattr(x, "committed", False) for x in self.arrays)
        return jax.device_put(blank, devices.pop()) if fixed else blank, True

    def reviewed(self, result: Result) -> Result:
        """The result, with RUNAWAY as its status if it is a fit that ran away.

        Most did not, as a glance at the parameters tells: so the look at the Jacobian, which takes 0.3 s to compile (or
        0.6 if the method has none), is no part of the program of the descent.
        """
        problem = merge(self.arrays, self.key).problem
        free = problem.inward is None and problem.constraints is None
        if not (free and runaways.is_doubtful(result, problem.params)):
            return result
        return dataclasses.replace(result, code=self.review(result.code, result.params, result.squares))

    def open(self, packed: Packed) -> Carry:
        """The carry, as NumPy arrays except for what is large."""
        return unpack(dataclasses.replace(packed, vectors=jax.device_get(packed.vectors)), self.memory.like)

    def like(self) -> Carry:
        """A carry of the right shapes and, on several devices, places."""
        packed, fresh = self.begin()
        return self.memory.like if fresh else self.open(packed)


def most_of(loop: Loop) -> int:
    """The largest size that is packed; nothing is packed that several devices may share."""
    return 1 if isinstance(loop.objective.layout, Apart) else MOST


def packed(loop: Loop, carry: Carry) -> Packed:
    """The carry as few arrays: on a CPU one kernel instead of one per leaf."""
    return one_kernel(lambda carry: pack(carry, most_of(loop)), carry)


def opened(loop: Loop, packed: Packed) -> Carry:
    """The carry of a packed one."""
    like = jax.eval_shape(loop.start)
    return one_kernel(lambda packed: unpack(packed, like), packed)


def apart(result: Result) -> Result:
    """A copy of the result: it may share memory with the carry, which the next piece overwrites."""
    return jax.tree.map(lambda x: jnp.copy(x) if x.size > 1 else x, result)


def piece(loop: Loop, begun: Packed, until: Until, fresh: jax.Array) -> tuple[Packed, Report, Result]:
    """Run until ``until``, from the start if ``fresh``; also the best point."""

    def trips(state: tuple[Packed, Until, jax.Array]) -> tuple[Carry, Packed, jax.Array]:
        begun, until, fresh = state
        carry = update_if(fresh, lambda _: loop.start(), opened(loop, begun))
        carry, count = loop.run_until(carry, until)
        return carry, packed(loop, carry), count

    carry, ended, count = loop.compact(trips, (begun, until, fresh))
    report = Report(jnp.stack([count, carry.status, carry.progress.steps]), carry.progress.lowest)
    return ended, report, apart(loop._replace(asks_later=True).answer(carry))


def review(loop: Loop, code: jax.Array, params: Any, squares: Any) -> jax.Array:
    """The status of a fit that ended at ``params``, where it may have run away."""
    return runaways.review(loop.objective, code, loop.objective.layout.ravel(params), squares)


def check(loop: Loop, carry: Carry) -> Comparison:
    """The loss at the iterate, anew."""
    was = loop.objective.of_loss(carry.state.iterate)
    now = loop.objective.evaluate(was.x)
    change = vector.max_abs(vector.subtract(now.grad, was.grad))
    return Comparison(was.value, now.value, vector.max_abs(now.grad), change, vector.max_abs(was.x))


def glance(loop: Loop, carry: Carry) -> Glance:
    """What a progress line shows."""
    now, point = carry.progress, carry.state.iterate
    step = vector.subtract(carry.state.trial, point.x)
    relative = now.cosine is not None or now.kkt is not None
    if now.kkt is not None:
        point = loop.objective.of_loss(point)._replace(grad_norm=now.kkt.stationarity)
    return Glance(
        value=point.value * jnp.asarray(loop.objective.sign, point.value.dtype),
        grad_norm=point.grad_norm if now.cosine is None else now.cosine,
        threshold=loop.stop.tol if relative else gradient_threshold(loop.stop.tol, now, point.value),
        largest_norm=now.largest_norm,
        step_length=jnp.sqrt(vector.dot(step, step)),
        steps=now.steps,
        evals=now.evals,
    )


def jump(loop: Loop, carry: Carry, params: Any, evals: jax.Array, steepest: jax.Array) -> Carry:
    """Start the method again from ``params``; steps, evaluations, scales and history go on.

    The way there cost ``evals`` evaluations, and the largest gradient norm on it was at least ``steepest``.
    """
    fresh = begin_at(loop, loop.objective.layout.ravel(params), False, carry, 1)
    now = fresh.progress
    progress = now._replace(
        evals=now.evals + evals,
        largest_norm=jnp.maximum(now.largest_norm, steepest.astype(now.largest_norm.dtype)),
    )
    return fresh._replace(progress=progress)


def reopen(loop: Loop, carry: Carry) -> Carry:
    """Continue a descent that ended at a limit or tolerance, unless it has reached the present one."""
    now, stop, point = carry.progress, loop.stop, carry.state.iterate
    still = is_stationary(stop, now, point) if now.kkt is None else constrained.holds(now.kkt, stop.tol)
    holds = {
        Status.CONVERGED: still,
        Status.TARGET_REACHED: stop.target is not None and loop.objective.of_loss(point).value <= stop.target,
        Status.SMALL_DECREASE: stop.decrease is not None,
        Status.SMALL_STEP: stop.step is not None,
        Status.MAX_STEPS: now.steps >= stop.max_steps,
        Status.MAX_EVALS: now.evals >= stop.max_evals,
    }
    code = carry.status
    for status, met in holds.items():
        code = jnp.where((carry.status == status) & ~jnp.asarray(met), Status.RUNNING, code)
    return carry._replace(status=code)
