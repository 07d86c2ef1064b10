"""Minimise any JAX loss until a tolerance is reached, and know whether the answer can be trusted.

    result = gdjax.minimize(loss, params, *data)    # then print(result)

Minimise: `minimize`, `maximize`, `minimize_many`, `multistart`, `iterate`, `resume`. They take and return `Stop`,
`Services`, `Result`, `Status`, `History`, `MultiStart`, `Minima`. Your own loop: `init`, `step` (`LoopState`).
A loss over more data than fit in memory: `sum_over`, `mean_over`. Training on mini-batches: `train` (`Training`).

Least squares: `least_squares`, `curve_fit`, and for many data sets `least_squares_many`, `curve_fit_many` (`Fit`,
`Estimates`), by `LevenbergMarquardt`. For outliers: `Huber`, `SoftL1`, `Cauchy`, `Tukey`. Profile likelihood of one
parameter: `profile` (`Profile`). If some parameters are linear: `varpro`.

Methods: `LBFGS` (the default; for few parameters `BFGS`), `ConjugateGradient`, `TrustRegion`, `GradientDescent`,
`AcceleratedGradient`, `Optax`. For penalties and simple sets (`gdjax.penalties`): `PANOC`, `ProximalGradient`,
`AcceleratedProximalGradient`. For general constraints (`Constraint`): `AugmentedLagrangian`.

Fixed, scaled or constrained parameters (positive, on a simplex ...): `gdjax.spaces`.

Line searches: `MoreThuente`, `HagerZhang`, `Backtracking`, `WeakWolfe`. Step sizes: `BarzilaiBorwein`, `AdaptiveStep`,
`PolyakStep`. To choose a rate: `learning_rate_range` (`LearningRates`).

Checks and diagnostics: `check_gradient`, `check_penalty`, `classify_critical_point` (`CriticalPoint`, `Kind`),
`uncertainty` (`Uncertainty`), `explain`. Pictures: `gdjax.plot`.
"""

from importlib.metadata import version
from typing import Any

from gdjax import penalties, spaces
from gdjax.curve_fit import curve_fit, curve_fit_many
from gdjax.descent.certificate import CriticalPoint, Kind
from gdjax.descent.history import History
from gdjax.descent.limits import Stop
from gdjax.descent.result import Result
from gdjax.descent.stopping import Status
from gdjax.insight.critical_point import classify_critical_point
from gdjax.insight.explain import explain
from gdjax.insight.fit import Fit
from gdjax.insight.gradient_check import check_gradient
from gdjax.insight.inference import Estimates
from gdjax.insight.minima import Minima
from gdjax.insight.penalty_check import check_penalty
from gdjax.insight.profiles import Profile
from gdjax.insight.uncertainty import Uncertainty, uncertainty
from gdjax.iterate import iterate
from gdjax.learning_rates import LearningRates, learning_rate_range
from gdjax.least_squares import least_squares, least_squares_many
from gdjax.line_search.backtracking import Backtracking
from gdjax.line_search.hager_zhang import HagerZhang
from gdjax.line_search.more_thuente import MoreThuente
from gdjax.line_search.weak_wolfe import WeakWolfe
from gdjax.loop_state import LoopState
from gdjax.methods.accelerated_gradient import AcceleratedGradient
from gdjax.methods.accelerated_proximal_gradient import AcceleratedProximalGradient
from gdjax.methods.augmented_lagrangian import AugmentedLagrangian
from gdjax.methods.barzilai_borwein import BarzilaiBorwein
from gdjax.methods.bfgs import BFGS
from gdjax.methods.conjugate_gradient import ConjugateGradient
from gdjax.methods.gradient_descent import GradientDescent
from gdjax.methods.lbfgs import LBFGS
from gdjax.methods.levenberg_marquardt import LevenbergMarquardt
from gdjax.methods.optax import Optax
from gdjax.methods.panoc import PANOC
from gdjax.methods.proximal_gradient import ProximalGradient
from gdjax.methods.step_size import AdaptiveStep, PolyakStep
from gdjax.methods.trust_region import TrustRegion
from gdjax.minimize import maximize, minimize
from gdjax.minimize_many import minimize_many
from gdjax.multistart import MultiStart, multistart
from gdjax.own_loop import init, step
from gdjax.problem.constraints import Constraint
from gdjax.problem.robust import Cauchy, Huber, SoftL1, Tukey
from gdjax.profile import profile
from gdjax.resume import resume
from gdjax.running.services import Services
from gdjax.sum_over import mean_over, sum_over
from gdjax.train import train
from gdjax.training.outcome import Training
from gdjax.varpro import varpro

__all__ = [
    "BFGS",
    "LBFGS",
    "PANOC",
    "AcceleratedGradient",
    "AcceleratedProximalGradient",
    "AdaptiveStep",
    "AugmentedLagrangian",
    "Backtracking",
    "BarzilaiBorwein",
    "Cauchy",
    "ConjugateGradient",
    "Constraint",
    "CriticalPoint",
    "Estimates",
    "Fit",
    "GradientDescent",
    "HagerZhang",
    "History",
    "Huber",
    "Kind",
    "LearningRates",
    "LevenbergMarquardt",
    "LoopState",
    "Minima",
    "MoreThuente",
    "MultiStart",
    "Optax",
    "PolyakStep",
    "Profile",
    "ProximalGradient",
    "Result",
    "Services",
    "SoftL1",
    "Status",
    "Stop",
    "Training",
    "TrustRegion",
    "Tukey",
    "Uncertainty",
    "WeakWolfe",
    "check_gradient",
    "check_penalty",
    "classify_critical_point",
    "curve_fit",
    "curve_fit_many",
    "explain",
    "init",
    "iterate",
    "learning_rate_range",
    "least_squares",
    "least_squares_many",
    "maximize",
    "mean_over",
    "minimize",
    "minimize_many",
    "multistart",
    "penalties",
    "profile",
    "resume",
    "spaces",
    "step",
    "sum_over",
    "train",
    "uncertainty",
    "varpro",
]


__version__ = version("gdjax")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "plot"])


def __getattr__(name: str) -> Any:
    """`gdjax.plot` is imported when it is first used, since it needs matplotlib."""
    if name == "plot":
        import importlib

        return importlib.import_module("gdjax.plot")
    raise AttributeError(f"module 'gdjax' has no attribute {name!r}")
