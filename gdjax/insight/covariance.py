"""The covariance of what was minimised over, from the Hessian, as a root; see `gdjax.insight.uncertainty`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.derivatives import hessian_solve
from gdjax.derivatives.hessian import products_at
from gdjax.descent.result import Result
from gdjax.insight.spread import lengths_of
from gdjax.jaxtools.pytrees import Static, merge
from gdjax.jaxtools.remembered import remembered
from gdjax.problem.objective import trace
from gdjax.spaces.at_ends import FlatChart, ends_of_minimum
from gdjax.spaces.results import numbers
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import largest, matmul

FAR = 1.0  # standard errors between the point and the minimum, so many that it is another estimate


def slopes_at(result: Result, chosen: list[int] | None) -> jax.Array:
    """Those of the (chosen) flat parameters by the flat numbers that the descent moved: 1 and 0 without ``space=``."""
    layout = Flat.of(result.variables)
    x = layout.ravel(result.variables)

    def flat(x: jax.Array) -> jax.Array:
        seen = layout.unravel(x) if result.space is None else numbers(result.space.chart.to_user(layout.unravel(x)))
        return Flat.of(seen).ravel(seen)

    if chosen is None:
        return jnp.eye(x.size, dtype=x.dtype) if result.space is None else jax.jacfwd(flat)(x)
    found, pull = jax.vjp(flat, x)
    unit = lambda i: (jnp.arange(found.size) == i).astype(found.dtype)
    return jax.lax.map(lambda i: pull(unit(i))[0], jnp.asarray(chosen))


class Root(NamedTuple):
    """What is known of n estimates."""

    root: jax.Array  # of their covariance, shape (n, r)
    distance: jax.Array  # of the minimum, in standard errors
    freedom: jax.Array | None  # of the scale, if one was estimated
    held: jax.Array  # which are taken as known, shape (n,)
    ends: list[Any] | None  # see `gdjax.spaces.at_ends.Ended.where`


@remembered(static=3)
def root_at(static: Static, kind: str, few: bool, arrays: list[Any]) -> Root:
    """A root of the covariance of what has these slopes. If they are few, no matrix is formed."""
    problem, stationary, num_data, held, slopes, chart = merge(arrays, static)
    objective = trace(problem, Flat.of)
    x = objective.start
    grad, whole = products_at(objective, x)
    grad = jnp.where(held, 0, grad)
    product = lambda v: jnp.where(held, v, whole(jnp.where(held, 0, v)))  # as if what is held were apart
    freedom, free, ends = None, jnp.sum(~held), None
    slopes = jnp.where(held, 0, slopes)
    if chart is not None:
        flat = FlatChart(chart, problem.params)
        where = ends_of_minimum(flat, grad, product, stationary)
        grad, slopes, product = apart(flat, where, grad, slopes, product)
        free -= sum(jnp.sum(marks) for marks in where)
        ends = flat.by_leaf(where)
    known = ~jnp.any(slopes != 0, axis=1)
    if not few:
        s, lower, definite = hessian_solve.cholesky(hessian_solve.matrix(product, x.size, x.dtype))
        one = jnp.eye(x.size, dtype=x.dtype)
        root = s[:, None] * jax.scipy.linalg.solve_triangular(lower, one, lower=True, trans=1)  # H^-1 = root root'
        root = jnp.where(definite & stationary, root, jnp.nan)
        step, root = matmul(slopes, matmul(root, matmul(grad, root))), matmul(slopes, root)
    else:
        solve = lambda v: matmul(slopes, hessian_solve.solve(product, v, stationary))
        inverse, step = jax.lax.map(solve, slopes), solve(grad)
        root = square_root((inverse + inverse.T) / 2)
    if kind == "least_squares":
        value = objective.evaluate(objective.start).value  # of what is minimised: a sum of squares, not its negative
        freedom = jnp.asarray(num_data) - free
        scale = 2 * value.astype(x.dtype) / freedom.astype(x.dtype)
    else:
        scale = 1 / jnp.asarray(1 if num_data is None else num_data).astype(x.dtype)
    root = jnp.sqrt(scale) * root
    errors = lengths_of(root)
    shares = jnp.where(step == 0, 0, jnp.abs(step) / errors)
    distance = jnp.where(jnp.any(jnp.isnan(shares)), jnp.nan, largest(shares))
    return Root(jnp.where(distance > FAR, jnp.nan, root), distance, freedom, known, ends)


def apart(flat: FlatChart, where: list[jax.Array], grad: jax.Array, slopes: jax.Array, product: Any) -> Any:
    """Gradient, slopes and product with the Hessian as if what is at an end were apart."""
    keep = flat.without(where)
    return keep(grad), jax.vmap(keep)(slopes), flat.taken_out(product, where)


def square_root(c: jax.Array) -> jax.Array:
    """A root of a covariance, ``c = root root'``."""
    s, known = jnp.sqrt(jnp.diagonal(c)), jnp.all(jnp.isfinite(c))
    one = jnp.where(s > 0, s, 1)  # what is held has none
    unit = jnp.where(known, c / one[:, None] / one[None, :], jnp.eye(s.size, dtype=c.dtype))
    values, vectors = jnp.linalg.eigh(unit)
    return jnp.where(known, s[:, None] * vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :], jnp.nan)
