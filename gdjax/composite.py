"""The penalty g of a composite problem f + g, as functions of the vector that methods work on."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax import vector
from gdjax.layout import Flat, Layout
from gdjax.penalties.base import is_penalty
from gdjax.pytrees import is_traceable, named_leaves
from gdjax.varying import cond
from gdjax.vector import Scalar, Vector


@dataclasses.dataclass(frozen=True)
class Composite:
    """A penalty ready to be used inside one trace. Build it with `compose`."""

    penalty: Any  # as the user gave it
    value: Callable[[Vector], Scalar]  # g(x)
    prox: Callable[[Vector, Scalar], Vector]  # the z that minimises step g(z) + |z - x|^2 / 2
    bounds: tuple[Vector, Vector] | None  # lower and upper, if g is a box and nothing else
    eps: float

    def into_domain(self, x: Vector, value: Scalar) -> Vector:
        """x, or where g is infinite there (``value``) the nearest point where it is not."""
        tiny = jnp.asarray(self.eps, vector.real_dtype(x))
        return cond(jnp.isfinite(value), lambda: x, lambda: self.prox(x, tiny))

    def descend(self, x: Vector, grad: Vector, step: Scalar) -> Vector:
        """The prox-gradient point ``prox(x - step * grad, step)``."""
        return self.prox(vector.add_scaled(x, -step, grad), step)

    def clip(self, params: Any) -> Any:
        """The parameters once more into the box, which rounding to half precision may have left."""
        if self.bounds is None:
            return params
        return self.penalty.prox(params, jnp.zeros((), vector.real_dtype(params)))

    def to_return(self) -> Any:
        """The penalty, if it can leave a compiled program; None for a class of the user's that is no pytree."""
        return self.penalty if all(map(is_traceable, jax.tree.leaves(self.penalty))) else None


def step_norm(x: Vector, z: Vector, step: Scalar) -> Scalar:
    """``|x - z| / step``, infinity norm, for z the prox-gradient point of x: 0 where x is stationary.

    The less the longer the step: to be trusted only for steps about as long as 1 / curvature.
    """
    return vector.max_abs(vector.subtract(x, z)).astype(step.dtype) / step


def stationarity(before: Any, point: Any, step: Scalar) -> Scalar:
    """How far a prox-gradient point is from stationary: ``|(w - x) / step - f'(w) + f'(x)|``, infinity norm.

    For ``x = prox(w - step f'(w), step)`` the vector is a subgradient of the sum f + g at x, so no step makes it
    flatter than it is. Where g = 0 it is the gradient at x, whatever w and the step: a tolerance on it means the
    same with and without a penalty, and it scales with loss and parameters as a gradient does.

    Args:
        before: the `Point` at w.
        point: the `Point` at x.
        step: positive.
    """

    def of_leaf(w: jax.Array, x: jax.Array, gw: jax.Array, gx: jax.Array) -> jax.Array:
        return (w - x) / step.astype(x.dtype) + (gx - gw)

    return vector.max_abs(jax.tree.map(of_leaf, before.x, point.x, before.grad, point.grad)).astype(step.dtype)


def check_penalty(penalty: Any) -> None:
    """Raise TypeError unless ``penalty`` is None or has ``value`` and ``prox``."""
    if penalty is None or is_penalty(penalty):
        return
    hint = "; it is a class: call it first, with its strength" if isinstance(penalty, type) else ""
    raise TypeError(f"penalty must be one of gdjax.penalties or have value(x) and prox(x, step), got {penalty!r}{hint}")


def compose(penalty: Any, params: Any, layout: Layout, dtype: Any, eps: float) -> Composite | None:
    """Check a penalty against the parameters and set it up; None for none.

    Raises:
        TypeError, ValueError: if value returns no real number or prox no pytree like its argument.
    """
    if penalty is None:
        return None
    if not isinstance(layout, Flat):
        raise TypeError("a penalty needs a method that works on one flat vector")
    # Half precision is worked on in single precision, by the prox too.
    wide = lambda t: jnp.dtype("float32") if jnp.finfo(t).bits < 32 else t
    layout = dataclasses.replace(layout, dtypes=tuple(wide(t) for t in layout.dtypes))
    params = jax.tree.map(lambda p: p.astype(wide(p.dtype)), params)
    check_shapes(penalty, params)

    def value(x: Vector) -> Scalar:
        return jnp.asarray(penalty.value(layout.unravel(x))).astype(dtype)

    def prox(x: Vector, step: Scalar) -> Vector:
        return layout.ravel(penalty.prox(layout.unravel(x), step))

    bounds = penalty.bounds(params) if getattr(penalty, "is_box", False) else None
    return Composite(penalty, value, prox, bounds and (layout.ravel(bounds[0]), layout.ravel(bounds[1])), eps)


def check_shapes(penalty: Any, params: Any) -> None:
    """Raise TypeError or ValueError unless the penalty of these parameters is a number and its prox is like them."""
    step = jnp.zeros((), vector.real_dtype(params))
    value, z = jax.eval_shape(lambda p: (penalty.value(p), penalty.prox(p, step)), params)
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
                f"it must stay of shape {p.shape} and dtype {p.dtype}"
            )
