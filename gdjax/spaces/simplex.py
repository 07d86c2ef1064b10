"""Spaces of whole vectors, along the last axis: weights on a simplex, ordered numbers, directions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.spaces.base import Edges, Space, far, refuse


def needs_entries(name: str, space: Space, start: Any, least: int) -> np.ndarray:
    """The start as an array; ValueError unless its last axis is long enough."""
    x = np.asarray(start)
    if x.ndim == 0 or x.shape[-1] < least:
        raise ValueError(f"{name} has shape {x.shape}; {space!r} is for at least {least} entries along the last axis")
    return x


def close(x: np.ndarray, y: Any) -> np.ndarray:
    """Whether x is y to a few digits less than it could be."""
    return np.abs(x - y) <= float(np.finfo(x.dtype).eps) ** 0.5 if x.dtype.kind == "f" else np.abs(x - y) <= 1e-6


@pytree_dataclass
class Simplex(Space):
    """Positive numbers with sum 1 along the last axis: ``u = softmax(V z)``, V an orthonormal basis of what sums to 0.

    There is one free number fewer than weights, so that the minimum is a single point, and no entry has a place of its
    own (J. J. Egozcue et al., Isometric logratio transformations for compositional data analysis, Math. Geol. 2003).

    >>> import gdjax
    >>> loss = lambda w: -(jnp.array([2.0, 1.0, 1.0]) @ jnp.log(w))
    >>> print(gdjax.minimize(loss, jnp.full(3, 1 / 3), space=Simplex()).params.round(2))
    [0.5  0.25 0.25]
    """

    has_ends = mixes = True

    def check(self, name: str, start: Any) -> None:
        """Positive, with sum 1."""
        x = needs_entries(name, self, start, 2)
        if not ((x > 0).all() and close(x.sum(-1), 1).all()):
            refuse(name, self, x, "weights must all be positive (not 0) and have the sum 1")

    def cut(self, lower: Any, upper: Any) -> tuple[Any, Any]:
        """See `Space`."""
        return np.maximum(lower, 0), upper

    def brought_inside(self, drawn: jax.Array) -> jax.Array:
        """See `Space`: its shares."""
        shares = jnp.maximum(drawn, float(jnp.finfo(drawn.dtype).tiny))
        return shares / jnp.sum(shares, axis=-1, keepdims=True)

    def to_user(self, free: jax.Array) -> jax.Array:
        """See `Space`. No weight underflows to 0."""
        weights = jax.nn.softmax(spread(free), axis=-1)
        tiny = jnp.asarray(jnp.finfo(free.dtype).tiny, free.dtype)
        return jnp.where(weights > tiny, weights, tiny + (weights - jax.lax.stop_gradient(weights)))

    def to_free(self, user: jax.Array) -> jax.Array:
        """See `Space`; NaN outside."""
        return contrasts(jnp.where(user > 0, jnp.log(jnp.where(user > 0, user, 1)), jnp.nan))

    def log_det(self, free: jax.Array) -> jax.Array:
        """``sum log u + log(k) / 2`` for each simplex of k weights, by all of them but one."""
        logs = jax.nn.log_softmax(spread(free), axis=-1)
        return jnp.sum(jnp.sum(logs, axis=-1) + 0.5 * np.log(logs.shape[-1]))

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """``df/du_i - sum_j u_j df/du_j``: how the loss changes as weight i takes from all. (The sum is held.)"""
        return spread(grad) / self.to_user(free)

    def edges(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges:
        """See `Space`; the size is 1."""
        return Edges(self.to_user(free), -self.grad_to_user(free, grad))

    def seen(self, free: jax.Array, slopes: jax.Array, start: jax.Array) -> Edges:
        """See `Space`."""
        weights = self.to_user(free)
        return Edges(weights, jnp.sum(weights * slopes, axis=-1, keepdims=True) - slopes)

    def by_distance(self, free: jax.Array, slopes: jax.Array) -> jax.Array:
        """See `Space`: as weight i takes from all."""
        return spread(slopes)

    def without(self, free: jax.Array, slopes: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`: what is held loses its part, the others that of their mean."""
        rest = jnp.where(where, 0, spread(slopes))
        count = jnp.maximum(jnp.sum(~where, axis=-1, keepdims=True), 1).astype(rest.dtype)
        return contrasts(jnp.where(where, 0, rest - jnp.sum(rest, axis=-1, keepdims=True) / count))

    def known(self, where: jax.Array) -> jax.Array:
        """See `Space`: and the last weight, if all others are 0."""
        return where | (jnp.sum(where, axis=-1, keepdims=True) >= where.shape[-1] - 1)

    def inside(self, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`."""
        y = spread(free)
        return contrasts(jnp.where(where, jnp.max(y, axis=-1, keepdims=True), y))


def spread(z: jax.Array) -> jax.Array:
    """``V z``, with sum 0: shape (..., k - 1) to (..., k), in k operations (Helmert's basis)."""
    i = jnp.arange(1, z.shape[-1] + 1, dtype=z.dtype)
    w = z / jnp.sqrt(i * (i + 1))
    zero = jnp.zeros((*z.shape[:-1], 1), z.dtype)
    later = jnp.flip(jnp.cumsum(jnp.flip(w, -1), axis=-1), -1)  # sums of this one and all after
    return jnp.concatenate([later, zero], axis=-1) - jnp.concatenate([zero, i * w], axis=-1)


def contrasts(y: jax.Array) -> jax.Array:
    """``V' y``: shape (..., k) to (..., k - 1)."""
    i = jnp.arange(1, y.shape[-1], dtype=y.dtype)
    return (jnp.cumsum(y, axis=-1)[..., :-1] - i * y[..., 1:]) / jnp.sqrt(i * (i + 1))


@pytree_dataclass
class Ordered(Space):
    """Numbers that rise along the last axis: ``u_1 = z_1``, ``u_k = u_(k-1) + exp(z_k)``. Cut points, peaks in order.

    (Where a gap is below the rounding of the numbers, two of them are equal.)

    >>> print(Ordered().to_user(jnp.zeros(3)))
    [0. 1. 2.]
    """

    has_ends = endless = True

    def check(self, name: str, start: Any) -> None:
        """Each above the one before."""
        x = needs_entries(name, self, start, 1)
        if not (np.diff(x, axis=-1) > 0).all():
            refuse(name, self, x, "each number must be above the one before")

    def brought_inside(self, drawn: jax.Array) -> jax.Array:
        """See `Space`: in order."""
        return jnp.sort(drawn, axis=-1)

    def to_user(self, free: jax.Array) -> jax.Array:
        """See `Space`."""
        return jnp.cumsum(jnp.concatenate([free[..., :1], jnp.exp(free[..., 1:])], axis=-1), axis=-1)

    def to_free(self, user: jax.Array) -> jax.Array:
        """See `Space`; NaN outside."""
        gap = user[..., 1:] - user[..., :-1]
        logs = jnp.where(gap > 0, jnp.log(jnp.where(gap > 0, gap, 1)), jnp.nan)
        return jnp.concatenate([user[..., :1], logs], axis=-1)

    def log_det(self, free: jax.Array) -> jax.Array:
        """The sum of the free numbers after the first."""
        return jnp.sum(free[..., 1:])

    def later(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """How the loss changes as an entry and all after it rise together."""
        gaps = jnp.exp(free[..., 1:])
        lost = gaps == 0
        return jnp.concatenate([grad[..., :1], jnp.where(lost, 0, grad[..., 1:] / jnp.where(lost, 1, gaps))], axis=-1)

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """The gradient: the difference of two such."""
        later = self.later(free, grad)
        return later - jnp.concatenate([later[..., 1:], jnp.zeros_like(later[..., :1])], axis=-1)

    def edges(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> Edges:
        """See `Space`: of the gaps, over what they were at first."""
        gaps = jnp.exp(free[..., 1:])
        size = jnp.maximum(gaps, jnp.exp(start[..., 1:]))
        inward = -self.later(free, grad)[..., 1:] * size
        return Edges(gaps / size, jnp.where(gaps == 0, jnp.inf, inward))

    def seen(self, free: jax.Array, slopes: jax.Array, start: jax.Array) -> Edges:
        """See `Space`."""
        gaps = jnp.exp(free[..., 1:])
        size = jnp.maximum(gaps, jnp.exp(start[..., 1:]))
        together = jnp.flip(jnp.cumsum(jnp.flip(slopes, -1), axis=-1), -1)[..., 1:]
        return Edges(gaps / size, -together * size)

    def by_distance(self, free: jax.Array, slopes: jax.Array) -> jax.Array:
        """See `Space`: of the gaps."""
        return slopes[..., 1:]

    def without(self, free: jax.Array, slopes: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`."""
        return jnp.concatenate([slopes[..., :1], jnp.where(where, 0, slopes[..., 1:])], axis=-1)

    def known(self, where: jax.Array) -> jax.Array:
        """See `Space`: none, though some are equal."""
        return jnp.concatenate([jnp.zeros_like(where[..., :1]), jnp.zeros_like(where)], axis=-1)

    def inside(self, free: jax.Array, start: jax.Array, where: jax.Array) -> jax.Array:
        """See `Space`."""
        wider = jnp.where(where, jnp.maximum(free, start)[..., 1:], free[..., 1:])
        return jnp.concatenate([free[..., :1], wider], axis=-1)

    def farther(self, start: jax.Array) -> jax.Array:
        """See `Space`."""
        return jnp.concatenate([start[..., :1], start[..., 1:] + far(start.dtype)], axis=-1)


@pytree_dataclass
class UnitVector(Space):
    """Vectors of length 1 along the last axis, by stereographic projection from the point opposite the start.

    ``u = ((1 - |z|^2) start + 2 E z) / (1 + |z|^2)`` with E an orthonormal basis of what is at right angles to the
    start: one free number fewer than entries, and z = 0 at the start. Only the point opposite is not reached.

    >>> import gdjax
    >>> found = gdjax.minimize(lambda u: -u @ jnp.array([3.0, 4.0]), jnp.array([1.0, 0.0]), space=UnitVector())
    >>> [round(float(x), 2) for x in found.params]
    [0.6, 0.8]
    """

    pole: Any = None

    def bind(self, start: Any) -> "UnitVector":
        """With the start as its pole."""
        return UnitVector(jax.lax.stop_gradient(jnp.asarray(start)))

    def check(self, name: str, start: Any) -> None:
        """Of length 1."""
        x = needs_entries(name, self, start, 2)
        if not close(np.linalg.norm(x, axis=-1), 1).all():
            refuse(name, self, x, "its length must be 1")

    def brought_inside(self, drawn: jax.Array) -> jax.Array:
        """See `Space`: its direction."""
        return drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True)

    def to_user(self, free: jax.Array) -> jax.Array:
        """See `Space`."""
        square = jnp.sum(free**2, axis=-1, keepdims=True)
        last = (1 - square) / (1 + square)
        return self.reflect(jnp.concatenate([2 * free / (1 + square), last], axis=-1))

    def to_free(self, user: jax.Array) -> jax.Array:
        """See `Space`."""
        turned = self.reflect(user)
        return turned[..., :-1] / (1 + turned[..., -1:])

    def reflect(self, x: jax.Array) -> jax.Array:
        """The last unit vector and the pole change places (a Householder reflection)."""
        pole = self.pole.astype(x.dtype)
        last = jnp.zeros_like(pole).at[..., -1].set(1)
        v = pole - last
        size = jnp.sum(v**2, axis=-1, keepdims=True)
        share = jnp.sum(v * x, axis=-1, keepdims=True) / jnp.where(size > 0, size, 1)
        return x - 2 * share * v

    def grad_to_user(self, free: jax.Array, grad: jax.Array) -> jax.Array:
        """The part of the gradient that is at right angles to u: the map keeps angles."""
        tangent = jax.jvp(self.to_user, (free,), (grad,))[1]
        return tangent * ((1 + jnp.sum(free**2, axis=-1, keepdims=True)) / 2) ** 2

    def inward(self, free: jax.Array, grad: jax.Array, start: jax.Array) -> jax.Array:
        """See `Space`: the size of that part. The sphere has no ends, but near the point opposite the map is flat."""
        return jnp.linalg.norm(self.grad_to_user(free, grad), axis=-1)
