"""Many problems at once: `minimize_many`."""

import time
from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.insight.doubt import reviewed_many
from gdjax.insight.nonfinite_data import data_of_many, with_nonfinite_data
from gdjax.jaxtools.packing import is_key, kind_of_key, on_device
from gdjax.jaxtools.pytrees import Static, as_data, is_concrete, is_traceable, places
from gdjax.jaxtools.scalar_kernels import for_cpu
from gdjax.many import chunks, one_by_one
from gdjax.many.axes import Input, count_problems, note_shared, problems_first, spread_axes
from gdjax.many.lanes import LaneProgram
from gdjax.many.workers import Crew
from gdjax.opening import open_many
from gdjax.request import Call, Options, call_minimize, is_traced, prepare, require_concrete
from gdjax.running.observers import Interrupt
from gdjax.running.programs import descend
from gdjax.running.services import Services
from gdjax.vectors.vector import gathered


def minimize_many(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    in_axes: Any = 0,
    batch_size: int | None = None,
    max_seconds: float | None = None,
    maximize: bool = False,
    **options: Unpack[Options],
) -> Result:
    """Minimise ``loss(params, *args)`` for many params and args at once; each problem gets what `minimize` gives it.

    (Up to rounding, which differs between programs: a run of hundreds of evaluations may take a few more or fewer.)
    All cores are used. On a CPU, small problems fit in the first-level cache, and each core solves its share of them
    one after the other. (So does `jax.vmap` of `minimize`, on one core.) Larger problems, and losses with matrix-matrix
    products or factorisations, share the iterations of a compiled loop in blocks of up to 256 that fit in the cache. A
    finished problem is replaced by the next, and at the end a few stragglers continue by themselves. (Under `jax.vmap`,
    all wait for the slowest.) On a GPU, one iteration of many problems costs little more than one of a few. There
    `minimize_many` runs the vmapped loop, in chunks that fit in memory and in pieces that can be interrupted.
    As with `minimize`, new numbers compile nothing. Nor does a different number of problems, above about a hundred.
    (Smaller numbers are rounded up to the next power of two, on a GPU to the next of eight sizes per octave.)
    Stragglers may need a second program.

    Args:
        loss, grad, has_aux, method, penalty, tol, max_steps, max_evals, stop, history, check_grad, kwargs, implicit: as
            in `minimize`, the same for all problems. ``check_grad`` looks at the first problem.
        params: the starts: a pytree like the parameters, where each leaf has an axis of problems. Or a `Result` of
            many, to start at its params.
        *args: data, also with an axis of problems, or shared.
        in_axes: as in `jax.vmap`: the axis of problems of every leaf, or None for what all problems share. Pass one
            value for everything, or a tuple (params, *args), each an int, None or a pytree prefix of these. Default 0:
            everything has its problems along its first axis. Strings, bools, ``kwargs`` and what the loss closes over
            are shared.
        batch_size: the largest number of problems solved at the same time, which bounds the memory of methods and
            losses. Default: what fits in the caches of the cores (at most 256 per core), or 131 072 and 1 GB on a GPU.
        max_seconds: wall-clock time for all problems, including compilation. When it is up, or after Ctrl-C, unfinished
            problems end with their best point and status MAX_SECONDS (or INTERRUPTED); problems that had not started
            get one evaluation. A second Ctrl-C raises KeyboardInterrupt at once.
        maximize: whether to maximise.

    If JAX cannot vmap the loss (a callback without ``vmap_method``), the problems run one after the other.

    Inside `jit`, `vmap` or `grad`, and for arrays that are sharded over several devices, it is the vmapped `minimize`
    with its derivatives, in chunks of ``batch_size``.

    Returns:
        A `Result` with a leading axis of problems in every leaf, in the order given: ``result.params``,
        ``result.value``, ``result.status == gdjax.Status.CONVERGED``; ``result[i]`` is the result of problem i.
        ``print`` it for the statuses and the worst problem. A problem that fails raises no error and does not affect
        the others.

    Raises:
        TimeoutError: if the time is up and the evaluation in flight takes half a minute longer, or never ends.
        TypeError, ValueError: as `minimize`; and if in_axes does not fit, an argument has no such axis, or the axes
            differ in length, are empty, or there are none. Also for services, which watch a single descent.

    >>> import jax.numpy as jnp
    >>> parabola = lambda p, center: jnp.sum((p - center) ** 2)
    >>> result = minimize_many(parabola, jnp.zeros(2), jnp.arange(3.0), in_axes=(None, 0))
    >>> print(result.params[:, 0].round(3))
    [0. 1. 2.]
    """
    refuse_services("minimize_many", options)
    call = call_minimize("minimize_many", loss, params, args, options, watched=False).toward(maximize)
    return solve_many(call, in_axes, batch_size, max_seconds)


def refuse_services(caller: str, options: Any) -> None:
    """Raise TypeError, with the reason, for an option that many problems cannot have."""
    for name in options:
        if name in Services.__annotations__:
            raise TypeError(f"{name} watches a single descent: minimize has it; {caller} only takes max_seconds")


def solve_many(call: Call, in_axes: Any, batch_size: int | None, max_seconds: float | None) -> Result:
    """Many problems, called like one, but for their axes."""
    began = time.perf_counter()
    check_limits(batch_size, max_seconds)
    call, in_axes = open_many(call, in_axes)
    params, options = call.params, dict(call.options)
    trees = (params.params if isinstance(params, Result) else params, *as_data("args", call.args))
    # On a mesh with explicit axes each problem's choices are its own, and its data must be in one place.
    trees = jax.tree.map(lambda x: gathered(x) if isinstance(x, jax.Array) else x, trees)
    inputs = spread_axes(in_axes, trees)
    problems = count_problems(inputs)
    own = [problems_first(x.leaf, x.axis) for x in inputs if x.axis is not None]
    rows = iter(own)
    first = [x.leaf if x.axis is None else next(rows)[0] for x in inputs]
    params, *args_of_one = jax.tree.unflatten(jax.tree.structure(trees), first)
    try:
        key, arrays = prepare(call.function, params, tuple(args_of_one), **options).split()
    except Exception as error:
        note_shared(error, inputs, problems)
        raise
    kinds = tuple(kind_of_key(x) if is_key(x) else None for x in own)
    program = LaneProgram(key, which_are_own(key, len(arrays), inputs), kinds)
    shared = [x for x, is_own in zip(arrays, program.batched, strict=True) if not is_own]
    given = [x for x in [*(x.leaf for x in inputs), *shared] if is_concrete(x) and isinstance(x, jax.Array)]
    devices = {device for x in given for device in x.devices()}
    if is_traced([*own, *shared]) or len(devices) > 1:
        if max_seconds is not None:
            require_concrete([*own, *shared], "max_seconds: the clock is read in Python")
        return call.finish(vmapped(program, shared, own, min(batch_size or problems, problems)))

    interrupt = Interrupt()
    default = default_device()
    device = devices.pop() if devices else default

    def ending() -> Status:
        late = max_seconds is not None and time.perf_counter() - began >= max_seconds
        return Status.INTERRUPTED if interrupt.pressed else Status.MAX_SECONDS if late else Status.RUNNING

    with interrupt.listening(), jax.default_device(device):
        try:
            if not for_cpu():
                return reviewed_many(program, own, shared, chunks.solve(program, shared, own, ending, batch_size))
            crew = Crew(program, shared, [canonical(x) for x in own], ending)
            result = crew.solve(batch_size)
        except NotImplementedError:  # what JAX cannot vmap
            result = one_by_one.solve(program, shared, own, ending)
        data = data_of_many(call.function, call.args, call.options.get("kwargs"), inputs)
        result = with_nonfinite_data(reviewed_many(program, own, shared, result), data)
    return call.finish(on_device(result) if device == default else jax.device_put(result, device))


def which_are_own(key: Static, count: int, inputs: list[Input]) -> tuple[bool, ...]:
    """Whether each array of a request belongs to single problems, rather than to all."""
    found = places(key, lambda request: (request.problem.params, request.problem.args))  # those of kwargs come last
    traced = [x for x in inputs if is_traceable(x.leaf)]
    own = {place for place, x in zip(found, traced, strict=False) if x.axis is not None}
    return tuple(i in own for i in range(count))


def vmapped(program: LaneProgram, shared: list[Any], own: list[Any], batch_size: int) -> Result:
    """The same by JAX's transformations, ``batch_size`` at a time."""
    solve = lambda own: descend(program.key, False, program.arrays(own, shared))
    try:
        return jax.lax.map(solve, own, batch_size=batch_size) if batch_size < own[0].shape[0] else jax.vmap(solve)(own)
    except NotImplementedError:  # what JAX cannot vmap
        return jax.lax.map(solve, own)


def check_limits(batch_size: Any, max_seconds: Any) -> None:
    """Raise unless they are numbers in range."""
    if batch_size is not None and not (isinstance(batch_size, int | np.integer) and batch_size >= 1):
        raise ValueError(f"batch_size must be a number of problems, at least 1; got {batch_size!r}")
    if max_seconds is not None and not (isinstance(max_seconds, int | float | np.number) and max_seconds >= 0):
        raise ValueError(f"max_seconds must be a number of seconds, not negative; got {max_seconds!r}")


def default_device() -> jax.Device:
    """Where JAX puts what nobody has put anywhere."""
    settings: Any = jax.config
    chosen = settings.jax_default_device
    if isinstance(chosen, jax.Device):
        return chosen
    return jnp.zeros(()).devices().pop() if chosen is not None else jax.local_devices()[0]


def canonical(x: Any) -> np.ndarray:
    """For NumPy: in the dtype that JAX would give it, random keys as their data."""
    x = jax.random.key_data(x) if is_key(x) else x
    return np.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))
