"""Is the Jacobian right, at the start? A given one against JAX's, and that, or the given one, against differences."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.descent.given_gradient import shaken, sizes
from gdjax.descent.given_gradient_words import entry_name
from gdjax.descent.given_jacobian import Seen, difference
from gdjax.insight.gradient_check import widen_problem
from gdjax.jaxtools.pytrees import as_data, named_leaves
from gdjax.methods.parts.linearised import by_jax
from gdjax.problem.objective import Objective, trace
from gdjax.problem.problem import Problem, check_params
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import coarsest

ROUNDINGS = 100.0  # of an array's largest entry, which count as nothing in the others
LISTED = 10  # arrays of the Jacobian that an error names


def check_jacobian(problem: Problem) -> None:
    """Check the Jacobian of a least-squares problem at its params, which a constraint may move.

    A given one is compared with JAX's, array by array (of residuals by parameters): each entry must agree to
    ``eps^(2/3)``, or to what the rounding of the parameters changes. Then JAX's, or the given one if JAX has none, is
    compared with central differences of the residuals along each parameter: each column must agree to ``2 eps^(1/3)``
    of its length. It is done in float64 if the residuals allow it.

    Raises:
        ValueError: naming the worst entry of each array that is wrong.
    """
    problem = dataclasses.replace(problem, args=as_data("args", problem.args), kwargs=as_data("kwargs", problem.kwargs))
    coarse = coarsest(check_params(problem.params))
    try:
        with jax.enable_x64(True):
            wrong = examine(widen_problem(problem), coarse)
    except Exception:  # the residuals insist on their own dtypes; if it is the user's error, it is raised again here
        wrong = examine(problem, coarse)
    if wrong:
        more = [f"and {len(wrong) - LISTED} more"] * (len(wrong) > LISTED)
        raise ValueError("\n".join(["the Jacobian fails its check", *wrong[:LISTED], *more]))


class Numbers(NamedTuple):
    """What is compared, at the start."""

    given: jax.Array  # by the user, or else by JAX, shape (m, n)
    other: jax.Array  # by JAX, or else by the user
    rounding: jax.Array  # what some roundings of the parameters change of it
    seen: Seen  # along each parameter, beside ``other``


def examine(problem: Problem, coarse: float) -> list[str]:
    """What is wrong, a sentence each; ``coarse`` is the machine epsilon of the dtypes that the user gave."""
    params = check_params(problem.params)
    objective = trace(dataclasses.replace(problem, params=params), Flat.of)
    both = objective.jacobian is not None and objective.automatic is not None
    given, other, rounding, seen = jax.tree.map(np.asarray, jax.jit(lambda: compute(objective, both))())
    rows, columns, wrong = names_of_residuals(problem, params), names("params", params), []
    bottom = 0
    for row in rows:
        top, bottom, right = bottom, bottom + len(row), 0
        for column in columns:
            left, right = right, right + len(column)
            ours, theirs, rounded = (x[top:bottom, left:right] for x in (given, other, rounding))
            allowed = ROUNDINGS * objective.eps * np.max(np.abs(theirs), initial=0) + np.max(rounded, initial=0)
            apart = np.abs(ours - theirs) - max(coarse, objective.eps) ** (2 / 3) * np.abs(theirs) - allowed
            if not np.all(apart <= 0):
                at = np.unravel_index(int(np.argmax(np.nan_to_num(apart, nan=np.inf))), apart.shape)
                pair = f"the Jacobian given is {ours[at]:.6g}, jax's {theirs[at]:.6g}"
                wrong.append(f"for {row[at[0]]} and {column[at[1]]} {pair}")
    by = "jax's" if both or objective.jacobian is None else "the Jacobian given"
    lines, parameters = ([name for part in parts for name in part] for parts in (rows, columns))
    for j in np.flatnonzero(seen.excess > 1):
        i = int(np.argmax(np.abs(seen.missing[j])))
        pair = f"{by} is {other[i, j]:.6g}, that of differences {seen.slopes[j, i]:.6g}"
        wrong.append(f"for {lines[i]} and {parameters[j]} {pair}")
    return wrong


def compute(objective: Objective, both: bool) -> Numbers:
    """Whichever there are; ``both``, or one of the two twice."""
    x = objective.start
    other = by_jax(objective, x) if both or objective.jacobian is None else objective.jacobian(x)
    rounding = jnp.abs(by_jax(objective, shaken(objective, x)) - other) if both else jnp.zeros_like(other)
    places, own, share = jnp.arange(x.size), sizes(objective, x), jnp.asarray(2 * objective.eps ** (1 / 3), x.dtype)
    along = lambda j: difference(objective, x, other, jnp.where(places == j, own, 0), share)
    return Numbers(objective.jacobian(x) if both else other, other, rounding, jax.lax.map(along, places))


def names(name: str, tree: Any) -> list[list[str]]:
    """Of the ravelled entries of each array."""
    return [[entry_name([(path, leaf)], i) for i in range(reals(leaf))] for path, leaf in named_leaves(name, tree)]


def reals(leaf: Any) -> int:
    """How many real numbers an array is."""
    return int(np.prod(leaf.shape, dtype=int)) * (2 if jnp.iscomplexobj(leaf) else 1)


def names_of_residuals(problem: Problem, params: Any) -> list[list[str]]:
    """Of the residuals, array by array."""

    def residuals(params: Any) -> Any:
        out = problem.loss(params, *problem.args, **problem.kwargs)
        return out[0] if problem.has_aux else out

    return names("residuals", jax.eval_shape(residuals, params))
