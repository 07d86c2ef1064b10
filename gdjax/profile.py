"""The profile likelihood of one parameter of a fit: `profile`."""

from collections.abc import Callable
from typing import Any, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.stopping import Status
from gdjax.insight.fit import Fit
from gdjax.insight.profiles import FARTHER, Profile, Side, Trail
from gdjax.insight.profiles_in_spaces import Behind
from gdjax.insight.rulers import Ruler, ruler_of
from gdjax.jaxtools.pytrees import is_concrete
from gdjax.problem.robust import check_robust
from gdjax.refits import Refits
from gdjax.request import Options, take_services
from gdjax.spaces.results import by_free

ROUNDS = 8  # of refits; three find an end that is there
BY_JAX = "its refits use the Jacobian that JAX finds; leave it out"
OF_FIT = "the fit knows its bounds and spaces; leave it out"
INSTEAD = dict(jac=BY_JAX, check_jac=BY_JAX, penalty=OF_FIT, space=OF_FIT)
# Standard errors by which a lower sum of squares is no rounding: so few do not matter.
NEAR = 0.1


def profile(
    residuals: Callable[..., Any],
    fit: Fit,
    *args: Any,
    parameter: str | int,
    level: float = 0.95,
    robust: Any = None,
    **options: Unpack[Options],
) -> Profile:
    """Hold one parameter at other values, refit all others, and find its interval of the likelihood.

    The profile t of a value is ``sign(value - estimate) sqrt((S(value) - S) / s^2)``, with S the sum of squares of the
    fit, S(value) the least one with the parameter held there, and s^2 as for the covariance (`Fit.scale`). The interval
    holds the values for which it is at most the quantile of Student's distribution (of the normal one with
    ``absolute_sigma``). For a linear model that is ``estimate -+ t s.e.``; where it differs, standard errors mislead,
    and this is the one to report. An end may be open: then no value is too large for the data.
    A parameter at a bound, or at an end of its space, has one end there. One that the data do not determine, or that
    has run to infinity, is looked at on a scale of powers of ten.
    The interval is the connected one around the estimate, as far as the values that were tried tell. An end beyond zero
    has 8 of them on the way to zero, where many models change. What lies between two neighbouring values is not known:
    if the data reject values there alone, an end is too far away, or called open although it is not.
    (D. M. Bates and D. G. Watts, Nonlinear Regression Analysis and Its Applications, 1988, chapter 6.)

    Each round is one call of `gdjax.least_squares_many` for up to 16 values, begun at the refits next to them; the
    program is compiled once for all rounds and parameters. The ends are found to six digits (three in float32).

    Args:
        residuals, args, robust: those that the fit was made with. (For `gdjax.curve_fit` the residuals are
            ``model(params, x) - y``, over sigma if there was one.)
        fit: what `gdjax.least_squares` or `gdjax.curve_fit` returned, of one problem.
        parameter: its name, as the fit's table has it, or its number among the ravelled parameters.
        level: of the interval.
        **options: those of `gdjax.least_squares_many` for the refits, such as ``kwargs``, ``has_aux``, ``max_steps``.
            Bounds and spaces are those of the fit. The Jacobian of the refits is JAX's.

    Returns:
        A `Profile`: the interval, and the profile t at all values that were tried; ``print`` it. It says if an end is
        open or at a bound, how many refits failed, and if one has found a lower sum of squares: then the fit was no
        minimum, there is no interval, and ``profile.better`` is where to begin again.

    Raises:
        TypeError: if fit is no `Fit`, or for ``jac=``; ValueError: if it is of many problems or made with ``cov_type=``
            (the profile takes errors to be alike), if there is no such parameter, if residuals of zero leave no unit,
            if the residuals are not those of the fit, or inside a trace.

    >>> import gdjax, jax.numpy as jnp
    >>> x, y = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0]), jnp.array([8.3, 10.3, 19.0, 16.0, 15.6, 19.8])
    >>> demand = lambda p, x, y: p["limit"] * (1 - jnp.exp(-p["rate"] * x)) - y
    >>> fit = gdjax.least_squares(demand, {"limit": 20.0, "rate": 0.5}, x, y)
    >>> found = gdjax.profile(demand, fit, x, y, parameter="limit")
    >>> print(f"{found.lower:.1f} to {found.upper:.1f}")  # by the standard error 12.2 to 26.1
    14.0 to 38.5
    """
    for name in (name for name in INSTEAD if options.get(name) is not None):
        raise TypeError(f"profile has no option {name!r}: {INSTEAD[name]}")
    take_services("profile", options, Options, watched=False)
    index = check_fit(fit, parameter)
    quantile = float(fit.quantile(level))
    check_robust(robust)
    given = dict(options, robust=robust)
    behind, function, seen, data = None, residuals, fit, args
    if fit.space is not None:
        behind, (function, seen, data) = Behind(fit, index), cast(Any, by_free(residuals, fit, args, {}))
    place = index if behind is None else behind.place
    return found_by(Refits(function, seen, data, place, given, behind), level, quantile)


def found_by(refits: Refits, level: float, quantile: float) -> Profile:
    """The profile, by rounds of refits."""
    fit, index, behind = refits.fit, refits.index, refits.behind
    refits.check()
    ruler = ruler_of(fit, index, quantile, refits.jacobian, behind.own if behind and behind.ended else None)
    refits.smallest = 0.0 if ruler.bend else 1e-12 * abs(refits.origin)
    known = np.array([Status.CONVERGED], np.int32)  # the fit counts, also where it runs away
    trail = Trail(np.array([refits.origin]), refits.centre[None], np.zeros(1), known)
    precise = max(1e-6, float(np.finfo(refits.centre.dtype).eps) ** 0.5)
    sides = [side_of(sign, float(end[index]), ruler, precise) for sign, end in zip((-1, 1), refits.ends, strict=True)]
    ends, words = [np.nan, np.nan], ["", ""]
    refits.lowest = -((NEAR / quantile) ** 2) - 64 * precise**2 * float(fit.value) / refits.scale
    for _ in range(ROUNDS):
        wanted = []
        for i, side in enumerate(sides):
            ends[i], more, words[i] = side.look(trail, ruler.to(trail.values))
            wanted += [ruler.at(side.sign * d) for d in more]
        if not wanted or np.nanmin(trail.rise) < refits.lowest:
            break
        trail = trail.add(refits.at(np.array(wanted), trail, quantile))
    lower, upper = (float(ruler.at(side.sign * end)) for side, end in zip(sides, ends, strict=True))
    return told(refits, level, quantile, trail, (lower, upper), words)


def check_fit(fit: Any, parameter: Any) -> int:
    """The parameter's place among the flat ones, if it can be profiled."""
    if not isinstance(fit, Fit):
        raise TypeError(f"fit must be what gdjax.least_squares returned, got a {type(fit).__name__}")
    if not is_concrete(fit.code):
        raise ValueError("profile looks at numbers, so it cannot be used inside jit, vmap or grad")
    if fit.axes:
        raise ValueError("profile is of one fit: take one, fits[i]")
    if fit.conditions is not None:
        raise ValueError("there is no profile of a fit with constraints: its standard errors are those along them")
    if fit.cov_type is not None:
        raise ValueError(
            f"the fit was made with cov_type={fit.cov_type!r}, for errors that are not alike; a profile takes them to "
            "be alike, and its interval would not be the fit's. Fit without cov_type="
        )
    if not (fit.converged or fit.status is Status.RUNAWAY):
        raise ValueError(f"the fit has not ended in a minimum, around which there is a profile: {fit.message}")
    names = fit.names
    index = names.index(parameter) if parameter in names else parameter
    if isinstance(index, bool) or not isinstance(index, int | np.integer) or not 0 <= index < len(names):
        raise ValueError(f"there is no parameter {parameter!r}; the first ones are {', '.join(names[:8])}")
    return int(index)


def side_of(sign: int, bound: float, ruler: Ruler, precise: float) -> Side:
    """Where to look for one end."""
    limit, zero = abs(float(ruler.to(bound))), np.nan if ruler.own else sign * float(ruler.to(0.0))
    far, reach = FARTHER[-1], f"{FARTHER[-1]:g} times as far as of a linear model"
    if ruler.bend:  # there an end's share of itself is a difference, and large values are lost in each other's rounding
        precise, far = precise / 10, far if zero > 0 else -float(np.log(precise))
        reach = f"by {far * np.log10(np.e):.0f} powers of ten"
    stop = "the end of its space" if ruler.own else "the bound of the parameter"
    return Side(sign, limit, zero if 0 < zero <= limit else np.inf, precise, far, reach, stop)


def told(
    refits: Refits, level: float, quantile: float, trail: Trail, ends: tuple[float, float], words: list[str]
) -> Profile:
    """The profile, and what there is to say of it."""
    behind, fit, index, better = refits.behind, refits.fit, refits.index, None
    lowest, params = float(np.nanmin(trail.rise)), jax.vmap(fit.layout.unravel)(jnp.asarray(trail.x))
    if behind is not None:
        fit, index, params = behind.fit, behind.index, behind.params(params)
        trail, params, ends, words = behind.shown(trail, params, ends, words)
    name, estimate, error = fit.names[index], float(fit.flat[index]), float(fit.flat_errors[index])
    t = quantile * np.sqrt(np.maximum(trail.rise, 0)) * np.sign(trail.values - estimate)
    notes = [f"{side} end: {text}" for side, text in zip(("lower", "upper"), words, strict=True) if text]
    if lowest < refits.lowest:
        best = int(np.nanargmin(trail.rise))
        better, ends = jax.tree.map(lambda leaf: leaf[best], params), (np.nan, np.nan)
        less = -0.5 * refits.scale * quantile**2 * lowest
        where = f"with {name} at {trail.values[best]:.6g} the value is lower by {less:.3g}"
        notes = [f"the fit is not the minimum: {where}. Fit again from profile.better"]
    return Profile(
        name=name,
        estimate=estimate,
        standard_error=error,
        no_error="" if np.isfinite(error) else fit.why_missing()[index],
        level=level,
        quantile=quantile,
        lower=ends[0],
        upper=ends[1],
        values=trail.values,
        t=np.where(trail.good, t, np.nan),
        params=params,
        codes=trail.codes,
        notes=(*notes, *trail.in_words(name)),
        better=better,
    )
