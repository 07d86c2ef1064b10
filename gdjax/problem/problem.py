"""What is to be minimised, as the user gave it, and the checks of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.jaxtools.pytrees import is_traceable, named_leaves, pytree_dataclass, static_field, strong
from gdjax.problem.residuals import as_residuals, half_sum
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import Scalar, coarsest, matmul


@pytree_dataclass
class Problem:
    """What the user wants to minimise, as given; its arrays are traced."""

    loss: Callable[..., Any]
    params: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    grad: Callable[..., Any] | None
    has_aux: bool
    maximize: bool
    penalty: Any = None
    spread: bool = static_field(False)  # whether params are in pieces on several devices
    unroll: int | None = static_field(None)  # unrolled: run so many and differentiate them; None: implicit
    joint: bool = static_field(False)  # whether the loss gives its gradient, too: (value, (gradient, aux)), `Joint`
    squares: bool = static_field(False)  # whether the loss gives residuals, whose half sum of squares is its value
    robust: Any = None  # what takes the place of the squares
    jac: Callable[..., Any] | None = None  # the Jacobian of the residuals: a `GivenJacobian`, or one traced
    cov_type: str | None = static_field(None)  # which covariance the result is to have, see `gdjax.Fit`
    constraints: Any = None  # a pytree of `Constraint`
    multipliers: Any = None  # of these at the start, a pytree like what they return; None for 0
    inward: Callable[..., Any] | None = None  # of parameters in spaces, see `gdjax.spaces.chart.Chart.inward`

    def given_eps(self, params: Any, grad: Any) -> float:
        """The coarsest machine epsilon of the derivatives that the user gives, of which ``grad`` is the gradient; or 0.

        What comes in float32 knows no more than float32 does, whatever the dtype of params and values.
        """
        if not self.has_gradient:
            return 0.0
        given = grad if self.jac is None else jax.eval_shape(self.jacobian, params)
        return coarsest(given)

    @property
    def has_gradient(self) -> bool:
        """Whether the user gives the gradient, or the Jacobian that it follows from."""
        return self.joint or self.grad is not None or self.jac is not None

    def value_grad_aux(self, params: Any) -> tuple[Scalar, Any, Any]:
        """The user's value, gradient and aux from one evaluation, if the user gives the gradient."""
        if self.jac is not None:
            return self.of_squares(params)
        value, aux = call_loss(self, params)
        if self.joint:
            grad, aux = aux
        else:
            assert self.grad is not None
            grad = self.grad(params, *self.args, **self.kwargs)
        return value, check_grad(grad, params), aux

    def jacobian(self, params: Any) -> jax.Array:
        """That of the residuals as the user gives it, shape (m, n)."""
        assert self.jac is not None
        return self.jac(params, *self.args, **self.kwargs)

    def of_squares(self, params: Any) -> tuple[Scalar, Any, Any]:
        """Value, gradient and aux of a sum of squares, by the Jacobian that the user gives."""
        r, aux = call_function(self, params)
        a, pull = self.jacobian(params).astype(r.dtype), r if self.robust is None else self.robust.slopes(r)[0] * r
        grad = matmul(pull, a)
        return half_sum(r, self.robust), jax.tree.map(jnp.conj, Flat.of(params).unravel(grad)), aux


def make_problem(loss: Callable[..., Any], value_and_grad: bool, has_aux: bool, **rest: Any) -> Problem:
    """The problem of a loss that gives its value alone, or with ``value_and_grad`` its gradient too."""
    if not value_and_grad:
        return Problem(loss=loss, has_aux=has_aux, **rest)
    if rest["grad"] is not None:
        raise ValueError("with value_and_grad=True the loss itself gives the gradient: leave grad= out")
    return Problem(loss=Joint(loss, has_aux), has_aux=True, joint=True, **rest)


class Joint:
    """A function to (value, grad), or with aux to ((value, aux), grad), as one to (value, (grad, aux))."""

    def __init__(self, function: Callable[..., Any], has_aux: bool) -> None:
        self.function, self.has_aux = function, has_aux

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, tuple[Any, Any]]:
        """Evaluate at params and data, and check what is returned."""
        out = self.function(*args, **kwargs)
        wanted = "((value, aux), grad)" if self.has_aux else "(value, grad)"
        if not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(f"value_and_grad=True needs a function that returns {wanted}; it returned {describe(out)}")
        value, grad = out
        if not self.has_aux:
            return value, (grad, None)
        if not (isinstance(value, tuple) and len(value) == 2):
            raise TypeError(f"value_and_grad=True with has_aux=True needs a function that returns {wanted}")
        return value[0], (grad, value[1])


def call_loss(problem: Problem, params: Any) -> tuple[Scalar, Any]:
    """Value and aux (None without ``has_aux``) of the loss, after checking what it returned."""
    out, aux = call_function(problem, params)
    return half_sum(out, problem.robust) if problem.squares else out, aux


def call_function(problem: Problem, params: Any) -> tuple[jax.Array, Any]:
    """The same, but of a least-squares problem the residuals, as one vector."""
    try:
        out = problem.loss(params, *problem.args, **problem.kwargs)
    except TypeError as error:
        hint = why(error, params)
        if hint:
            raise TypeError(f"{error}; {hint}") from error
        raise
    aux = None
    if problem.has_aux:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(f"has_aux=True needs a loss that returns (value, aux); it returned {describe(out)}")
        out, aux = out
        switch = bool | np.bool_
        bad = [name for name, leaf in named_leaves("aux", aux) if not (is_traceable(leaf) or isinstance(leaf, switch))]
        if bad:
            raise TypeError(f"the aux that the loss returns must be a pytree of arrays; {bad[0]} is not an array")
    return as_residuals(out) if problem.squares else check_value(out), aux


def why(error: TypeError, params: Any) -> str:
    """The reason for an error that the loss raised, if the way it was called shows it."""
    if "positional argument" in str(error):
        return "pass the data of the loss after params: minimize(loss, params, x, y)"
    if isinstance(params, list | tuple) and all(jnp.ndim(x) == 0 for x in params if is_traceable(x)):
        kind = type(params).__name__
        return f"params is a {kind} of numbers, so the loss is given a {kind}; for one array write jnp.array(params)"
    return ""


def check_value(out: Any) -> Scalar:
    """The value of the loss as a real floating scalar.

    Raises:
        TypeError: if it is anything else; the message says what it is and what to do.
    """
    if isinstance(out, tuple) and len(out) == 2:
        raise TypeError(
            "the loss returned a tuple of two; if the second is auxiliary data, pass has_aux=True, "
            "if it is the gradient, value_and_grad=True, otherwise return the value alone"
        )
    if out is None:
        raise TypeError("the loss returned None; is its return statement missing?")
    if not is_traceable(out):
        raise TypeError(f"the loss must return a real floating scalar; it returned {describe(out)}")
    value = jnp.asarray(out)
    if value.shape != ():
        raise TypeError(
            f"the loss must return one number; it returned {describe(value)}: "
            "reduce it, for example with jnp.mean or jnp.sum"
        )
    if jnp.iscomplexobj(value):
        raise TypeError("the loss returned a complex number; return a real one, for example jnp.abs(z) ** 2")
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"the loss must return a floating scalar; it returned {describe(value)}, which has no slope")
    return strong(value)


def check_params(params: Any) -> Any:
    """The parameters with every leaf an array of float or complex dtype.

    Raises:
        TypeError, ValueError: see `require_params`.
    """
    require_params(params)
    return jax.tree.map(strong, params)


def require_params(params: Any) -> None:
    """Raise unless every leaf of the parameters is an array or a number of float or complex dtype.

    Raises:
        TypeError: naming the leaf that is not; ValueError: if there are no parameters at all.
    """
    named = named_leaves("params", params)
    for name, leaf in named:
        check_number(name, leaf)
    if sum(jnp.size(leaf) for _, leaf in named) == 0:
        raise ValueError(f"params holds no numbers to minimise over: {params!r}")


def check_number(name: str, leaf: Any) -> None:
    """Raise TypeError, naming the leaf of the parameters, unless it is an array or number of float or complex dtype."""
    if not is_traceable(leaf):
        raise TypeError(
            f"{name} is {describe(leaf)}, not an array; keep everything that is not a parameter out of params "
            "(a closure, a positional argument), or hold it with space=, as gdjax.spaces.Fixed()"
        )
    if not jnp.issubdtype(jax.dtypes.result_type(leaf), jnp.inexact):
        raise TypeError(
            f"{name} has dtype {jnp.asarray(leaf).dtype}; parameters must be floating or complex: "
            "write 1.0 instead of 1, or convert with .astype(float)"
        )


def check_grad(grad: Any, params: Any) -> Any:
    """The analytic gradient in the structure, shapes and dtypes of ``params``; or in its own dtypes, if coarser.

    Raises:
        TypeError: on another structure or kind of dtype; ValueError: on another shape; naming the leaf.
    """
    got: Any = jax.tree.structure(grad)
    want: Any = jax.tree.structure(params)
    if got != want:
        raise TypeError(f"grad must return a pytree like params, {want}; it returned {got}")

    def convert(name: str, g: Any, p: jax.Array) -> jax.Array:
        if not is_traceable(g):
            raise TypeError(f"{name} is {describe(g)}, not an array")
        g = jnp.asarray(g)
        if g.shape != p.shape:
            raise ValueError(f"{name} has shape {g.shape}; the parameter has shape {p.shape}")
        if not jnp.issubdtype(g.dtype, jnp.inexact) or (jnp.iscomplexobj(g) and not jnp.iscomplexobj(p)):
            raise TypeError(f"{name} has dtype {g.dtype}; the parameter has dtype {p.dtype}")
        return g if jnp.finfo(g.dtype).eps > jnp.finfo(p.dtype).eps else g.astype(p.dtype)

    leaves = [
        convert(name, g, p) for (name, g), p in zip(named_leaves("grad", grad), jax.tree.leaves(params), strict=True)
    ]
    return jax.tree.unflatten(want, leaves)


def describe(x: Any) -> str:
    """A few words on what ``x`` is: its shape and dtype, or its type."""
    if is_traceable(x) and hasattr(x, "dtype"):
        return f"an array of shape {jnp.shape(x)} and dtype {x.dtype}"
    kind = type(x).__name__
    return "None" if x is None else f"a{'n' * (kind[0].lower() in 'aeiou')} {kind}"
