"""What the user's functions are as functions of free numbers; and what a result by these is to the user.

The loss by free numbers is ``loss(to_user(free))``: JAX differentiates it, and the descent knows nothing of spaces. The
spaces of all leaves, and with them what is held, are the last of the data.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.spaces.chart import Chart, chart_of
from gdjax.spaces.models import call_unchanged, is_plain


def composed(chart: Chart, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(params, *args)`` as one of ``(free, *args, spaces)``."""

    @named_as(function)
    def of_free(free: Any, *args: Any, **kwargs: Any) -> Any:
        return call_unchanged(function, with_spaces(chart, args[-1]).to_user(free), *args[:-1], **kwargs)

    return of_free


def freed(loss: Any, params: Any, space: Any) -> tuple[Any, Any, Any]:
    """Loss and start by the free numbers of a space or a whole model, and the way back; as they are, without."""
    if space is None and is_plain(params):
        return loss, params, lambda params: params
    chart, start = chart_of(space, params)
    return lambda free, *given: call_unchanged(loss, chart.to_user(free), *given), start, chart.to_user


def composed_gradient(chart: Chart, grad: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient by the free numbers, from that by the parameters."""

    @named_as(grad)
    def of_free(free: Any, *args: Any, **kwargs: Any) -> Any:
        there = with_spaces(chart, args[-1])
        return there.pull_back(free, grad(there.to_user(free), *args[:-1], **kwargs))

    return of_free


def composed_pair(chart: Chart, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a function that returns (value, gradient)."""

    @named_as(function)
    def of_free(free: Any, *args: Any, **kwargs: Any) -> Any:
        there = with_spaces(chart, args[-1])
        out = function(there.to_user(free), *args[:-1], **kwargs)
        if not (isinstance(out, tuple) and len(out) == 2):
            return out  # its check says what is wrong with it
        return out[0], there.pull_back(free, out[1])

    return of_free


def composed_jacobian(chart: Chart, jac: Callable[..., Any]) -> Callable[..., Any]:
    """The Jacobian of residuals by the free numbers: of each residual, the gradient."""

    @named_as(jac)
    def of_free(free: Any, *args: Any, **kwargs: Any) -> Any:
        there = with_spaces(chart, args[-1])
        params = there.to_user(free)
        found = jac(params, *args[:-1], **kwargs)
        structure: Any = jax.tree.structure(params)
        outer: Any = jax.tree.structure(found, is_leaf=lambda x: jax.tree.structure(x) == structure)
        parts = outer.flatten_up_to(found)
        return jax.tree.unflatten(outer, [pulled(there, free, part) for part in parts])

    return of_free


def pulled(chart: Chart, free: Any, part: Any) -> Any:
    """The derivatives of one array of residuals by the free numbers, axes of residuals first."""
    numbers, pull = jax.vjp(chart.numbers, free)
    slopes = [jnp.asarray(j) for s, j in zip(chart.spaces, chart.free_leaves(part), strict=True) if not s.is_fixed]
    shape = slopes[0].shape[: slopes[0].ndim - numbers[0].ndim]
    rows = [j.reshape(-1, *x.shape).astype(x.dtype) for j, x in zip(slopes, numbers, strict=True)]
    return jax.tree.map(lambda z: z.reshape(*shape, *z.shape[1:]), jax.vmap(pull)(rows)[0])


def composed_inward(chart: Chart) -> Callable[..., Any]:
    """`Chart.inward` as a function of the points and the data."""
    return lambda points, *args: with_spaces(chart, args[-1]).inward(points)


def with_spaces(chart: Chart, spaces: list[Any]) -> Chart:
    """The chart with these spaces, as they came back among the data."""
    return Chart(spaces, [], chart.treedef)


def named_as(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a function the signature of the user's, by which its data are named in messages."""
    known = [name for name in functools.WRAPPER_ASSIGNMENTS if name != "__type_params__"]
    return functools.wraps(function, known, updated=())
