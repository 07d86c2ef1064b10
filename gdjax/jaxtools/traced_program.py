"""Traced functions that are known by what they compute: the same code over other data is the same program."""

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, DropVar, Jaxpr, Literal, jaxpr_as_fun

from gdjax.jaxtools.description import JIT, Same, but_for_numbers, by_bits, is_number, of_nested, sketch, takes_numbers


class TracedProgram:
    """A traced function of arrays. Two of the same object are the same function of data and arguments."""

    def __init__(self, jaxpr: Jaxpr, out_tree: Any) -> None:
        self.jaxpr, self.out_tree = jaxpr, out_tree
        self.out_avals: list[Any] = [v.aval for v in jaxpr.outvars]
        self._rules: Hashable | None = None

    def __call__(self, data: Sequence[Any], arrays: Sequence[Any]) -> Any:
        """The function with its own ``data``; derivatives follow its custom rules."""
        return jax.tree.unflatten(self.out_tree, jaxpr_as_fun(ClosedJaxpr(self.jaxpr, []))(*data, *arrays))

    @property
    def rules(self) -> Hashable:
        """What the custom derivative rules do: the traced derivatives of order one and two."""
        if self._rules is None:
            self._rules = derivatives_key(self.jaxpr)
        return self._rules


_programs: weakref.WeakValueDictionary[Hashable, TracedProgram] = weakref.WeakValueDictionary()


def intern_program(closed: ClosedJaxpr, out_tree: Any, *arrays: Any) -> tuple[TracedProgram, list[Any]]:
    """What was traced with ``arrays``: the program, shared with all that compute the same, and its data.

    The data are what it closes over: arrays, and those Python numbers that are operands like any other (not the
    exponents, 0, 1, 2 and 1/2, nor what is in the body of a loop). So another number compiles nothing.
    """
    found = sketch(closed)
    key: Hashable = (out_tree, found.text)
    known = _programs.get(key)
    if known is None or found.has_rules:
        if known is None:
            count_variants(found.text)
        program = opened(closed, out_tree, found.data, found.numbers > 0, jax.tree.leaves(arrays))
        known = _programs.setdefault(key, program)
        if known is not program and known.rules != program.rules:
            known = _programs.setdefault((key, program.rules), program)
    return known, list(found.data)


MANY = 32  # variants of a program that call for a warning
_variants: OrderedDict[int, set[int]] = OrderedDict()


def count_variants(text: Hashable) -> None:
    """Warn, once, if many programs have been met that differ from this one in numbers alone."""
    seen = _variants.setdefault(hash(but_for_numbers(text)), set())
    seen.add(hash(text))
    if len(seen) == MANY:
        warnings.warn(
            f"gdjax compiles the {MANY}nd program that differs from others in a number alone, at the cost of time and "
            "memory for each. A Python number that is an exponent or in the body of a loop is part of the program: "
            "make it an array (jnp.asarray(number)) or an argument of the loss to vary it.",
            stacklevel=2,
        )
    while len(_variants) > 1000:
        _variants.popitem(last=False)


def opened(
    closed: ClosedJaxpr, out_tree: Any, data: Sequence[Any], numbers: bool, arrays: Sequence[Any]
) -> TracedProgram:
    """The program with its data as arguments, in the order of its sketch."""

    def replay(data: Sequence[Any], *args: Any) -> list[Any]:
        rest = iter(data)
        return evaluate(closed, rest, numbers, args)

    return TracedProgram(jax.make_jaxpr(replay)(list(data), *arrays).jaxpr, out_tree)


def evaluate(closed: ClosedJaxpr, data: Iterator[Any], numbers: bool, args: Sequence[Any]) -> list[Any]:
    """Evaluate with ``data`` in place of consts and numbers, entering every nested `jax.jit` that holds some."""
    jaxpr = closed.jaxpr
    consts = [next(data) for _ in closed.consts]
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    read = lambda v: v.val if isinstance(v, Literal) else env[v]
    for eqn in jaxpr.eqns:
        lift = numbers and takes_numbers(eqn)
        operands = [next(data) if lift and is_number(v) else read(v) for v in eqn.invars]
        inner = eqn.params["jaxpr"] if eqn.primitive.name in JIT else None
        if inner is not None and (of_nested(inner).data if numbers else holds_consts(inner)):
            results = evaluate(inner, data, numbers, operands)
        elif lift:
            results = bind(eqn, operands)
        else:
            results = apply(eqn, operands, jaxpr.debug_info)
        env.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def holds_consts(closed: ClosedJaxpr) -> bool:
    """Whether a nested `jax.jit`, or one within it, has arrays of its own."""
    nested = [eqn.params["jaxpr"] for eqn in closed.jaxpr.eqns if eqn.primitive.name in JIT]
    return bool(closed.consts) or any(map(holds_consts, nested))


def bind(eqn: Any, operands: list[Any]) -> list[Any]:
    """An equation of those that take numbers."""
    with eqn.ctx.manager:
        results = eqn.primitive.bind(*operands, **eqn.params)
    return results if eqn.primitive.multiple_results else [results]


def apply(eqn: Any, operands: list[Any], debug_info: Any) -> list[Any]:
    """Any equation."""
    given = {v: x for v, x in zip(eqn.invars, operands, strict=True) if not isinstance(v, Literal)}
    shown = [v for v in eqn.outvars if not isinstance(v, DropVar)]
    single = Jaxpr([], list(given), shown, [eqn], eqn.effects, debug_info.with_unknown_names())
    results = dict(zip(shown, jaxpr_as_fun(ClosedJaxpr(single, []))(*given.values()), strict=True))
    return [results.get(v) for v in eqn.outvars]


def derivatives_key(jaxpr: Jaxpr) -> Hashable:
    """Description of the first and second derivatives of the outputs by all inputs, in which custom rules show."""
    avals: list[Any] = [v.aval for v in jaxpr.invars]
    structs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    where = [i for i, x in enumerate(structs) if jnp.issubdtype(x.dtype, jnp.inexact)]

    def outputs(inputs: list[Any], moving: list[Any]) -> list[Any]:
        filled = list(inputs)
        for i, x in zip(where, moving, strict=True):
            filled[i] = x
        out = jaxpr_as_fun(ClosedJaxpr(jaxpr, []))(*filled)
        return [y for y in out if jnp.issubdtype(y.dtype, jnp.inexact)]

    def pulled(function: Callable[..., Any]) -> Callable[..., Any]:
        """The function's values, and these pulled back. In reverse alone: forward, a custom_vjp stays unresolved."""

        def both(inputs: list[Any], moving: list[Any]) -> Any:
            out, pull = jax.vjp(lambda x: function(inputs, x), moving)
            return out, pull(out)

        return both

    for order, function in ((2, pulled(pulled(outputs))), (1, pulled(outputs))):
        try:
            closed = jax.make_jaxpr(lambda inputs, f=function: f(inputs, [inputs[i] for i in where]))(structs)
        except Exception:  # a rule that has no second derivative, or cannot be traced like this
            continue
        return order, by_bits(closed)
    return Same(jaxpr)
