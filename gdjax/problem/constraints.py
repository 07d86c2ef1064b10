"""General constraints, ``lower <= c(x) <= upper``: as the user gives them, and as functions of one vector."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import is_concrete, is_traceable, named_leaves, pytree_dataclass, require
from gdjax.penalties.base import Some, spread
from gdjax.problem.problem import Problem, describe
from gdjax.vectors import vector
from gdjax.vectors.layout import Flat, Layout
from gdjax.vectors.vector import Scalar, Vector


@pytree_dataclass
class Constraint:
    """``lower <= c(params, *args) <= upper``, entry by entry; an equality where both bounds agree.

    Pass one, or a list or dict of them, as ``constraints`` to `gdjax.minimize`. For simple bounds on parameters, use
    ``penalty=gdjax.penalties.Box(...)`` instead: the run never leaves a box, while constraints hold only at the answer.

    Args:
        c: function of the parameters and the data of the loss, ``c(params, *args)``, that returns real arrays (any
            pytree). JAX differentiates it.
        lower: a number, an array that broadcasts to what c returns, or a pytree like it; None means -inf. Any of its
            entries may be infinite. The numbers are traced.
        upper: the same; None means inf.

    Raises:
        TypeError: if c is not a function; ValueError: if both bounds are missing, one is NaN, a lower one is inf, an
            upper one is -inf, or a lower bound is above the upper one.

    >>> import gdjax
    >>> disc = Constraint(lambda p: jnp.sum(p**2), upper=2.0)
    >>> print(gdjax.minimize(lambda p: jnp.sum(p), jnp.array([0.5, 0.0]), constraints=disc).params.round(3))
    [-1. -1.]
    """

    c: Callable[..., Any]
    lower: Any = None
    upper: Any = None

    def __post_init__(self) -> None:
        if not callable(self.c):
            raise TypeError(f"a constraint needs a function of (params, *args), got {self.c!r}")
        if self.lower is None and self.upper is None:
            raise ValueError("a constraint needs a bound: lower, upper, or both (the same for an equality)")
        for name in ("lower", "upper"):
            for leaf in jax.tree.leaves(getattr(self, name)):
                require("must not be NaN", leaf, lambda x: ~np.isnan(x), name)
                wrong = np.inf if name == "lower" else -np.inf  # no value satisfies it
                require(f"must not be {wrong}", leaf, lambda x, wrong=wrong: x != wrong, name)
        if is_concrete(self.lower) and is_concrete(self.upper) and not np.all(np.less_equal(self.lower, self.upper)):
            raise ValueError(f"lower must not be above upper, got {self.lower} and {self.upper}")


is_constraint = lambda x: isinstance(x, Constraint)


def of_model(constraints: Any) -> Any:
    """Constraints on the parameters of a model and its x, as those on its residuals, which take more data."""

    def own(one: Any) -> Any:
        if not is_constraint(one):
            return one
        return dataclasses.replace(one, c=lambda params, x, *rest: one.c(params, x))

    return jax.tree.map(own, constraints, is_leaf=is_constraint)


def as_constraints(constraints: Any) -> Any:
    """One constraint, or a pytree of them, as it is; None for none.

    Raises:
        TypeError: for anything else.
    """
    parts = jax.tree.leaves(constraints, is_leaf=is_constraint)
    wrong = [part for part in parts if not is_constraint(part)]
    if wrong:
        hint = ": write gdjax.Constraint(c, lower=0.0, upper=0.0)" if callable(wrong[0]) else ""
        raise TypeError(f"constraints must be a gdjax.Constraint or a list of them, got {wrong[0]!r}{hint}")
    return constraints if parts else None


def call_constraint(c: Callable[..., Any], params: Any, args: Any, kwargs: Any) -> Any:
    """What the function of a constraint returns, after checking it."""
    try:
        out = c(params, *args, **kwargs)
    except TypeError as error:
        if "argument" in str(error) and (args or kwargs):
            raise TypeError(
                f"{error}; a constraint is called with the data of the loss: let its function take them, too, as "
                "lambda params, *data: ..."
            ) from error
        raise
    named = named_leaves("the constraint's value", out)
    for name, leaf in named:
        if not is_traceable(leaf) or not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            what = "; write real and imaginary parts apart" if jnp.iscomplexobj(leaf) else ""
            raise TypeError(f"{name} must be an array of real floating numbers; it is {describe(leaf)}{what}")
    if sum(jnp.size(leaf) for _, leaf in named) == 0:
        raise ValueError(f"a constraint returned no numbers: {out!r}")
    return jax.tree.map(jnp.asarray, out)


def as_sums(constraints: Any) -> list[tuple[str, Callable[..., Scalar]]]:
    """Of each constraint its name, and a function to a sum of its values, each with a weight between 1/2 and 3/2."""

    def as_sum(c: Callable[..., Any]) -> Callable[..., Scalar]:
        def total(params: Any, *args: Any, **kwargs: Any) -> Scalar:
            leaves = jax.tree.leaves(call_constraint(c, params, args, kwargs))
            dtype = vector.real_dtype(leaves)
            flat = jnp.concatenate([leaf.reshape(-1).astype(dtype) for leaf in leaves])
            return jnp.sum(flat * (1 + 0.5 * jnp.cos(jnp.arange(flat.size).astype(dtype))))

        return total

    found = jax.tree_util.tree_leaves_with_path(constraints, is_leaf=is_constraint)
    return [("constraints" + jax.tree_util.keystr(path), as_sum(one.c)) for path, one in found]


def values_of(problem: Problem, params: Any) -> Any:
    """The values of all constraints, a pytree like what the functions return."""
    call = lambda constraint: call_constraint(constraint.c, params, problem.args, problem.kwargs)
    return jax.tree.map(call, problem.constraints, is_leaf=is_constraint)


def values_and_excess(constraints: Any, params: Any, args: Any, kwargs: Any) -> tuple[list[Any], list[Any]]:
    """The values of constraints, and how far each is outside its bounds, leaf by leaf."""
    values, excess = [], []
    for one in jax.tree.leaves(constraints, is_leaf=is_constraint):
        out = call_constraint(one.c, params, args, kwargs)
        bounds = (side(one.lower, out, "lower", -jnp.inf), side(one.upper, out, "upper", jnp.inf))
        values += jax.tree.leaves(out)
        excess += jax.tree.leaves(jax.tree.map(lambda c, low, high: c - jnp.clip(c, low, high), out, *bounds))
    return values, excess


@dataclasses.dataclass(frozen=True)
class Constrained:
    """Constraints ready to be used inside one trace. Build it with `constrain`."""

    values: Callable[[Vector], jax.Array]  # c(x), shape (m,)
    lower: jax.Array  # shape (m,)
    upper: jax.Array  # shape (m,)
    layout: Flat  # of the m numbers, a pytree like what the functions return
    overlap: jax.Array  # half of what a lower bound is above the upper one: then both are in the middle; shape (m,)
    multipliers: jax.Array  # those to start with, positive for upper bounds; shape (m,)

    @property
    def size(self) -> int:
        """The number of constraints, m."""
        return self.lower.size

    def excess(self, c: jax.Array) -> jax.Array:
        """How far each value is above its upper bound, or (negative) below its lower one; the larger of both."""
        off = c - jnp.clip(c, self.lower, self.upper)
        return off + jnp.where(off < 0, -self.overlap, self.overlap)

    def violation(self, c: jax.Array) -> Scalar:
        """The largest excess."""
        return vector.largest(jnp.abs(self.excess(c)))

    def complementarity(self, c: jax.Array, multipliers: jax.Array, pulls: jax.Array, sizes: jax.Array) -> Scalar:
        """The largest ``min(pull, distance to the bound)``: a multiplier belongs to a bound that is reached.

        Args:
            c: the values.
            multipliers: positive for upper bounds.
            pulls: what a constraint does to the gradient with its multiplier, of the size of that.
            sizes: of the values.
        """
        room = jnp.where(multipliers > 0, self.upper - c, c - self.lower) / sizes
        return vector.largest(jnp.minimum(pulls, jnp.maximum(room, 0)))


def constrain(problem: Problem, params: Any, layout: Layout, dtype: Any) -> Constrained | None:
    """Set the constraints of a problem up; None for none.

    Raises:
        TypeError, ValueError: if a function returns no real arrays, or a bound does not fit what it returns.
    """
    if problem.constraints is None:
        return None
    if not isinstance(layout, Flat):
        raise TypeError("constraints need a method that works on one flat vector")
    trees = jax.eval_shape(lambda p: values_of(problem, p), params)
    of = dataclasses.replace(Flat.of(trees), dtype=dtype)
    sides = lambda name, infinite: of.ravel(
        jax.tree.map(
            lambda one, out: side(getattr(one, name), out, name, infinite),
            problem.constraints,
            trees,
            is_leaf=is_constraint,
        )
    )
    lower, upper = sides("lower", -jnp.inf), sides("upper", jnp.inf)
    values = lambda x: of.ravel(values_of(problem, layout.unravel(x)))
    overlap = jnp.where(lower > upper, 0.5 * (lower - upper), 0)  # of traced bounds; others are refused
    middle = lambda bound: jnp.where(lower > upper, 0.5 * (lower + upper), bound)
    guess = of.ravel(side(problem.multipliers, trees, "multipliers", 0.0))
    guess = jnp.where(jnp.isfinite(guess), guess, 0) * (1 if problem.maximize else -1)  # a result's may be NaN
    return Constrained(values, middle(lower), middle(upper), of, overlap, guess)


def side(bound: Any, out: Any, name: str, infinite: float) -> Any:
    """A bound of a constraint as a pytree like what its function returns, given as shapes and dtypes; or multipliers.

    What is None is ``infinite``.
    """
    full = spread(bound, out, name, "the constraint's value")

    def of_leaf(x: Any, one: Some) -> jax.Array:
        number = infinite if one.value is None else one.value
        return jnp.broadcast_to(jnp.asarray(number).astype(x.dtype), x.shape)

    return jax.tree.map(of_leaf, out, full)
