"""Linear equations and inequalities as penalties: 0 where they hold, infinite elsewhere."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from optax import projections

from gdjax.jaxtools.pytrees import is_concrete, is_traceable, pytree_dataclass
from gdjax.penalties.base import like, spread, squared_norm, total
from gdjax.penalties.sets import as_before, indicator, mixed
from gdjax.vectors.vector import Scalar


def normal_like(normal: Any, x: Any) -> Any:
    """A normal vector as a pytree like x, in the dtypes of x."""
    return jax.tree.map(
        lambda leaf, a: jnp.broadcast_to(like(a.value, leaf), leaf.shape), x, spread(normal, x, "normal")
    )


def excess(x: Any, normal: Any, offset: Any) -> tuple[Scalar, Scalar]:
    """``normal . x - offset``, and the size of the terms in it."""
    terms = jax.tree.leaves(jax.tree.map(lambda a, v: a * v, normal, x))
    product = total(terms)
    b = like(offset, product)
    return product - b, total([jnp.abs(t) for t in terms]) + jnp.abs(b)


@pytree_dataclass
class Hyperplane:
    """``normal . x = offset``.

    Args:
        normal: an array like the parameters, or a pytree of such; not all zeros.
        offset: a number.
    """

    normal: Any
    offset: Any = 0.0

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        gap, scale = excess(x, normal_like(self.normal, x), self.offset)
        return indicator(jnp.abs(gap), scale)

    def prox(self, x: Any, step: Scalar) -> Any:
        """The projection, along the normal."""
        with mixed():
            return as_before(projections.projection_hyperplane(x, normal_like(self.normal, x), self.offset), x)


@pytree_dataclass
class Halfspace:
    """``normal . x <= offset``; the arguments of `Hyperplane`."""

    normal: Any
    offset: Any = 0.0

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        return indicator(*excess(x, normal_like(self.normal, x), self.offset))

    def prox(self, x: Any, step: Scalar) -> Any:
        """The projection, along the normal, of a point outside."""
        with mixed():
            return as_before(projections.projection_halfspace(x, normal_like(self.normal, x), self.offset), x)


@pytree_dataclass
class AffineSet:
    """``matrix @ x = offset`` for parameters that are one array, taken as a flat vector.

    ``prox: x -> x - Q'(Q x - t)`` with Q an orthonormal basis of the rows, computed once by a singular value
    decomposition. So the rows may be linearly dependent.

    Args:
        matrix: shape (equations, size of the parameters).
        offset: shape (equations,).

    Raises:
        ValueError: if the shapes are others, or if no x satisfies the equations.
    """

    matrix: Any
    offset: Any
    basis: Any = None  # Q; made from the matrix
    target: Any = None  # t; made from both

    def __post_init__(self) -> None:
        if self.basis is not None or not is_traceable(self.matrix):
            return
        a, b = jnp.asarray(self.matrix), jnp.asarray(self.offset)
        if a.ndim != 2 or b.shape != a.shape[:1]:
            raise ValueError(f"matrix and offset must have shapes (m, n) and (m,), got {a.shape} and {b.shape}")
        a, b = a.astype(jnp.result_type(float)), b.astype(jnp.result_type(float))
        u, s, vh = jnp.linalg.svd(a, full_matrices=False)
        kept = s > jnp.max(s, initial=0) * float(jnp.finfo(s.dtype).eps) * max(a.shape)
        basis, target = jnp.where(kept[:, None], vh, 0), jnp.where(kept, (u.T @ b) / jnp.where(kept, s, 1), 0)
        if is_concrete(a) and is_concrete(b):
            gap = np.max(np.abs(a @ (basis.T @ target) - b), initial=0)
            if gap > float(jnp.finfo(s.dtype).eps) ** 0.5 * (1 + np.max(np.abs(b), initial=0)):
                raise ValueError(f"no x satisfies matrix @ x = offset: the best misses by {gap:.3g}")
        object.__setattr__(self, "basis", basis)
        object.__setattr__(self, "target", target)

    def value(self, x: Any) -> Scalar:
        """0 in the set, inf outside."""
        flat, basis, target = self.flat(x)
        return indicator(
            jnp.max(jnp.abs(basis @ flat - target)), jnp.sqrt(squared_norm(flat)) + jnp.max(jnp.abs(target))
        )

    def prox(self, x: Any, step: Scalar) -> Any:
        """The projection, along the rows; done twice, to remove the rounding of the first."""
        flat, basis, target = self.flat(x)
        flat = flat - (basis @ flat - target) @ basis
        flat = flat - (basis @ flat - target) @ basis
        return jax.tree.map(lambda leaf: flat.reshape(leaf.shape), x)

    def flat(self, x: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The parameters as one vector; basis and target in their dtype."""
        leaves = jax.tree.leaves(x)
        if len(leaves) != 1 or jnp.iscomplexobj(leaves[0]) or leaves[0].size != self.basis.shape[1]:
            shapes = ", ".join(str(leaf.shape) for leaf in leaves)
            raise ValueError(
                f"AffineSet of {self.basis.shape[1]} unknowns needs one real array of that size; got {shapes}. "
                "If there are several parameters, penalise each with gdjax.penalties.by_leaf"
            )
        return leaves[0].reshape(-1), like(self.basis, leaves[0]), like(self.target, leaves[0])
