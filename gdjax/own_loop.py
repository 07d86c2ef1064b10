"""A loop of your own: `init` and `step`, one evaluation of the loss a call, or one step on new data."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.descent.warm_start import first_difference, signature
from gdjax.doors import DOORS, call_by
from gdjax.jaxtools.faces import one_line
from gdjax.jaxtools.packing import Packed, is_key, pack, unpack
from gdjax.jaxtools.pytrees import is_concrete, merge, pytree_dataclass, split, static_field, strong
from gdjax.minimize import minimize
from gdjax.opening import open_call
from gdjax.problem.problem import check_params
from gdjax.request import Call
from gdjax.running.frame import FEW, Frame, only_shapes, shapes_of
from gdjax.running.programs import Request, layout_for, own_answer, own_start, own_trip


@pytree_dataclass
class LoopState:
    """A descent between two calls of `gdjax.step`: a pytree of arrays, for `jax.jit`, `jax.lax.scan`, `jax.vmap`.

    ``value``, ``grad_norm`` and ``status`` are those of the last point that was accepted, with the data it saw.
    """

    packed: Packed  # what goes around the loop
    numbers: Packed  # of the method, the penalty, the tolerances
    frame: Frame = static_field(cast(Any, None))

    @property
    def params(self) -> Any:
        """Where the descent stands: for a method that accepts every point (optax's, gradient descent at a rate) after
        its last update, as in a loop by hand; for one that searches the last point that it accepted.
        """  # fmt: skip
        return self.look(lambda state: state.seen(state.variables))

    @property
    def variables(self) -> Any:
        """The same as the descent sees it: with ``space=``, the free numbers behind the parameters. Of one descent."""
        return self.frame.layout.unravel(self.method.position(self.carry.state))

    def seen(self, variables: Any) -> Any:
        """Parameters from these."""
        chart = self.options["space"]
        return variables if chart is None else chart.to_user(variables)

    @property
    def value(self) -> jax.Array:
        """The loss there, or for a method that accepts every point where the last update started; inf before."""
        sign = -1 if self.frame.maximize else 1
        return self.look(lambda state: sign * state.carry.state.iterate.value)

    @property
    def grad_norm(self) -> jax.Array:
        """The infinity norm of its gradient."""
        return self.look(lambda state: state.carry.state.iterate.grad_norm)

    @property
    def aux(self) -> Any:
        """What the loss returned besides its value; zeros before the first step."""
        return self.look(lambda state: state.carry.state.iterate.aux)

    @property
    def num_steps(self) -> jax.Array:
        """Points accepted after the start."""
        return self.look(lambda state: jnp.maximum(state.carry.progress.steps, 0))

    @property
    def num_evals(self) -> jax.Array:
        """Evaluations of the loss."""
        return self.look(lambda state: state.carry.progress.evals)

    @property
    def status(self) -> Any:
        """The `gdjax.Status` after the last step, RUNNING until a test holds. Inside a trace, its number."""
        code = self.look(lambda state: state.carry.status)
        return Status(int(code)) if is_concrete(code) and np.ndim(code) == 0 else code

    @property
    def carry(self) -> Any:
        """What goes around the loop, by name."""
        return unpack(self.packed, self.frame.like)

    @property
    def options(self) -> dict[str, Any]:
        """What it was begun with, the method and the stop among it."""
        return merge(unpack(self.numbers, self.frame.numbers), self.frame.structure)

    @property
    def method(self) -> Any:
        """The method with its numbers."""
        return self.options["method"]

    def look(self, what: Callable[["LoopState"], Any]) -> Any:
        """Something of a state, or of a batch of states."""
        for _ in range(next(iter(self.packed.vectors.values())).ndim - 1):
            what = jax.vmap(what)
        return what(self)

    def result(self, loss: Callable[..., Any], *args: Any, kwargs: dict[str, Any] | None = None) -> Result:
        """The best point so far as a `gdjax.Result`; with new data, the last point. Arguments as of `step`."""
        call, request = self.request("result", loss, args, kwargs)
        key, arrays = request.split()
        return call.finish(own_answer(key, self.frame.unrolled, arrays, self.packed))

    def request(self, caller: str, loss: Any, args: tuple[Any, ...], kwargs: Any) -> tuple[Call, Request]:
        """What is asked for with these data."""
        if next(iter(self.packed.vectors.values())).ndim > 1:
            raise ValueError(f"this is a batch of states: jax.vmap the {caller}")
        options = self.options | ({} if kwargs is None else dict(kwargs=kwargs))
        call = DOORS[self.frame.by][1](caller, loss, self.variables, args, options, False)
        call = open_call(call.toward(self.frame.maximize))
        request = dataclasses.replace(call.prepare(), history=self.frame.history)
        # Inside a `jax.jit` of the user's it may not be seen.
        problem = dataclasses.replace(request.problem, spread=self.frame.spread)
        request = dataclasses.replace(request, problem=problem)
        now = shapes_of(request, self.frame.unrolled)
        difference = first_difference(signature("", now), signature("", self.frame.like))
        if difference is not None:
            raise ValueError(
                f"{caller}: the state is of other parameters, aux or residuals than the loss has here: {difference}. "
                "gdjax.init makes a state for these"
            )
        return call, request

    __repr__ = one_line

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name."""
        names = ("status", "value", "grad_norm", "num_steps", "num_evals", "params")
        return {name: str(x) if isinstance(x := getattr(self, name), Status) else x for name in names}


def init(
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    by: Callable[..., Any] = minimize,
    maximize: bool = False,
    **options: Any,
) -> LoopState:
    """The state of a descent before its first step, for a loop of your own: see `gdjax.step`.

    Args:
        loss, params, *args: as in `minimize`, or as in the function that ``by`` names. Of the data only the shapes
            matter here (as far as aux or residuals depend on them).
        by: `gdjax.minimize`; or `gdjax.least_squares`, and ``loss`` is the residuals; or `gdjax.curve_fit`, and
            ``loss`` is the model.
        maximize: whether to maximise.
        **options: those of ``by``, but for the services. They stay in the state, with the numbers of the method as
            arrays. With ``implicit=False`` the steps have derivatives in reverse, too: a meta-gradient goes through
            them.

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
    new_data: bool = False,
    kwargs: dict[str, Any] | None = None,
) -> LoopState:
    """One evaluation of ``loss(params, *args, **kwargs)``, with new data maybe a few, and what follows: the next state.

    A pure function, for `jax.jit`, `jax.lax.scan`, `jax.lax.while_loop`, `jax.vmap` and `jax.shard_map`. Called as it
    is from Python, it traces the loss in each call (about a millisecond); so write ``jax.jit`` around your step.

    With the same data in each call these are, bit for bit, the trips of `minimize`, until ``state.status`` is no longer
    RUNNING: the loop asks for that itself. (A step beyond it is made all the same.) ``state.result(loss, *args)`` is
    the `Result` of `minimize`, with the best point so far.

    **New data.** What a method knows of the old data's values misleads it. Say ``new_data=True`` in the first step with
    other data (other args, or another loss):

    - Methods that accept every point (optax's, `GradientDescent` at a rate or schedule) take their next step, as a
      loop by hand would. Nothing is compared or tested: the status is RUNNING, since the gradient of a batch may be
      zero by chance; or NONFINITE where value or gradient is not finite, and then the step is left out, moments and
      all. So each batch of a training is one such call.
    - Methods that search or compare values (L-BFGS and all others) evaluate the new loss where they stand, with what
      they have learnt (curvature pairs, velocity, rate), and search from there until they accept a point: two to four
      evaluations in most cases. So each call moves, and no value is compared with one of other data. If the new loss
      asks for no step, this takes one evaluation, nothing moves, and the status says so (CONVERGED): an alternating
      loop has converged when each part says so in its first step. After a step the status is RUNNING. If the loss is
      not finite where they stand, the data are left out: NONFINITE. Further steps with the same data go on as ever.
      The scales of the gradient test stay those of the first data. On batches that are small this is fast but noisy:
      each step fits its own batch.

    Args:
        loss: as in `init`.
        state: from `init`, or from the step before.
        *args, kwargs: the data, of any values, in the shapes of before as far as aux or residuals depend on them.
        new_data: whether the loss is another than in the step before.

    Raises:
        TypeError: if the state is none. ValueError: if it is one of other parameters, aux or residuals, with the first
            leaf that differs.

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
    if not isinstance(new_data, bool):
        raise TypeError(f"new_data must be True or False, got {new_data!r}")
    key, arrays = state.request("step", loss, args, kwargs)[1].split()
    return dataclasses.replace(state, packed=own_trip(key, state.frame.unrolled, new_data, arrays, state.packed))
