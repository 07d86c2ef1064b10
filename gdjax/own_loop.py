"""Your own loop: `init` and `step`, with one evaluation of the loss per call, or one step on new data."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.doors import call_by
from gdjax.jaxtools.packing import is_key, pack
from gdjax.jaxtools.pytrees import split, strong
from gdjax.loop_state import LoopState
from gdjax.minimize import minimize
from gdjax.opening import open_call
from gdjax.problem.problem import check_params
from gdjax.running.frame import FEW, Frame, only_shapes, shapes_of
from gdjax.running.programs import layout_for, own_move, own_start, own_trip


def init(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    by: Callable[..., Any] = minimize,
    maximize: bool = False,
    **options: Any,
) -> LoopState:
    """The state before the first step, for your own loop: see `gdjax.step`.

    Nothing is evaluated yet, so ``state.value`` and ``state.grad_norm`` are infinite until the first step.

    Args:
        loss, params, *args: as in `minimize`, or as in the function that you pass as ``by``. Only the shapes of the
            data matter here (as far as aux or residuals depend on them).
        by: `gdjax.minimize`; or `gdjax.least_squares`, where ``loss`` is the residuals; or `gdjax.curve_fit`, where
            ``loss`` is the model.
        maximize: whether to maximise.
        **options: those of ``by``, except the services. They stay in the state, with the numbers of the method as
            arrays. With ``implicit=False`` the steps also have derivatives in reverse mode, so you can compute a
            meta-gradient through them.

    Raises:
        TypeError, ValueError: as those functions.
    """
    if options.get("p0") is not None:
        raise TypeError("init takes the start after the model: gdjax.init(model, params, x, y, by=gdjax.curve_fit)")
    unrolled = not options.pop("implicit", True)
    call = open_call(call_by(by)("init", loss, params, args, options, watched=False).toward(maximize))
    request = call.prepare()
    key, arrays = request.split()
    known = ("kwargs", "history", "check_grad", "check_jac", "tol", "max_steps", "max_evals")
    rest = {name: value for name, value in options.items() if name not in known}
    own = dict(method=request.method, stop=request.stop, space=call.chart)
    numbers, structure = split(rest | own)
    numbers = [x if isinstance(x, jax.Array) and is_key(x) else strong(x) for x in numbers]
    layout = layout_for(request.problem, request.method)(check_params(request.problem.params))
    most = 1 if request.problem.spread else FEW
    frame = Frame(
        only_shapes(numbers), structure, shapes_of(request, unrolled), layout, call.by, bool(maximize),
        request.history, unrolled, request.problem.spread,
    )  # fmt: skip
    return LoopState(own_start(key, unrolled, most, arrays), pack(numbers, most), frame)


def step(
    loss: Callable[..., Any],
    state: LoopState,
    *args: Any,
    new_data: Any = False,
    params: Any = None,
    whole: bool = False,
    kwargs: dict[str, Any] | None = None,
) -> LoopState:
    """Evaluate ``loss(params, *args, **kwargs)`` once (a few times with new data), and return the next state.

    A pure function, for `jax.jit`, `jax.lax.scan`, `jax.lax.while_loop`, `jax.vmap` and `jax.shard_map`. Called
    directly from Python, it traces the loss in each call (about a millisecond), so put ``jax.jit`` around your step.

    With the same data in each call, the steps are bit for bit the trips (iterations) of `minimize`, until
    ``state.status`` is no longer RUNNING. Your loop has to check that: a step beyond it is still made.
    ``state.result(loss, *args)`` is the `Result` of `minimize`, with the best point so far.

    **New data.** What a method knows about values on old data is misleading on new data. Pass ``new_data=True`` in the
    first step with other data (other args, or another loss):

    - Methods that accept every point (optax's, `GradientDescent` at a rate or schedule) take their next step, as in a
      hand-written loop. Nothing is compared or tested: the status is RUNNING, since the gradient of a batch may be zero
      by chance. If value or gradient is not finite, the status is NONFINITE, and the step is left out, moments and all.
      Make each batch of a training one such call.
    - Methods that search or compare values (L-BFGS and all others) evaluate the new loss at the current point, with
      what they have learnt (curvature pairs, velocity, rate), and search from there until they accept a point, usually
      within two to four evaluations. So every call moves, and values from different data are never compared. If the new
      loss needs no step, this takes one evaluation, nothing moves, and the status is CONVERGED: an alternating loop has
      converged when each part says so in its first step. After a step, the status is RUNNING. If the loss is not finite
      at the current point, the data are left out: NONFINITE. Further steps with the same data continue as usual. The
      scales of the gradient test remain those of the first data. On small batches this is fast but noisy: each step
      fits its own batch.

    Args:
        loss: as in `init`.
        state: from `init`, or from the step before.
        *args, kwargs: the data. Values may change, but not the shapes, as far as aux or residuals depend on them.
        new_data: whether the loss or its data have changed since the last step. With ``whole`` it may be traced.
        params: where to continue from, if not from the state: projected, averaged, or set by another solver. What the
            method has learnt is kept, and so is what a space holds. Only with new data, or with ``whole``.
        whole: continue until the next point is accepted or a stopping test holds: all trials of a line search in one
            call.

    Raises:
        TypeError: if ``state`` is not from `init` or `step`. ValueError: if it belongs to other parameters, aux or
            residuals; the message names the first leaf that differs. Or if params are known to be outside of their
            space, or to have other values of what it holds.

    >>> import jax, jax.numpy as jnp, optax, gdjax
    >>> loss = lambda w, x: jnp.mean((x - w) ** 2)
    >>> batches = jax.random.normal(jax.random.key(0), (200, 32)) + 3
    >>> state = gdjax.init(loss, 0.0, batches[0], method=optax.adam(0.1))
    >>> train = jax.jit(lambda state, x: (gdjax.step(loss, state, x, new_data=True), None))
    >>> state, _ = jax.lax.scan(train, state, batches)
    >>> print(f"{state.params:.1f} after {state.num_evals} evaluations, {state.status}")
    3.0 after 200 evaluations, RUNNING
    """
    if not isinstance(state, LoopState):
        raise TypeError(f"state must come from gdjax.init or gdjax.step, got {type(state).__name__}")
    if not (isinstance(new_data, bool) or (whole and is_truth(new_data))):
        raise TypeError(f"new_data must be True or False, got {new_data!r}")
    if params is not None and not (whole or new_data):
        raise ValueError("params are for new data: step(loss, state, *args, new_data=True, params=params)")
    key, arrays = state.request("step", loss, args, kwargs)[1].split()
    if params is None and not whole:
        return dataclasses.replace(state, packed=own_trip(key, state.frame.unrolled, new_data, arrays, state.packed))
    given = (None if params is None else state.as_variables(params), jnp.asarray(new_data))
    packed = own_move(key, state.frame.unrolled, bool(whole), arrays, state.packed, given)
    return dataclasses.replace(state, packed=packed)


def is_truth(x: Any) -> bool:
    """Whether x is one truth value, maybe traced."""
    return isinstance(x, bool | np.bool_) or (isinstance(x, jax.Array) and x.shape == () and x.dtype == bool)
