"""What a descent returns."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np

from gdjax.descent import sentences
from gdjax.descent.certificate import CriticalPoint
from gdjax.descent.conditions import Conditions
from gdjax.descent.history import History
from gdjax.descent.inverse_hessian import InverseHessian, inverse_hessian
from gdjax.descent.limits import Limits
from gdjax.descent.progress import Progress
from gdjax.descent.stopping import Status, is_success
from gdjax.jaxtools.faces import as_table, handed_out, one_line
from gdjax.jaxtools.pytrees import is_concrete, is_traceable, pytree_dataclass, static_field

# What SciPy's results, and those of lmfit and optimistix, call it.
INSTEAD = dict(
    x="params",
    best_values="params",
    popt="params",
    fun="value",
    cost="value",
    jac="grad",
    success="converged",
    nit="num_steps",
    nfev="num_evals",
    njev="num_evals",
    hess_inv="inverse_hessian(), with keep_state=True",
    pcov="covariance, of a fit; for other losses there is gdjax.uncertainty",
    covar="covariance, of a fit; for other losses there is gdjax.uncertainty",
    perr="standard_errors, of a fit; for other losses there is gdjax.uncertainty",
    stderr="standard_errors, of a fit; for other losses there is gdjax.uncertainty",
    chisqr="chi2, of a fit",
    redchi="reduced_chi2, of a fit",
    stats="num_steps and result.num_evals",
)


class Timing(NamedTuple):
    """Wall-clock seconds of a descent that was watched from Python."""

    seconds: float  # from the call to its end
    compiling: float  # of these, until the first evaluation was done
    watching: float  # of these, after the first evaluation but outside of the compiled loop: the services themselves


@handed_out
@pytree_dataclass
class Result:
    """The best point found, and what is known about it; a pytree, with a leading axis under `jax.vmap`.

    ``print(result)`` says in words which test ended the run, and which numbers it compared.

    To read: ``params``, ``value``, ``converged``, ``status``, ``message``; ``grad``, ``grad_norm``, ``aux``,
    ``num_steps``, ``num_evals``, ``history``. Of many problems ``result[i]`` is one.
    """

    params: Any  # like the params given
    value: jax.Array  # of the user's function (with a penalty, of the sum) at params, shape ()
    grad: Any  # gradient of the user's function (without a penalty) at params, as `jax.grad` returns it
    grad_norm: jax.Array  # its infinity norm; with a penalty that of the prox-gradient step, shape ()
    aux: Any  # what the loss returned besides its value at params; None without has_aux
    code: jax.Array  # the status as an int32, shape ()
    num_steps: jax.Array  # accepted steps, int32
    num_evals: jax.Array  # evaluations of the loss with its gradient, int32
    history: History | None  # with history=True
    progress: Progress  # the scalars behind the sentence, in the minimiser's sign
    stop: Limits  # the tolerances and limits that were in force, in the minimiser's sign
    maximized: bool = static_field(False)
    timing: Timing | None = None  # with progress, callback, checkpoint or max_seconds
    automatic: Any = None  # with grad=, or a callback: the gradient found otherwise, if grad is near zero; else zeros
    entry: Any = None  # with jac=: the entry of the Jacobian that differs most, see `gdjax.descent.given_jacobian`
    blunt: bool = static_field(
        False
    )  # whether grad= or jac= has a coarser dtype than the rest, and sets the tolerances
    compared_with: str | None = static_field(None)  # how: "jax.grad", "differences" of the loss, or "nothing"
    certificate: CriticalPoint | None = None  # with escape_saddles=True: the curvature at params
    state: Any = None  # with keep_state=True: what `gdjax.resume` and a warm start need
    loss_value: Any = None  # with a penalty: value = loss_value + penalty_value (- for a maximum)
    penalty_value: Any = None  # NaN if only its prox is known: then value = loss_value
    penalty: Any = None  # the penalty itself, for the words on its active set
    method: str | None = static_field(None)  # with a penalty: which method was used
    unmoved: Any = None  # for methods without a search: whether a leaf never moved although its gradient is not 0
    squares: Any = None  # of a least-squares problem: residuals and their Jacobian at params, see `gdjax.Fit`
    conditions: Conditions | None = None  # with constraints=: multipliers, and how well the optimality conditions hold
    nonfinite_data: Any = None  # with NONFINITE_START, by name of what is not: entries not finite, of how many; (2,)
    exception: Exception | None = static_field(None)  # with status RAISED: what the loss raised, as it reached Python
    space: Any = None  # with space=, or a model: params and gradient as the descent saw them, `gdjax.spaces.Origin`

    @property
    def status(self) -> Any:
        """The `Status`. Inside a trace or for a batch, the array of codes; compare it with a `Status`."""
        return Status(int(self.code)) if is_concrete(self.code) and np.ndim(self.code) == 0 else self.code

    @property
    def converged(self) -> Any:
        """Whether the status is CONVERGED, TARGET_REACHED or PRECISION_FLOOR: a bool, or an array of bools."""
        if is_concrete(self.code) and np.ndim(self.code) == 0:
            return bool(is_success(jax.device_get(self.code)))
        return is_success(self.code)

    @property
    def multipliers(self) -> Any:
        """With constraints, a pytree like their values: df*/d(bound), the change of the optimal value with a bound.

        For a minimum it is negative at an upper bound and positive at a lower one (to raise an upper bound lets the
        value fall), and 0 where no bound is reached. The gradient of the loss is the sum of the constraints' gradients,
        each times its multiplier, but for parameters at the bounds of a box. NaN where none are known.
        """
        return None if self.conditions is None else self.conditions.multipliers

    @property
    def violation(self) -> Any:
        """With constraints: by how much they are violated at most, in their own units, shape ()."""
        return None if self.conditions is None else self.conditions.violation

    @property
    def stationarity(self) -> Any:
        """With constraints: the norm of the gradient of the Lagrangian that ``tol`` is compared with, shape ()."""
        return None if self.conditions is None else self.conditions.stationarity

    @property
    def complementarity(self) -> Any:
        """With constraints: the largest min(|multiplier|, distance to its bound), scaled as `stationarity` is."""
        return None if self.conditions is None else self.conditions.complementarity

    @property
    def active(self) -> Any:
        """With constraints, a pytree like their values: whether each is at a bound (equalities are), or violated."""
        return None if self.conditions is None else self.conditions.active

    @property
    def variables(self) -> Any:
        """What the descent moved, like params: these, or with ``space=`` the free numbers behind them."""
        return self.params if self.space is None else self.space.params

    @property
    def message(self) -> str:
        """How it ended, in one or two sentences; for a batch, the counts and the worst. Not inside a trace."""
        # Inside `jax.grad` the numbers carry derivatives, which a sentence does not need.
        plain = jax.tree.map(lambda x: jax.lax.stop_gradient(x) if is_traceable(x) else x, self)
        return sentences.of_one(plain) if np.ndim(self.code) == 0 else sentences.of_many(plain)

    def explain(self, loss: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What the result says about the loss: `gdjax.explain` of this result."""
        from gdjax.insight.explain import explain  # a door from below

        return explain(loss, self, *args, **options)

    def inverse_hessian(self) -> InverseHessian:
        """With keep_state=True, of L-BFGS and BFGS: their approximation of the inverse Hessian at the last point."""
        return inverse_hessian(self)

    def __getitem__(self, lane: Any) -> "Result":
        """One problem of a batch (or several, by a slice or mask); IndexError if there is none."""
        problems = (*np.shape(self.code), 0)[0]
        if problems and isinstance(lane, int | np.integer) and not -problems <= lane < problems:
            raise IndexError(f"there are {problems} problems, from 0 to {problems - 1}; got {lane}")
        take = lambda x: x[lane] if isinstance(x, jax.Array | np.ndarray) else x
        chosen = jax.tree.map(take, self)
        return chosen if self.space is None else self.space.each(take, chosen, self)

    def __iter__(self) -> Iterator["Result"]:
        """The problems of a batch, one after the other; TypeError for one problem."""
        if np.ndim(self.code) == 0:
            raise TypeError(self.no_sequence)
        return (self[i] for i in range(len(self.code)))

    @property
    def no_sequence(self) -> str:
        """What to write instead of taking one result apart."""
        return "this is one result, not a sequence: the point is result.params, its value result.value"

    def __getattr__(self, name: str) -> NoReturn:
        """Called for what is not here; of SciPy's names it says what to read instead.

        Raises:
            AttributeError: always.
        """
        hint = f": read result.{INSTEAD[name]}" if name in INSTEAD else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def require_smooth(self, what: str) -> None:
        """Raise ValueError if there was a penalty or a constraint, for ``what`` sees the Hessian of the loss alone."""
        if self.conditions is not None:
            raise ValueError(f"{what} looks at the Hessian of the loss, which says nothing where constraints hold")
        if self.penalty_value is not None:
            raise ValueError(
                f"{what} looks at the Hessian of the loss, which says nothing where a penalty has a kink or a bound "
                "holds; this result was made with a penalty. If the penalty is smooth, add it to the loss instead"
            )

    def __str__(self) -> str:
        """The message, or the shape of the result inside a trace."""
        return self.message if is_concrete(self.code) else repr(self)

    def face(self) -> dict[str, Any]:
        """What `repr` shows, by name (see `gdjax.jaxtools.faces`)."""
        status = str(self.status) if np.ndim(self.code) == 0 else in_counts(self.code)
        shown = dict(status=status, value=self.value, grad_norm=self.grad_norm, num_steps=self.num_steps)
        return shown | dict(num_evals=self.num_evals, params=self.params)

    __repr__ = one_line
    _repr_html_ = as_table


def in_counts(codes: Any) -> str:
    """How often each status came in a batch."""
    if not is_concrete(codes):
        return "traced"
    found, counts = np.unique(np.asarray(codes), return_counts=True)
    return ", ".join(f"{n} {Status(int(code)).name}" for code, n in zip(found, counts, strict=True))
