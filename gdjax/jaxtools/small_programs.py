"""Small descents as one function of machine code.

XLA's CPU backend makes a kernel of every fusion, and to launch one takes 50 to 100 ns: on Rosenbrock's function of 100
variables a trip of L-BFGS took 7.6 us, of which 3 were arithmetic, a trip of gradient descent 2.4 instead of 0.3.
Loops that touch less than 1024 bytes it compiles whole, as one function, and calls them with a mark that says so. The
same mark, set here, does it for larger ones. XLA applies this only where it is safe. We do the same with an
allow-list of operations and sizes that the tests cover, with the versions of jaxlib that they were run with; everything
else is compiled normally, and so is everything on a GPU and on several devices.
"""

import contextlib
import contextvars
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jaxlib
from jax.extend.core import ClosedJaxpr, Jaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir

MARK = dict(xla_cpu_small_call="true", inlineable="false")
TRIED = (0, 8), (0, 11)  # the first and the last version of jaxlib

# Bytes of an array of the loss: of larger ones the arithmetic outweighs the launching, and two cores share it.
# (Logistic regression of 569 x 30 numbers, 0.14 MB: 16 us an evaluation instead of 20.)
BYTES = 2**18
# Bytes of an array of the method. BFGS of 400 variables (1.3 MB) takes as long in one function as in many; L-BFGS half
# as long even at 1000 (0.3 MB).
METHOD_BYTES = 2**20
# Entries that are summed up. From 4096 on XLA leaves sums to a library.
SUMMED = 2048

words = lambda text: frozenset(text.split())
ELEMENTWISE = words("""abs add add_any and atan2 cbrt ceil clamp complex conj convert_element_type copy copy_p cos cosh
    digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt imag integer_pow is_finite le lgamma log log1p logistic
    lt lt_to max min mul ne neg nextafter not or pow real rem round rsqrt select_n sign sin sinh sqrt square
    stop_gradient sub tan tanh xor""")
SHAPES = words("""broadcast_in_dim concatenate stack dynamic_slice dynamic_update_slice empty empty2 expand_dims iota
    pad reshape rev slice split squeeze transpose unstack optimization_barrier""")
SUMS = words("reduce reduce_sum reduce_prod reduce_max reduce_min reduce_and reduce_or")
NESTED = words("jit pjit closed_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr while cond scan")
LET_IN = ELEMENTWISE | SHAPES | SUMS | NESTED
DTYPES = words("""bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64
    complex128""")

INSIDE = contextvars.ContextVar("inside", default=False)
ALLOWED = contextvars.ContextVar("allowed", default=True)


@contextlib.contextmanager
def small_programs(allowed: bool) -> Iterator[None]:
    """Whether small descents may be compiled as one function, for the calls inside: ``with small_programs(False):``.

    ``GDJAX_ONE_FUNCTION=0`` in the environment forbids it for good.
    """
    token = ALLOWED.set(allowed)
    try:
        yield
    finally:
        ALLOWED.reset(token)


class NotSmallError(Exception):
    """What was to be one function cannot be."""


def one_function(function: Callable[[Any], Any], state: Any) -> Any:
    """``function(state)``, compiled as one function if it is small and does only what that can."""
    try:
        return small_function(function, state) if is_allowed() else function(state)
    except NotSmallError:
        return function(state)


def small_function(function: Callable[[Any], Any], state: Any) -> Any:
    """The same, or NotSmallError."""
    token = INSIDE.set(True)
    try:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(state)
    finally:
        INSIDE.reset(token)
    # What the function closes over becomes arguments as well.
    count, arrays = len(closed.consts), [*closed.consts, *jax.tree.leaves(state)]
    open_ = lambda *arrays: jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, list(arrays[:count])))(*arrays[count:])
    program = jax.make_jaxpr(open_)(*arrays)
    if not (program.out_avals and is_small(program.jaxpr, METHOD_BYTES)):
        raise NotSmallError
    return jax.tree.unflatten(jax.tree.structure(shapes), one_function_p.bind(*arrays, program=program))


def is_inside() -> bool:
    """Whether what is traced now is meant for one function."""
    return INSIDE.get()


def is_allowed() -> bool:
    """Whether this jaxlib is of a version that the tests were run with, and nobody has forbidden it."""
    version = tuple(int(part) for part in jaxlib.__version__.split(".")[:2])
    return TRIED[0] <= version <= TRIED[1] and ALLOWED.get() and os.environ.get("GDJAX_ONE_FUNCTION") != "0"


def of_bytes(array: Any) -> int:
    """The size of an array; without end for keys, tokens and floats of 8 bits."""
    plain = str(getattr(array, "dtype", None)) in DTYPES
    return array.size * array.dtype.itemsize if plain else sys.maxsize


def is_small(jaxpr: Jaxpr, most: int = BYTES) -> bool:
    """Whether a program has no other operations than those let in, and no array of more bytes than ``most``."""
    variables = (*jaxpr.constvars, *jaxpr.invars, *(v for eqn in jaxpr.eqns for v in eqn.outvars))
    return all(of_bytes(v.aval) <= most for v in variables) and all(is_let_in(eqn, most) for eqn in jaxpr.eqns)


def is_let_in(eqn: Any, most: int) -> bool:
    """Whether an operation is one of those above, or a product of vectors or of a matrix and a vector."""
    operands = [v.aval for v in eqn.invars]
    name = eqn.primitive.name
    if name == "dot_general":
        (contracted, _), (batched, _) = eqn.params["dimension_numbers"]
        ranks = sorted(a.ndim for a in operands)
        return not any(batched) and (ranks[1] <= 1 or (ranks == [1, 2] and len(contracted) == 1))
    if name in SUMS and any(a.size > SUMMED for a in operands):
        return False
    return name in LET_IN and all(is_small(jaxpr, most) for jaxpr in programs_in(eqn))


def has_small_loop(program: ClosedJaxpr) -> bool:
    """Whether a loop in it is one function."""
    whole = [eqn.params["program"].jaxpr for eqn in program.jaxpr.eqns if eqn.primitive is one_function_p]
    return any(eqn.primitive.name == "while" for jaxpr in whole for eqn in jaxpr.eqns)


def programs_in(eqn: Any) -> list[Jaxpr]:
    """Those that an operation consists of: bodies, branches, conditions."""
    params = [p for param in eqn.params.values() for p in (param if isinstance(param, tuple | list) else (param,))]
    return [p.jaxpr if isinstance(p, ClosedJaxpr) else p for p in params if isinstance(p, ClosedJaxpr | Jaxpr)]


def as_call(program: ClosedJaxpr) -> Callable[..., list[Any]]:
    """The program as a function that is called.

    XLA looks for the buffer of every argument, and crashes if nothing uses one. So all are results, too; and barriers
    keep constants from being copied into the function, which leaves arguments behind that nothing uses.
    """
    and_arguments = jax.jit(lambda *arrays: (*jaxpr_as_fun(program)(*arrays), *arrays))
    return lambda *arrays: and_arguments(*jax.lax.optimization_barrier(arrays))[: len(program.out_avals)]


def on_cpu(context: mlir.LoweringRuleContext, *operands: Any, program: ClosedJaxpr) -> Any:
    """A marked call, where one device runs it all."""
    if getattr(context.module_context.axis_context, "num_devices", None) != 1:
        return elsewhere(context, *operands, program=program)
    results: Any = mlir.lower_fun(as_call(program), multiple_results=True)(context, *operands)
    first = results[0][0] if isinstance(results[0], tuple | list) else results[0]
    mark: dict[str, Any] = {name: mlir.ir.StringAttr.get(text) for name, text in MARK.items()}
    first.owner.attributes["mhlo.frontend_attributes"] = mlir.ir.DictAttr.get(mark)
    return results


def elsewhere(context: mlir.LoweringRuleContext, *operands: Any, program: ClosedJaxpr) -> Any:
    """The program itself."""
    return mlir.lower_fun(jaxpr_as_fun(program), multiple_results=True)(context, *operands)


def batched(arrays: Any, axes: Any, *, program: ClosedJaxpr) -> tuple[list[Any], list[int]]:
    """Many at once: one function if that is small, too."""
    many = jax.vmap(jaxpr_as_fun(program), in_axes=[axis if isinstance(axis, int) else None for axis in axes])
    program = jax.make_jaxpr(many)(*arrays)
    small = is_small(program.jaxpr, METHOD_BYTES)
    out = one_function_p.bind(*arrays, program=program) if small else jaxpr_as_fun(program)(*arrays)
    return out, [0] * len(out)


def refuse_derivative(*_: Any, **__: Any) -> Any:
    """Derivatives of a solution are those of the implicit function theorem, and never come here."""
    raise NotImplementedError(
        "this loop has no derivatives: gdjax.init(loss, params, ..., implicit=False) makes a state whose steps have "
        "them; gdjax.minimize has those of its solution"
    )


one_function_p = Primitive("one_function")
one_function_p.multiple_results = True
one_function_p.def_impl(lambda *arrays, program: jax.jit(jaxpr_as_fun(program))(*arrays))
one_function_p.def_abstract_eval(lambda *_, program: program.out_avals)
batching.primitive_batchers[one_function_p] = batched
ad.primitive_jvps[one_function_p] = refuse_derivative
mlir.register_lowering(one_function_p, elsewhere)
mlir.register_lowering(one_function_p, on_cpu, platform="cpu")
