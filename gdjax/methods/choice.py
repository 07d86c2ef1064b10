"""Which method goes with a penalty, and with residuals of which size."""

import dataclasses
from typing import Any

import jax
import numpy as np

from gdjax.jaxtools.hoisted import Hoisted
from gdjax.methods.accelerated_proximal_gradient import AcceleratedProximalGradient
from gdjax.methods.augmented_lagrangian import AugmentedLagrangian
from gdjax.methods.base import Method
from gdjax.methods.bfgs import BFGS
from gdjax.methods.lbfgs import LBFGS
from gdjax.methods.levenberg_marquardt import LevenbergMarquardt
from gdjax.methods.panoc import PANOC
from gdjax.methods.parts.linearised import LARGEST
from gdjax.methods.projected_lbfgs import ProjectedLBFGS
from gdjax.methods.proximal_gradient import ProximalGradient
from gdjax.methods.truncated_gauss_newton import TruncatedGaussNewton
from gdjax.penalties.base import has_value
from gdjax.problem.problem import Problem, call_function, check_params
from gdjax.vectors.layout import Flat
from gdjax.vectors.vector import is_spread

# Up to so many reals the default is BFGS. Of CUTEst's 49 development problems of fewer than 20 variables it solves 48,
# L-BFGS 47, with as many evaluations (68 and 67 in the geometric mean); in float32 42 and 37 (48 and 44). A step costs
# less: 0.26 us at ten variables, L-BFGS 0.66. (L-BFGS with no more pairs than variables solves 45 with 106.)
FEW = 32

ACCEPTING = (ProximalGradient, AcceleratedProximalGradient, PANOC)


def default(params: Any, penalty: Any, squares: bool) -> Method:
    """The method for params that nobody has chosen one for; ``squares``: for residuals."""
    if getattr(penalty, "is_box", False):
        return LevenbergMarquardt() if squares else ProjectedLBFGS()
    if penalty is not None:
        return PANOC() if has_value(penalty) else AcceleratedProximalGradient()
    if squares:
        return LevenbergMarquardt()
    return BFGS() if count_reals(params) <= FEW and not is_spread(params) else LBFGS()


def count_reals(params: Any) -> int:
    """The number of real parameters."""
    return sum(int(np.size(x)) * (2 if np.iscomplexobj(x) else 1) for x in jax.tree.leaves(params))


def with_penalty(method: Method, penalty: Any) -> Method:
    """The method for a penalty: L-BFGS becomes its projected form in a box.

    Raises:
        ValueError: if the method takes no penalty, or none without a value; the message names those that do.
    """
    is_box = getattr(penalty, "is_box", False)
    if isinstance(method, LBFGS) and is_box:
        return ProjectedLBFGS.of(method)
    if method.least_squares and not is_box:
        raise ValueError(f"{method.name} takes bounds (Box, NonNegative), not the penalty {type(penalty).__name__}")
    if not method.accepts_penalty:
        names = ", ".join(m.__name__ for m in ACCEPTING)
        raise ValueError(
            f"{method.name} cannot take the penalty {type(penalty).__name__}: use {names}, "
            "or LBFGS where the penalty is Box or NonNegative"
        )
    if method.needs_value and not has_value(penalty):
        raise ValueError(
            f"{method.name} compares values, and {type(penalty).__name__} has none: give it value(x), or use "
            "AcceleratedProximalGradient() or ProximalGradient()"
        )
    return method


def with_constraints(method: Method | None, penalty: Any) -> Method:
    """The method for constraints, around one for bounds; None is the default.

    Raises:
        ValueError: if the method takes none, or the penalty is no box.
    """
    if penalty is not None and not getattr(penalty, "is_box", False):
        kind = type(penalty).__name__
        instead = "space=gdjax.spaces.Simplex(), a parameter space, or as " if kind == "Simplex" else ""
        raise ValueError(
            f"with constraints the penalty must be Box or NonNegative, got {kind}: write it as {instead}a "
            "constraint, or, if it is smooth, add it to the loss"
        )
    if method is None:
        return AugmentedLagrangian()
    if isinstance(method, LBFGS):
        return AugmentedLagrangian(ProjectedLBFGS.of(method))
    if not method.constrained:
        raise ValueError(f"{method.name} cannot take constraints: use AugmentedLagrangian(), the default, or LBFGS()")
    return method


def for_size(method: Method, problem: Problem) -> Method:
    """The method for a problem of this size: `LevenbergMarquardt` by conjugate gradients, if it is to be.

    With constraints: L-BFGS with no more pairs than parameters. (Of five, 2000 problems at once took a quarter of the
    time that they took with twenty.)

    Raises:
        ValueError: if these are asked for, and there are bounds or a Jacobian.
    """
    if isinstance(method, AugmentedLagrangian):
        pairs = min(method.inner.memory, max(3, Flat.of(check_params(problem.params)).size))
        return dataclasses.replace(method, inner=ProjectedLBFGS(pairs))
    if not isinstance(method, LevenbergMarquardt) or method.solver == "qr":
        return method
    reasons = {"bounds": problem.penalty is not None, "jac=": problem.jac is not None}
    against = [name for name, holds in reasons.items() if holds]
    if method.solver == "cg":
        if against:
            raise ValueError(
                f"LevenbergMarquardt(solver='cg') does not go with {' and '.join(against)}: use solver='qr'"
                + ", or method=gdjax.LBFGS() where the Jacobian is too large" * (against[0] == "bounds")
            )
        return TruncatedGaussNewton()
    small = residuals_of(problem) * count_reals(problem.params) <= LARGEST
    return method if small or against or method.acceleration else TruncatedGaussNewton()


def residuals_of(problem: Problem) -> int:
    """How many residuals there are."""
    if isinstance(problem.loss, Hoisted):
        first: Any = problem.loss.program.out_avals[0]
        return int(first.size)
    return int(jax.eval_shape(lambda p: call_function(problem, p)[0], check_params(problem.params)).size)
