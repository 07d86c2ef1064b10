"""A loss as (value, gradient, aux) of one vector: validated, differentiated and traced once."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from gdjax import vector
from gdjax.composite import Composite, compose
from gdjax.layout import Layout
from gdjax.one_function import is_small
from gdjax.pytrees import is_traceable, named_leaves, pytree_dataclass, static_field, strong
from gdjax.vector import Scalar, Vector

# The rounding error of a computed value f is taken as NOISE * eps * |f|. Eight roundings: a loss that is
# itself a sum of n terms errs by about sqrt(n) * eps / 2, and eight covers the means over 10 to 1000 terms
# of the tutorials' losses; too small a constant makes rounding look like progress, never a false success.
NOISE = 8.0


class Point(NamedTuple):
    """What one evaluation tells; in the minimiser's signs (a maximised function is negated)."""

    x: Vector  # where
    value: Scalar  # loss plus penalty, dtype of the objective's scalars
    grad: Vector  # gradient of the loss as real vector: for a complex entry, d/d(real) + i d/d(imag)
    grad_norm: Scalar  # infinity norm of grad; with a penalty methods put that of the prox-gradient step here
    aux: Any  # what the loss returned beside its value, or None
    smooth: Any = None  # the loss alone, a Scalar, if there is a penalty
    penalty: Any = None  # and the penalty, a Scalar


@pytree_dataclass
class Problem:
    """What the user wants minimised, as given at the door; its arrays are traced."""

    loss: Callable[..., Any]
    params: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    grad: Callable[..., Any] | None
    has_aux: bool
    maximize: bool
    penalty: Any = None
    spread: bool = static_field(False)  # whether params are in pieces on several devices
    trips: int | None = static_field(None)  # unrolled: run so many and differentiate them; None: implicit


@dataclasses.dataclass(frozen=True)
class Objective:
    """A `Problem` ready to be evaluated inside one trace. Build it with `trace`."""

    layout: Layout
    start: Vector
    dtype: Any  # of values, norms and step sizes
    eps: float  # coarsest machine epsilon among parameters and value
    sign: float  # +1 to minimise, -1 to maximise
    evaluate: Callable[[Vector], Point]  # replays the traced loss: the one evaluation of a trip
    value: Callable[[Vector], Scalar]  # traces the loss again: only for methods that call it themselves
    product: Callable[[Vector, Vector], Point]  # Hessian at x times v, as the grad of a point
    blank: Point  # stands for "not yet evaluated": value inf, zero gradient
    composite: Composite | None = None  # the penalty, if there is one
    is_small: bool = False  # whether the loss is so cheap that launching its kernels is what takes time

    def noise(self, value: Scalar) -> Scalar:
        """Rounding error to be expected in ``value``."""
        return NOISE * self.eps * jnp.abs(value)

    def to_user(self, point: Point) -> dict[str, Any]:
        """params, value, grad (in `jax.grad`'s convention) and aux of the user's own function."""
        sign = jnp.asarray(self.sign, self.dtype)
        grad = jax.tree.map(lambda g: jnp.conj(g) * jnp.asarray(self.sign, g.dtype), self.layout.unravel(point.grad))
        params = self.layout.unravel(point.x)
        user = dict(params=params, value=sign * point.value, grad=grad, grad_norm=point.grad_norm, aux=point.aux)
        if self.composite is not None:
            user |= dict(params=self.composite.clip(params), penalty=self.composite.to_return())
            user |= dict(loss_value=sign * point.smooth, penalty_value=point.penalty)
        return user


def trace(problem: Problem, make_layout: Callable[[Any], Layout]) -> Objective:
    """Check and trace a problem: the user's Python runs once, the program holds one copy of the loss.

    Raises:
        TypeError, ValueError: naming the argument and the leaf, if the parameters, the value that the loss
            returns, or the gradient that ``grad`` returns are not what they must be.
    """
    params = check_params(problem.params)
    layout = make_layout(params)
    sign = -1.0 if problem.maximize else 1.0
    start = layout.ravel(params)

    def value_and_grad(p: Any) -> tuple[Any, Any, Any]:
        if problem.grad is None:
            (value, aux), grad = jax.value_and_grad(call_loss, argnums=1, has_aux=True)(problem, p)
        else:
            value, aux = call_loss(problem, p)
            grad = check_grad(problem.grad(p, *problem.args, **problem.kwargs), p)
        grad = jax.tree.map(lambda g: jnp.conj(g) * jnp.asarray(sign, g.dtype), grad)
        return value * jnp.asarray(sign, value.dtype), grad, jax.tree.map(strong, aux)

    jaxpr, shapes = jax.make_jaxpr(value_and_grad, return_shape=True)(params)
    replay, out_tree = jaxpr_as_fun(jaxpr), jax.tree.structure(shapes)
    dtype = vector.real_dtype((params, shapes[0]))
    eps = max(float(jnp.finfo(x.dtype).eps) for x in [*jax.tree.leaves(params), shapes[0]])
    composite = compose(problem.penalty, params, layout, dtype, eps)
    if composite is not None:
        start = composite.into_domain(start, composite.value(start))

    def evaluate(x: Vector) -> Point:
        # Without the barriers XLA may compute point and gradient anew in each kernel that uses them: with a
        # million parameters a trip of plain descent then took 4.7 ms instead of 0.8.
        x = jax.lax.optimization_barrier(x)
        value, grad, aux = jax.tree.unflatten(out_tree, replay(*jax.tree.leaves(layout.unravel(x))))
        grad = jax.lax.optimization_barrier(layout.ravel(grad))
        point = Point(x, value.astype(dtype), grad, vector.max_abs(grad).astype(dtype), aux)
        return point if composite is None else add_penalty(point, composite.value(x))

    def product(x: Vector, v: Vector) -> Point:
        hv = jax.jvp(lambda u: evaluate(u).grad, (x,), (v,))[1]
        return blank._replace(grad=hv)

    inf = jnp.asarray(jnp.inf, dtype)
    aux = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[2])
    blank = Point(start, inf, vector.zeros_like(start), inf, aux)
    if composite is not None:
        blank = add_penalty(blank, jnp.zeros((), dtype))
    value_only = make_value(problem, layout, sign, dtype)
    small = is_small(jaxpr.jaxpr)
    return Objective(layout, start, dtype, eps, sign, evaluate, value_only, product, blank, composite, small)


def add_penalty(point: Point, penalty: Scalar) -> Point:
    """A point of the loss as a point of the sum."""
    return point._replace(value=point.value + penalty, smooth=point.value, penalty=penalty)


def make_value(problem: Problem, layout: Layout, sign: float, dtype: Any) -> Callable[[Vector], Scalar]:
    """The loss alone, for methods that evaluate it themselves; its derivative is ``grad`` where given."""

    def value(x: Vector) -> Scalar:
        f = call_loss(problem, layout.unravel(x))[0]
        return sign * f.astype(dtype)

    if problem.grad is None:
        return value
    analytic, differentiable = problem.grad, jax.custom_jvp(value)

    def jvp(primals: tuple[Vector], tangents: tuple[Vector]) -> tuple[Scalar, Scalar]:
        params = layout.unravel(primals[0])
        grad = check_grad(analytic(params, *problem.args, **problem.kwargs), params)
        slope = vector.dot(layout.ravel(jax.tree.map(jnp.conj, grad)), tangents[0])
        return differentiable(primals[0]), sign * slope.astype(dtype)

    differentiable.defjvp(jvp)
    return differentiable


def call_loss(problem: Problem, params: Any) -> tuple[Scalar, Any]:
    """Value and aux (None without ``has_aux``) of the loss, after checking what it returned."""
    out = problem.loss(params, *problem.args, **problem.kwargs)
    aux = None
    if problem.has_aux:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(f"has_aux=True needs a loss that returns (value, aux); it returned {describe(out)}")
        out, aux = out
        bad = [name for name, leaf in named_leaves("aux", aux) if not (is_traceable(leaf) or isinstance(leaf, bool))]
        if bad:
            raise TypeError(f"the aux that the loss returns must be a pytree of arrays; {bad[0]} is not an array")
    return check_value(out), aux


def check_value(out: Any) -> Scalar:
    """The value of the loss as a real floating scalar.

    Raises:
        TypeError: if it is anything else; the message says what it is and what to do.
    """
    if isinstance(out, tuple) and len(out) == 2:
        raise TypeError(
            "the loss returned a tuple of two; if the second is auxiliary data, pass has_aux=True, "
            "otherwise return the value alone"
        )
    if out is None:
        raise TypeError("the loss returned None; is its return statement missing?")
    if not is_traceable(out):
        raise TypeError(f"the loss must return a real floating scalar; it returned {describe(out)}")
    value = jnp.asarray(out)
    if value.shape != ():
        raise TypeError(
            f"the loss must return one number; it returned {describe(value)}: "
            "reduce it, for example with jnp.mean or jnp.sum"
        )
    if jnp.iscomplexobj(value):
        raise TypeError("the loss returned a complex number; return a real one, for example jnp.abs(z) ** 2")
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"the loss must return a floating scalar; it returned {describe(value)}, which has no slope")
    return strong(value)


def check_params(params: Any) -> Any:
    """The parameters with every leaf an array of float or complex dtype.

    Raises:
        TypeError: naming the leaf that is not; ValueError: if there are no parameters at all.
    """
    named = named_leaves("params", params)
    for name, leaf in named:
        if not is_traceable(leaf):
            raise TypeError(
                f"{name} is {describe(leaf)}, not an array; keep what is not a parameter out of params "
                "(a closure, a positional argument, or equinox.partition for modules)"
            )
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact):
            raise TypeError(
                f"{name} has dtype {jnp.asarray(leaf).dtype}; parameters must be floating or complex: "
                "write 1.0 instead of 1, or convert with .astype(float)"
            )
    if sum(jnp.size(leaf) for _, leaf in named) == 0:
        raise ValueError(f"params holds no numbers to minimise over: {params!r}")
    return jax.tree.map(strong, params)


def check_grad(grad: Any, params: Any) -> Any:
    """The analytic gradient in the structure, shapes and dtypes of ``params``.

    Raises:
        TypeError: on another structure or kind of dtype; ValueError: on another shape; naming the leaf.
    """
    got: Any = jax.tree.structure(grad)
    want: Any = jax.tree.structure(params)
    if got != want:
        raise TypeError(f"grad must return a pytree like params, {want}; it returned {got}")

    def convert(name: str, g: Any, p: jax.Array) -> jax.Array:
        if not is_traceable(g):
            raise TypeError(f"{name} is {describe(g)}, not an array")
        g = jnp.asarray(g)
        if g.shape != p.shape:
            raise ValueError(f"{name} has shape {g.shape}; the parameter has shape {p.shape}")
        if not jnp.issubdtype(g.dtype, jnp.inexact) or (jnp.iscomplexobj(g) and not jnp.iscomplexobj(p)):
            raise TypeError(f"{name} has dtype {g.dtype}; the parameter has dtype {p.dtype}")
        return g.astype(p.dtype)

    leaves = [
        convert(name, g, p) for (name, g), p in zip(named_leaves("grad", grad), jax.tree.leaves(params), strict=True)
    ]
    return jax.tree.unflatten(want, leaves)


def describe(x: Any) -> str:
    """A few words on what ``x`` is: its shape and dtype, or its type."""
    if is_traceable(x) and hasattr(x, "dtype"):
        return f"an array of shape {jnp.shape(x)} and dtype {x.dtype}"
    return f"a {type(x).__name__}" if x is not None else "None"
