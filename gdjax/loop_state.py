"""A descent between two calls of `gdjax.step`."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.descent.warm_start import first_difference, signature
from gdjax.doors import DOORS
from gdjax.jaxtools.faces import one_line
from gdjax.jaxtools.packing import Packed, is_key, pack, unpack
from gdjax.jaxtools.pytrees import is_concrete, merge, pytree_dataclass, split, static_field, strong
from gdjax.opening import open_call
from gdjax.request import Call
from gdjax.running.frame import Frame, only_shapes, shapes_of
from gdjax.running.programs import Request, own_answer


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

    def as_variables(self, params: Any) -> Any:
        """The inverse of `seen`, for parameters like those of the start; ValueError if they are not."""
        chart = self.options["space"]
        if chart is not None:
            chart.check(params)
        free = params if chart is None else chart.to_free(params)
        wanted = signature("params", jax.eval_shape(lambda: self.variables))
        free = jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), free, jax.eval_shape(lambda: self.variables))
        difference = first_difference(wanted, signature("params", free))
        if difference is not None:
            raise ValueError(f"step: params are not like those of the start: {difference}")
        return free

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

    def with_options(self, **options: Any) -> "LoopState":
        """The same with other numbers in some options of `init`: a penalty of another strength, another method's rate.

        Raises:
            ValueError: if more than numbers is other.
        """
        numbers, structure = split(self.options | options)
        numbers = [x if isinstance(x, jax.Array) and is_key(x) else strong(x) for x in numbers]
        if structure != self.frame.structure or only_shapes(numbers) != self.frame.numbers:
            raise ValueError(f"only numbers can change in {', '.join(options)}: gdjax.init makes a state for others")
        return dataclasses.replace(self, numbers=pack(numbers, self.numbers.most))

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
                f"{caller}: the state is of other parameters, aux, residuals or constraints than the loss has here: "
                f"{difference}. gdjax.init makes a state for these"
            )
        return call, request

    __repr__ = one_line

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name."""
        names = ("status", "value", "grad_norm", "num_steps", "num_evals", "params")
        return {name: str(x) if isinstance(x := getattr(self, name), Status) else x for name in names}
