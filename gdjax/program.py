"""Traced functions that are known by what they compute: the same code over other arrays is the same program."""

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

JIT = ("jit", "pjit")  # what the primitive of a nested `jax.jit` is called, now and in older versions
CUSTOM_RULES = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


class Program:
    """A traced function of arrays. Two of the same object are the same function of consts and arguments."""

    def __init__(self, jaxpr: Jaxpr, out_tree: Any) -> None:
        self.jaxpr, self.out_tree = jaxpr, out_tree
        self._rules: Hashable | None = None

    def __call__(self, consts: Sequence[Any], arrays: Sequence[Any]) -> Any:
        """The function with what it closed over in ``consts``; derivatives follow its custom rules."""
        return jax.tree.unflatten(self.out_tree, jaxpr_as_fun(ClosedJaxpr(self.jaxpr, list(consts)))(*arrays))

    @property
    def rules(self) -> Hashable:
        """What the custom derivative rules do: the traced derivatives of order one and two."""
        if self._rules is None:
            self._rules = derivatives_key(self.jaxpr)
        return self._rules


_programs: weakref.WeakValueDictionary[Hashable, Program] = weakref.WeakValueDictionary()


def intern_program(function: Callable[..., Any], *arrays: Any) -> tuple[Program, list[Any]]:
    """Trace ``function(*arrays)``: the program, shared with all that compute the same, and what it closed over."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arrays)
    if any(holds_consts(eqn) for eqn in closed.jaxpr.eqns):
        closed = jax.make_jaxpr(lambda *args: inline(closed.jaxpr, closed.consts, args))(*flat_inputs(closed.jaxpr))
    program = Program(closed.jaxpr, jax.tree.structure(shapes))
    description = Description()
    key: Hashable = (program.out_tree, description.of_jaxpr(program.jaxpr))
    known = _programs.setdefault(key, program)
    if known is not program and description.has_rules and known.rules != program.rules:
        known = _programs.setdefault((key, program.rules), program)
    return known, list(closed.consts)


class Same:
    """Equal only to itself: stands for an object that cannot be compared."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


class Description:
    """A jaxpr in hashable terms: equal descriptions, equal computations (but for the rules of custom derivatives)."""

    def __init__(self) -> None:
        self.has_rules = False

    def of_jaxpr(self, jaxpr: Jaxpr) -> Hashable:
        """Variables are numbered in order of appearance; names and source lines do not count."""
        numbers: dict[Any, int] = {}

        def binders(variables: Sequence[Any]) -> tuple[Any, ...]:
            for v in variables:
                numbers[v] = len(numbers)
            return tuple(v.aval for v in variables)

        def atoms(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(self.of_literal(v) if isinstance(v, Literal) else numbers[v] for v in values)

        head = binders(jaxpr.constvars), binders(jaxpr.invars)
        body = tuple(
            (eqn.primitive, atoms(eqn.invars), self.of_params(eqn), eqn.ctx, binders(eqn.outvars)) for eqn in jaxpr.eqns
        )
        return head, body, atoms(jaxpr.outvars)

    def of_literal(self, literal: Literal) -> Hashable:
        """Its type and its bits: 0.0 is not -0.0."""
        return literal.aval, np.asarray(literal.val).tobytes()

    def of_params(self, eqn: Any) -> Hashable:
        """Parameters by name; the rules of custom derivatives are left out, and noted."""
        params = dict(eqn.params)
        if eqn.primitive.name in CUSTOM_RULES:
            self.has_rules = True
            params = {k: v for k, v in params.items() if isinstance(v, ClosedJaxpr | Jaxpr | int | str | tuple)}
        return tuple((name, self.of_value(params[name])) for name in sorted(params))

    def of_value(self, value: Any) -> Hashable:
        """A parameter."""
        if isinstance(value, ClosedJaxpr):
            return self.of_jaxpr(value.jaxpr), tuple(Same(c) for c in value.consts)
        if isinstance(value, Jaxpr):
            return self.of_jaxpr(value)
        if isinstance(value, tuple | list):
            return type(value), tuple(self.of_value(v) for v in value)
        if isinstance(value, dict):
            return tuple((k, self.of_value(value[k])) for k in sorted(value, key=str))
        try:
            hash(value)
        except TypeError:
            return Same(value)
        return type(value), value


def derivatives_key(jaxpr: Jaxpr) -> Hashable:
    """Description of the first and second derivatives of the outputs by all inputs, in which custom rules show."""
    split = len(jaxpr.constvars)
    avals: list[Any] = [v.aval for v in (*jaxpr.constvars, *jaxpr.invars)]
    structs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
    where = [i for i, x in enumerate(structs) if jnp.issubdtype(x.dtype, jnp.inexact)]

    def first(inputs: list[Any], tangents: list[Any]) -> Any:
        def outputs(moving: list[Any]) -> list[Any]:
            filled = list(inputs)
            for i, x in zip(where, moving, strict=True):
                filled[i] = x
            out = jaxpr_as_fun(ClosedJaxpr(jaxpr, filled[:split]))(*filled[split:])
            return [y for y in out if jnp.issubdtype(y.dtype, jnp.inexact)]

        def gradients(moving: list[Any]) -> Any:
            out, pull = jax.vjp(outputs, moving)
            return pull(out)

        moving = [inputs[i] for i in where]
        return jax.jvp(gradients, (moving,), (tangents,)) if tangents else gradients(moving)

    for tangents in ([structs[i] for i in where], []):
        try:
            closed = jax.make_jaxpr(first)(structs, tangents)
        except Exception:  # a rule that has no second derivative, or cannot be traced like this
            continue
        return len(tangents), Description().of_jaxpr(closed.jaxpr), tuple(Same(c) for c in closed.consts)
    return Same(jaxpr)


def flat_inputs(jaxpr: Jaxpr) -> list[Any]:
    """The arguments in the abstract."""
    avals: list[Any] = [v.aval for v in jaxpr.invars]
    return [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in avals]


def holds_consts(eqn: Any) -> bool:
    """Whether an equation is a nested `jax.jit` with arrays of its own, which are hidden from the caller."""
    if eqn.primitive.name not in JIT:
        return False
    inner = eqn.params["jaxpr"]
    return bool(inner.consts) or any(holds_consts(e) for e in inner.jaxpr.eqns)


def inline(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Evaluate, entering every nested `jax.jit` that hides arrays: traced, these are consts of the whole."""
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    used = {v for eqn in jaxpr.eqns for v in eqn.invars if not isinstance(v, Literal)}
    used |= {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    read = lambda v: v.val if isinstance(v, Literal) else env[v]
    for eqn in jaxpr.eqns:
        if holds_consts(eqn):
            inner = eqn.params["jaxpr"]
            env.update(zip(eqn.outvars, inline(inner.jaxpr, inner.consts, [read(v) for v in eqn.invars]), strict=True))
            continue
        ins = list(dict.fromkeys(v for v in eqn.invars if not isinstance(v, Literal)))
        outs = [v for v in eqn.outvars if v in used]
        single = Jaxpr([], ins, outs, [eqn], eqn.effects, jaxpr.debug_info.with_unknown_names())
        env.update(zip(outs, jaxpr_as_fun(ClosedJaxpr(single, []))(*(env[v] for v in ins)), strict=True))
    return [read(v) for v in jaxpr.outvars]
