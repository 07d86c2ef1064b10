"""The Jacobian that a user gives for residuals, as one matrix of reals."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import is_traceable, named_leaves
from gdjax.vectors.vector import gathered, real_dtype

CONVENTION = (
    "real residuals have no Jacobian by complex parameters: leave jac= out, or make real and imaginary parts the "
    "parameters"
)


class GivenJacobian:
    """The user's function, as one of (params, *args) to a matrix of shape (m, n), like those of `as_residuals`."""

    def __init__(self, jacobian: Callable[..., Any], residuals: Callable[..., Any], has_aux: bool) -> None:
        self.jacobian, self.residuals, self.has_aux = jacobian, residuals, has_aux

    def __call__(self, params: Any, *args: Any, **kwargs: Any) -> jax.Array:
        """Evaluate, and check what is returned."""

        def residuals(params: Any) -> Any:
            out = self.residuals(params, *args, **kwargs)
            return out[0] if self.has_aux else out

        return as_matrix(self.jacobian(params, *args, **kwargs), jax.eval_shape(residuals, params), params)


def as_matrix(out: Any, residuals: Any, params: Any) -> jax.Array:
    """What a user's Jacobian returned, shape (m, n); in float32 if any of its arrays is.

    Rows and columns are ordered as in `gdjax.problem.residuals.as_residuals` and `gdjax.vectors.layout.Flat`: of a
    complex leaf first all real parts, then all imaginary ones.

    Args:
        out: in `jax.jacfwd`'s convention a pytree like the residuals, in which each array has become one like params,
            whose arrays have the axes of the residuals followed by those of the parameters. Between complex residuals
            and complex parameters it holds the complex derivatives.
        residuals: a pytree of arrays, or of their shapes.
        params: likewise.

    Raises:
        TypeError, ValueError: naming the array, if its structure, shape or dtype is another.
    """
    outer: Any = jax.tree.structure(residuals)
    want: Any = outer.compose(jax.tree.structure(params))
    got: Any = jax.tree.structure(out)
    if got != want:
        raise TypeError(f"jac must return what jax.jacfwd of the residuals does, a pytree {want}; it returned {got}")
    rows, columns = jax.tree.leaves(residuals), jax.tree.leaves(params)
    blocks = iter(named_leaves("jac", out))
    lines = [[block(*next(blocks), r, p) for p in columns] for r in rows]
    dtype = max(
        [real_dtype((rows, columns)), *(x.dtype for line in lines for x in line)], key=lambda t: jnp.finfo(t).eps
    )
    whole = [jnp.concatenate([x.astype(dtype) for x in line], axis=1) for line in lines]
    return jnp.concatenate(whole, axis=0)


def block(name: str, j: Any, r: Any, p: Any) -> jax.Array:
    """The derivatives of one array of residuals by one array of parameters."""
    if not is_traceable(j):
        raise TypeError(f"{name} is a {type(j).__name__}, not an array")
    j, complex_r, complex_p = jnp.asarray(j), jnp.iscomplexobj(r), jnp.iscomplexobj(p)
    if j.shape != r.shape + p.shape:
        want = f"residuals of shape {r.shape} by parameters of shape {p.shape} have {r.shape + p.shape}"
        raise ValueError(f"{name} has shape {j.shape}; {want}")
    if not jnp.issubdtype(j.dtype, jnp.inexact) or (jnp.iscomplexobj(j) and not complex_r):
        raise TypeError(f"{name} has dtype {j.dtype}; the residuals have dtype {r.dtype}")
    if complex_p and not complex_r:
        raise TypeError(f"{name}: {CONVENTION}")
    j = gathered(j).reshape(r.size, p.size)
    if not complex_r:
        return j
    both = jnp.concatenate([j.real, j.imag], axis=0)
    return jnp.concatenate([both, jnp.concatenate([-j.imag, j.real], axis=0)], axis=1) if complex_p else both


def of_misfit(jacobian: Callable[..., Any]) -> Callable[..., Any]:
    """The Jacobian of ``(model(params, x) - y) / sigma``, from that of the model by the parameters.

    Each array of a model's Jacobian has the axes of the model's, followed by those of the parameters.
    """

    def weighted(params: Any, x: Any, y: Any, sigma: Any, mask: Any) -> Any:
        def of_leaf(j: Any, p: Any) -> Any:
            if not is_traceable(j):
                return j  # `as_matrix` says what is wrong with it
            j = jnp.asarray(j)
            own = j.shape[: j.ndim - p.ndim] if p.ndim else j.shape
            fits = len(own) <= y.ndim and all(a in (1, b) for a, b in zip(own[::-1], y.shape[::-1], strict=False))
            if j.shape[len(own) :] != p.shape or not fits:
                return j
            j = jnp.broadcast_to(j.reshape(*own, p.size), (*y.shape, p.size))
            j = j if mask is None else jnp.where(mask[..., None], j, 0)
            if sigma is not None and sigma.ndim == 2 and y.ndim == 1:
                j = jax.scipy.linalg.solve_triangular(sigma.astype(j.dtype), j, lower=True)
            elif sigma is not None:
                j = j / sigma.astype(j.dtype)[..., None]
            return j.reshape(y.shape + p.shape)

        found = jacobian(params, x)
        got: Any = jax.tree.structure(found)
        return jax.tree.map(of_leaf, found, params) if got == jax.tree.structure(params) else found

    return weighted
