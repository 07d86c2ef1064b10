"""Minimise any JAX loss until a tolerance is reached, and know whether the answer can be trusted."""

from gdjax.gradient_check import check_gradient
from gdjax.history import History
from gdjax.line_search.backtracking import Backtracking
from gdjax.line_search.more_thuente import MoreThuente
from gdjax.methods.bfgs import BFGS
from gdjax.methods.conjugate_gradient import ConjugateGradient
from gdjax.methods.gradient_descent import GradientDescent
from gdjax.methods.lbfgs import LBFGS
from gdjax.methods.optax import Optax
from gdjax.methods.trust_region import TrustRegion
from gdjax.minimize import iterate, maximize, minimize
from gdjax.result import Result
from gdjax.stopping import Status, Stop
from gdjax.uncertainty import Uncertainty, uncertainty

__all__ = [
    "BFGS",
    "LBFGS",
    "Backtracking",
    "ConjugateGradient",
    "GradientDescent",
    "History",
    "MoreThuente",
    "Optax",
    "Result",
    "Status",
    "Stop",
    "TrustRegion",
    "Uncertainty",
    "check_gradient",
    "iterate",
    "maximize",
    "minimize",
    "uncertainty",
]
