"""The curvature of a loss at a point: extreme eigenvalues of its Hessian, from Hessian-vector products alone.

C. Lanczos, An iteration method for the solution of the eigenvalue problem, J. Res. Nat. Bur. Standards 45 (1950);
B. N. Parlett, The symmetric eigenvalue problem (1998), chapter 13 (error bounds, full orthogonalisation).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.derivatives.hessian import product_anywhere
from gdjax.jaxtools.pytrees import Static, merge, split
from gdjax.jaxtools.remembered import remembered
from gdjax.problem.objective import Objective, trace
from gdjax.problem.problem import Problem
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import matmul

PRODUCTS = 100  # Hessian products, at most: the extreme eigenvalues are usually found to six digits by then
ROUNDING = 8.0  # a Hessian product errs by about this many roundings of the largest eigenvalue


class Eigenpair(NamedTuple):
    """An eigenvalue of the Hessian, to within ``error``, and its direction."""

    value: float
    error: float  # there is an eigenvalue within this distance of `value`
    vector: np.ndarray  # of unit length, in the flat layout


class Curvature(NamedTuple):
    """What a Lanczos run says about a point, in the minimiser's sign."""

    value: float
    grad: np.ndarray  # flat
    grad_norm: float  # infinity norm
    eps: float
    smallest: Eigenpair
    largest: Eigenpair
    products: int  # Hessian products that were spent
    exact: bool  # whether they span the whole space, so that no eigenvalue can have been missed


class Line(NamedTuple):
    """The loss along x + t v."""

    value: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray


def measure(problem: Problem, products: int = PRODUCTS, seed: int = 0) -> Curvature:
    """Extreme eigenvalues at the params of a hoisted problem.

    From a random start, an extreme eigenvalue is missed only if the start has no component along its eigenvector (up
    to rounding, which has probability zero). The error is the residual |H v - theta v|, plus rounding.
    """
    arrays, static = split(problem)
    found = jax.device_get(_lanczos(static, products, arrays, np.uint32(seed)))
    alpha, beta = (a.astype(np.float64) for a in (found["alpha"], found["beta"]))
    if not np.isfinite(alpha).all():
        raise ValueError("the Hessian is not finite at params: the loss may have a kink, a log or a root of zero there")
    values, vectors = np.linalg.eigh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))
    eps, n = float(jnp.finfo(found["basis"].dtype).eps), found["basis"].shape[1]
    exact = len(alpha) == n
    rounding = ROUNDING * float(found["error"]) * float(np.max(np.abs(values)))

    def pair(i: int) -> Eigenpair:
        residual = 0.0 if exact else abs(beta[-1] * vectors[-1, i])
        vector = vectors[:, i].astype(found["basis"].dtype) @ found["basis"]
        return Eigenpair(float(values[i]), float(residual + rounding), vector)

    norm = float(np.max(np.abs(found["grad"]), initial=0))
    return Curvature(float(found["value"]), found["grad"], norm, eps, pair(0), pair(-1), len(alpha), exact)


def along(problem: Problem, vector: Any, ts: Any) -> Line:
    """Value, slope and curvature at x + t v for each t."""
    arrays, static = split(problem)
    return Line(*(np.asarray(a, np.float64) for a in _along(static, arrays, vector, np.asarray(ts, vector.dtype))))


def objective_of(static: Static, arrays: list[Any]) -> Objective:
    """The problem as a function of one flat vector, inside a trace."""
    return trace(merge(arrays, static), Flat.of)


@remembered(static=2)
def _lanczos(static: Static, most: int, arrays: list[Any], seed: jax.Array) -> dict[str, jax.Array]:
    """The Lanczos matrix (diagonal alpha, off-diagonal beta) and its basis, each vector orthogonalised twice."""
    objective = objective_of(static, arrays)
    x = objective.start
    n, k, key = x.size, min(most, x.size), jax.random.key(seed)
    point = objective.evaluate(x)
    product, error = product_anywhere(objective)

    def fresh(basis: jax.Array, j: jax.Array) -> jax.Array:
        """A random direction orthogonal to the basis."""
        v = jax.random.normal(jax.random.fold_in(key, j), (n,), x.dtype)
        v = orthogonal(basis, v)
        return v / jnp.linalg.norm(v)

    def orthogonal(basis: jax.Array, w: jax.Array) -> jax.Array:
        for _ in range(2):
            w = w - matmul(basis.T, matmul(basis, w))
        return w

    def step(j: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        basis, alpha, beta, v, scale = carry
        basis = basis.at[j].set(v)
        w = product(x, v)
        scale = jnp.maximum(scale, jnp.linalg.norm(w))
        a = matmul(v, w)
        w = orthogonal(basis, w)
        b = jnp.linalg.norm(w)
        # What is left is rounding: the basis spans an invariant subspace, and the search goes on outside of it.
        over = b <= 10 * error * scale
        v = jax.lax.cond(over, lambda: fresh(basis, j + 1), lambda: w / b)
        return basis, alpha.at[j].set(a), beta.at[j].set(jnp.where(over, 0, b)), v, scale

    zeros, zero = jnp.zeros(k, x.dtype), jnp.zeros((), x.dtype)
    basis = jnp.zeros((k, n), x.dtype)
    basis, alpha, beta, *_ = jax.lax.fori_loop(
        jnp.asarray(0, jnp.int32), jnp.asarray(k, jnp.int32), step,
        (basis, zeros, zeros, fresh(basis, jnp.asarray(0, jnp.int32)), zero),
    )  # fmt: skip
    return dict(alpha=alpha, beta=beta, basis=basis, value=point.value, grad=point.grad, error=jnp.asarray(error))


@remembered(static=1)
def _along(static: Static, arrays: list[Any], v: jax.Array, ts: jax.Array) -> tuple[jax.Array, ...]:
    """One evaluation and one Hessian product (or three evaluations) per point."""
    objective = objective_of(static, arrays)
    product, _ = product_anywhere(objective)

    def at(t: jax.Array) -> tuple[jax.Array, ...]:
        x = objective.start + t * v
        point = objective.evaluate(x)
        return point.value, matmul(v, point.grad), matmul(v, product(x, v))

    return jax.lax.map(at, ts)


@remembered(static=1)
def unravel(static: Static, arrays: list[Any], v: jax.Array) -> Any:
    """A flat vector as a pytree like the params."""
    return objective_of(static, arrays).layout.unravel(v)
