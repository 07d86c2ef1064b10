"""How results look in a console and in a notebook, and what the package shows of itself."""

import importlib
import importlib.metadata
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax

bowl = lambda p, center: jnp.sum((p["w"] - center) ** 2)
START = {"w": np.zeros(3)}

# Every public name. To take one away, or to give one another meaning, breaks somebody's program.
words = """AcceleratedGradient AcceleratedProximalGradient AdaptiveStep BFGS Backtracking BarzilaiBorwein Cauchy Fit
    Huber LevenbergMarquardt SoftL1 Tukey curve_fit curve_fit_many least_squares least_squares_many ConjugateGradient
    AugmentedLagrangian Constraint CriticalPoint Estimates GradientDescent HagerZhang History Kind LBFGS LearningRates
    LoopState Minima MoreThuente init step mean_over sum_over train Training
    MultiStart Optax PANOC PolyakStep Profile ProximalGradient Result Services Status Stop TrustRegion Uncertainty
    WeakWolfe check_gradient check_penalty classify_critical_point explain iterate learning_rate_range maximize minimize
    minimize_many multistart penalties profile resume spaces uncertainty varpro"""
PUBLIC = sorted(words.split())

# And those of the rooms, of which pieces of one's own are made.
ROOMS = {
    "line_search": "Backtracking HagerZhang LineSearch MoreThuente Trial Verdict WeakWolfe decreases flattens",
    "methods": "Method Move Outcome Searching Secant State Stepping method static_field",
    "spaces": "Above Below CorrelationCholesky CovarianceCholesky Fixed Free Interval Ordered Origin Positive Scaled "
    "Simplex Space Stack UnitVector by_leaf",
    "vectors": "Scalar Vector add add_scaled apply divide dot dots max_abs multiply negative scale subtract where "
    "zeros_like",
}


@pytest.fixture(scope="module")
def shown():
    """One of everything that a call returns."""
    result = gdjax.minimize(bowl, START, 1.0, history=True)
    assert result.status == gdjax.Status.CONVERGED
    many = gdjax.minimize_many(bowl, START, np.arange(3.0), in_axes=(None, 0))
    return {
        "result": result,
        "many": many,
        "history": result.history,
        "uncertainty": gdjax.uncertainty(bowl, result, 1.0, kind="likelihood"),
        "check": gdjax.check_gradient(bowl, START, 1.0),
        "explanation": result.explain(bowl, 1.0),
        "rates": gdjax.learning_rate_range(bowl, START, 1.0, rates=[0.1, 0.3]),
        "fit": (fit := gdjax.least_squares(lambda p, y: p["w"] - y, START, np.arange(6.0).reshape(2, 3))),
        "derived": fit.derived(lambda p: p["w"] ** 2),
        "starts": gdjax.multistart(bowl, {"w": np.eye(3)}, 1.0),
    }


def test_each_has_a_short_line_and_a_table_for_notebooks(shown):
    for name, thing in shown.items():
        line, table = repr(thing), thing._repr_html_()
        assert line.startswith(type(thing).__name__ + "("), name
        assert "\n" not in line, name
        assert len(line) < 400, name
        assert table.startswith("<table>"), name
        assert str(thing).splitlines()[0].split("&")[0][:20].replace(">", "&gt;") in table, name


@pytest.mark.float64
def test_a_result_shows_status_numbers_and_params(shown):
    line = repr(shown["result"])
    assert "status=CONVERGED" in line
    assert "params={w: [1, 1, 1]}" in line
    assert "status=3 CONVERGED" in repr(shown["many"])


@pytest.mark.float64
def test_inside_a_trace_shapes_are_shown():
    seen = []

    def solve(center):
        result = gdjax.minimize(bowl, START, center)
        seen.extend([repr(result), str(result)])
        return result.value

    jax.jit(solve)(1.0)
    assert all("value=float" in text for text in seen)


def test_the_package_shows_its_public_names_and_its_version():
    assert sorted(gdjax.__all__) == PUBLIC
    assert set(dir(gdjax)) == {*PUBLIC, "__version__", "plot"}
    assert gdjax.__version__ == importlib.metadata.version("gdjax")
    assert all(f"`{name}`" in gdjax.__doc__ or f"`gdjax.{name}`" in gdjax.__doc__ for name in PUBLIC)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_its_public_names(room):
    assert sorted(importlib.import_module(f"gdjax.{room}").__all__) == ROOMS[room].split()


@pytest.mark.float64
def test_help_shows_the_options_of_the_front_doors():
    for door in (gdjax.minimize, gdjax.maximize, gdjax.iterate):
        shown = inspect.signature(door).parameters
        assert shown["method"].default is None
        assert shown["implicit"].default is True
    assert "services" in inspect.signature(gdjax.minimize).parameters
