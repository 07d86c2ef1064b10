"""The penalty g of a composite problem f + g, as functions of the vector that methods work on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import is_concrete, is_traceable, named_leaves
from gdjax.jaxtools.varying import cond
from gdjax.penalties.base import has_value
from gdjax.penalties.by_leaf import by_leaf, ends
from gdjax.penalties.sets import narrowed
from gdjax.vectors import vector
from gdjax.vectors.layout import Flat, Layout
from gdjax.vectors.vector import Scalar, Vector


@dataclasses.dataclass(frozen=True)
class Composite:
    """A penalty ready to be used inside one trace. Build it with `compose`."""

    penalty: Any  # as the user gave it
    value: Callable[[Vector], Scalar]  # g(x); 0 if only the prox is known
    prox: Callable[[Vector, Scalar], Vector]  # the z that minimises step g(z) + |z - x|^2 / 2
    bounds: tuple[Vector, Vector] | None  # lower and upper, if g is a box and nothing else
    eps: float
    value_is_known: bool  # or the prox alone is
    as_seen: Callable[[Vector], Vector] | None  # x as the loss sees it, if that is in half precision

    @property
    def ends(self) -> tuple[Vector, Vector]:
        """The bounds of a box."""
        assert self.bounds is not None
        return self.bounds

    def into_domain(self, x: Vector, value: Scalar) -> Vector:
        """x, or where g is infinite there (``value``) or not known the nearest point where it is finite.

        Where g is 0, its least value, x is its own prox; a set's value allows for rounding, of which its prox is free.
        """
        tiny = jnp.asarray(self.eps, vector.real_dtype(x))
        if not self.value_is_known:
            return self.prox(x, tiny)
        return cond(jnp.isfinite(value) & (value != 0), lambda: x, lambda: self.prox(x, tiny))

    def value_seen(self, x: Vector) -> Scalar:
        """g where the loss sees x, which is what the user gets; at x if rounding leads out of a set."""
        value = self.value(x)
        if self.as_seen is None:
            return value
        seen = self.value(self.as_seen(x))
        return jnp.where(jnp.isfinite(seen), seen, value)

    def descend(self, x: Vector, grad: Vector, step: Scalar) -> Vector:
        """The prox-gradient point ``prox(x - step * grad, step)``."""
        return self.prox(vector.add_scaled(x, -step, grad), step)

    def to_return(self) -> Any:
        """The penalty, if it can leave a compiled program; None for a user's class that is not a pytree."""
        traced = lambda p: hasattr(p, "as_given")
        penalty = jax.tree.map(lambda p: p.as_given if traced(p) else p, self.penalty, is_leaf=traced)
        return penalty if all(map(is_traceable, jax.tree.leaves(penalty))) else None


def unbounded(x: Vector, dtype: Any, eps: float) -> Composite:
    """No penalty, as a box without bounds: for methods that want one."""
    infinite = jnp.full_like(x, jnp.inf)
    zero = lambda x: jnp.zeros((), dtype)
    return Composite(None, zero, lambda x, step: x, (-infinite, infinite), eps, True, None)


def step_norm(x: Vector, grad: Vector, z: Vector, step: Scalar) -> Scalar:
    """``|x - z| / step``, infinity norm, for z the prox-gradient point of x: 0 where x is stationary.

    It shrinks as the step grows; trust it only for steps of about 1 / curvature. As for `stationarity`,
    what a short step cannot tell counts in full.
    """
    t = step.astype(x.dtype)
    return vector.max_abs(jnp.maximum(jnp.abs(x - z) / t, untold(x, z, grad, grad, t))).astype(step.dtype)


def stationarity(before: Any, point: Any, step: Scalar) -> Scalar:
    """How far a prox-gradient point is from stationary: ``|(w - x) / step - f'(w) + f'(x)|``, infinity norm.

    For ``x = prox(w - step f'(w), step)`` the vector is a subgradient of the sum f + g at x, so no step makes it
    flatter than it is. Where g = 0 it is the gradient at x, whatever w and the step: a tolerance on it means the
    same with and without a penalty, and it scales with loss and parameters as a gradient does. What is lost in the
    rounding of x, all of it if the step is so short that it moves nothing, counts in full.

    Args:
        before: the `Point` at w.
        point: the `Point` at x.
        step: positive.
    """

    w, x, t = before.x, point.x, step.astype(point.x.dtype)
    slope = jnp.abs(slope_of(w, before.grad, x, step) + (point.grad - before.grad))
    return vector.max_abs(jnp.maximum(slope, untold(w, x, before.grad, point.grad, t))).astype(step.dtype)


def slope_of(x: jax.Array, grad: jax.Array, z: jax.Array, step: Scalar) -> jax.Array:
    """``G = (x - z) / step`` for z the prox-gradient point of x: the gradient, where the penalty does not act.

    It is computed as gradient + subgradient of the penalty, whose rounding has nothing to do with the length of the
    step where the penalty does not act; 0 where the prox held an entry.
    """
    t = step.astype(x.dtype)
    ahead = x - t * grad
    blurred = jnp.abs(ahead - z) <= float(jnp.finfo(x.dtype).eps) * jnp.maximum(jnp.abs(x), jnp.abs(z))
    pull = jnp.where(blurred, 0, (ahead - z) / t)
    return jnp.where((x == z) & ~blurred, 0, grad + pull)


def untold(w: jax.Array, x: jax.Array, gw: jax.Array, gx: jax.Array, step: Scalar) -> jax.Array:
    """What the rounding of x hides of each entry's slope after a step from w, ``eps |x| / 2 step``, at most ``|g(x)|``.

    Nothing if the prox held the entry against a pull that is far above rounding: a bound, a zero.
    """
    eps = float(jnp.finfo(x.dtype).eps)
    hidden = 0.5 * eps * jnp.maximum(jnp.abs(w), jnp.abs(x)) / step
    held = (w == x) & (jnp.abs(gw) * eps**0.5 > hidden)
    return jnp.where(held, 0, jnp.minimum(jnp.abs(gx), hidden))


def as_penalty(penalty: Any, params: Any) -> Any:
    """A penalty or None as it is; a pytree of penalties as that of each leaf.

    Raises:
        TypeError: if it is neither; ValueError: if its numbers contradict each other.
    """
    parts = jax.tree.leaves(penalty, is_leaf=ends)
    if not ends(penalty) and parts and all(map(ends, parts)) and parts[0] is not penalty:
        penalty = by_leaf(penalty)
    if not ends(penalty):
        hint = "; it is a class: call it first, with its strength" if isinstance(penalty, type) else ""
        raise TypeError(
            "penalty must be one of gdjax.penalties or have value(x) and prox(x, step), or be a pytree of these like "
            f"params; got {penalty!r}{hint}"
        )
    if hasattr(penalty, "check") and all(map(is_concrete, jax.tree.leaves(params))):
        penalty.check(jax.tree.map(jnp.asarray, params))
    return penalty


def compose(penalty: Any, params: Any, layout: Layout, dtype: Any, eps: float) -> Composite | None:
    """Check a penalty against the parameters and set it up; None for none.

    Raises:
        TypeError, ValueError: if value returns no real number or prox no pytree like its argument.
    """
    if penalty is None:
        return None
    if not isinstance(layout, Flat):
        raise TypeError("a penalty needs a method that works on one flat vector")
    # Half precision is worked on in single precision, by the prox too; what it holds is what the loss sees.
    wide = lambda t: jnp.dtype("float32") if jnp.finfo(t).bits < 32 else t
    seen, layout = layout, dataclasses.replace(layout, dtypes=tuple(wide(t) for t in layout.dtypes))
    given, penalty = penalty, narrowed(penalty, params) if seen != layout else penalty
    params = jax.tree.map(lambda p: p.astype(wide(p.dtype)), params)
    known = has_value(penalty)
    check_shapes(penalty, params, known)

    def value(x: Vector) -> Scalar:
        return jnp.asarray(penalty.value(layout.unravel(x)) if known else 0).astype(dtype)

    def prox(x: Vector, step: Scalar) -> Vector:
        return layout.ravel(penalty.prox(layout.unravel(x), step))

    bounds = penalty.bounds(params) if getattr(penalty, "is_box", False) else None
    bounds = bounds and (layout.ravel(bounds[0]), layout.ravel(bounds[1]))
    as_seen = None if seen == layout else lambda x: seen.ravel(seen.unravel(x))
    return Composite(given, value, prox, bounds, eps, known, as_seen)


def check_shapes(penalty: Any, params: Any, value_is_known: bool) -> None:
    """Raise TypeError or ValueError unless the penalty of these parameters is a number and its prox is like them."""
    step = jnp.zeros((), vector.real_dtype(params))
    value_of = penalty.value if value_is_known else lambda p: step
    value, z = jax.eval_shape(lambda p: (value_of(p), penalty.prox(p, step)), params)
    value = jax.tree.leaves(value)
    if len(value) != 1 or value[0].shape != () or not jnp.issubdtype(value[0].dtype, jnp.floating):
        raise TypeError(f"the value of {penalty!r} must be one real floating number, got {value}")
    got: Any = jax.tree.structure(z)
    want: Any = jax.tree.structure(params)
    if got != want:
        raise TypeError(f"the prox of {penalty!r} must return a pytree like params, {want}; it returned {got}")
    for (name, leaf), p in zip(named_leaves("params", z), jax.tree.leaves(params), strict=True):
        if (leaf.shape, leaf.dtype) != (p.shape, p.dtype):
            raise ValueError(
                f"the prox of {penalty!r} makes {name} of shape {leaf.shape} and dtype {leaf.dtype}; "
                f"it must keep shape {p.shape} and dtype {p.dtype}"
            )
