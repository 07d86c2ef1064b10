"""jaxopt's names on gdjax's solvers: ``import gdjax.compat.jaxopt as jaxopt``, and existing code runs.

Constructor arguments, ``run(params, *args, **kwargs)``, ``init_state``, ``update`` and the names in the state are
jaxopt's; what is solved, and how it ends, is gdjax's: ``state.status`` is a `gdjax.Status`, ``print(state)`` says it in
words. ``docs/from_jaxopt.md`` has the table of calls and the differences that matter. What gdjax does not do (quadratic
programs, fixed points, roots, linear systems, methods without gradients) raises an error that names a maintained
library.
"""

from gdjax.compat.jaxopt import implicit_diff, loss, objective, projection, prox, tree_util
from gdjax.compat.jaxopt.absent import Absent, where_to_go
from gdjax.compat.jaxopt.composite import LBFGSB, ProjectedGradient, ProximalGradient
from gdjax.compat.jaxopt.scipy_like import ScipyBoundedMinimize, ScipyMinimize
from gdjax.compat.jaxopt.smooth import (
    BFGS,
    LBFGS,
    BacktrackingLineSearch,
    GradientDescent,
    HagerZhangLineSearch,
    NonlinearCG,
    ZoomLineSearch,
)
from gdjax.compat.jaxopt.solver import OptStep
from gdjax.compat.jaxopt.squares import GaussNewton, LevenbergMarquardt
from gdjax.compat.jaxopt.stochastic import ArmijoSGD, OptaxSolver, PolyakSGD

__all__ = [
    "BFGS",
    "LBFGS",
    "LBFGSB",
    "ArmijoSGD",
    "BacktrackingLineSearch",
    "GaussNewton",
    "GradientDescent",
    "HagerZhangLineSearch",
    "LevenbergMarquardt",
    "NonlinearCG",
    "OptStep",
    "OptaxSolver",
    "PolyakSGD",
    "ProjectedGradient",
    "ProximalGradient",
    "ScipyBoundedMinimize",
    "ScipyMinimize",
    "ZoomLineSearch",
    "implicit_diff",
    "loss",
    "objective",
    "projection",
    "prox",
    "tree_util",
]


def __getattr__(name: str) -> Absent:
    """What jaxopt has and gdjax has not: it can be imported, and says where to go when it is used."""
    return where_to_go("jaxopt", name)
