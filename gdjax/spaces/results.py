"""A result by free numbers as the user's: params and gradients, and the word on what is at an end of its space."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.jaxtools.pytrees import Static, merge, pytree_dataclass, split
from gdjax.jaxtools.remembered import remembered
from gdjax.spaces.at_ends import ended, rested
from gdjax.spaces.chart import Chart, chart_of
from gdjax.spaces.composed import composed, composed_gradient, composed_pair
from gdjax.spaces.ends import NEAR
from gdjax.spaces.inside import Inside
from gdjax.spaces.models import closed, is_floating, is_plain, opened
from gdjax.spaces.runs import Runs


@pytree_dataclass
class Origin:
    """What a result was by free numbers."""

    chart: Chart
    params: Any  # the free numbers, a pytree like the parameters with None for what is held
    grad: Any  # the gradient by them, whose norm the tests have seen
    runs: Any = None  # see `gdjax.spaces.runs`
    ends: Any = None  # of a fit, see `gdjax.spaces.at_ends.Ended.where`

    def each(self, function: Callable[[Any], Any], changed: Result, result: Result) -> Result:
        """A result ``changed`` by the function, applied to every array of a model that is no pytree, too."""
        inside = lambda model: closed(jax.tree.map(function, opened(model)))
        return dataclasses.replace(changed, params=inside(result.params), grad=inside(result.grad))

    def named(self, ends: list[Any] | None) -> str:
        """The names of what is marked."""
        marked = {n: np.asarray(m) for n, m in zip(self.chart.names, ends or (), strict=False) if m is not None}
        told = [n if m.size == 1 else f"{n} ({m.sum()} of {m.size})" for n, m in marked.items() if m.any()]
        return ", ".join(told)

    @property
    def runaways(self) -> str:
        """The names of what runs to infinity, as far as that is known."""
        return self.named(self.runs.to_infinity) if self.runs is not None else ""

    def words(self, result: Any) -> str:
        """Which parameters of one problem are at an end of their spaces, and which settings of a model were held."""
        ends = self.ends if self.ends is not None or self.runs is None else self.runs.to_end
        if int(result.code) == Status.AT_EDGE:
            ends = [e if e is None else e.share < NEAR for e in self.chart.flats(self.params, self.grad, None)]
        text = f" At an end of its space: {told}." if (told := self.named(ends)) else ""
        if (told := self.runaways) and int(result.code) != Status.RUNAWAY:
            text += f" The loss still falls if it grows a hundredfold, so the minimum may be at infinity: {told}."
        held = self.chart.settings
        return text + (f" Held as settings: {', '.join(held[:4])}{', ...' * (len(held) > 4)}." if held else "")


def to_user(result: Result, chart: Chart, inside: Inside, shared: list[bool] | None = None) -> Result:
    """The result with the user's params and gradients, and what they were.

    Args:
        result: by free numbers, of one problem or of many.
        chart: with the axes of problems of the result, but for what is ``shared``, leaf by leaf.
        inside: what looks at the ends.
        shared: of many problems.
    """
    if shared is not None:
        chart = chart.spread(shared, result.code.shape)
    free, origin = result.params, Origin(chart, result.params, result.grad)
    axes = result.code.ndim
    params, grad = mapped(chart, free, result.grad, axes)
    changed: dict[str, Any] = dict(params=params, grad=grad)
    if any(s.levels_off for s in chart.spaces):
        ends = any(s.has_ends for s in chart.spaces)
        linear = ends and result.squares is not None and result.squares.linear is not None
        if linear and result.conditions is None:
            result = rested(result, chart)
        changed["code"] = result.code
        changed["code"], runs, _ = inside.review(result, chart)
        origin = dataclasses.replace(origin, runs=runs)
        if linear and runs is not None:
            changed["code"] = without_minimum(changed["code"], runs)
        if linear:
            found = ended(dataclasses.replace(result, code=changed["code"]), chart)
            origin = dataclasses.replace(origin, ends=found.where)
            changed["squares"] = found.squares
            if result.conditions is None:
                changed["code"] = found.code
    changed["space"] = origin
    if result.automatic is not None:
        changed["automatic"] = mapped(chart, free, result.automatic, axes)[1]
    if result.certificate is not None and result.certificate.direction is not None:
        turned = push_forward(chart, free, result.certificate.direction)
        changed["certificate"] = dataclasses.replace(result.certificate, direction=turned)
    return dataclasses.replace(result, **changed)


def without_minimum(code: jax.Array, runs: Runs) -> jax.Array:
    """RUNAWAY for fits whose parameters run to infinity, as without a space: there is no answer to give errors of."""
    marks = [m.reshape(*code.shape, -1) for m in runs.to_infinity if m is not None]
    return jnp.where(jnp.any(jnp.concatenate(marks, axis=-1), axis=-1), Status.RUNAWAY, code)


def mapped(chart: Chart, free: Any, grad: Any, axes: int = 0) -> tuple[Any, Any]:
    """The user's params and gradient, with axes of problems in front."""
    moving = [(s, z, g) for s, z, g in triples(chart, free, grad) if not s.is_fixed]
    if any(s.is_map for s, _, _ in moving):
        arrays, static = split(moving)
        numbers, slopes = _mapped(static, axes, arrays)
    else:
        numbers, slopes = [z for _, z, _ in moving], [g for _, _, g in moving]
    x, g = iter(numbers), iter(slopes)
    params = [s.to_user(None) if s.is_fixed else next(x) for s in chart.spaces]
    grads = [s.grad_to_user(None, None) if s.is_fixed else next(g) for s in chart.spaces]
    return chart.of_leaves(params), chart.of_leaves(grads)


def triples(chart: Chart, free: Any, grad: Any) -> list[tuple[Any, Any, Any]]:
    """The space, free numbers and gradient of each leaf."""
    return list(zip(chart.spaces, chart.free_leaves(free), chart.free_leaves(grad), strict=True))


@remembered(static=2)
def _mapped(static: Static, axes: int, arrays: list[Any]) -> tuple[list[Any], list[Any]]:
    """Parameters and gradients of what moves."""

    def of_one(arrays: list[Any]) -> tuple[list[Any], list[Any]]:
        moving = merge(arrays, static)
        return [s.to_user(z) for s, z, _ in moving], [s.grad_to_user(z, g) for s, z, g in moving]

    return of_many(of_one, axes)(arrays)


def of_many(function: Callable[..., Any], axes: int) -> Callable[..., Any]:
    """A function of one problem as one of all."""
    for _ in range(axes):
        function = jax.vmap(function)
    return function


def push_forward(chart: Chart, free: Any, direction: Any) -> Any:
    """A direction of the free numbers as one of the parameters; 0 for what is held."""
    change = iter(jax.jvp(chart.numbers, (free,), (direction,))[1])
    zeros = lambda s: s.grad_to_user(None, None)
    return chart.of_leaves([zeros(s) if s.is_fixed else next(change) for s in chart.spaces])


def numbers(params: Any) -> Any:
    """The floating numbers of a user's parameters, a pytree with None for everything else."""
    return jax.tree.map(lambda x: jnp.asarray(x) if is_floating(x) else None, opened(params))


def is_fixed(result: Result) -> np.ndarray:
    """Which of these numbers, flat and of one problem, stay as they were given."""
    chart, parts = result.space.chart, [np.zeros(0, bool)]
    for space, x in zip(chart.spaces, chart.treedef.flatten_up_to(opened(result.params)), strict=True):
        if is_floating(x):
            mask = space.fixed(np.shape(x)[result.code.ndim :])
            parts += [mask.ravel()] * (2 if jnp.iscomplexobj(x) else 1)
    return np.concatenate(parts)


def at_ends(result: Result, ends: list[Any] | None = None) -> jax.Array:
    """Which of these numbers are known because they are at an end of their space, shape (..., n).

    Args:
        result: of one problem or of many.
        ends: see `gdjax.spaces.at_ends.Ended.where`; by default those of a fit.
    """
    chart, axes, parts = result.space.chart, result.code.ndim, []
    ends = ends or result.space.ends or [None] * len(chart.spaces)
    for s, x, marks in zip(chart.spaces, chart.treedef.flatten_up_to(opened(result.params)), ends, strict=True):
        if is_floating(x):
            known = jnp.zeros(np.shape(x), bool) if marks is None else of_many(s.known, axes)(marks)
            parts += [known.reshape(*result.code.shape, -1)] * (2 if jnp.iscomplexobj(x) else 1)
    return jnp.concatenate(parts, axis=-1)


def opened_problem(
    loss: Callable[..., Any], params: Any, args: tuple[Any, ...], space: Any, options: dict[str, Any]
) -> tuple[Any, Any, tuple[Any, ...], Chart | None]:
    """Loss, params and data by free numbers, and their chart, for whoever looks at a loss; None if there is no space.

    Args:
        loss: of (params, *args).
        params: the user's, or a result.
        args: the data.
        space: the option ``space=``; a result has its own.
        options: those of `gdjax.minimize`, of which ``grad`` is changed.
    """
    if isinstance(params, Result):
        if params.space is None:
            return loss, params.params, args, None
        chart, free = params.space.chart, params.space.params
    elif space is None and is_plain(params):
        return loss, params, args, None
    else:
        chart, free = chart_of(space, params)
    if options.get("grad") is not None:
        options["grad"] = composed_gradient(chart, options["grad"])
    loss = (composed_pair if options.get("value_and_grad") else composed)(chart, loss)
    return loss, free, (*args, chart.spaces), chart


def by_free(
    loss: Callable[..., Any], result: Result, args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, Result, tuple[Any, ...]]:
    """The same of a result, with the result as the descent saw it."""
    loss, free, args, chart = opened_problem(loss, result, args, None, options)
    if chart is None:
        return loss, result, args
    return loss, dataclasses.replace(result, params=free, grad=result.space.grad, space=None), args
