"""What a quasi-Newton method has learnt of the curvature, as an operator."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax.jaxtools.pytrees import pytree_dataclass, static_field
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import is_spread


@pytree_dataclass
class InverseHessian:
    """The approximation H of the inverse Hessian with which a quasi-Newton method ended; symmetric, positive definite.

    ``H @ v`` is its product with a pytree like the parameters (or like the free numbers, with ``space=``), or with
    their n reals in a row: an array of shape (n,), or (n, k) for k of them. `dense` is the matrix. It is as good as the
    steps that were taken along each direction: for standard errors use `gdjax.uncertainty`. (If the loss was maximised,
    it is that of its negative.)

    >>> import gdjax, jax.numpy as jnp
    >>> loss = lambda p: (p["a"] - 1) ** 2 + 2 * (p["b"] + p["a"]) ** 2
    >>> result = gdjax.minimize(loss, {"a": 0.0, "b": 1.0}, keep_state=True)
    >>> inverse = result.inverse_hessian()
    >>> print(inverse.dense().round(1), (inverse @ {"a": 1.0, "b": 0.0})["b"].round(1))
    [[ 0.5 -0.5]
     [-0.5  0.7]] -0.5
    """

    memory: Any  # of the method: it has ``inverse_times``
    layout: Flat = static_field(None)

    def __repr__(self) -> str:
        """Its shape."""
        return f"InverseHessian(shape={self.shape})"

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n), n the number of reals among the parameters."""
        return self.layout.size, self.layout.size

    def __matmul__(self, v: Any) -> Any:
        """``H v``."""
        if jax.tree.structure(v) == self.layout.treedef and [jnp.shape(x) for x in jax.tree.leaves(v)] == [
            *self.layout.shapes
        ]:
            like = jax.tree.unflatten(self.layout.treedef, self.layout.dtypes)
            v = jax.tree.map(lambda x, dtype: jnp.asarray(x, dtype), v, like)
            return self.layout.unravel(self.memory.inverse_times(self.layout.ravel(v)))
        if not isinstance(v, jax.Array) or v.ndim not in (1, 2) or v.shape[0] != self.layout.size:
            raise ValueError(
                f"the inverse Hessian goes with a pytree like the parameters, or with an array of shape "
                f"({self.layout.size},) or ({self.layout.size}, k)"
            )
        v = v.astype(self.layout.dtype)
        times = self.memory.inverse_times
        return times(v) if v.ndim == 1 else jax.vmap(times, 1, 1)(v)

    def dense(self) -> jax.Array:
        """The matrix, shape (n, n), in the order in which `jax.flatten_util.ravel_pytree` puts real parameters."""
        return self @ jnp.eye(self.layout.size, dtype=self.layout.dtype)


def inverse_hessian(result: Any) -> InverseHessian:
    """Of a result.

    Raises:
        ValueError: if the result has no state; if its method knows no inverse Hessian; if it is of many problems.
    """
    if result.state is None:
        raise ValueError("inverse_hessian needs what the method has learnt: gdjax.minimize(..., keep_state=True)")
    if result.code.ndim:
        raise ValueError("this is a batch: take one, result[0].inverse_hessian(), or jax.vmap a function that does")
    state = result.state.state
    memory = state if hasattr(state, "inverse_times") else getattr(state, "memory", None)
    if not hasattr(memory, "inverse_times") or is_spread(result.variables):
        raise ValueError("inverse_hessian is of L-BFGS (with bounds or without) and BFGS, for parameters on one device")
    return InverseHessian(memory, Flat.of(result.variables))
