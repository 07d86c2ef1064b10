"""How far the fitted parameters can be trusted: covariance and standard errors from the curvature at the minimum.

A. C. Davison, Statistical Models (2003), sections 4.4 (likelihood, observed information) and 8.2 (least squares).
G. A. F. Seber and C. J. Wild, Nonlinear Regression (1989), section 2.1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.derivatives.implicit import is_stationary
from gdjax.descent.result import Result
from gdjax.insight.covariance import FAR, root_at, slopes_at
from gdjax.insight.inference import Estimates
from gdjax.insight.names import own_names
from gdjax.jaxtools.faces import as_table, handed_out, one_line
from gdjax.jaxtools.pytrees import is_concrete, pytree_dataclass, require, split, widened
from gdjax.problem.hoist import hoist
from gdjax.problem.problem import make_problem
from gdjax.spaces.results import at_ends, by_free, is_fixed, numbers
from gdjax.vectors.layout import Flat

MOST_DENSE = 2000  # unknowns up to which the whole covariance is formed: 2000^2 doubles are 32 MB
# Standard errors between the point and the minimum: so few do not matter.
NEAR = 0.1
KINDS = {
    "likelihood": "a negative log-likelihood, summed over the data, or their mean with num_data=",
    "least_squares": "a sum or mean of squared residuals times any constant, num_data= of them",
}


@handed_out
@pytree_dataclass
class Uncertainty(Estimates):
    """What `uncertainty` found; ``print`` it for a table. All NaN if there is no covariance.

    The ``values`` are like params, or with ``entries`` of shape (k,); covariance and correlation, shape (k, k), are in
    the order of the ravelled parameters.
    """

    fixed: Any = None  # with ``space=``, which of the held are fixed there, shape (k,)
    ended: Any = None  # and which are at an end of it, likewise
    distance: Any = None  # to the minimum as gradient and Hessian tell it, in standard errors, the largest of an entry

    __repr__ = one_line
    _repr_html_ = as_table

    @property
    def is_fixed(self) -> np.ndarray:
        """Which are fixed."""
        return np.zeros(self.held.shape, bool) if self.fixed is None else np.asarray(self.fixed)

    def why_missing(self) -> list[str]:
        """See `Estimates`."""
        ended = np.zeros(self.held.shape, bool) if self.ended is None else np.asarray(self.ended)
        special = np.select([self.is_fixed, ended], ["fixed", "held: at an end of its space"], "").tolist()
        return [own or word for own, word in zip(special, super().why_missing(), strict=True)]

    def __str__(self) -> str:
        """The table, and how far away the minimum is."""
        if not is_concrete(self.root) or self.axes:
            return one_line(self)
        held, distance = np.asarray(self.held), float(self.distance)
        if distance > FAR:
            return (
                f"No covariance: the minimum is {distance:.3g} standard errors away, as gradient and Hessian tell it. "
                "Minimise with a smaller tol, or by TrustRegion(), which sees the curvature."
            )
        if np.isnan(np.asarray(self.flat_errors)[~held]).any():
            return (
                "No covariance: the result is not a minimum (its gradient is more than ten times the tolerance), or "
                "the Hessian there is not positive definite, as when the data do not determine every parameter."
            )
        lines = [self.table()]
        if (held & ~self.is_fixed).any():
            lines.append("What is at its bound or end has no standard error; those of the others take it as known.")
        if distance > NEAR:
            remedy = "minimise with a smaller tol, or by TrustRegion()"
            lines.append(f"The minimum is {distance:.2g} standard errors away: {remedy}.")
        return "\n".join(lines)


def uncertainty(
    loss: Callable[..., Any],
    result: Result,
    *args: Any,
    kind: str | None = None,
    num_data: Any = None,
    entries: Sequence[int] | None = None,
    grad: Callable[..., Any] | None = None,
    has_aux: bool = False,
    value_and_grad: bool = False,
    kwargs: dict[str, Any] | None = None,
) -> Uncertainty:
    """Covariance and standard errors of fitted parameters, from the Hessian H of the loss at ``result.params``.

    The scale depends on what the loss is, which nothing in its numbers tells: say it by ``kind``.

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
    (for a maximised log-likelihood the negative is taken). Entries that are at a bound, or at an end of their
    space, are held there: they have no standard error (NaN), the errors of the others are computed as if those entries
    were known, and n counts only the others. No other constraint may be active (`gdjax.least_squares` has errors along
    those of ``constraints=``), and no other penalty may be part of the
    minimum: it pulls the estimate away from that of the loss, and no Hessian says how far.

    Args:
        loss, args, grad, has_aux, value_and_grad, kwargs: as for `gdjax.minimize`.
        result: what `gdjax.minimize` returned.
        kind: "likelihood" or "least_squares". There is no default: the errors of a sum of squares taken for a
            likelihood are wrong by any factor. (The `gdjax.Fit` of `gdjax.least_squares` needs no such call.)
        num_data: number N of data, traced.
        entries: positions in the ravelled parameters (leaf after leaf, that is array after array of the pytree; in a
            complex leaf first all real, then all imaginary parts) whose covariance is wanted. Each costs one
            matrix-free solve with H. Without ``entries`` H is formed by one product per parameter, for up to 2000.

    Returns:
        An `Uncertainty`: covariance, correlation, standard errors (a pytree like params), ``p_values``,
        ``intervals()``, ``derived(function)`` for functions of the parameters, ``to_pandas()``, and a table if you
        ``print`` it; with Student's distribution for least squares, the normal one for likelihoods. All are NaN, and
        the table says why, if the result is not a minimum: its gradient is more than ten times the tolerance, H is not
        positive definite, or the Newton step ``H^-1 g`` is longer than a standard error. (In a badly scaled regression
        a point with a small gradient can be that far from the minimum.) If the Newton step is longer than a tenth of a
        standard error, the table says so.

    Raises:
        TypeError, ValueError: for arguments that are not what they must be, more than 2000 parameters without
            ``entries``, no more data than parameters, a sum of squares that is negative, a result with an active
            constraint of ``constraints=``, or with a penalty other than bounds and sets that are not reached.

    >>> import gdjax
    >>> heads = lambda q: -(7 * jnp.log(q) + 3 * jnp.log(1 - q))  # of ten throws
    >>> found = gdjax.minimize(heads, 0.5)
    >>> error = uncertainty(heads, found, kind="likelihood").standard_errors
    >>> print(f"{float(found.params):.2f} +- {float(error):.2f}")
    0.70 +- 0.14
    """
    if not isinstance(result, Result):
        raise TypeError(f"result must be what gdjax.minimize returned, got a {type(result).__name__}")
    if jnp.ndim(result.code):
        raise ValueError(
            f"result holds {jnp.size(result.code)} problems: take one, result[i], or all with "
            "jax.vmap(lambda result, x: gdjax.uncertainty(loss, result, x, kind=...))(result, x)"
        )
    check_kind(kind, num_data, result)
    given: dict[str, Any] = dict(grad=grad, value_and_grad=value_and_grad)
    seen, (loss, result, args) = result, by_free(loss, result, args, given)
    layout, estimates = Flat.of(result.params), numbers(seen.params)
    size = Flat.of(estimates).size
    if entries is None and size > MOST_DENSE:
        raise ValueError(f"there are {size} parameters: name the entries that you want, entries=[...]")
    if entries is not None and not all(0 <= int(i) < size for i in entries):
        raise ValueError(f"entries must lie between 0 and {size - 1}, got {list(entries)}")
    held, free_of_penalty = constrained(result, layout)
    free = layout.size - (int(np.sum(held)) if is_concrete(held) else layout.size)
    least = free if kind == "least_squares" else 0
    require(f"must be above {least}", num_data, lambda n: n > least, "num_data")
    given |= dict(params=result.params, args=args, kwargs=kwargs or {})
    problem = hoist(make_problem(loss, has_aux=bool(has_aux), maximize=result.maximized, **given))
    chosen = None if entries is None else [int(i) for i in entries]
    names, values, slopes = own_names(estimates, "params"), estimates, slopes_at(seen, chosen)
    if chosen is not None:
        values, names = Flat.of(values).ravel(values)[jnp.asarray(chosen)], tuple(names[i] for i in chosen)
    chart = None if seen.space is None else seen.space.chart
    if chart is not None and not any(s.has_ends for s in chart.spaces if not s.is_fixed):
        chart = None
    arrays, static = split((problem, is_stationary(result) & free_of_penalty, num_data, held, slopes, chart))
    found = root_at(static, kind, entries is not None, arrays)
    rows = slice(None) if chosen is None else jnp.asarray(chosen)
    fixed = None if seen.space is None else is_fixed(seen)[rows]
    ended = None if chart is None else at_ends(seen, found.ends)[rows]
    known = found.held if ended is None else found.held | ended
    root = jnp.where(known[:, None], 0, found.root)
    return Uncertainty(values, root, known, found.freedom, names, fixed, ended, found.distance)


def check_kind(kind: Any, num_data: Any, result: Result) -> None:
    """Raise ValueError unless it says what the loss is, and the loss may be that."""
    if kind not in KINDS:
        what = " or ".join(f"kind={name!r} ({words})" for name, words in KINDS.items())
        raise ValueError(f"say what the loss is, {what}; got {kind!r}")
    if kind == "likelihood":
        return
    if num_data is None:
        raise ValueError("kind='least_squares' needs the number of residuals, num_data")
    value = result.value if result.loss_value is None else result.loss_value
    if is_concrete(value) and float(value) * (-1 if result.maximized else 1) < 0:
        raise ValueError(f"a sum of squares is not negative; this loss is {float(value):.6g}: is it a likelihood?")


def constrained(result: Result, layout: Flat) -> tuple[jax.Array, jax.Array]:
    """Which entries (flat) are at a bound, and whether nothing else draws the minimum away from that of the loss.

    A point is inside a convex set if it may be moved a little to both sides along a line in no special direction.

    Raises:
        ValueError: if there is something else (not inside a trace), or it is not known.
    """
    x, nothing, free = layout.ravel(result.params), jnp.zeros(layout.size, bool), jnp.asarray(True)
    if result.conditions is not None:
        free = ~jnp.any(jnp.concatenate([jnp.ravel(a) for a in jax.tree.leaves(result.active)]))
        if is_concrete(free) and not free:
            raise ValueError(
                "a constraint is active, and the Hessian of the loss knows nothing of it: along it there is less to "
                "vary. gdjax.least_squares(constraints=...) and gdjax.curve_fit(constraints=...) have the errors of "
                "such fits; elsewhere write the parameters so that the constraint holds by itself (p[1] = 1 - p[0]), "
                "or use the bootstrap: gdjax.minimize_many on resampled data"
            )
    if result.penalty_value is None:
        return nothing, free
    penalty, params = result.penalty, jax.tree.map(widened, result.params)
    if getattr(penalty, "is_box", False):
        lower, upper = (layout.ravel(side) for side in penalty.bounds(result.params))
        return (x <= lower) | (x >= upper), free
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
    return nothing, inside & free
