"""The CUTEst problems with constraints that sif2jax ports, and by which rule an answer to one counts as solved."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse
from jax.flatten_util import ravel_pytree

from benchmarks.problems import ROOT, load

PACKAGES = ("sif2jax.cutest._constrained_minimisation", "sif2jax.cutest._quadratic_problems")
DEVELOPMENT = Path(__file__).with_name("constrained_dev.txt")
VIOLATION = (
    1e-6  # of each constraint, of the length of its gradient if that is above 1: up to which a point is feasible
)
NEAR = 1e-5  # distance from a bound, of the length of its gradient, up to which it may have a multiplier
LARGE = 4_000_000  # entries of a Jacobian that is kept sparse
POINTS, ROUNDINGS = 3, 1e3  # points at which a constraint is on one plane, but for so many roundings, if it is linear


class Problem(NamedTuple):
    """``lower <= x <= upper``, ``equal(x) = 0``, ``positive(x) >= 0``, each of one flat vector."""

    loss: Callable[[jax.Array], jax.Array]
    x0: jax.Array
    lower: jax.Array
    upper: jax.Array
    equal: Callable[[jax.Array], jax.Array] | None
    positive: Callable[[jax.Array], jax.Array] | None

    @property
    def has_bounds(self) -> bool:
        return bool(jnp.any(jnp.isfinite(self.lower)) | jnp.any(jnp.isfinite(self.upper)))


class Judgement(NamedTuple):
    """What a point is worth."""

    value: float
    violation: float  # the largest, each of the length of its gradient if that is above 1
    residual: float  # of stationarity, infinity norm, of the largest gradient if that is above 1


def build(name: str) -> Problem:
    """A problem, in JAX's present default precision."""
    for package in PACKAGES:
        contents = ast.parse((ROOT.joinpath(*package.split(".")[1:]) / "__init__.py").read_text())
        if any(alias.name == name for node in contents.body for alias in getattr(node, "names", [])):
            loss, start, problem = load(package, contents, name)
            return with_constraints(loss, start, problem)
    raise ValueError(f"sif2jax has no problem {name} with constraints")


def with_constraints(loss: Callable[[jax.Array], jax.Array], start: jax.Array, problem: Any) -> Problem:
    """What sif2jax's object says, of flat vectors."""
    _, unravel = ravel_pytree(problem.y0)
    bounds = getattr(problem, "bounds", None)
    infinite = jnp.full_like(start, jnp.inf)
    sides = (-infinite, infinite) if bounds is None else tuple(ravel_pytree(s)[0].astype(start.dtype) for s in bounds)
    kinds = jax.eval_shape(lambda x: problem.constraint(unravel(x)), start)

    def part(k: int) -> Callable[[jax.Array], jax.Array] | None:
        if sum(leaf.size for leaf in jax.tree.leaves(kinds[k])) == 0:
            return None
        return lambda x: ravel_pytree(problem.constraint(unravel(x))[k])[0]

    return Problem(loss, start, *sides, part(0), part(1))


def judge(p: Problem, x: Any) -> Judgement:
    """The value, the violation, and the least residual of stationarity for any multipliers of the right signs.

    Multipliers are found by bounded least squares; only constraints and bounds that x is near may have one.
    """
    x = jnp.asarray(x, p.x0.dtype)
    parts = [(f, True) for f in [p.equal] if f] + [(f, False) for f in [p.positive] if f]
    f, g = jax.value_and_grad(p.loss)(x)
    c = jnp.concatenate([part(x) for part, _ in parts] or [jnp.zeros(0, x.dtype)])
    equal = np.concatenate([np.full(part(x).size, is_equal) for part, is_equal in parts] or [np.zeros(0, bool)])
    function = lambda x: jnp.concatenate([part(x) for part, _ in parts] or [jnp.zeros(0, x.dtype)])
    lengths, rows = gradients(function, x)
    size = np.maximum(1, lengths)
    c, g, z = np.asarray(c), np.asarray(g), np.asarray(x)
    off = np.where(equal, np.abs(c), np.maximum(-c, 0)) / size
    low, high = z - np.asarray(p.lower), np.asarray(p.upper) - z
    violation = max(np.max(off, initial=0), np.max(-low, initial=0), np.max(-high, initial=0))
    if not (np.isfinite(f) and np.isfinite(violation) and np.isfinite(g).all()):
        return Judgement(float("nan"), float("inf"), float("inf"))
    near = equal | (c <= NEAR * size)
    free = np.flatnonzero((low <= NEAR) | (high <= NEAR))
    box_lower = np.concatenate([np.where(equal, -np.inf, 0)[near], np.where(high[free] <= NEAR, -np.inf, 0)])
    box_upper = np.concatenate([np.full(near.sum(), np.inf), np.where(low[free] <= NEAR, np.inf, 0)])
    residual = np.abs(g).max()
    if box_lower.size:
        residual = least(rows, g, size, np.flatnonzero(near), free, (box_lower, box_upper))
    return Judgement(float(f), float(violation), float(residual / max(1, np.abs(g).max())))


def is_impossible(p: Problem) -> bool:
    """Whether HiGHS proves that no point satisfies the bounds and the linear constraints, all with their tolerance."""
    x, sides, limits = np.asarray(p.x0), [], []
    for function, is_equal in [(f, True) for f in [p.equal] if f] + [(f, False) for f in [p.positive] if f]:
        c, (lengths, rows) = np.asarray(function(p.x0)), gradients(function, p.x0)
        rows, tol = scipy.sparse.csr_matrix(rows), VIOLATION * np.maximum(1, lengths)
        linear = np.isfinite(c) & np.isfinite(lengths)
        for seed in range(POINTS):
            s = np.random.default_rng(seed).normal(size=x.size) * (1 + np.abs(x))
            most = ROUNDINGS * np.finfo(x.dtype).eps * (np.abs(c) + abs(rows) @ (np.abs(x) + np.abs(s)))
            off = np.abs(np.asarray(function(jnp.asarray(x + s, p.x0.dtype))) - c - rows @ s)
            linear &= off <= most  # NaN is not
        for sign in (-1, 1) if is_equal else (-1,):  # sign rows x <= sign (rows x0 - c) + tol
            sides.append((sign * rows)[linear])
            limits.append((sign * (rows @ x - c) + tol)[linear])
    bounds = np.stack([np.asarray(p.lower) - VIOLATION, np.asarray(p.upper) + VIOLATION], axis=1)
    matrix, limit = scipy.sparse.vstack(sides), np.concatenate(limits)
    return scipy.optimize.linprog(np.zeros(x.size), matrix, limit, bounds=bounds, method="highs").status == 2


def gradients(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> tuple[np.ndarray, Any]:
    """The lengths of the gradients of the constraints, and their Jacobian: sparse where it is large."""
    m = jax.eval_shape(function, x).size
    if m == 0:
        return np.zeros(0), np.zeros((0, x.size))
    if x.size * m <= LARGE:
        rows = np.asarray(jax.jit(jax.jacrev(function) if m < x.size else jax.jacfwd(function))(x))
        return np.linalg.norm(rows, axis=1), rows
    product = jax.jit(lambda v: jax.jvp(function, (x,), (v,))[1])
    blocks, width = [], max(1, LARGE // m)
    many = jax.jit(jax.vmap(product))
    for first in range(0, x.size, width):
        count = min(width, x.size - first)
        block = np.asarray(many(jnp.eye(count, x.size, first, dtype=x.dtype)))
        blocks.append(scipy.sparse.csc_matrix(block.T))
    rows = scipy.sparse.hstack(blocks).tocsr()
    return np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel()), rows


def least(rows: Any, g: np.ndarray, size: np.ndarray, near: np.ndarray, free: np.ndarray, box: Any) -> float:
    """The least ``|g - J'y - z|`` by bounded least squares."""
    sparse = not isinstance(rows, np.ndarray)
    if sparse:
        a = scipy.sparse.diags(1 / size[near]) @ rows[near]
        unit = scipy.sparse.csr_matrix((np.ones(free.size), (np.arange(free.size), free)), (free.size, g.size))
        matrix = scipy.sparse.vstack([a, unit]).T.tocsr()
    else:
        unit = np.zeros((free.size, g.size))
        unit[np.arange(free.size), free] = 1
        matrix = np.concatenate([rows[near] / size[near, None], unit]).T
    try:
        found = scipy.optimize.lsq_linear(matrix, g, box, tol=1e-14, max_iter=500)
        return float(np.abs(matrix @ found.x - g).max())
    except Exception:
        return float("inf")
