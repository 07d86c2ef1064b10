"""A call with parameters in spaces, or with a whole model, as one of free numbers: what every front door does first."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.insight.scales import units
from gdjax.jaxtools.pytrees import as_data, is_traceable, merge, split
from gdjax.many.axes import count_problems, problems_first, spread_axes
from gdjax.problem.constraints import is_constraint, values_and_excess
from gdjax.problem.problem import make_problem
from gdjax.problem.residuals import as_residuals, half_sum
from gdjax.request import Call
from gdjax.spaces.chart import Chart, chart_of, chart_of_many
from gdjax.spaces.composed import (
    composed,
    composed_gradient,
    composed_inward,
    composed_jacobian,
    composed_pair,
    with_spaces,
)
from gdjax.spaces.inside import Inside
from gdjax.spaces.merit import Value
from gdjax.spaces.models import call_unchanged, is_plain, opened, which_are_numbers
from gdjax.spaces.penalties import held_within, penalty_of_free
from gdjax.spaces.rescaled import rescaled
from gdjax.spaces.results import to_user
from gdjax.training.outcome import Training


def open_call(call: Call) -> Call:
    """The same call by free numbers, whose result is again the user's; as it is if there is nothing to do.

    The option ``space`` may be a `Chart`: then the call is already one of free numbers, but for the functions in it.
    """
    if call.chart is not None:
        return call
    call = call._replace(params=trained(call.params))
    params = call.params.params if isinstance(call.params, Result) else call.params
    options = dict(call.options)
    space, scale = options.pop("space", None), check_scale(options.pop("scale", None))
    if space is None and scale is None and is_plain(params):
        return call._replace(options=options)
    if isinstance(space, Chart):
        return by_free(call._replace(options=options), space, params, space.to_user(params))
    chart, start = chart_of(space, params)
    if scale is not None:
        chart, start = in_units(call, chart, start)
    return by_free(call._replace(options=options), chart, start, params)


def trained(params: Any) -> Any:
    """Where to start: what `gdjax.train` returned stands for its params, which are all that it knows of a descent."""
    return params.params if isinstance(params, Training) else params


def check_scale(scale: Any) -> str | None:
    """The option ``scale``; ValueError unless it is None or "auto"."""
    if scale not in (None, "auto"):
        raise ValueError(
            f"scale must be 'auto' or None; units that are known are space=gdjax.spaces.Scaled; got {scale!r}"
        )
    return scale


def in_units(call: Call, chart: Chart, start: Any) -> tuple[Chart, Any]:
    """The chart with free numbers in the units of the curvature at the start."""
    options, pair = call.options, bool(call.options.get("value_and_grad"))
    given: Any = dict(params=start, args=(*call.args, chart.spaces), kwargs=options.get("kwargs") or {}, grad=None)
    given |= dict(maximize=bool(options.get("maximize")), robust=options.get("robust"))
    loss = composed(chart, call.function if not pair else lambda *args, **kwargs: call.function(*args, **kwargs)[0])
    problem = make_problem(loss, False, bool(options.get("has_aux")), squares=bool(options.get("squares")), **given)
    found = units(problem)
    triples = zip(chart.spaces, chart.free_leaves(found), chart.free_leaves(start), strict=True)
    rows = [(rescaled(s, unit), None if s.is_fixed else z / unit.astype(z.dtype)) for s, unit, z in triples]
    spaces, free = [s for s, _ in rows], [z for _, z in rows]
    return Chart(spaces, free, chart.treedef), chart.free_tree(free)


def open_many(call: Call, in_axes: Any) -> tuple[Call, Any]:
    """The same for many problems, with the axes of what became of the arguments."""
    call = call._replace(params=trained(call.params))
    params = call.params.params if isinstance(call.params, Result) else call.params
    options = dict(call.options)
    space = options.pop("space", None)
    if check_scale(options.pop("scale", None)) is not None:
        raise ValueError("scale='auto' is of one problem: give the units of many by space=gdjax.spaces.Scaled(...)")
    if space is None and is_plain(params):
        return call._replace(options=options), in_axes
    tree = opened(params)
    given = tuple(in_axes) if isinstance(in_axes, tuple | list) else (in_axes,) * (1 + len(call.args))
    whole = spread_axes(in_axes, (tree, *as_data("args", call.args)))
    inputs, others = whole[: len(jax.tree.leaves(tree))], whole[len(jax.tree.leaves(tree)) :]
    settings = [not (flag or np.ndim(x.leaf)) for flag, x in zip(which_are_numbers(tree), inputs, strict=True)]
    inputs = [x._replace(axis=None) if setting else x for setting, x in zip(settings, inputs, strict=True)]
    if any(x.axis is not None for x in inputs):
        count_problems(inputs)
    rows = [x.leaf if x.axis is None else problems_first(x.leaf, x.axis) for x in inputs]
    shared = [x.axis is None for x in inputs]
    chart, start = chart_of_many(space, jax.tree.unflatten(jax.tree.structure(tree), rows), shared)
    axes = [None if all_share else 0 for all_share in shared]
    first = jax.tree.unflatten(jax.tree.structure(tree), [x if s else x[0] for x, s in zip(rows, shared, strict=True)])
    data = [x.axis for x in others if is_traceable(x.leaf)]
    call = by_free(call._replace(options=options), chart, start, first, data, shared)
    free = [None if s.is_fixed else axis for s, axis in zip(chart.spaces, axes, strict=True)]
    return call, (chart.free_tree(free), *given[1:], axes)


def by_free(
    call: Call,
    chart: Chart,
    start: Any,
    params: Any,
    axes: Sequence[int | None] = (),
    shared: list[bool] | None = None,
) -> Call:
    """The call whose parameters are free numbers.

    Args:
        call: the user's.
        chart: of its parameters.
        start: the free numbers to start at.
        params: the parameters of one problem.
        axes: of many problems, those of the data.
        shared: of many problems, whether all share a leaf.
    """
    options, function = dict(call.options), call.function
    pair = options.get("value_and_grad")
    chart = held_within(options.get("penalty"), chart, params)
    options["penalty"] = penalty_of_free(options.get("penalty"), chart, params)
    constraints = options.get("constraints")
    own = lambda part: dataclasses.replace(part, c=composed(chart, part.c)) if is_constraint(part) else part
    options["constraints"] = jax.tree.map(own, constraints, is_leaf=is_constraint)
    options["inward"] = composed_inward(chart)
    for name, compose in (("grad", composed_gradient), ("jac", composed_jacobian)):
        if options.get(name) is not None:
            options[name] = compose(chart, options[name])
    maximize, of_free = bool(options.get("maximize")), (composed_pair if pair else composed)(chart, function)

    data, static = split((as_data("args", call.args), as_data("kwargs", options.get("kwargs") or {})))

    def value(numbers: list[Any], spaces: list[Any], data: list[Any]) -> jax.Array:
        args, kwargs = merge(data, static)
        out = call_unchanged(function, with_spaces(chart, spaces).of_numbers(numbers), *args, **kwargs)
        for wrapped in (pair, options.get("has_aux")):
            out = out[0] if wrapped else out
        out = half_sum(as_residuals(out), options.get("robust")) if options.get("squares") else out
        return -jnp.asarray(out) if maximize else jnp.asarray(out)

    def limits(numbers: list[Any], spaces: list[Any], data: list[Any]) -> tuple[list[Any], list[Any]]:
        args, kwargs = merge(data, static)
        return values_and_excess(constraints, with_spaces(chart, spaces).of_numbers(numbers), args, kwargs)

    inside = Inside(chart, Value(value, data, [*axes, *[None] * (len(data) - len(axes))], limits))
    if isinstance(call.params, Result):
        start = dataclasses.replace(call.params, params=start, space=None)
    return call._replace(
        function=of_free,
        params=start,
        chart=chart,
        escapes=(inside,) if any(s.levels_off for s in chart.spaces) else (),
        args=(*call.args, chart.spaces),
        options=options,
        finish=lambda result, **known: call.finish(to_user(result, chart, inside, shared), **known),
    )
