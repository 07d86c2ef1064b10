"""A loss as (value, gradient, aux) of one vector: validated, differentiated and traced once."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from gdjax.jaxtools.pytrees import strong
from gdjax.jaxtools.small_programs import is_small
from gdjax.jaxtools.varying import axes_after, vary
from gdjax.problem.automatic import calls_python, make_automatic, witness
from gdjax.problem.constraints import Constrained, constrain
from gdjax.problem.penalized import Composite, compose, step_norm
from gdjax.problem.problem import Problem, call_function, call_loss, check_params
from gdjax.problem.scalars import Scalars
from gdjax.vectors import vector
from gdjax.vectors.layout import Flat, Layout
from gdjax.vectors.vector import Scalar, Vector

NO_PRODUCTS = (
    "Hessian-vector products are needed (by TrustRegion, for curvature, or for derivatives of the solution), and JAX "
    "cannot differentiate the gradient of this loss. Use a method that needs none, such as LBFGS(), or give the parts "
    "with rules of their own a forward derivative (jax.custom_jvp; in diffrax adjoint=ForwardMode() or DirectAdjoint())"
)


class Seen(NamedTuple):
    """What an evaluation shows of constraints."""

    c: jax.Array  # their values, shape (m,)
    multipliers: jax.Array  # m, with which the gradient of a merit function is ``w f' + sum m_i c_i'``; shape (m,)
    violation: Scalar  # the largest, of the size of its constraint
    grad: Vector  # of the loss alone
    weight: Scalar  # w; 0 where the violation alone is minimised


class Point(NamedTuple):
    """What one evaluation returns, in the minimiser's sign (a maximised function is negated)."""

    x: Vector  # where
    value: Scalar  # loss plus penalty, dtype of the objective's scalars
    grad: Vector  # gradient of the loss as real vector: for a complex entry, d/d(real) + i d/d(imag)
    grad_norm: Scalar  # infinity norm of grad; with a penalty methods put that of the prox-gradient step here
    aux: Any  # what the loss returned beside its value, or None
    smooth: Any = None  # the value of the loss alone, a Scalar, if there is a penalty
    penalty: Any = None  # and the penalty, a Scalar
    residuals: Any = None  # of a least-squares problem, for a method that asks for them: shape (m,)
    gained: Any = None  # and by how much the value fell to it from the iterate, a Scalar
    # With constraints the value is that of a merit function, and `smooth` the loss: see `AugmentedLagrangian`.
    seen: Any = None  # what was seen of the constraints, a `Seen`

    @property
    def is_blank(self) -> jax.Array:
        """Whether nothing has been evaluated yet: the iterate before the start is known."""
        return self.value == jnp.inf

    @property
    def bare(self) -> "Point":
        """The same without its residuals, which may be many."""
        return self._replace(residuals=None, gained=None)

    @property
    def loss(self) -> Scalar:
        """The value of the loss alone."""
        return self.value if self.smooth is None else self.smooth


@dataclasses.dataclass(frozen=True)
class Objective(Scalars):
    """A `Problem` ready to be evaluated inside one trace. Build it with `trace`."""

    layout: Layout
    start: Vector
    dtype: Any  # of values, norms and step sizes
    eps: float  # coarsest machine epsilon among parameters, value and the derivatives that the user gives
    sign: float  # +1 to minimise, -1 to maximise
    evaluate: Callable[[Vector], Point]  # replays the traced loss: the one evaluation of a trip
    value: Callable[[Vector], Scalar]  # traces the loss again: only for methods that call it themselves
    product: Callable[[Vector, Vector], Point]  # Hessian at x times v, as the grad of a point
    blank: Point  # stands for "not yet evaluated": value inf, zero gradient
    composite: Composite | None = None  # the penalty, if there is one
    automatic: Callable[[Vector], Vector] | None = None  # the gradient of `jax.grad`, where another one was given
    compared_with: str | None = None  # what the gradient is compared with at the answer, see `witness`
    residuals: Any = None  # of a least-squares problem: function of a vector to (residuals, aux)
    robust: Any = None  # what takes the place of their squares
    jacobian: Any = None  # theirs, if the user gives it: function of a flat vector to shape (m, n)
    cov_type: str | None = None  # which covariance the result is to have
    is_small: bool = False  # whether the loss is so cheap that launching its kernels is what takes time
    blunt: bool = False  # whether the derivatives that the user gives are what makes eps coarse
    axes: frozenset[Any] = frozenset()  # inside `jax.shard_map`: those over which a descent may differ
    constrained: Constrained | None = None  # the constraints, if there are any
    inward: Callable[[Vector, Vector, Vector], Any] | None = None  # of (x, gradient, start), with spaces: see `Problem`

    def grad_to_user(self, grad: Vector) -> Any:
        """A gradient of the user's own function like params, in `jax.grad`'s convention."""
        return jax.tree.map(lambda g: jnp.conj(g) * jnp.asarray(self.sign, g.dtype), self.layout.unravel(grad))

    def merit(self, point: Point) -> Scalar:
        """What ranks points, smaller is better: the value, or the prox-gradient step if the penalty has no value."""
        known = self.composite is None or self.composite.value_is_known
        return point.value if known else point.grad_norm

    def with_norm(self, point: Point) -> Point:
        """A point as evaluated, with the norm by which it is judged: in a box, of its prox-gradient step."""
        if self.composite is None:
            return point
        x, grad, one = point.x, point.grad, jnp.ones((), self.dtype)
        return point._replace(grad_norm=step_norm(x, grad, self.composite.descend(x, grad, one), one))

    def descend(self, point: Point, rate: Scalar) -> Vector:
        """``prox(x - rate g, rate)``: a gradient step, and the prox of the penalty if there is one."""
        if self.composite is None:
            return vector.add_scaled(point.x, -rate, point.grad)
        return self.composite.descend(point.x, point.grad, rate)

    def unmoved(self, point: Point) -> Any:
        """Whether each leaf of params is as it was at the start although its gradient is not zero."""
        if self.composite is not None:
            return None
        still = lambda old, new, g: jnp.all(old == new) & jnp.any(g != 0)
        return jax.tree.map(still, *map(self.layout.unravel, (self.start, point.x, point.grad)))

    def of_loss(self, point: Point) -> Point:
        """A point of the loss, also where methods see a merit function: its value, and its gradient."""
        return point if point.seen is None else point._replace(value=point.smooth, grad=point.seen.grad)

    def to_user(self, point: Point) -> dict[str, Any]:
        """params, value, grad (in `jax.grad`'s convention) and aux of the user's own function."""
        sign, point = jnp.asarray(self.sign, self.dtype), self.of_loss(point)
        params, grad = self.layout.unravel(point.x), self.grad_to_user(point.grad)
        weight = 1 if point.seen is None else jnp.where(point.seen.weight > 0, point.seen.weight, 1)
        norm = point.grad_norm / weight
        user = dict(params=params, value=sign * point.value, grad=grad, grad_norm=norm, aux=point.aux)
        if self.composite is not None:
            unknown = jnp.asarray(jnp.nan, self.dtype)
            penalty_value = point.penalty if self.composite.value_is_known else unknown
            user |= dict(penalty=self.composite.to_return())
            user |= dict(loss_value=sign * point.smooth, penalty_value=penalty_value)
        return user


def trace(problem: Problem, make_layout: Callable[[Any], Layout]) -> Objective:
    """Check and trace a problem: the user's Python runs once, the program holds one copy of the loss.

    Raises:
        TypeError, ValueError: naming the argument and the leaf, if the parameters, the value that the loss
            returns, or the gradient that ``grad`` returns are not what they must be.
    """
    params = check_params(problem.params)
    layout = make_layout(params)
    sign = -1.0 if problem.maximize else 1.0

    def value_and_grad(p: Any) -> tuple[Any, Any, Any]:
        if problem.has_gradient:
            value, grad, aux = problem.value_grad_aux(p)
        else:
            (value, aux), grad = jax.value_and_grad(call_loss, argnums=1, has_aux=True)(problem, p)
        grad = jax.tree.map(lambda g: jnp.conj(g) * jnp.asarray(sign, g.dtype), grad)
        return value * jnp.asarray(sign, value.dtype), grad, jax.tree.map(strong, aux)

    jaxpr, shapes = trace_gradient(value_and_grad, problem, params)
    replay, out_tree = jaxpr_as_fun(jaxpr), jax.tree.structure(shapes)
    dtype = vector.real_dtype((params, shapes[0]))
    own, given = vector.coarsest((params, shapes[0])), problem.given_eps(params, shapes[1])
    eps, blunt = max(own, given), given > own
    if problem.squares and isinstance(layout, Flat):  # its linear algebra has one dtype, that of the residuals
        layout = dataclasses.replace(layout, dtype=dtype)
    start = layout.ravel(params)
    composite = compose(problem.penalty, params, layout, dtype, eps)
    constrained = constrain(problem, params, layout, dtype)
    if composite is not None:
        start = composite.into_domain(start, composite.value(start))

    def evaluate(x: Vector) -> Point:
        # Without the barriers XLA may compute point and gradient anew in each kernel that uses them: with a
        # million parameters a trip of plain descent then took 4.7 ms instead of 0.8.
        x = jax.lax.optimization_barrier(x)
        value, grad, aux = jax.tree.unflatten(out_tree, replay(*jax.tree.leaves(layout.unravel(x))))
        grad = jax.lax.optimization_barrier(layout.ravel(vector.like(grad, params)))
        point = Point(x, value.astype(dtype), grad, vector.max_abs(grad).astype(dtype), aux)
        return point if composite is None else add_penalty(point, composite.value_seen(x))

    def product(x: Vector, v: Vector) -> Point:
        try:
            return blank._replace(grad=jax.jvp(lambda u: evaluate(u).grad, (x,), (v,))[1])
        except Exception as error:
            raise ValueError(f"{NO_PRODUCTS}: {error}") from error

    inf = jnp.full((), jnp.inf, dtype)
    aux = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes[2])
    blank = Point(start, inf, vector.zeros_like(start), inf, aux)
    if composite is not None:
        blank = add_penalty(blank, jnp.zeros((), dtype))
    axes = axes_after(evaluate, start)
    blank = vary(blank, axes)
    value_only = make_value(problem, layout, sign, dtype)
    small, automatic = is_small(jaxpr.jaxpr), make_automatic(problem, params, layout, sign)
    unproved = problem.has_gradient or (not small and calls_python(jaxpr.jaxpr))
    seen = "jax.grad" if automatic else witness(layout, unproved)
    squares: dict[str, Any] = dict(residuals=make_residuals(problem, layout, dtype), robust=problem.robust)
    if problem.jac is not None and isinstance(layout, Flat):
        squares |= dict(jacobian=lambda x: problem.jacobian(layout.unravel(x)).astype(dtype))
    squares |= dict(cov_type=problem.cov_type)
    return Objective(
        layout, start, dtype, eps, sign, evaluate, value_only, product, blank, composite, automatic, seen,
        constrained=constrained, is_small=small, axes=axes, blunt=blunt, inward=make_inward(problem, layout),
        **(squares if problem.squares else {}),
    )  # fmt: skip


def trace_gradient(value_and_grad: Callable[..., Any], problem: Problem, params: Any) -> tuple[Any, Any]:
    """The jaxpr of value, gradient and aux, and their shapes."""
    try:
        return jax.make_jaxpr(value_and_grad, return_shape=True)(params)
    except Exception as error:
        jax.eval_shape(lambda p: call_loss(problem, p)[0], params)  # raises if it is not the derivative that fails
        if problem.has_gradient:
            raise
        raise ValueError(
            f"JAX cannot differentiate the loss: {error}\nIf you know its gradient, pass grad=, "
            "a function of params and data, which may be a callback too; or value_and_grad=True, if one gives both"
        ) from error


def add_penalty(point: Point, penalty: Scalar) -> Point:
    """A point of the loss as a point of the sum."""
    return point._replace(value=point.value + penalty, smooth=point.value, penalty=penalty)


def make_value(problem: Problem, layout: Layout, sign: float, dtype: Any) -> Callable[[Vector], Scalar]:
    """The loss alone, for methods that evaluate it themselves; its derivative is ``grad`` where given."""

    def value(x: Vector) -> Scalar:
        f = call_loss(problem, layout.unravel(x))[0]
        return sign * f.astype(dtype)

    if not problem.has_gradient:
        return value
    differentiable = jax.custom_jvp(value)

    def jvp(primals: tuple[Vector], tangents: tuple[Vector]) -> tuple[Scalar, Scalar]:
        params = layout.unravel(primals[0])
        f, grad, _ = problem.value_grad_aux(params)
        slope = vector.dot(layout.ravel(vector.like(jax.tree.map(jnp.conj, grad), params)), tangents[0])
        return sign * f.astype(dtype), sign * slope.astype(dtype)

    differentiable.defjvp(jvp)
    return differentiable


def make_inward(problem: Problem, layout: Layout) -> Callable[..., Any] | None:
    """`Problem.inward` of vectors."""
    function = problem.inward
    return None if function is None else lambda *points: function(tuple(map(layout.unravel, points)), *problem.args)


def make_residuals(problem: Problem, layout: Layout, dtype: Any) -> Callable[[Vector], tuple[jax.Array, Any]]:
    """The residuals of a least-squares problem, and aux."""

    def residuals(x: Vector) -> tuple[jax.Array, Any]:
        r, aux = call_function(problem, layout.unravel(x))
        return r.astype(dtype), jax.tree.map(strong, aux)

    return residuals
