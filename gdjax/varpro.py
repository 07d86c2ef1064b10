"""Fits of models in which some parameters are linear: `varpro`, variable projection.

G. H. Golub and V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
separate, SIAM J. Numer. Anal. 10 (1973); D. P. O'Leary and B. W. Rust, Variable projection for nonlinear least squares
problems, Comput. Optim. Appl. 54 (2013).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.curve_fit import curve_fit
from gdjax.descent.result import Result
from gdjax.doors import call_by
from gdjax.insight.fit import Fit
from gdjax.insight.names import own_names
from gdjax.jaxtools.hoisted import evaluate
from gdjax.jaxtools.pytrees import as_data, is_concrete
from gdjax.methods.parts.triangular import DEPENDENT, columns_of, lengths, orthogonalise, solve_upper
from gdjax.minimize import run
from gdjax.penalties.sets import Box
from gdjax.problem.penalized import as_penalty
from gdjax.problem.problem import check_params
from gdjax.problem.residuals import as_residuals
from gdjax.request import Call
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import namespace

ROUNDING = 10.0  # roots of eps, of all terms, by which a linear model may miss its residuals


def varpro(
    model: Callable[..., Any],
    params: Any,
    *args: Any,
    linear: str | Sequence[str],
    by: Callable[..., Any] = curve_fit,
    **options: Any,
) -> Fit:
    """Fit a model that is linear in some of its parameters, such as the amplitudes of a sum of peaks.

    For given other parameters theta the best linear ones solve a linear problem. What is fitted first is what they
    leave, ``r(theta) = min_c |A(theta) c + b(theta)|``, a problem of fewer parameters that needs no start for linear
    ones, and often far fewer steps; its Jacobian, by JAX, is the whole of Golub and Pereyra's. From there all
    parameters are fitted together, which takes an evaluation or two: errors and status are those of all.

    Args:
        model, params, *args: as for ``by``; of linear params the shapes count, and no numbers.
        linear: names of the linear parameters as the table of a fit has them: ``"a"`` for all of ``params["a"]``,
            ``"params[1]"``, or an argument of a model that is called SciPy's way.
        by: `gdjax.curve_fit`, or `gdjax.least_squares`, and ``model`` is the residuals.
        **options: those of ``by``, but for ``robust``. A penalty may hold bounds of parameters that are not linear.

    Returns:
        A `Fit` of all parameters. Its counts include those of the first part.

    Raises:
        TypeError, ValueError: as ``by``; if no parameter has such a name, all are linear, the model is not linear in
            one, a linear one has a bound, or there are more linear ones than residuals.

    >>> import gdjax, jax.numpy as jnp
    >>> x = jnp.linspace(0.0, 4.0, 20)
    >>> y = 3 * jnp.exp(-0.5 * x) + jnp.exp(-3 * x)
    >>> decay = lambda p, x: jnp.exp(-jnp.outer(x, p["rate"])) @ p["size"]
    >>> fit = gdjax.varpro(decay, {"rate": jnp.array([1.0, 2.0]), "size": jnp.zeros(2)}, x, y, linear="size")
    >>> print(fit.params["size"].round(1), fit.converged)
    [3. 1.] True
    """
    call = call_by(by)("varpro", model, params, args, options)
    if call.options.get("robust") is not None:
        raise TypeError("varpro has no option 'robust': linear parameters have no closed form with a robust loss")
    problem = Separable(call, [linear] if isinstance(linear, str) else list(linear))
    theta, c = problem.begin
    problem.check(theta, c)
    found = run(problem.projected())
    theta = jax.device_get(found.params) if is_concrete(found.params) else found.params
    best = least(*problem.look(theta, c)[:2])
    best = jax.device_get(best) if is_concrete(best) else best
    fit = cast(Fit, run(call._replace(params=problem.whole(theta, best))))
    counts: Any = dict(num_evals=fit.num_evals + found.num_evals, num_steps=fit.num_steps + found.num_steps)
    return dataclasses.replace(fit, **counts)


class Separable:
    """A call of least squares whose flat parameters ``where`` are linear, and the ``others`` are not."""

    def __init__(self, call: Call, linear: list[str]) -> None:
        start = check_params(call.params.params if isinstance(call.params, Result) else call.params)
        labels = getattr(call.finish, "keywords", {}).get("labels")
        is_linear = chosen(labels or own_names(start, "params"), linear)
        self.call, self.start, self.layout = call, start, Flat.of(start)
        self.where, self.others = np.flatnonzero(is_linear), np.flatnonzero(~is_linear)
        self.places = np.argsort(np.concatenate([self.others, self.where]))
        self.args, self.kwargs = as_data("args", call.args), call.options.get("kwargs") or {}

    @property
    def begin(self) -> tuple[Any, Any]:
        """The start of the others and of the linear ones; on the host where it is known, which compiles nothing."""
        known = all(map(is_concrete, jax.tree.leaves(self.start)))
        x = self.layout.ravel(jax.device_get(self.start) if known else self.start)
        return x[self.others], x[self.where]

    def whole(self, theta: Any, c: Any) -> Any:
        """All parameters, flat in two parts."""
        return self.layout.unravel(namespace(theta, c).concatenate([theta, c])[self.places])

    def residuals(self, theta: jax.Array, c: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
        """As one vector."""
        out = self.call.function(self.whole(theta, c), *args, **kwargs)
        return as_residuals(out[0] if self.call.options.get("has_aux") else out)

    def parts(self, theta: jax.Array, *args: Any, **kwargs: Any) -> tuple[jax.Array, jax.Array]:
        """``A`` and ``b`` of the residuals ``A c + b``."""
        of_c = lambda c: self.residuals(theta, c, *args, **kwargs)
        zero = jnp.zeros(self.where.size, theta.dtype)
        return jax.jacfwd(of_c)(zero), of_c(zero)

    def look(self, theta: Any, c: Any) -> tuple[Any, Any, Any]:
        """The `parts`, and the residuals at c, by one compiled program; on the host where they are known."""
        both = lambda theta, c, args, kwargs: (
            *self.parts(theta, *args, **kwargs),
            self.residuals(theta, c, *args, **kwargs),
        )
        found = evaluate(both, theta, c, self.args, self.kwargs)
        return jax.device_get(found) if all(map(is_concrete, found)) else found

    def projected(self) -> Call:
        """The call of what is left of the residuals."""
        drop = "jac", "check_jac", "has_aux", "cov_type"
        options = {name: value for name, value in self.call.options.items() if name not in drop}
        options |= dict(penalty=self.bounds(options.get("penalty")))
        what_is_left = lambda theta, *args, **kwargs: left(*self.parts(theta, *args, **kwargs))[0]
        return Call("varpro", what_is_left, self.begin[0], self.call.args, options, {}, lambda result: result)

    def bounds(self, penalty: Any) -> Any:
        """Those of the parameters that are not linear; ValueError if a linear one has any."""
        if penalty is None:
            return None
        penalty = as_penalty(penalty, self.start)
        if not getattr(penalty, "is_box", False):
            raise ValueError("varpro takes bounds alone, no other penalty")
        lower, upper = (self.layout.ravel(side) for side in penalty.bounds(self.start))
        if np.isfinite(lower[self.where]).any() or np.isfinite(upper[self.where]).any():
            raise ValueError("varpro keeps no bounds of linear parameters: gdjax.curve_fit does")
        return Box(lower[self.others], upper[self.others])

    def check(self, theta: Any, c: Any) -> None:
        """Raise ValueError unless the residuals are linear where they are said to be, as far as the start tells."""
        c = np.where(c == 0, 1, c) if isinstance(c, np.ndarray) else c
        a, b, r = self.look(theta, c)
        if a.shape[0] <= a.shape[1]:
            raise ValueError(f"{a.shape[1]} linear parameters need more residuals than {a.shape[0]}")
        if not isinstance(r, np.ndarray):
            return
        missed = np.linalg.norm(r - a @ c - b)
        size = np.linalg.norm(b) + np.linalg.norm(np.abs(a) @ np.abs(c))
        if missed > ROUNDING * float(np.finfo(a.dtype).eps) ** 0.5 * size:
            raise ValueError("the model is not linear in the parameters that are said to be: their slopes change")


def left(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What is left of b, the least ``|A c + b|``, and c; where columns of A depend on others, one of many c."""
    k = a.shape[1]
    least = DEPENDENT * float(jnp.finfo(a.dtype).eps) * jax.lax.stop_gradient(lengths(a))
    rows, _, rest = orthogonalise([*columns_of(a), b], [least[j] for j in range(k)])
    there = jnp.stack([row[0] for row in rows]) > 0
    r = jnp.stack([jnp.pad(jnp.stack(row[:-1]), (j, 0)) for j, row in enumerate(rows)])
    r = jnp.where(there[:, None], r, jnp.eye(k, dtype=a.dtype))
    return rest, -solve_upper(r, jnp.where(there, jnp.stack([row[-1] for row in rows]), 0))


@jax.jit
def least(a: jax.Array, b: jax.Array) -> jax.Array:
    """The c of `left` alone."""
    return left(a, b)[1]


def chosen(names: tuple[str, ...], linear: list[str]) -> np.ndarray:
    """Which of the flat parameters are named, those of an array by its name alone; shape (n,)."""
    found = np.zeros(len(names), bool)
    for want in linear:
        same = np.array([name == want or name.startswith((f"{want}[", f"{want}.")) for name in names])
        if not same.any():
            raise ValueError(f"there is no parameter {want!r}; the first ones are {', '.join(names[:8])}")
        found |= same
    if found.all():
        raise ValueError("all parameters are linear: there is nothing to project, use gdjax.least_squares")
    return found
