"""What `gdjax.least_squares` and `gdjax.curve_fit` return: a result with error bars.

G. A. F. Seber and C. J. Wild, Nonlinear Regression (1989), sections 2.1.2 (covariance) and 5.1 (intervals).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.insight.student import two_sided
from gdjax.insight.uncertainty import entry_names
from gdjax.jaxtools.pytrees import is_concrete, pytree_dataclass, static_field
from gdjax.methods.parts.linearised import MOST
from gdjax.vectors.layout import Flat

ROWS = 40  # of the printed table
NO_COVARIANCE = (
    f"no covariance is known: there are more than {MOST} parameters, or the Jacobian was too large to be formed "
    "(gdjax.LevenbergMarquardt says when). Its products are to be had by jax.jvp and jax.vjp of the residuals"
)
# A parameter is not determined if a change that leaves all residuals as they are has this share of it.
SHARE = 1e-4


@pytree_dataclass
class Fit(Result):
    """A `Result` of least squares, with the covariance of its parameters; ``print`` it for a table.

    The covariance is ``s^2 (J'J)^-1`` with J the Jacobian of the residuals at the answer and
    ``s^2 = chi2 / freedom``; with ``absolute_sigma`` s = 1. It holds where the residuals are nearly linear in the
    parameters over a few standard errors, and the errors of the data are independent and alike. With a robust loss J is
    that of the corrected residuals and chi2 twice the loss: a rough guide, for which the bootstrap is better
    (`gdjax.least_squares_many` on resampled data).
    """

    count: Any = None  # number of residuals that count: all, or those that are not masked
    absolute_sigma: bool = static_field(False)  # whether the residuals are in units of their known standard deviation
    by: str = static_field("least_squares")  # or "curve_fit": which made it, and goes on with it

    @property
    def residuals(self) -> jax.Array:
        """At ``params``, as one vector of reals, shape (m,)."""
        return self.squares.residuals

    @property
    def chi2(self) -> jax.Array:
        """Sum of the squares of the residuals, shape (); with a robust loss, twice its value."""
        return 2 * self.value

    @property
    def held(self) -> jax.Array:
        """Which entries of the flat parameters are at a bound that holds them, or do not touch the residuals.

        All are taken to be free where no covariance is known.
        """
        if self.squares.linear is None:
            layout = Flat.of(self.params) if self.code.ndim == 0 else self.of_one()
            return jnp.zeros((*self.code.shape, layout.size), bool)
        return self.squares.linear.columns == 0

    @property
    def freedom(self) -> jax.Array:
        """Degrees of freedom: residuals less free parameters, shape ()."""
        free = jnp.sum(~self.held, axis=-1, dtype=jnp.int32)
        return jnp.asarray(self.count).astype(jnp.int32) - free

    @property
    def reduced_chi2(self) -> jax.Array:
        """``chi2 / freedom``, about 1 where residuals are in units of their standard deviation; NaN without freedom."""
        nu = self.freedom.astype(self.value.dtype)
        return jnp.where(nu > 0, self.chi2 / jnp.where(nu > 0, nu, 1), jnp.nan)

    @property
    def covariance(self) -> jax.Array:
        """Of the flat parameters, shape (n, n); NaN for what is held, or not determined by the data.

        Raises:
            ValueError: if it is not known, because there are too many parameters.
        """
        batched = jnp.vectorize(covariance_of, signature="(n,n),(n),()->(n,n)")
        linear = self.squares.linear
        if linear is None:
            raise ValueError(NO_COVARIANCE)
        scale = jnp.ones_like(self.value) if self.absolute_sigma else self.reduced_chi2
        return batched(linear.triangle, linear.columns, scale)

    @property
    def standard_errors(self) -> Any:
        """Like params; for a complex one that of the real part + i times that of the imaginary part."""
        flat = jnp.sqrt(jnp.diagonal(self.covariance, axis1=-2, axis2=-1))
        unravel = Flat.of(self.params).unravel if flat.ndim == 1 else jax.vmap(self.of_one().unravel)
        return unravel(flat)

    def of_one(self) -> Flat:
        """The layout of the parameters of one problem of a batch."""
        return Flat.of(jax.tree.map(lambda x: x[0], self.params))

    @property
    def correlation(self) -> jax.Array:
        """Covariance scaled to a unit diagonal, shape (n, n)."""
        cov = self.covariance
        errors = jnp.sqrt(jnp.diagonal(cov, axis1=-2, axis2=-1))
        return cov / errors[..., :, None] / errors[..., None, :]

    def intervals(self, level: float = 0.95) -> tuple[Any, Any]:
        """Lower and upper ends of the confidence intervals, each like params: ``estimate -+ t s.e.``.

        t is the quantile of Student's distribution for the degrees of freedom, of the normal one with
        ``absolute_sigma``.

        Raises:
            ValueError: unless ``level`` lies between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level!r}")
        t = two_sided(level, None if self.absolute_sigma else self.freedom)
        wide = lambda error: error * jnp.expand_dims(t, tuple(range(t.ndim, error.ndim))).astype(error.dtype)
        reach = jax.tree.map(wide, self.standard_errors)
        return jax.tree.map(jnp.subtract, self.params, reach), jax.tree.map(jnp.add, self.params, reach)

    def band(self, model: Callable[..., Any], *args: Any, level: float = 0.95) -> tuple[jax.Array, jax.Array]:
        """The model at the answer, and half the width of its pointwise confidence band, by the delta method.

        Args:
            model: ``model(params, *args)`` to a real array, any function of the parameters.
            *args: its data.
            level: of the band.
        """
        layout = Flat.of(self.params)
        x = layout.ravel(self.params)
        flat = lambda x: model(layout.unravel(x), *args)
        slopes, cov = jax.jacfwd(flat)(x), self.covariance
        known = ~jnp.isnan(jnp.diagonal(cov))
        cov = jnp.where(known[:, None] & known[None, :], cov, 0)
        variance = jnp.einsum("...i,ij,...j->...", slopes, cov, slopes, precision="highest")
        t = two_sided(level, None if self.absolute_sigma else self.freedom)
        return flat(x), t.astype(variance.dtype) * jnp.sqrt(variance)

    def __str__(self) -> str:
        """How it ended; chi^2 and degrees of freedom; a table of the parameters."""
        if not is_concrete(self.code) or np.ndim(self.code):
            return super().__str__()
        if self.squares is None:
            return self.message
        return f"{self.message}\n{self.table()}"

    def table(self, level: float = 0.95) -> str:
        """Estimate, standard error and confidence interval of each parameter."""
        layout = Flat.of(self.params)
        names, width = entry_names(self.params), max(map(len, entry_names(self.params)))
        sum_of = "chi^2" if self.absolute_sigma else "sum of squares"
        freedom, ratio = int(self.freedom), float(self.reduced_chi2)
        rows = [f"{sum_of} {float(self.chi2):.6g}, {freedom} degrees of freedom, ratio {ratio:.6g}"]
        if self.squares.linear is None:
            head, words = "no covariance is known of so many", [""] * len(names)
        else:
            head, words = f"{'std. error':>12}   {100 * level:g}% interval", self.errors_in_words(level)
        rows.append(f"{'':{width}}  {'estimate':>12} {head}")
        shown = list(zip(names, np.asarray(layout.ravel(self.params)), words, strict=True))[:ROWS]
        rows += [f"{name:{width}}  {x:12.6g} {text}".rstrip() for name, x, text in shown]
        rows += [f"and {len(names) - ROWS} more"] * (len(names) > ROWS)
        return "\n".join(rows)

    def errors_in_words(self, level: float) -> list[str]:
        """Standard error and interval of each entry of the flat parameters, or why there is none."""
        lower, upper = (np.asarray(Flat.of(self.params).ravel(side)) for side in self.intervals(level))
        errors, held = np.sqrt(np.diagonal(np.asarray(self.covariance))), np.asarray(self.held)
        unknown = "not determined by the data" if int(self.freedom) > 0 else "no degree of freedom is left"
        words = []
        for i, error in enumerate(errors):
            known = f"{error:12.6g}   {lower[i]:.6g} to {upper[i]:.6g}"
            held_words = "held: at its bound, or of no effect on the residuals"
            words.append(held_words if held[i] else unknown if np.isnan(error) else known)
        return words

    def face(self) -> dict[str, Any]:
        """For `gdjax.jaxtools.faces`."""
        known = self.squares is not None and self.squares.linear is not None
        errors = dict(standard_errors=self.standard_errors) if known else {}
        return super().face() | errors | dict(reduced_chi2=self.reduced_chi2)


def covariance_of(triangle: jax.Array, columns: jax.Array, scale: jax.Array) -> jax.Array:
    """``scale D^-1 (R'R)^+ D^-1`` for ``J = Q R D``; NaN where that is not determined.

    A direction along which the residuals do not change, to within rounding, is a singular vector of R with a
    singular value of zero: the parameters that have a share in it are not determined.
    """
    n, eps = columns.shape[0], float(jnp.finfo(triangle.dtype).eps)
    held = columns == 0
    _, sizes, rows = jnp.linalg.svd(triangle)
    flat = sizes <= 8 * n * eps * sizes[0]
    part = rows / jnp.where(flat, jnp.inf, sizes)[:, None]
    inverse = jnp.matmul(part.T, part, precision="highest")
    share = jnp.sum(jnp.where(flat[:, None], rows, 0) ** 2, axis=0)
    known = ~held & (share <= SHARE)
    length = jnp.where(held, 1, columns)
    return jnp.where(known[:, None] & known[None, :], scale * inverse / length[:, None] / length[None, :], jnp.nan)
