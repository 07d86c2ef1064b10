"""How far the fitted parameters can be trusted: covariance and standard errors from the curvature at the minimum.

A. C. Davison, Statistical Models (2003), sections 4.4 (likelihood, observed information) and 8.2 (least squares).
G. A. F. Seber and C. J. Wild, Nonlinear Regression (1989), section 2.1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.derivatives import hessian_solve
from gdjax.derivatives.hessian import products_at
from gdjax.derivatives.implicit import is_stationary
from gdjax.descent.result import Result
from gdjax.jaxtools.faces import as_table, one_line
from gdjax.jaxtools.pytrees import (
    Static,
    is_concrete,
    merge,
    named_leaves,
    pytree_dataclass,
    require,
    split,
    static_field,
    widened,
)
from gdjax.jaxtools.remembered import remembered
from gdjax.problem.hoist import hoist
from gdjax.problem.objective import trace
from gdjax.problem.problem import make_problem
from gdjax.vectors.layout import Flat

MOST_DENSE = 2000  # unknowns up to which the whole covariance is formed: 2000^2 doubles are 32 MB
ROWS = 40  # of the printed table
# Standard errors between the point and the minimum: so few do not matter, and so many make it another estimate.
NEAR, FAR = 0.1, 1.0


@pytree_dataclass
class Uncertainty:
    """What `uncertainty` found; ``print`` it for a table. All NaN if there is no covariance."""

    covariance: jax.Array  # of the entries chosen, shape (k, k), in the order of the ravelled parameters; NaN if held
    standard_errors: Any  # like params (for a complex one se(real) + i se(imag)); with ``entries`` of shape (k,)
    estimates: jax.Array  # of the same entries, shape (k,)
    held: jax.Array  # which of them are at a bound, and were taken as known, shape (k,)
    distance: jax.Array  # to the minimum as gradient and Hessian tell it, in standard errors, the largest of an entry
    names: tuple[str, ...] = static_field(())  # of the same entries

    @property
    def correlation(self) -> jax.Array:
        """Covariance scaled to a unit diagonal, shape (k, k)."""
        errors = jnp.sqrt(jnp.diagonal(self.covariance))
        return self.covariance / errors[:, None] / errors[None, :]

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        errors = jnp.sqrt(jnp.diagonal(self.covariance)) if self.covariance.ndim == 2 else self.standard_errors
        return dict(estimates=self.estimates, standard_errors=errors, covariance=self.covariance)

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        """Estimate, standard error and their ratio for each parameter."""
        if not is_concrete(self.covariance) or self.covariance.ndim != 2:
            return f"Uncertainty(covariance of shape {self.covariance.shape})"
        held, distance = np.asarray(self.held), float(self.distance)
        if distance > FAR:
            return (
                f"No covariance: the minimum is {distance:.3g} standard errors away, as gradient and Hessian tell it. "
                "Minimise with a smaller tol, or by TrustRegion(), which sees the curvature."
            )
        if np.isnan(np.diagonal(self.covariance)[~held]).any():
            return (
                "No covariance: the result is not a minimum (its gradient is more than ten times the tolerance), or "
                "the Hessian there is not positive definite, as when the data do not determine every parameter."
            )
        errors, width = np.sqrt(np.diagonal(self.covariance)), max(map(len, self.names))
        rows = [f"{'':{width}}  {'estimate':>12} {'std. error':>12} {'ratio':>9}"]
        columns = self.names, np.asarray(self.estimates), errors, held
        for name, value, error, at_bound in list(zip(*columns, strict=True))[:ROWS]:
            words = "at its bound" if at_bound else f"{error:12.6g} {value / error:9.3f}"
            rows.append(f"{name:{width}}  {value:12.6g} {words}")
        rows += [f"and {len(self.names) - ROWS} more"] * (len(self.names) > ROWS)
        if held.any():
            rows.append("What is at its bound has no standard error; those of the others take it as known.")
        if distance > NEAR:
            remedy = "minimise with a smaller tol, or by TrustRegion()"
            rows.append(f"The minimum is {distance:.2g} standard errors away: {remedy}.")
        return "\n".join(rows)


def uncertainty(
    loss: Callable[..., Any],
    result: Result,
    *args: Any,
    kind: str = "likelihood",
    num_data: Any = None,
    entries: Sequence[int] | None = None,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    value_and_grad: bool = False,
    kwargs: dict[str, Any] | None = None,
) -> Uncertainty:
    """Covariance and standard errors of fitted parameters, from the Hessian H of the loss at ``result.params``.

    The scale depends on what the loss is. If it is no negative log-likelihood summed over the data, say so:

    - ``kind="likelihood"``: the loss is a negative log-likelihood, summed over independent data:
      ``cov = H^-1`` (observed information). If it is the mean over the data, give their number N as ``num_data``:
      ``cov = H^-1 / N``. Added constants do not matter, factors do: half a sum of squares is the likelihood of
      errors with variance one.
    - ``kind="least_squares"``: the loss is a sum or mean of N squared residuals times any constant, and the variance of
      the errors is unknown: ``cov = 2 f / (N - n) H^-1`` with f the loss at the minimum, n the number of real
      parameters and N = ``num_data``. For c times the sum of squares H is 2 c J'J, and this is the textbook's
      ``s^2 (J'J)^-1`` with ``s^2 = RSS / (N - n)``, for any c. (In nonlinear models H also contains the curvature of
      the residuals, which ``scipy.optimize.curve_fit`` leaves out.)

    Both hold if the loss is nearly quadratic over a few standard errors. The loss must be the one that was minimised
    (for a maximised log-likelihood the negative is taken). Entries that are at a bound are held there: they have no
    standard error (NaN), the errors of the others are computed as if those entries were known, and n counts only the
    others. No other constraint may be active, and no other penalty may be part of the minimum: it pulls the estimate
    away from that of the loss, and no Hessian says how far.

    Args:
        loss, args, grad, has_aux, value_and_grad, kwargs: as for `gdjax.minimize`.
        result: what `gdjax.minimize` returned.
        kind: "likelihood" or "least_squares".
        num_data: number N of data, traced.
        entries: positions in the ravelled parameters (leaf after leaf, that is array after array of the pytree; in a
            complex leaf first all real, then all imaginary parts) whose covariance is wanted. Each costs one
            matrix-free solve with H. Without ``entries`` H is formed by one product per parameter, for up to 2000.

    Returns:
        An `Uncertainty`: covariance, standard errors (a pytree like params), and a table if you ``print`` it. All are
        NaN, and the table says why, if the result is not a minimum: its gradient is more than ten times the tolerance,
        H is not positive definite, or the Newton step ``H^-1 g`` is longer than a standard error. (In a badly scaled
        regression a point with a small gradient can be that far from the minimum.) If the Newton step is longer than a
        tenth of a standard error, the table says so.

    Raises:
        TypeError, ValueError: for arguments that are not what they must be, more than 2000 parameters without
            ``entries``, no more data than parameters, or a result with a penalty other than bounds and inactive
            constraints.

    >>> import gdjax
    >>> heads = lambda q: -(7 * jnp.log(q) + 3 * jnp.log(1 - q))  # of ten throws
    >>> found = gdjax.minimize(heads, 0.5)
    >>> print(f"{float(found.params):.2f} +- {float(uncertainty(heads, found).standard_errors):.2f}")
    0.70 +- 0.14
    """
    if not isinstance(result, Result):
        raise TypeError(f"result must be what gdjax.minimize returned, got a {type(result).__name__}")
    if jnp.ndim(result.code):
        raise ValueError(
            f"result holds {jnp.size(result.code)} problems: take one, result[i], or all with "
            "jax.vmap(lambda result, x: gdjax.uncertainty(loss, result, x))(result, x)"
        )
    if kind not in ("likelihood", "least_squares"):
        raise ValueError(f"kind must be 'likelihood' or 'least_squares', got {kind!r}")
    layout = Flat.of(result.params)
    size = layout.size
    if entries is None and size > MOST_DENSE:
        raise ValueError(f"there are {size} parameters: name the entries that you want, entries=[...]")
    if entries is not None and not all(0 <= int(i) < size for i in entries):
        raise ValueError(f"entries must lie between 0 and {size - 1}, got {list(entries)}")
    if kind == "least_squares" and num_data is None:
        raise ValueError("kind='least_squares' needs the number of residuals, num_data")
    held, free_of_penalty = constrained(result, layout)
    least = size - (int(np.sum(held)) if is_concrete(held) else size) if kind == "least_squares" else 0
    require(f"must be above {least}", num_data, lambda n: n > least, "num_data")
    chosen = None if entries is None else tuple(int(i) for i in entries)
    given: dict[str, Any] = dict(params=result.params, args=args, kwargs=kwargs or {}, grad=grad)
    problem = hoist(make_problem(loss, value_and_grad, bool(has_aux), maximize=result.maximized, **given))
    arrays, static = split((problem, is_stationary(result) & free_of_penalty, num_data, held))
    covariance, estimates, distance = _covariance(static, kind, chosen, arrays)
    errors = jnp.sqrt(jnp.diagonal(covariance))
    names = entry_names(result.params)
    return Uncertainty(
        covariance,
        layout.unravel(errors) if chosen is None else errors,
        estimates,
        held if chosen is None else held[jnp.asarray(chosen)],
        distance,
        tuple(names) if chosen is None else tuple(names[i] for i in chosen),
    )


def constrained(result: Result, layout: Flat) -> tuple[jax.Array, jax.Array]:
    """Which entries (flat) are at a bound, and whether nothing else draws the minimum away from that of the loss.

    A point is inside a convex set if it may be moved a little to both sides along a line in no special direction.

    Raises:
        ValueError: if there is something else (not inside a trace), or it is not known.
    """
    x, nothing = layout.ravel(result.params), jnp.zeros(layout.size, bool)
    if result.penalty_value is None:
        return nothing, jnp.asarray(True)
    penalty, params = result.penalty, jax.tree.map(widened, result.params)
    if getattr(penalty, "is_box", False):
        lower, upper = (layout.ravel(side) for side in penalty.bounds(result.params))
        return (x <= lower) | (x >= upper), jnp.asarray(True)
    inside = jnp.asarray(False)
    if penalty is not None:
        eps, size = float(jnp.finfo(x.dtype).eps), jnp.max(jnp.abs(x))
        step = eps**0.5 * jnp.where(size > 0, size, 1) * jnp.cos(jnp.arange(x.size, dtype=x.dtype))
        wide = Flat.of(params)
        prox = lambda z: wide.ravel(penalty.prox(wide.unravel(z), jnp.ones((), x.dtype)))
        inside = jnp.all(jnp.stack([jnp.abs(prox(z) - z) <= 4 * eps * size for z in (x + step, x - step)]))
    if is_concrete(inside) and not inside:
        raise ValueError(
            "uncertainty knows what bounds do to standard errors, not what this penalty does: it pulls the estimate "
            "away from the minimum of the loss, or keeps it on the edge of a set, and the Hessian of the loss does not "
            "say by how much. If it is smooth, add it to the loss (it is then part of the likelihood, a prior), "
            "or use the bootstrap: gdjax.minimize_many on resampled data"
        )
    return nothing, inside


@remembered(static=3)
def _covariance(
    static: Static, kind: str, chosen: tuple[int, ...] | None, arrays: list[Any]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Covariance and values of the chosen entries, and their distance from the minimum."""
    problem, stationary, num_data, held = merge(arrays, static)
    objective = trace(problem, Flat.of)
    x = objective.start
    grad, whole = products_at(objective, x)
    grad = jnp.where(held, 0, grad)
    product = lambda v: jnp.where(held, v, whole(jnp.where(held, 0, v)))  # as if what is held were apart
    free = jnp.sum(~held)
    if chosen is None:
        s, lower, definite = hessian_solve.cholesky(hessian_solve.matrix(product, x.size, x.dtype))
        inverse = jax.scipy.linalg.cho_solve((lower, True), jnp.diag(s)) * s[:, None]
        inverse = jnp.where(definite & stationary, (inverse + inverse.T) / 2, jnp.nan)
        step = inverse @ grad
    else:
        index = jnp.asarray(chosen)
        unit = lambda i: (jnp.arange(x.size) == i).astype(x.dtype)
        inverse = jax.lax.map(lambda i: hessian_solve.solve(product, unit(i), stationary)[index], index)
        step = hessian_solve.solve(product, grad, stationary)[index]
        inverse, x, held = (inverse + inverse.T) / 2, x[index], held[index]
    inverse = jnp.where(held[:, None] | held[None, :], jnp.nan, inverse)
    if kind == "least_squares":
        value = objective.evaluate(objective.start).value  # of what is minimised: a sum of squares, not its negative
        freedom = (jnp.asarray(num_data) - free).astype(x.dtype)
        covariance = inverse * (2 * value.astype(x.dtype) / freedom)
    else:
        covariance = inverse if num_data is None else inverse / jnp.asarray(num_data).astype(x.dtype)
    errors = jnp.sqrt(jnp.diagonal(covariance))
    distance = jnp.max(jnp.where(held | (step == 0), 0, jnp.abs(step) / errors), initial=0)
    return jnp.where(distance > FAR, jnp.nan, covariance), x, distance


def entry_names(params: Any) -> list[str]:
    """Names of the ravelled entries: ``params['w'][0, 1]``."""
    names = []
    for name, leaf in named_leaves("params", params):
        for part in (".real", ".imag") if jnp.iscomplexobj(leaf) else ("",):
            where = ["[" + ", ".join(map(str, i)) + "]" if i else "" for i in np.ndindex(leaf.shape)]
            names += [name + index + part for index in where]
    return names
