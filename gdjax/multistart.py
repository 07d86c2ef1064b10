"""The best of many starts, and the distinct minima that they reached."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.curve_fit import CurveOptions
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status, at_rest, is_success
from gdjax.doors import call_by
from gdjax.insight.fit import Fit
from gdjax.insight.minima import Minima, find_minima, in_minimisers_sign, rows_of
from gdjax.insight.names import own_names
from gdjax.jaxtools.faces import as_table, one_line
from gdjax.jaxtools.packing import with_keys, without_keys
from gdjax.jaxtools.pytrees import pytree_dataclass
from gdjax.minimize import minimize
from gdjax.minimize_many import refuse_services, solve_many
from gdjax.other_names import OPTIONS
from gdjax.request import require_concrete
from gdjax.spaces.results import numbers
from gdjax.starts import is_box, make_starts

OWN = "num_starts", "key", "distinct", "batch_size", "max_seconds", "maximize"  # options, beside those of ``by``


@pytree_dataclass
class MultiStart:
    """What `multistart` found; a pytree. ``print`` it for the table of minima."""

    best: Result  # the best of those that converged; if none did, the lowest of all that are finite; of fits a `Fit`
    minima: Minima
    results: Result  # of all starts, with a leading axis
    reached: np.ndarray  # of each start: the number of the minimum that it reached; -1 if it did not come to rest

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        return dict(starts=np.size(self.results.code), minima=len(self.minima.value), best_value=self.best.value)

    __repr__ = one_line
    _repr_html_ = as_table

    @property
    def best_count(self) -> int:
        """How many starts led to the best minimum; of fits, to the best fit, whatever its parameters."""
        same = self.minima.group == 0 if isinstance(self.best, Fit) else np.arange(len(self.minima.value)) == 0
        return int(self.minima.count[same].sum())

    def __str__(self) -> str:
        """How many starts came to rest where, and what became of the others."""
        codes: Any = np.asarray(self.results.code)
        rest, minima, found = at_rest(codes), self.minima, len(self.minima.value)
        names, counts = np.unique(codes[~rest], return_counts=True)
        ended = ", ".join(f"{n} {Status(int(code)).name}" for code, n in zip(names, counts, strict=True))
        kind = ("maxim" if self.best.maximized else "minim") + ("um" if found == 1 else "a")
        others = f"; {np.sum(~rest)} did not: {ended}" if ended else ""
        lines = [f"{codes.size} starts: {rest.sum()} came to rest, at {found} distinct {kind}{others}.{self.alike()}"]
        lines += rows_of(minima, self.names) if found else []
        sentence, *table = str(self.best).splitlines()
        return "\n".join([*lines, f"The best: {sentence}{self.lower_still()}", *table])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the flat parameters, as the table shows them."""
        return self.best.names if isinstance(self.best, Fit) else own_names(self.best.params, "params")

    def alike(self) -> str:
        """Which of the minima may be one and the same."""
        found, different = len(self.minima.group), len(np.unique(self.minima.group))
        if different == found:
            return ""
        if isinstance(self.best, Fit):
            reached = f"{self.best_count} start{'s' * (self.best_count > 1)}"
            fits = f"{different} fit{'s' * (different > 1)}, the best of them reached from {reached}"
            return (
                f" They are {fits}: the residuals of the others are the same, with parameters that have changed "
                "places, or that the data do not determine."
            )
        values = f"{different} value{'s' * (different > 1)}"
        return f" They have {values} between them: some may be one, its parameters relabelled, or in a flat valley."

    def lower_still(self) -> str:
        """The best of those that did not converge, if it beats the best that did."""
        sign = -1.0 if self.best.maximized else 1.0
        value = np.nan_to_num(sign * np.asarray(self.results.value, np.float64), nan=np.inf)
        best = int(np.argmin(value))
        if self.best.converged and value[best] < sign * float(self.best.value):
            name = Status(int(self.results.code[best])).name
            word = "higher" if self.best.maximized else "lower"
            return f" Among those that did not converge results[{best}] is {word}: {sign * value[best]:.6g} ({name})."
        return ""


def multistart(
    loss: Callable[..., Any],
    starts: Any,
    *args: Any,
    by: Callable[..., Any] = minimize,
    num_starts: int | None = None,
    key: Any = 0,
    distinct: float = 1e-3,
    batch_size: int | None = None,
    max_seconds: float | None = None,
    maximize: bool = False,
    **options: Any,
) -> MultiStart:
    """Minimise ``loss(params, *args)`` from many starts: find the best result and all distinct minima, and count each.

    Two starts count as having reached the same minimum if two conditions hold. No entry of params differs by more than
    ``distinct`` times the spread of the starts in its leaf (largest minus smallest entry over all starts). And the
    value differs by no more than ``distinct`` times the median decrease from a start to the best value. Both scales
    follow the problem, so the result does not depend on units. If all starts are equal, or if the loss does not fall,
    the sizes of params and value set the scales.

    Minima that are distinct by this rule may still be the same: the parameters may have swapped places (the two terms
    of a sum), or the minima may lie in a valley along which the loss is flat. ``minima.group`` gives the same number to
    minima that agree to rounding. For fits they must agree in all residuals, which proves that they are the same fit;
    for other minima in their values, which does not prove it.

    Only runs that came to rest (CONVERGED or PRECISION_FLOOR) count as minima, because the gradient is zero there. It
    is also zero at a saddle, where few runs end; `gdjax.classify_critical_point` tells the two apart.

    Args:
        loss, *args: as in `minimize`; the args are shared by all starts.
        starts: one of three. A pytree like the parameters, where each leaf has a leading axis of starts. A sampler: a
            function of a JAX random key that returns one start, and is traced. Or a `gdjax.penalties.Box` with finite
            ends like the parameters, or a pytree of boxes, one for each leaf: starts are spread evenly over it (a Latin
            hypercube). That box is not a bound: runs may leave it. For bounds, pass ``penalty=`` as well. With
            ``space=``, what is drawn is moved inside it (weights are scaled to the sum 1, numbers are sorted).
        by: `gdjax.minimize`; or `gdjax.least_squares`, where ``loss`` is the residuals; or `gdjax.curve_fit`, where
            ``loss`` is the model, and args are x and y. The results of the last two are `Fit`s, with their covariance.
        num_starts: how many starts to draw from a sampler or a box.
        key: for a sampler or a box: a JAX random key, or an integer seed.
        distinct: fraction of the spread, as above.
        batch_size, max_seconds, maximize: as in `minimize_many`.
        **options: those of ``by``, except the services: method, penalty, tol, robust, sigma ...

    Returns:
        A `MultiStart`: ``best``, ``minima`` (``params``, ``value``, ``count``, ``group``, sorted by value), all
        ``results``, ``reached`` (which minimum each start led to), and ``best_count`` (how many starts led to the
        best).

    Raises:
        TypeError, ValueError: as `minimize_many`; if a sampler or box comes without num_starts, or given starts come
            with it; inside a trace, where the number of minima is unknown (use `minimize_many` and argmin there).

    >>> import gdjax, jax, jax.numpy as jnp
    >>> valleys = lambda x: x**4 - 4 * x**2 + x
    >>> found = multistart(valleys, gdjax.penalties.Box(-2.0, 2.0), num_starts=50)
    >>> found.best.params.round(3), found.minima.value.round(3), found.minima.count.sum()
    (Array(-1.473, dtype=float32), array([-5.444, -2.619], dtype=float32), np.int64(50))
    >>> waves = lambda p, t, y: jnp.sin(p * t) - y
    >>> t = jnp.linspace(0.0, 5.0, 40)
    >>> found = multistart(waves, jnp.linspace(0.5, 4.0, 30), t, jnp.sin(2 * t), by=gdjax.least_squares)
    >>> print(found.best.params.round(3), found.best_count > 1, len(found.minima.value) > 1)
    2.0 True True
    """
    drawn = callable(starts) or any(map(is_box, jax.tree.leaves(starts, is_leaf=is_box)))
    require_concrete(
        jax.tree.leaves((None if drawn else starts, args)),
        "multistart counts distinct minima in Python (minimize_many and argmin work everywhere)",
    )
    refuse_services("multistart", options)
    for name, why in (
        ("in_axes", "starts have a leading axis, the args are shared by all of them"),
        ("p0", "the starts take its place; write curve_fit's model as one of (params, x)"),
    ):
        if name in options:
            raise TypeError(f"multistart has no {name}: {why}")
    for name in {*options} - {*CurveOptions.__annotations__, *OPTIONS}:
        if close := difflib.get_close_matches(name, OWN, 1, 0.75):
            raise TypeError(f"multistart has no option {name!r}; is {close[0]} meant?")
    if not (isinstance(distinct, int | float) and distinct >= 0):
        raise ValueError(f"distinct must be a number, not negative; got {distinct!r}")
    starts = make_starts(starts, num_starts, key, options.get("space"))
    call = call_by(by)("multistart", loss, starts, args, options, watched=False).toward(maximize)
    results = solve_many(call, (0, *[None] * len(call.args)), batch_size, max_seconds)
    plain = results
    if results.space is not None:  # of models the numbers
        plain = dataclasses.replace(results, params=numbers(results.params), grad=None, space=None)
        starts = numbers(starts)
    known = jax.tree.map(np.asarray, without_keys(plain))
    lane = best_lane(known)
    if results.space is None:
        best = with_keys(jax.device_put(jax.tree.map(lambda x: x[lane], known)), results)
    else:
        best = results[lane]
    minima, reached = find_minima(known, jax.tree.map(np.asarray, starts), distinct)
    return MultiStart(best, minima, results, reached)


def best_lane(results: Result) -> int:
    """The lowest value among those that converged; if there are none, among all."""
    value = in_minimisers_sign(results)
    success = np.asarray(is_success(jnp.asarray(results.code)))
    return int(np.argmin(np.where(success, value, np.inf) if success.any() else value))
