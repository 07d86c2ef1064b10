"""What `gdjax.least_squares` and `gdjax.curve_fit` return: a result with error bars.

G. A. F. Seber and C. J. Wild, Nonlinear Regression (1989), sections 2.1.2 (covariance) and 5.1 (intervals). Robust
losses: P. J. Huber, Robust Statistics (1981), section 7.6. Unequal errors: H. White, A heteroskedasticity-consistent
covariance matrix estimator, Econometrica 48 (1980); J. G. MacKinnon and H. White, Some heteroskedasticity-consistent
covariance matrix estimators with improved finite sample properties, J. Econometrics 29 (1985).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.result import Result
from gdjax.descent.sandwich import meat_of
from gdjax.descent.stopping import Status
from gdjax.insight import fit_words
from gdjax.insight.criteria import Criteria
from gdjax.insight.inference import Inference
from gdjax.insight.spread import Spread, along, over, psi_of, rank_of, rms, rounding_of, spread_of
from gdjax.insight.table import unknown
from gdjax.jaxtools.faces import as_table, handed_out, one_line
from gdjax.jaxtools.on_host import by_host, host_property
from gdjax.jaxtools.pytrees import is_concrete, merge, pytree_dataclass, split, static_field
from gdjax.methods.parts.linearised import MOST
from gdjax.spaces.results import at_ends, is_fixed, numbers
from gdjax.vectors.vector import namespace

NO_COVARIANCE = (
    f"no covariance is known: there are more than {MOST} parameters, or the Jacobian was too large to be formed, or a "
    "penalty other than bounds draws the estimates away from least squares"
)


@handed_out
@pytree_dataclass
class Fit(Criteria, Inference, Result):
    """A `Result` of least squares, with the covariance of its parameters; ``print`` it for a table.

    To read: ``params``, ``standard_errors``, ``covariance``, ``intervals()``, ``p_values``; ``residuals``, ``chi2``,
    ``freedom``, ``reduced_chi2``, ``aic``, ``bic``; ``band(model, x)``, ``derived(function)``, ``to_pandas()``.

    With J the Jacobian of the residuals at the answer, of rank n, and m residuals, the covariance is

    - ``s^2 (J'J)^-1`` with ``s^2 = chi2 / (m - n)``; with ``absolute_sigma`` s = 1. Errors are independent and alike.
    - ``(J'J)^-1 J'W J (J'J)^-1`` with ``cov_type="HC0"`` to ``"HC3"``, for independent errors of unequal size
      (White). W holds the squares of the residuals; for HC1 times ``m / (m - n)``, for HC2 and HC3 over ``1 - h`` and
      ``(1 - h)^2`` with the leverages h. HC3 is the one for small samples.
    - with a robust loss Huber's ``K^2 sum psi^2 / (m - n) / mean(psi')^2 (J'J)^-1``, where psi is the slope of the loss
      in a residual and ``K = 1 + n / m var(psi') / mean(psi')^2``. Errors are independent, alike and symmetric. With
      ``cov_type="HC0"`` or ``"HC1"`` they need not be alike: ``H^-1 J' psi^2 J H^-1`` with ``H = J' psi' J``.

    All of these hold if the residuals are nearly linear in the parameters over a few standard errors; `gdjax.profile`
    shows whether they are. Parameters at a bound, or at an end of their space, are taken as known.
    """

    count: Any = None  # number of residuals that count: all, or those that are not masked; and active constraints
    absolute_sigma: bool = static_field(False)  # whether the residuals are in units of their known standard deviation
    by: str = static_field("least_squares")  # or "curve_fit": which made it, and goes on with it
    cov_type: str | None = static_field(None)  # None, or "HC0" to "HC3"
    robust: bool = static_field(False)  # whether the loss is not that of squares
    weighted: bool = static_field(False)  # whether residuals were divided by a sigma
    labels: tuple[str, ...] | None = static_field(None)  # names of the parameters, if they are not their keys

    @property
    def no_sequence(self) -> str:
        """See `Result`."""
        return "this is one fit, not a pair: write fit = ..., then popt = fit.params and pcov = fit.covariance"

    @property
    def is_known(self) -> bool:
        """Whether there is a covariance."""
        return self.squares is not None and self.squares.linear is not None

    def known(self) -> Any:
        """What was kept of residuals and Jacobian.

        Raises:
            ValueError: if nothing was.
        """
        if not self.is_known:
            raise ValueError(NO_COVARIANCE)
        return self.squares

    @property
    def residuals(self) -> jax.Array:
        """At ``params``, as one vector of reals, shape (m,).

        Raises:
            ValueError: if there are none, because of a penalty other than bounds.
        """
        if self.squares is None:
            raise ValueError(NO_COVARIANCE)
        return self.squares.residuals

    @host_property
    def chi2(self) -> jax.Array:
        """Sum of the squares of the residuals, shape (); with a robust loss, twice its value."""
        return 2 * self.value

    @host_property
    def held(self) -> jax.Array:
        """Which flat parameters are held by a bound, at an end of their space, fixed, or do not touch the residuals."""
        return self.known().linear.columns == 0 if self.space is None else self.spread.held

    @host_property
    def freedom(self) -> jax.Array:
        """Degrees of freedom: residuals less what they determine of the parameters, the rank of J, shape ()."""
        return namespace(self.value).asarray(self.count).astype(jnp.int32) - self.rank

    @host_property
    def rank(self) -> jax.Array:
        """The rank of the Jacobian, shape (): free parameters less what residuals do not see; n if not known."""
        if not self.is_known:
            return namespace(self.value).full(self.value.shape, self.by_free.layout.size, jnp.int32)
        return rank_of(self.known().linear.triangle)

    @host_property
    def reduced_chi2(self) -> jax.Array:
        """``chi2 / freedom``, about 1 where residuals are in units of their standard deviation; NaN without freedom."""
        return self.per_freedom(self.chi2)

    def per_freedom(self, total: jax.Array) -> jax.Array:
        """Over the degrees of freedom; NaN without any."""
        return over(total, self.freedom)

    @host_property
    def scale(self) -> jax.Array:
        """What twice a rise of the value is over, to have the chi^2 distribution of likelihood ratios, shape ().

        The variance of the residuals: ``reduced_chi2``, or 1 with ``absolute_sigma``. With a robust loss
        ``sum psi^2 / (m - n) / mean(psi')`` (F. R. Hampel et al., Robust Statistics, 1986, section 7.2).
        """
        if self.robust:
            square, mean, _ = self.psi()
            return square / mean
        return namespace(self.value).ones_like(self.value) if self.absolute_sigma else self.reduced_chi2

    def psi(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Of a robust loss: ``sum psi^2 / (m - n)``, the mean of psi' and Huber's K."""
        return psi_of(self.known().sandwich.sums, self.residuals, self.count, self.rank)

    @property
    def centre(self) -> Any:
        """See `Inference`."""
        return self.params if self.space is None else numbers(self.params)

    @property
    def source(self) -> tuple[Any, Any, Spread, Callable[[Any, Any], Any]]:
        """See `Inference`: with ``space=`` the free numbers behind the params."""
        if self.space is None:
            return super().source
        own, static = split(self.space.chart)
        return self.space.params, own, self.by_free.spread, lambda free, own: merge(own, static).to_user(free)

    @property
    def by_free(self) -> "Fit":
        """The fit as the descent saw it, by free numbers if there is a space."""
        if self.space is None:
            return self
        return dataclasses.replace(self, params=self.space.params, grad=self.space.grad, space=None, labels=None)

    @property
    def student(self) -> jax.Array | None:
        """See `Inference`."""
        return None if self.absolute_sigma else self.freedom

    @property
    def axes(self) -> int:
        """See `Inference`."""
        return self.value.ndim

    @property
    def names(self) -> tuple[str, ...]:
        """Of the flat parameters, as a table shows them."""
        return super().names if self.labels is None else self.labels

    @host_property
    def spread(self) -> Spread:
        """See `Inference`. With ``space=`` carried through the maps (delta method), and without what is fixed."""
        if self.space is not None:
            found = self.derived(numbers)
            return dataclasses.replace(found, held=found.held | is_fixed(self) | at_ends(self)).spread
        linear, sandwich = self.known().linear, self.squares.sandwich
        if sandwich is None or sandwich.triangle is None:
            triangle, columns = linear.triangle, linear.columns
        else:
            triangle, columns = sandwich.triangle, sandwich.columns
        xp = namespace(self.value)
        sense = xp.where(xp.isfinite(self.value) & (self.code != Status.RUNAWAY), 1.0, xp.nan).astype(triangle.dtype)
        least, lost = rounding_of(self.residuals, linear.effects, self.flat, self.squares.longest, self.freedom)
        triangle = triangle if self.absolute_sigma else xp.where(lost[..., None, :], 0, triangle)
        if self.cov_type is None:
            root = sense if self.absolute_sigma else xp.maximum(rms(self.residuals, self.freedom), least)
            if self.robust:
                square, mean, k = self.psi()
                root = xp.maximum(k * xp.sqrt(square) / mean, least)
            found = self.for_each(spread_of)(triangle, columns, self.held, root * sense)
            return found if (a := self.squares.normals) is None else self.for_each(along)(found, a, self.code)
        sandwich = self.for_each(lambda s, *of: meat_of(s, self.cov_type, *of))(sandwich, self.residuals, least)
        factor = self.per_freedom(xp.asarray(self.count).astype(sense.dtype)) if self.cov_type == "HC1" else sense
        return self.for_each(spread_of)(triangle, columns, self.held, xp.sqrt(factor) * sense, sandwich)

    def band(
        self, model: Callable[..., Any], *args: Any, level: float = 0.95, prediction: bool = False, sigma: Any = None
    ) -> tuple[Any, Any]:
        """The model at the answer, and the half-width of its pointwise band, by the delta method (`derived`).

        Half-width ``t sqrt(g'C g)`` with g the gradient of the model; for a new datum ``t sqrt(g'C g + s^2 sigma^2)``.

        Args:
            model: ``model(params, *args)`` to a real array, any function of the parameters.
            *args: its data.
            level: of the band.
            prediction: whether to give the band of a new datum.
            sigma: for ``prediction``, the standard deviation of the new datum, a number or an array like the model's,
                absolute or relative as in the fit. Default 1; required if the fit had one, was ``absolute_sigma`` or
                robust (then it is absolute).

        Raises:
            ValueError: if a new datum has no known sigma; unless ``level`` lies between 0 and 1.
        """
        found, t = self.derived(model, *args), jnp.broadcast_to(self.quantile(level), self.value.shape)
        half = found.standard_errors
        if prediction:
            if sigma is None and (self.robust or self.weighted or self.absolute_sigma):
                raise ValueError("the prediction band needs the standard deviation of a new datum: give sigma=")
            scale = jnp.ones_like(self.value) if self.robust else self.scale
            one = lambda half, s: jnp.hypot(half, jnp.sqrt(s) * jnp.asarray(1.0 if sigma is None else sigma, s.dtype))
            half = jax.tree.map(lambda half: self.for_each(one)(half, scale), half)
        return found.values, jax.tree.map(lambda half: self.for_each(jnp.multiply)(half, t.astype(half.dtype)), half)

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        """How it ended; chi^2 and degrees of freedom; a table of the parameters. Of many: how many lack what."""
        if not is_concrete(self.code) or np.ndim(self.code):
            more = fit_words.of_many(self) if is_concrete(self.code) and self.code.size and self.is_known else ""
            return "\n".join([Result.__str__(self), more][: 1 + bool(more)])
        return self.message if self.squares is None else f"{self.message}\n{self.table()}"

    @by_host
    def table(self, level: float = 0.95, names: Sequence[str] | None = None) -> str:
        """Sum of squares and degrees of freedom, then what `Inference.table` has; if it does not hold, that first."""
        table = super().table(level, names) if self.is_known else unknown(self.chosen_names(names), self.flat.tolist())
        squares = "weighted sum of squares" if self.weighted else "sum of squares"
        sum_of = "twice the robust loss" if self.robust else "chi^2" if self.absolute_sigma else squares
        freedom, ratio = int(self.freedom), float(self.reduced_chi2)
        kind = "" if self.cov_type is None else f"; standard errors {self.cov_type}"
        sums = f"{sum_of} {float(self.chi2):.6g}, {freedom} degrees of freedom, ratio {ratio:.6g}{kind}"
        return "\n".join([*fit_words.above_table(self), sums, table, *fit_words.below_table(self)])

    def why_missing(self) -> list[str]:
        """See `Inference`."""
        return fit_words.why_missing(self)

    def face(self) -> dict[str, Any]:
        """For `gdjax.jaxtools.faces`."""
        shown = Result.face(self)
        if not self.is_known:
            return shown
        return shown | dict(standard_errors=self.standard_errors, reduced_chi2=self.reduced_chi2)
