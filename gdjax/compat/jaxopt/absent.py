"""What jaxopt had and gdjax has not: where to go."""

from typing import Any, NoReturn

QP = "qpax (or MPAX for large linear and quadratic programs; OSQP and CVXPY outside of JAX)"
FIXED = "optimistix.fixed_point"
ROOT = "optimistix.root_find"
LINEAR = "lineax.linear_solve"
SEARCH = (
    "a gdjax method's line_search= (gdjax.MoreThuente, HagerZhang, Backtracking), or optax.scale_by_zoom_linesearch"
)
TRANSPORT = "ott-jax (entropic and quadratically regularised transport)"
SQUARES = "gdjax.least_squares(residuals, params, penalty=gdjax.penalties.Box(lower, upper))"
ELSEWHERE = {
    "AndersonAcceleration": f"{FIXED}; gdjax.LBFGS() where the fixed point is a minimum",
    "AndersonWrapper": f"{FIXED}; gdjax.LBFGS() where the fixed point is a minimum",
    "Bisection": ROOT,
    "BlockCoordinateDescent": "gdjax.minimize(loss, params, penalty=...), which moves all blocks at once",
    "BoxCDQP": QP,
    "BoxOSQP": QP,
    "Broyden": ROOT,
    "CvxpyQP": QP,
    "EqualityConstrainedQP": f"{LINEAR} on its optimality conditions, or {QP}",
    "FixedPointIteration": FIXED,
    "IterativeRefinement": LINEAR,
    "MirrorDescent": "gdjax.minimize(loss, params, space=gdjax.spaces.Simplex()), or ProjectedGradient",
    "OSQP": QP,
    "ScipyBoundedLeastSquares": SQUARES,
    "ScipyLeastSquares": SQUARES,
    "ScipyRootFinding": f"{ROOT}, or scipy.optimize.root",
    "base": "OptStep is gdjax.compat.jaxopt.OptStep",
    "cond": "jax.lax.cond",
    "isotonic": "scikit-learn's IsotonicRegression",
    "kl_projection_birkhoff": TRANSPORT,
    "kl_projection_transport": TRANSPORT,
    "linear_solve": LINEAR,
    "loop": "jax.lax.while_loop, or equinox.internal.while_loop for one with derivatives in reverse",
    "make_kkt_optimality_fun": "gdjax.minimize(loss, params, constraints=...), whose result has derivatives",
    "perturbations": "optax.perturbations",
    "projection_birkhoff": TRANSPORT,
    "projection_polyhedron": f"gdjax.minimize(distance, x, constraints=gdjax.Constraint(...)), or {QP}",
    "projection_sparse_simplex": "gdjax.penalties.Simplex for the simplex without a limit on the entries",
    "projection_transport": TRANSPORT,
}


class Absent:
    """A name that can be imported, so that code that hardly uses it runs; used, it says where to go."""

    def __init__(self, name: str, remedy: str) -> None:
        self._text = f"gdjax does not do {name}; use {remedy}"

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Nothing is done.

        Raises:
            NotImplementedError: saying what does it.
        """
        raise NotImplementedError(self._text)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(self._text)

    def __repr__(self) -> str:
        return f"<{self._text}>"


def where_to_go(module: str, name: str) -> Absent:
    """The stand-in for a name of jaxopt's; AttributeError for any other name."""
    if name not in ELSEWHERE:
        raise AttributeError(f"gdjax.compat has no {module}.{name}")
    return Absent(f"{module}.{name}", ELSEWHERE[name])
