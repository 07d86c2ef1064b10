"""What a jaxpr computes, in hashable terms, apart from its data: the arrays that it holds and its Python numbers."""

import os
import types
import weakref
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

JIT = ("jit", "pjit")  # what the primitive of a nested `jax.jit` is called, now and in older versions
CUSTOM_RULES = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")

# Where a number is an operand like any other. As an exponent it is not: XLA makes a product of x ** 2.0.
words = """add sub mul div max min neg lt le gt ge eq ne select_n clamp broadcast_in_dim convert_element_type"""
TAKES_NUMBERS = frozenset([*words.split(), *JIT])
# Of these XLA makes use (x * 1, x / 2), and they are what formulas are made of. A number that is not finite
# stands for no quantity either.
STRUCTURAL = (0.0, 0.5, 1.0, 2.0)
# Numbers that become arguments; of a program with more, none does: each costs about a microsecond a call.
MOST_NUMBERS = 64

JAX = os.path.dirname(jax.__file__) + os.sep


class Sketch(NamedTuple):
    """A jaxpr taken apart."""

    text: Hashable  # equal texts, equal computations of data and arguments (but for custom rules)
    data: tuple[Any, ...]  # arrays and numbers, in the order in which they are met
    numbers: int  # how many of them are numbers
    has_rules: bool  # whether there are custom derivative rules other than JAX's own, which the text leaves out
    has_power: bool


_nested: weakref.WeakKeyDictionary[ClosedJaxpr, Sketch] = weakref.WeakKeyDictionary()


def sketch(closed: ClosedJaxpr) -> Sketch:
    """The computation and its data; nested calls of `jax.jit` are entered for theirs."""
    numbers = Sketcher(numbers=True).whole(closed)
    return numbers if numbers.numbers <= MOST_NUMBERS else Sketcher(numbers=False).whole(closed)


def by_bits(closed: ClosedJaxpr) -> Hashable:
    """The computation with its data."""
    return Sketcher(numbers=False).of_value(closed)


def of_nested(closed: ClosedJaxpr) -> Sketch:
    """The same of a nested `jax.jit`. JAX keeps these, so that most are met again."""
    known = _nested.get(closed)
    if known is None:
        known = _nested[closed] = Sketcher(numbers=True).whole(closed)
    return known


def is_number(atom: Any) -> bool:
    """Whether an operand is a number that may become data."""
    if not isinstance(atom, Literal) or np.shape(atom.val) != ():
        return False
    value, aval = atom.val, cast(Any, atom.aval)
    return jnp.issubdtype(aval.dtype, jnp.floating) and bool(np.isfinite(value)) and abs(value) not in STRUCTURAL


def takes_numbers(eqn: Any) -> bool:
    """Whether the numbers among the operands may become data."""
    name = eqn.primitive.name
    return name in TAKES_NUMBERS and not (name in JIT and of_nested(eqn.params["jaxpr"]).has_power)


class Same:
    """Equal only to itself: stands for an object that cannot be compared."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.thing is self.thing

    def __hash__(self) -> int:
        return id(self.thing)


class Sketcher:
    """Walks through one jaxpr."""

    def __init__(self, numbers: bool) -> None:
        self.numbers = numbers  # whether they are data
        self.data: list[Any] = []
        self.count = 0  # of the numbers in the data
        self.has_rules = self.has_power = False

    def whole(self, closed: ClosedJaxpr) -> Sketch:
        """Of the outermost jaxpr, or a nested `jax.jit`."""
        self.data += closed.consts
        text = self.of_jaxpr(closed.jaxpr, is_open=True)
        return Sketch(text, tuple(self.data), self.count, self.has_rules, self.has_power)

    def of_jaxpr(self, jaxpr: Jaxpr, is_open: bool = False) -> Hashable:
        """Variables are numbered in order of appearance; names and source lines do not count.

        Only where it is open is data taken out; in the body of a loop all is part of the text.
        """
        order: dict[Any, int] = {}

        def binders(variables: Sequence[Any]) -> tuple[Any, ...]:
            for v in variables:
                order[v] = len(order)
            return tuple([v.aval for v in variables])

        def atom(v: Any, lift: bool) -> Hashable:
            if not isinstance(v, Literal):
                return order[v]
            if lift and is_number(v):
                self.data.append(np.asarray(v.val, cast(Any, v.aval).dtype))
                self.count += 1
                return v.aval
            return v.aval, np.asarray(v.val).tobytes()  # 0.0 is not -0.0

        head = binders(jaxpr.constvars), binders(jaxpr.invars)
        body = []
        for eqn in jaxpr.eqns:
            lift = is_open and self.numbers and takes_numbers(eqn)
            operands = tuple([atom(v, lift) for v in eqn.invars])
            body.append((eqn.primitive, operands, self.of_params(eqn, is_open), eqn.ctx, binders(eqn.outvars)))
        return head, tuple(body), tuple([atom(v, False) for v in jaxpr.outvars])

    def of_params(self, eqn: Any, is_open: bool) -> Hashable:
        """Parameters by name; the rules of custom derivatives are left out, and noted."""
        params, name = eqn.params, eqn.primitive.name
        if is_open and name in JIT:
            rest = tuple([(k, self.of_value(params[k])) for k in sorted(params) if k != "jaxpr"])
            return rest, self.of_call(params["jaxpr"])
        self.has_power |= name == "pow"
        if name in CUSTOM_RULES:
            where = source(params.get("call_jaxpr") or params.get("fun_jaxpr"))
            self.has_rules |= not (where or "").startswith(JAX)
            params = {k: v for k, v in params.items() if isinstance(v, ClosedJaxpr | Jaxpr | int | str | tuple)}
            return where, tuple([(k, self.of_value(params[k])) for k in sorted(params)])
        return tuple([(k, self.of_value(params[k])) for k in sorted(params)])

    def of_call(self, closed: ClosedJaxpr) -> Hashable:
        """A nested `jax.jit` in an open jaxpr."""
        part = of_nested(closed) if self.numbers else Sketcher(numbers=False).whole(closed)
        self.data += part.data
        self.count += part.numbers
        self.has_rules |= part.has_rules
        self.has_power |= part.has_power
        return part.text

    def of_value(self, value: Any) -> Hashable:
        """A parameter."""
        if isinstance(value, ClosedJaxpr):
            return self.of_jaxpr(value.jaxpr), tuple(Same(c) for c in value.consts)
        if isinstance(value, Jaxpr):
            return self.of_jaxpr(value)
        if hasattr(value, "callback_func"):  # what JAX makes of a function that is called back
            return type(value), self.of_value(value.callback_func), value.in_tree
        if isinstance(value, tuple | list):
            return type(value), tuple([self.of_value(v) for v in value])
        if isinstance(value, dict):
            return tuple((k, self.of_value(value[k])) for k in sorted(value, key=str))
        return self.of_function(value, ()) if isinstance(value, types.FunctionType) else key_of(value)

    def of_function(self, function: types.FunctionType, outer: tuple[Any, ...]) -> Hashable:
        """A function that the program calls back: made anew by the same code over the same objects, it is the same."""
        if function in outer:
            return outer.index(function)
        # What JAX wraps around the user's function holds lists of its own, made anew in each trace.
        look = self.of_value if (function.__module__ or "").startswith("jax.") else self.of_object
        cells = []
        for cell in function.__closure__ or ():
            inside = cell.cell_contents
            is_function = isinstance(inside, types.FunctionType)
            cells.append(self.of_function(inside, (*outer, function)) if is_function else look(inside))
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
        return function.__code__, Same(function.__globals__), tuple(cells), tuple([look(x) for x in defaults])

    def of_object(self, thing: Any) -> Hashable:
        """What a function that is called back refers to. Two lists are two, equal or not: it may write into them."""
        if isinstance(thing, tuple):
            return tuple([self.of_object(x) for x in thing])
        return Same(thing) if isinstance(thing, list | dict | set) else self.of_value(thing)


def key_of(value: Any) -> Hashable:
    """Any object, by what it is equal to."""
    try:
        hash(value)
    except TypeError:
        return Same(value)
    return type(value), value


def but_for_numbers(text: Any) -> Hashable:
    """A text without its numbers, those that are parameters (the 3 of x ** 3) included."""
    if not isinstance(text, tuple):
        return None if isinstance(text, bytes) else text
    if len(text) == 2 and text[0] in (int, float):
        return None
    return tuple([but_for_numbers(part) for part in text])


def source(jaxpr: Any) -> str | None:
    """Where the function was defined that a custom rule belongs to, if that is known: file and line.

    The rules of JAX's own functions (relu, logaddexp) are known by it.
    """
    debug_info = getattr(getattr(jaxpr, "jaxpr", jaxpr), "debug_info", None)
    return (getattr(debug_info, "func_src_info", None) or "").partition(" at ")[2] or None
