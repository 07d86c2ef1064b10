"""The nuclear norm: matrices of low rank."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.penalties.base import like, require_strength, total
from gdjax.penalties.norms import shrink
from gdjax.vectors.vector import Scalar


@pytree_dataclass
class NuclearNorm:
    """``strength * sum of singular values`` of every leaf, a matrix: makes the rank low.

    ``prox: U diag(s) V' -> U diag(max(s - step * strength, 0)) V'`` (J.-F. Cai, E. J. Candes and Z. Shen, SIAM J.
    Optim. 20, 2010). Leading axes of a leaf are a batch of matrices. Each prox is a singular value decomposition.

    Args:
        strength: a number.
    """

    strength: Any

    def __post_init__(self) -> None:
        require_strength("strength", self.strength)

    def value(self, x: Any) -> Scalar:
        """``strength * sum s_i``."""
        values = [jnp.linalg.svd(matrix(leaf), compute_uv=False) for leaf in jax.tree.leaves(x)]
        return total([s * like(self.strength, s) for s in values])

    def prox(self, x: Any, step: Scalar) -> Any:
        """Soft threshold of the singular values."""

        def of_leaf(leaf: jax.Array) -> jax.Array:
            u, s, vh = jnp.linalg.svd(matrix(leaf), full_matrices=False)
            low = shrink(s, like(step, s) * like(self.strength, s))
            return ((u * low[..., None, :].astype(u.dtype)) @ vh).astype(leaf.dtype)

        return jax.tree.map(of_leaf, x)

    def describe(self, x: Any) -> str:
        """The ranks in words."""
        ranks = [int(jnp.max(jnp.linalg.matrix_rank(matrix(leaf)))) for leaf in jax.tree.leaves(x)]
        return f"rank {', '.join(map(str, ranks))}"


def matrix(leaf: jax.Array) -> jax.Array:
    """A leaf in a dtype that the singular value decomposition supports: it has no half precision."""
    if leaf.ndim < 2:
        raise ValueError(f"NuclearNorm needs matrices; a parameter has shape {leaf.shape}")
    return leaf.astype(jnp.float32) if jnp.finfo(leaf.dtype).bits < 32 else leaf
