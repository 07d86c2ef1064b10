"""Derivatives of the solution with respect to the data, by the implicit function theorem.

At a minimum g(x, theta) = 0 for the gradient g of the loss, so that ``dx/dtheta = -H^-1 dg/dtheta`` with the Hessian
H = dg/dx. How the minimum was found does not matter, and nothing of it is stored.

S. G. Krantz and H. R. Parks, The Implicit Function Theorem (2002). A. Griewank and A. Walther, Evaluating
Derivatives, 2nd ed. (2008), chapter 15. M. Blondel et al., Efficient and Modular Implicit Differentiation,
NeurIPS (2022).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import linear
from gdjax.objective import Objective
from gdjax.result import Result

Arrays = list[Any]


def differentiable(
    descend: Callable[[Arrays], Result], objective: Callable[[Arrays], Objective]
) -> Callable[[Arrays], Result]:
    """``descend`` with the implicit derivative; ``objective`` traces the problem that it solves, with a flat layout.

    The rule is traced only where somebody differentiates. It is linear in the tangents, so that JAX gets the
    reverse mode from it by transposition, and calls the function itself for the result, so that it has
    derivatives of any order.
    """
    solution = jax.custom_jvp(descend)

    def rule(primals: tuple[Arrays], tangents: tuple[Arrays]) -> tuple[Result, Result]:
        (arrays,), (dots,) = primals, tangents
        result = solution(arrays)
        return result, tangent(result, objective, arrays, dots)

    solution.defjvp(rule, symbolic_zeros=True)
    return solution


def tangent(result: Result, objective: Callable[[Arrays], Objective], arrays: Arrays, dots: Arrays) -> Result:
    """What ``dots``, changes of the arrays (or symbolic zeros), do to the result.

    ``params``, ``value`` and ``aux`` change; the gradient stays zero; the rest tells of the descent, not of
    the minimum, and is held fixed. The change of the value is taken at the params found, as
    ``df/dtheta + g'dx``: the second term, zero at the minimum, makes its error of second order in that of the params.
    """
    zeros = jax.tree.map(zero_tangent, result)
    moving = [i for i, dot in enumerate(dots) if not is_zero(dot)]
    if not moving:
        return zeros

    def evaluate(x: jax.Array, theta: Arrays) -> tuple[jax.Array, jax.Array, Any]:
        filled = list(arrays)
        for i, array in zip(moving, theta, strict=True):
            filled[i] = array
        point = objective(filled).evaluate(x)
        return point.value, point.grad, point.aux

    frame = objective(arrays)
    x, theta = frame.layout.ravel(result.params), [arrays[i] for i in moving]
    explicit = jax.jvp(lambda t: evaluate(x, t), (theta,), ([dots[i] for i in moving],))[1]
    grad, product = jax.linearize(lambda u: evaluate(u, theta)[1], x)
    dx = linear.solve(product, -explicit[1], trusted=is_stationary(result))
    value = explicit[0] + jnp.vdot(grad, dx).astype(frame.dtype)
    aux = None
    if result.aux is not None:
        follows = jax.jvp(lambda u: evaluate(u, theta)[2], (x,), (dx,))[1]
        aux = jax.tree.map(lambda a, b: a if a.dtype == jax.dtypes.float0 else a + b, explicit[2], follows)
    return dataclasses.replace(
        zeros, params=frame.layout.unravel(dx), value=jnp.asarray(frame.sign, frame.dtype) * value, aux=aux
    )


def is_stationary(result: Result) -> jax.Array:
    """Whether the gradient is within ten times the tolerance: elsewhere the theorem says nothing."""
    scale = jnp.minimum(1 + jnp.abs(result.value), result.progress.largest_norm)
    return jax.lax.stop_gradient(result.grad_norm <= result.stop.floor * scale)


def is_zero(dot: Any) -> bool:
    """Whether a tangent is known to be zero: it was not asked for, or belongs to integers."""
    return isinstance(dot, jax.custom_derivatives.SymbolicZero) or dot.dtype == jax.dtypes.float0


def zero_tangent(x: jax.Array) -> Any:
    """The tangent of what does not change."""
    if jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)
