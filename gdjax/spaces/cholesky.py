"""Spaces of Cholesky factors: lower triangles L with a positive diagonal, of covariances or correlations ``L L'``."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.spaces.base import Edges, Space, refuse
from gdjax.spaces.elementwise import Positive
from gdjax.spaces.simplex import close


def needs_triangles(name: str, space: Space, start: Any) -> np.ndarray:
    """The start as an array; ValueError unless it is of lower triangles with a positive diagonal."""
    x = np.asarray(start)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"{name} has shape {x.shape}; {space!r} is for square matrices, shape (..., n, n)")
    if np.triu(x, 1).any() or not (np.diagonal(x, axis1=-2, axis2=-1) > 0).all():
        refuse(name, space, x, "it must be 0 above the diagonal and positive on it, as jnp.linalg.cholesky returns it")
    return x


def below(x: jax.Array) -> jax.Array:
    """What stands below the diagonal, row after row, shape (..., n (n - 1) / 2)."""
    rows, columns = np.tril_indices(x.shape[-1], -1)
    return x[..., rows, columns]


def triangle(entries: jax.Array, diagonal: Any) -> jax.Array:
    """The lower triangle with these entries below the diagonal."""
    n = size_of(entries.shape[-1])
    rows, columns = np.tril_indices(n, -1)
    whole = jnp.zeros((*entries.shape[:-1], n, n), entries.dtype).at[..., rows, columns].set(entries)
    return whole.at[..., np.arange(n), np.arange(n)].set(diagonal)


def size_of(count: int) -> int:
    """The number of rows of a triangle with so many entries below the diagonal."""
    return (1 + round((1 + 8 * count) ** 0.5)) // 2


def diagonal_of(x: jax.Array) -> jax.Array:
    """The diagonal."""
    return jnp.diagonal(x, axis1=-2, axis2=-1)


def on_diagonal(x: jax.Array) -> jax.Array:
    """The inverse, with zeros elsewhere."""
    return x[..., None] & np.eye(x.shape[-1], dtype=bool)


@pytree_dataclass
class CovarianceCholesky(Space):
    """Cholesky factors of covariances, shape (..., n, n): ``exp(z)`` on the diagonal, z below it.

    The free numbers are the entries below the diagonal, row after row, and then the diagonal.

    >>> print(CovarianceCholesky().to_user(jnp.array([0.5, 0.0, 0.0])))
    [[1.  0. ]
     [0.5 1. ]]
    """

    has_ends = endless = True

    def check(self, name: str, start: Any) -> None:
        """A triangle."""
        needs_triangles(name, self, start)

    def halves(self, free: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Free numbers of what is below the diagonal, and of that."""
        n = round(((1 + 8 * free.shape[-1]) ** 0.5 - 1) / 2)
        return free[..., :-n], free[..., -n:]

    def to_user(self, free: jax.Array) -> jax.Array:
        """See `Space`."""
        entries, logs = self.halves(free)
        return triangle(entries, Positive().to_user(logs)) if entries.size else Positive().to_user(logs)[..., None]

    def to_free(self, user: jax.Array) -> jax.Array:
        """See `Space`; NaN outside."""
        return jnp.concatenate([below(user), Positive().to_free(diagonal_of(user))], axis=-1)

    def log_det(self, free: jax.Array) -> jax.Array:
        """The sum of the logarithms of the diagonal, by the entries of L."""
        return jnp.sum(self.halves(free)[1])

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """By the entries of L; 0 above the diagonal."""
        (_, logs), (entries, by_logs) = self.halves(free), self.halves(grad)
        diagonal = Positive().grad_to_user(logs, by_logs)
        return triangle(entries, diagonal) if entries.size else diagonal[..., None]

    def edges(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges | None:
        """See `Space`: of the diagonal."""
        return Positive().edges(*(self.halves(x)[1] for x in (free, grad, start)))

    def seen(self, free: jax.Array, slopes: jax.Array, start: jax.Array) -> Edges:
        """See `Space`."""
        return Positive().seen(self.halves(free)[1], diagonal_of(slopes), self.halves(start)[1])

    def by_distance(self, free: jax.Array, slopes: jax.Array) -> jax.Array:
        """See `Space`."""
        return self.halves(slopes)[1]

    def without(self, free: jax.Array, slopes: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`."""
        entries, by_logs = self.halves(slopes)
        return jnp.concatenate([entries, jnp.where(where, 0, by_logs)], axis=-1)

    def known(self, where: jax.Array) -> jax.Array:
        """See `Space`: entries of the diagonal."""
        return on_diagonal(where)

    def inside(self, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`."""
        (entries, logs), (_, first) = self.halves(free), self.halves(start)
        return jnp.concatenate([entries, Positive().inside(logs, first, where)], axis=-1)

    def farther(self, start: jax.Array) -> jax.Array:
        """See `Space`."""
        entries, logs = self.halves(start)
        return jnp.concatenate([entries, Positive().farther(logs)], axis=-1)


@pytree_dataclass
class CorrelationCholesky(Space):
    """Cholesky factors of correlation matrices, shape (..., n, n): rows of length 1, ``(z_i, 1) / sqrt(1 + |z_i|^2)``.

    The free numbers are those below the diagonal, row after row: the entries of each row over its diagonal.

    >>> found = CorrelationCholesky().to_user(jnp.array([0.75]))
    >>> print(found @ found.T)
    [[1.  0.6]
     [0.6 1. ]]
    """

    has_ends = mixes = True

    def check(self, name: str, start: Any) -> None:
        """A triangle with rows of length 1."""
        x = needs_triangles(name, self, start)
        if not close(np.linalg.norm(x, axis=-1), 1).all():
            refuse(name, self, x, "its rows must have length 1, as those of the factor of a correlation matrix have")

    def lengths(self, free: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The rows with diagonal 1, and their lengths."""
        rows = triangle(free, 1)
        return rows, jnp.linalg.norm(rows, axis=-1, keepdims=True)

    def to_user(self, free: jax.Array) -> jax.Array:
        """See `Space`."""
        rows, lengths = self.lengths(free)
        return rows / lengths

    def to_free(self, user: jax.Array) -> jax.Array:
        """See `Space`; NaN outside."""
        diagonal = diagonal_of(user)[..., None]
        return below(user / jnp.where(diagonal > 0, diagonal, jnp.nan))

    def log_det(self, free: jax.Array) -> jax.Array:
        """``-sum (i + 2) log r_i`` over the rows i = 0, 1, ..., r_i their lengths: by what is below the diagonal."""
        lengths = self.lengths(free)[1][..., 0]
        return -jnp.sum((jnp.arange(lengths.shape[-1], dtype=free.dtype) + 2) * jnp.log(lengths))

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """The part of the gradient that is at right angles to the rows."""
        user, lengths = self.to_user(free), self.lengths(free)[1]
        part = lengths * triangle(grad, 0)
        along = jnp.sum(user * part, axis=-1)
        n = user.shape[-1]
        return part.at[..., np.arange(n), np.arange(n)].set(-along / diagonal_of(user))

    def edges(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges:
        """See `Space`: of the diagonal, whose size is 1."""
        return Edges(diagonal_of(self.to_user(free)), -diagonal_of(self.grad_to_user(free, grad)))

    def seen(self, free: jax.Array, slopes: jax.Array, start: jax.Array) -> Edges:
        """See `Space`."""
        rows = self.to_user(free)
        diagonal = diagonal_of(rows)
        return Edges(diagonal, diagonal * jnp.sum(rows * slopes, axis=-1) - diagonal_of(slopes))

    def by_distance(self, free: jax.Array, slopes: jax.Array) -> jax.Array:
        """See `Space`: along the rows of free numbers, of which the first has none."""
        rows, part = triangle(free, 0), triangle(slopes, 0)
        square = jnp.sum(rows**2, axis=-1)
        along = jnp.sum(rows * part, axis=-1)
        return -along * jnp.where(square > 0, 1 + 1 / jnp.where(square > 0, square, 1), 0)

    def without(self, free: jax.Array, slopes: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`: at right angles to these rows."""
        rows, part = triangle(free, 0), triangle(slopes, 0)
        square, along = jnp.sum(rows**2, axis=-1), jnp.sum(rows * part, axis=-1)
        share = jnp.where(where & (square > 0), along / jnp.where(square > 0, square, 1), 0)
        return below(part - share[..., None] * rows)

    def known(self, where: jax.Array) -> jax.Array:
        """See `Space`: entries of the diagonal, and in the second row the other one."""
        whole = on_diagonal(where)
        return whole.at[..., 1:2, 0].set(where[..., 1:2]) if where.shape[-1] > 1 else whole

    def inside(self, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`: halfway to where the row is independent of those above it."""
        return self.way(free, start, where, 1)

    def way(self, free: jax.Array, start: jax.Array, where: jax.Array, share: Any) -> jax.Array:
        """See `Space`: by equal factors of the diagonal."""
        rows, lengths = self.lengths(free)
        return below(jnp.where(where[..., None], rows / lengths**share, rows))
