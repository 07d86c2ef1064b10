"""Estimates with a covariance: standard errors, intervals, tests, and what they imply for functions of the estimates.

A fit, the maximum of a likelihood and any function of either have the same of it. G. A. F. Seber and C. J. Wild,
Nonlinear Regression (1989), sections 2.1.2 (delta method) and 5.1 (intervals).
"""

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.insight.columns import COLUMNS, report_of, tail_of
from gdjax.insight.names import own_names
from gdjax.insight.spread import Spread, lengths_of, root_of, roots_of, squared
from gdjax.insight.student import of_tail
from gdjax.insight.table import Tabled
from gdjax.jaxtools.faces import as_table, one_line
from gdjax.jaxtools.hoisted import evaluate
from gdjax.jaxtools.on_host import by_host, host_property, looked_at
from gdjax.jaxtools.pytrees import is_concrete, named_leaves, pytree_dataclass, static_field
from gdjax.spaces.models import closed
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import namespace


class Inference(Tabled):
    """What can be said of estimates. A subclass has their values, their spread and degrees of freedom."""

    @property
    @abc.abstractmethod
    def centre(self) -> Any:
        """The estimates, a pytree of arrays with axes of problems in front."""

    @property
    @abc.abstractmethod
    def spread(self) -> Spread:
        """Of the flat estimates."""

    @property
    @abc.abstractmethod
    def student(self) -> jax.Array | None:
        """Degrees of freedom of the scale that was estimated; None if none was: then all is normal."""

    @property
    def source(self) -> tuple[Any, Any, Spread, Callable[[Any, Any], Any]]:
        """What the spread is of (a pytree), more arrays, and ``seen(what, arrays)``, the estimates that follow from it.

        By default the estimates themselves.
        """
        return self.centre, (), self.spread, lambda centre, _: centre

    @property
    def is_held(self) -> jax.Array:
        """Which flat estimates are taken as known, shape (n,)."""
        return self.spread.held

    @property
    def is_normal(self) -> bool:
        """Whether no scale was estimated."""
        return self.student is None

    @property
    @abc.abstractmethod
    def axes(self) -> int:
        """How many axes of problems there are."""

    @property
    def on_host(self) -> Any:
        """With arrays of NumPy, which compiles nothing; itself if traced, of many problems, or in a space."""
        return self if self.axes or getattr(self, "space", None) is not None else looked_at(self)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the flat estimates."""
        return own_names(self.of_one(self.centre), "params")

    def of_one(self, tree: Any) -> Any:
        """The part of the first problem."""
        return jax.tree.map(lambda x: x[(0,) * self.axes], tree) if self.axes else tree

    def for_each(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of one problem as one of all."""
        for _ in range(self.axes):
            function = jax.vmap(function)
        return function

    @property
    def layout(self) -> Flat:
        """How the estimates of one problem are a flat array."""
        return Flat.of(self.of_one(self.centre))

    def like_estimates(self, flat: jax.Array) -> Any:
        """A flat array as a pytree like the estimates."""
        return closed(self.for_each(self.layout.unravel)(flat))

    @host_property
    def flat(self) -> jax.Array:
        """The estimates, shape (n,)."""
        return self.for_each(self.layout.ravel)(self.centre)

    @host_property
    def roots(self) -> jax.Array:
        """A root of the covariance, shape (n, r); NaN in rows of what is held or not determined."""
        return self.for_each(roots_of)(self.spread)

    @host_property
    def covariance(self) -> jax.Array:
        """Of the flat estimates, shape (n, n); NaN for what is held, or not determined by the data."""
        return squared(self.roots)

    @host_property
    def flat_errors(self) -> jax.Array:
        """The standard errors, shape (n,)."""
        return lengths_of(self.roots)

    @host_property
    def standard_errors(self) -> Any:
        """Like the estimates; for a complex one that of the real part + i times that of the imaginary part."""
        return self.like_estimates(self.flat_errors)

    @host_property
    def correlation(self) -> jax.Array:
        """Covariance scaled to a unit diagonal, shape (n, n)."""
        return self.report(0.95)[1]

    @host_property
    def t_values(self) -> Any:
        """Estimates in units of their standard errors, like the estimates."""
        return self.like_estimates(self.columns()["t"])

    @host_property
    def p_values(self) -> Any:
        """Of the two-sided test that the estimate is 0: ``P(|T| > |t|)``, T normal where no scale was estimated."""
        return self.like_estimates(self.columns()["p_value"])

    @by_host
    def intervals(self, level: float = 0.95) -> tuple[Any, Any]:
        """Lower and upper ends of the confidence intervals, each like the estimates: ``estimate -+ t s.e.``.

        t is the quantile of Student's distribution, or of the normal one where no scale was estimated.

        Raises:
            ValueError: unless ``level`` lies between 0 and 1.
        """
        columns = self.columns(level)
        return self.like_estimates(columns["lower"]), self.like_estimates(columns["upper"])

    def columns(self, level: float = 0.95) -> dict[str, jax.Array]:
        """What a table shows, each of shape (n,)."""
        return dict(zip(COLUMNS, self.report(level)[0], strict=True))

    @by_host
    def report(self, level: float) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """Those columns, and the correlations."""
        return report_of(self.flat, self.spread, self.student, tail_of(level), self.axes)

    @by_host
    def quantile(self, level: float) -> jax.Array:
        """Half the width of an interval, in standard errors."""
        return of_tail(tail_of(level), self.student).astype(self.flat.dtype)

    def derived(self, function: Callable[..., Any], *args: Any) -> "Estimates":
        """A function of the estimates, with its covariance ``G C G'`` by the delta method, G its Jacobian.

        Where estimates are at a bound they are taken as known. What depends on a change that the data do not
        determine is NaN, but not a function that does not, such as the sum of two parameters that only enter as a sum.

        Args:
            function: ``function(params, *args)`` to any pytree of real or complex arrays.
            *args: its data; if there are many fits, the same for all. (For data of each:
                ``jax.vmap(lambda fit, x: fit.derived(function, x))(fits, x)``.)

        Returns:
            `Estimates`: its ``values``, with ``covariance``, ``standard_errors`` and all that a fit has.

        Raises:
            TypeError: naming what is no floating or complex array.
        """
        variables, own, spread, seen = self.source

        def of_one(variables: Any, own: Any, spread: Spread) -> tuple[Any, jax.Array, jax.Array]:
            layout = Flat.of(variables)

            def flat(x: jax.Array) -> tuple[jax.Array, Any]:
                values = as_values(function(seen(layout.unravel(x), own), *args))
                return Flat.of(values).ravel(values), values

            slopes, values = jax.jacfwd(flat, has_aux=True)(layout.ravel(variables))
            free = jnp.any(~spread.held[None, :] & (slopes != 0), axis=1)
            held = jnp.any(slopes != 0, axis=1) & ~free
            return values, root_of(spread._replace(held=jnp.zeros_like(spread.held)), slopes), held

        values, root, held = evaluate(self.for_each(of_one), variables, own, spread)
        return Estimates(values, root, held, self.student)


@pytree_dataclass
class Estimates(Inference):
    """Numbers with their covariance, as `Fit.derived` returns them; ``print`` them for a table."""

    values: Any  # a pytree of arrays
    root: jax.Array  # of the covariance: root root', shape (k, r); rows of NaN where it is not known
    held: jax.Array  # which are at a bound, or depend on such alone, shape (k,)
    freedom: jax.Array | None  # degrees of freedom of the scale that was estimated; None if none was
    labels: tuple[str, ...] | None = static_field(None)  # names, if they are not the keys of the values

    @property
    def centre(self) -> Any:
        """See `Inference`."""
        return self.values

    @property
    def estimates(self) -> jax.Array:
        """The values as a flat array, shape (k,)."""
        return self.flat

    @property
    def spread(self) -> Spread:
        """See `Inference`."""
        xp = namespace(self.root)
        known = ~xp.any(xp.isnan(self.root), axis=-1)
        one = xp.ones_like(known, self.root.dtype)
        lost = self.for_each(xp.diag)(xp.where(known | self.held, 0, one))
        root = xp.where((known & ~self.held)[..., None], self.root, 0)
        return Spread(root, lost, one, self.held)

    @property
    def student(self) -> jax.Array | None:
        """See `Inference`."""
        return self.freedom

    @property
    def axes(self) -> int:
        """See `Inference`."""
        return self.root.ndim - 2

    @property
    def names(self) -> tuple[str, ...]:
        """Of the flat values, as a table shows them."""
        return own_names(self.of_one(self.values), "value") if self.labels is None else self.labels

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        return dict(estimates=self.flat, standard_errors=self.flat_errors, covariance=self.covariance)

    __repr__ = one_line
    _repr_html_ = as_table

    def __str__(self) -> str:
        """The table; for many problems, or inside a trace, the shapes."""
        return self.table() if is_concrete(self.root) and self.axes == 0 else one_line(self)


def as_values(out: Any) -> Any:
    """What a function of the parameters returned, as arrays of floating or complex numbers."""
    for name, leaf in named_leaves("the function's value", out):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(f"{name} must be floating or complex, got {leaf!r}")
    return jax.tree.map(jnp.asarray, out)
