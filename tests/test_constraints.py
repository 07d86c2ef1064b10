"""`minimize(constraints=...)`: closed forms, multipliers and their signs, honest words, all that `minimize` has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Constraint, Status
from gdjax.penalties import Box, NonNegative

pytestmark = pytest.mark.float64


def distance(p, goal):
    return jnp.sum((p - goal) ** 2)


def total(p, goal):
    return jnp.sum(p)


GOAL = np.arange(1.0, 4.0)


def test_a_projection_onto_a_plane_has_its_closed_form_and_multiplier():
    plane = Constraint(total, lower=1.0, upper=1.0)
    result = gdjax.minimize(distance, np.zeros(3), np.arange(1.0, 4.0), constraints=plane)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, np.arange(1.0, 4.0) - 5 / 3, atol=1e-6)
    # f* = (6 - b)^2 / 3, so df*/db = -2 (6 - b) / 3.
    np.testing.assert_allclose(result.multipliers, -10 / 3, rtol=1e-5)
    assert result.violation <= 2e-6
    assert result.stationarity <= 1e-6
    assert bool(result.active)
    for word in ("CONVERGED", "stationarity", "violation", "complementarity", "1 of 1 constraints are active"):
        assert word in str(result)


@pytest.mark.sample("lower-False")
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("side", ["lower", "upper"])
def test_a_multiplier_is_the_slope_of_the_optimal_value_by_the_bound(maximize, side):
    sign = -1.0 if maximize else 1.0
    solve = gdjax.maximize if maximize else gdjax.minimize

    def at(bound):
        goal = jnp.full(2, 3.0 if side == "upper" else -3.0)
        loss = lambda p: sign * distance(p, goal)
        return solve(loss, np.zeros(2), constraints=Constraint(lambda p: jnp.sum(p**3), **{side: bound}), tol=1e-8)

    bound, h = (2.0 if side == "upper" else -2.0), 1e-3
    result = at(bound)
    assert result.status == Status.CONVERGED
    slope = (at(bound + h).value - at(bound - h).value) / (2 * h)
    np.testing.assert_allclose(result.multipliers, slope, rtol=1e-3)
    assert sign * result.multipliers * (1 if side == "lower" else -1) > 0


def test_trees_of_constraints_give_trees_of_multipliers():
    def both(p, goal):
        return {"sum": p["a"].sum(), "parts": p["a"][:2]}

    constraints = [
        Constraint(both, upper={"sum": 4.0, "parts": jnp.array([jnp.inf, 1.0])}),
        Constraint(lambda p, goal: p["b"], lower=2.0),
    ]
    loss = lambda p, goal: distance(p["a"], goal) + p["b"] ** 2
    result = gdjax.minimize(loss, {"a": jnp.zeros(3), "b": 0.0}, GOAL, constraints=constraints)
    assert result.status == Status.CONVERGED
    # a = (g - t/2) but a_1 = 1: the sum 1 + 3 + 1 - t = 4
    np.testing.assert_allclose(result.params["a"], [0.5, 1.0, 2.5], atol=1e-5)
    np.testing.assert_allclose(result.params["b"], 2.0, atol=1e-5)
    first, second = result.multipliers
    np.testing.assert_allclose(first["sum"], -1.0, atol=1e-4)
    np.testing.assert_allclose(first["parts"], [0.0, -1.0], atol=1e-4)
    np.testing.assert_allclose(second, 4.0, atol=1e-4)
    assert [bool(x) for x in result.active[0]["parts"]] == [False, True]


def test_bounds_stay_bounds_and_are_never_left():
    seen = []

    def loss(p):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), p)
        return distance(p, GOAL)

    sphere = Constraint(lambda p: jnp.sum(p**2), lower=1.0, upper=1.0)
    result = gdjax.minimize(loss, jnp.ones(3), penalty=Box(0.3, 0.8), constraints=sphere)
    jax.effects_barrier()
    assert result.status == Status.CONVERGED
    assert all((x >= 0.3).all() and (x <= 0.8).all() for x in seen)
    # x_3 at 0.8, x_1 at 0.3 or on the way there
    assert abs(float(jnp.sum(result.params**2)) - 1) <= 1e-5


def equal(c, bound):
    return Constraint(c, lower=bound, upper=bound)


def square(p):
    return jnp.sum(p**2)


DISC = Constraint(square, upper=1.0)
TRAPS = {
    "sum": (square, np.zeros(2), [equal(jnp.sum, 1.0), Constraint(lambda p: p[0], lower=2.0)], NonNegative()),
    "two sides": (square, 0.0, [Constraint(lambda p: p, lower=1.0), Constraint(lambda p: p, upper=0.0)], None),
    "far line": (jnp.sum, np.array([0.5, 0.0]), [DISC, Constraint(jnp.sum, lower=5.0)], None),
    "no root": (square, 1.0, equal(lambda p: p**2 + 1, 0.0), None),
    "a corner, in single precision": (
        square,
        np.zeros(2, np.float32),
        Constraint(jnp.sum, lower=np.float32(2.001)),
        Box(-1.0, 1.0),
    ),
    "more equalities": (square, np.zeros(2), equal(lambda p: jnp.stack([p[0], p[0] + p[1], p[1]]), np.ones(3)), None),
}


@pytest.mark.sample("sum")
@pytest.mark.parametrize("name", TRAPS)
def test_what_has_no_feasible_point_is_called_infeasible(name):
    loss, start, constraints, penalty = TRAPS[name]
    result = gdjax.minimize(loss, start, constraints=constraints, penalty=penalty)
    assert result.status == Status.INFEASIBLE
    assert not result.converged
    assert result.violation > (0.1 if result.params.dtype == np.float64 else 9e-4)
    assert "In the way: constraints" in str(result)


def test_traced_bounds_that_contradict_each_other_are_called_infeasible():
    def solve(low):
        return gdjax.minimize(lambda x: (x - 3.0) ** 2, 0.0, constraints=Constraint(lambda x: x, low, 1.0))

    result = jax.vmap(solve)(jnp.array([2.0, 0.0]))
    assert [Status(int(code)) for code in result.code] == [Status.INFEASIBLE, Status.CONVERGED]
    np.testing.assert_allclose(result.params, [1.5, 1.0], atol=1e-6)
    np.testing.assert_allclose(result.violation, [0.5, 0.0], atol=1e-6)


FAR_STARTS = [3.0, -4.0, 10.0, 1.5, 2.0]


@pytest.mark.parametrize("start", [*FAR_STARTS, 0.0])
def test_a_point_of_most_violation_is_left_for_the_feasible_start(start):
    # Without the constraint the minimum is at 0, where the violation is stationary: the largest there is.
    result = gdjax.minimize(lambda x: x**2, start, constraints=Constraint(lambda x: x**2, lower=1.0))
    assert result.status == Status.CONVERGED
    assert int(result.num_evals) <= 200
    np.testing.assert_allclose(result.params, np.sign(start or result.params), atol=1e-6)


MOST_VIOLATED = {"a disc": (np.zeros(2), 1.0), "a saddle": (np.array([3.0, 0.0]), np.ones(2))}


@pytest.mark.sweep
@pytest.mark.parametrize("name", MOST_VIOLATED)
def test_a_start_where_the_violation_is_largest_is_left(name):
    start, lower = MOST_VIOLATED[name]
    c = jnp.square if name == "a saddle" else square
    result = gdjax.minimize(square, start, constraints=Constraint(c, lower=lower))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.value, np.sum(lower), rtol=1e-5)


@pytest.mark.sweep
def test_a_saddle_of_the_violation_is_left():
    below = Constraint(lambda p: jnp.cos(p[0]) + p[1] ** 2, upper=0.0)
    result = gdjax.minimize(square, np.array([0.0, 3.0]), constraints=below)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(jnp.abs(result.params), [np.pi / 2, 0.0], atol=1e-3)


@pytest.mark.sweep
def test_lanes_leave_a_point_of_most_violation():
    outside = Constraint(lambda x: x**2, lower=1.0)
    result = gdjax.minimize_many(lambda x: x**2, np.array(FAR_STARTS), constraints=outside)
    assert [Status(int(code)) for code in result.code] == [Status.CONVERGED] * len(FAR_STARTS)
    np.testing.assert_allclose(result.params, np.sign(FAR_STARTS), atol=1e-6)


@pytest.mark.sweep
def test_more_equalities_than_parameters_that_agree_are_solved():
    three = Constraint(
        lambda p: jnp.stack([p[0] + p[1], p[0] - p[1], p[0]]),
        lower=jnp.array([2.0, 0.0, 1.0]),
        upper=jnp.array([2.0, 0.0, 1.0]),
    )
    result = gdjax.minimize(lambda p: jnp.sum(p**2), jnp.array([5.0, -3.0]), constraints=three)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1.0, atol=1e-5)


def test_dependent_constraints_are_solved():
    twice = Constraint(
        lambda p: jnp.stack([p.sum(), 2 * p.sum()]), lower=jnp.array([1.0, 2.0]), upper=jnp.array([1.0, 2.0])
    )
    result = gdjax.minimize(
        distance, jnp.zeros(3), GOAL, constraints=Constraint(lambda p, goal: twice.c(p), twice.lower, twice.upper)
    )
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, np.arange(1.0, 4.0) - 5 / 3, atol=1e-5)


def test_a_constraint_that_is_nan_beyond_its_domain():
    log = Constraint(lambda p: jnp.log(p[0]) + jnp.log(p[1]), lower=0.0)
    result = gdjax.minimize(lambda p: p[0] + 4 * p[1], jnp.array([3.0, 3.0]), constraints=log)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, [2.0, 0.5], atol=1e-5)


def test_a_loss_without_a_minimum_on_the_feasible_set_is_unbounded():
    result = gdjax.minimize(lambda p: p[0], jnp.ones(2), constraints=Constraint(lambda p: p[1], lower=0.0))
    assert result.status == Status.UNBOUNDED


@pytest.mark.sweep
def test_a_loss_is_unbounded_though_a_constraint_overflows_beside_the_way_down():
    high = Constraint(lambda p: p[0] ** 32 - 20 * p[0] - p[1], lower=0.0)  # a sign is wrong
    result = gdjax.minimize(lambda p: p[1], jnp.full(2, 0.5), constraints=high)
    assert result.status == Status.UNBOUNDED
    assert int(result.num_evals) <= 20


@pytest.mark.sweep
def test_multipliers_of_a_result_are_a_warm_start():
    def again(goal, **options):
        return gdjax.minimize(distance, first.params, goal, constraints=both, **options)

    both = [Constraint(lambda p, goal: jnp.sum(p**2), upper=1.0), Constraint(lambda p, goal: p[0] - p[1], lower=0.1)]
    first = gdjax.minimize(distance, np.zeros(3), GOAL, constraints=both)
    cold = again(1.01 * GOAL)
    warm = jax.jit(lambda goal, y: again(goal, multipliers=y))(1.01 * GOAL, first.multipliers)
    assert cold.status == warm.code == Status.CONVERGED
    assert int(warm.num_evals) <= int(cold.num_evals) // 2
    np.testing.assert_allclose(warm.params, cold.params, atol=1e-6)
    np.testing.assert_allclose(warm.multipliers, cold.multipliers, rtol=1e-4)


@pytest.mark.sweep
def test_at_a_limit_the_best_point_violates_least():
    circle = Constraint(lambda p: jnp.sum(p**2), lower=4.0, upper=4.0)
    result = gdjax.minimize(lambda p: p[0] + 3 * p[1], jnp.array([3.0, 1.0]), constraints=circle, max_evals=8)
    assert result.status == Status.MAX_EVALS
    seen = []
    gdjax.minimize(
        lambda p: (jax.debug.callback(lambda x: seen.append(np.asarray(x)), p), p[0] + 3 * p[1])[1],
        jnp.array([3.0, 1.0]),
        constraints=circle,
        max_evals=8,
    )
    jax.effects_barrier()
    assert float(result.violation) <= min(abs(np.sum(x**2) - 4) for x in seen) + 1e-6


UNITS = {np.float32: (1e-10, 1e-7, 1e-6, 1e6, 1e10), np.float64: (1e-12, 1e-6, 1e6, 1e12)}
UNITS_OF = [(dtype, unit) for dtype, units in UNITS.items() for unit in units]


@pytest.mark.sample("0.0-float32-1e-10", "10.0-float32-1e-06", "10.0-float32-10000000000.0")
@pytest.mark.parametrize(("dtype", "unit"), UNITS_OF)
@pytest.mark.parametrize("start", [0.0, 10.0])
def test_units_of_the_loss_make_no_difference(dtype, unit, start):
    """At 0 the gradient of the loss is 0, and tells nothing of its units."""
    loss, wall = lambda p, s: s * (p @ p), Constraint(lambda p, s: p[0], lower=dtype(3))
    one, other = (
        gdjax.minimize(loss, np.full(2, start, dtype), dtype(s), constraints=wall, max_evals=500) for s in (1.0, unit)
    )
    assert one.status == other.status == Status.CONVERGED
    np.testing.assert_allclose(other.params, [3, 0], atol=1e-5 if dtype == np.float64 else 2e-3)
    np.testing.assert_allclose(other.multipliers, 6 * unit, rtol=1e-3)
    assert start == 0 or other.num_evals == one.num_evals


@pytest.mark.sweep
@pytest.mark.parametrize(("dtype", "unit"), UNITS_OF)
def test_units_of_loss_and_constraints_together_make_no_difference(dtype, unit):
    """At 0 all gradients but that of the loss are 0."""
    goal = GOAL.astype(dtype)
    loss, disc = lambda p, s: s * jnp.sum((p - goal) ** 2), Constraint(lambda p, s: s * (p @ p), upper=dtype(unit))
    result = gdjax.minimize(loss, np.zeros(3, dtype), dtype(unit), constraints=disc)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, goal / np.linalg.norm(goal), atol=1e-5 if dtype == np.float64 else 2e-3)
    np.testing.assert_allclose(result.multipliers, 1 - np.linalg.norm(GOAL), rtol=1e-3)


@pytest.mark.sweep
@pytest.mark.parametrize("scale", [1e-10, 1e-3, 1e6])
def test_units_of_constraints_make_no_difference(scale):
    plane = Constraint(lambda p: scale * jnp.sum(p), lower=scale, upper=scale)
    for loss in (lambda p: distance(p, GOAL), lambda p: scale * distance(p, GOAL)):
        result = gdjax.minimize(loss, jnp.zeros(3), constraints=plane)
        assert result.converged
        np.testing.assert_allclose(result.params, np.arange(1.0, 4.0) - 5 / 3, atol=1e-5)


def test_no_success_far_from_the_answer_where_parameters_are_large():
    """The gradient of such a loss is small everywhere; start and answer are 1e8 from each other."""
    wall = Constraint(lambda p: p[0], lower=3e8)
    result = gdjax.minimize(lambda p: jnp.sum((p / 1e8) ** 2), np.full(2, 1e8), constraints=wall, max_evals=1000)
    assert not result.converged or abs(float(result.params[0]) / 3e8 - 1) < 1e-5


@pytest.mark.sweep
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_is_no_smaller_for_a_large_loss(dtype):
    """Hock and Schittkowski's problem 64: a start of gradient 5e4, and a minimum of 5800, 100 away."""
    loss = lambda x: 5 * x[0] + 5e4 / x[0] + 20 * x[1] + 7.2e4 / x[1] + 10 * x[2] + 1.44e5 / x[2]
    c = Constraint(lambda x: 4 / x[0] + 32 / x[1] + 120 / x[2], upper=2.0)
    result = gdjax.minimize(loss, np.ones(3, dtype), constraints=c, penalty=Box(1e-5, np.inf))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(jax.grad(loss)(result.params), 0, atol=1e-5 if dtype == np.float64 else 0.1)


def test_a_sum_holds_to_rounding_in_single_precision():
    goal = np.linspace(0, 1, 10, dtype=np.float32)
    shares = Constraint(jnp.sum, lower=1.0, upper=1.0)
    result = gdjax.minimize(lambda p: jnp.sum((p - goal) ** 2), np.zeros(10, np.float32), constraints=shares)
    assert result.status == Status.CONVERGED
    assert abs(np.sum(np.asarray(result.params, np.float64)) - 1) < 3e-6


CUSP = [Constraint(lambda p: (1 - p[0]) ** 3 - p[1], lower=0.0), Constraint(lambda p: p[1], lower=0.0)]
HARDLY = {
    "a cusp": (lambda p: -p[0], np.full(2, 0.5), CUSP),
    "a square that vanishes": (lambda p: (p - 1.0) ** 2, 1.0, equal(lambda p: p**2, 0.0)),
    "no point, but within the tolerance": (
        lambda p: jnp.sum((p - 1) ** 2),
        np.ones(2),
        Constraint(square, upper=-1e-9),
    ),
}


@pytest.mark.sample("a cusp")
@pytest.mark.parametrize("name", HARDLY)
def test_constraints_that_hardly_allow_a_point_are_named(name):
    loss, start, constraints = HARDLY[name]
    result = gdjax.minimize(loss, start, constraints=constraints)
    assert not result.converged or "Large multipliers: constraints" in str(result)
    assert not result.converged or "Large multipliers: constraints" in str(result.explain(loss))


@pytest.mark.sweep
def test_sound_problems_have_no_large_multipliers():
    for result in (solve(GOAL), gdjax.minimize(lambda p: p[0] - 3, np.ones(2), constraints=CUSP[1])):
        assert "Large" not in str(result)
    assert "nothing stands out" in str(solve(GOAL).explain(lambda p: distance(p, GOAL)))


def test_a_constraint_that_is_nan_at_the_start_is_named():
    result = gdjax.minimize(square, -np.ones(2), constraints=[DISC, Constraint(lambda p: jnp.log(p[0]), lower=0.0)])
    assert result.status == Status.NONFINITE_START
    assert "constraints[1] has 1 of 1" in str(result)
    steep = gdjax.minimize(square, np.zeros(2), constraints=Constraint(lambda p: jnp.sqrt(p[0]), lower=1.0))
    assert steep.status == Status.NONFINITE_START
    assert "the gradient of a constraint" in str(steep)


@pytest.mark.sweep
def test_beside_constraints_an_end_of_a_space_is_no_false_alarm():
    """The wall holds it near 0, on which side the loss would fall."""
    wall = Constraint(lambda p: p["x"] + p["y"], lower=1.0)
    result = gdjax.minimize(
        lambda p: p["x"] + 2 * p["y"],
        {"x": 0.5, "y": 0.5},
        space={"x": gdjax.spaces.Positive(), "y": gdjax.spaces.Positive()},
        constraints=wall,
    )
    assert result.status != Status.AT_EDGE


def test_refusals_say_what_to_do():
    c = Constraint(lambda p: p, lower=0.0)
    loss = lambda p: jnp.sum(p**2)
    for error, words, options in [
        (TypeError, "write gdjax.Constraint", dict(constraints=lambda p: p)),
        (ValueError, "Box or NonNegative", dict(constraints=c, penalty=gdjax.penalties.L1(1.0))),
        (ValueError, r"space=gdjax.spaces.Simplex\(\)", dict(constraints=c, penalty=gdjax.penalties.Simplex())),
        (ValueError, "cannot take constraints", dict(constraints=c, method=gdjax.BFGS())),
        (ValueError, "give constraints=", dict(multipliers=0.0)),
        (ValueError, "multipliers has shape", dict(constraints=c, multipliers=jnp.zeros(3))),
    ]:
        with pytest.raises(error, match=words):
            gdjax.minimize(loss, jnp.ones(2), **options)
    with pytest.raises(ValueError, match="a bound"):
        Constraint(lambda p: p)
    with pytest.raises(ValueError, match="above"):
        Constraint(lambda p: p, lower=1.0, upper=0.0)
    with pytest.raises(TypeError, match="floating"):
        gdjax.minimize(loss, jnp.ones(2), constraints=Constraint(lambda p: 1, lower=0.0))
    with pytest.raises(ValueError, match="broadcast"):
        gdjax.minimize(loss, jnp.ones(2), constraints=Constraint(lambda p: p, lower=jnp.zeros(3)))


@pytest.mark.sweep
def test_single_precision():
    plane = Constraint(total, lower=1.0, upper=1.0)
    result = gdjax.minimize(distance, np.zeros(3, np.float32), np.arange(1.0, 4.0, dtype=np.float32), constraints=plane)
    assert result.converged
    assert result.value.dtype == np.float32
    np.testing.assert_allclose(result.params, np.arange(1.0, 4.0) - 5 / 3, atol=2e-3)


def solve(goal):
    disc = Constraint(lambda p: jnp.sum(p**2), upper=1.0)
    return gdjax.minimize(lambda p: distance(p, goal), jnp.zeros(3), constraints=disc)


@pytest.mark.sweep
def test_inside_jit_and_vmap():
    goals = jnp.stack([GOAL, -GOAL, GOAL / 10, 0 * GOAL + 1])
    many = jax.jit(jax.vmap(solve))(goals)
    np.testing.assert_array_equal(many.code, Status.CONVERGED)
    want = goals / np.maximum(1, np.linalg.norm(goals, axis=1, keepdims=True))
    np.testing.assert_allclose(many.params, want, atol=1e-5)
    assert many.multipliers.shape == (4,)
    assert "4 CONVERGED" in str(many)


def test_many_at_once():
    goals = jnp.asarray(np.random.default_rng(0).normal(size=(40, 3)) * 2)
    disc = Constraint(lambda p, goal: jnp.sum(p**2), upper=1.0)
    many = gdjax.minimize_many(distance, jnp.zeros(3), goals, in_axes=(None, 0), constraints=disc)
    assert many.converged.all()
    want = goals / np.maximum(1, np.linalg.norm(goals, axis=1, keepdims=True))
    np.testing.assert_allclose(many.params, want, atol=1e-5)


@pytest.mark.sweep
def test_history_has_the_violation():
    disc = Constraint(lambda p: jnp.sum(p**2), upper=1.0)
    result = gdjax.minimize(lambda p: distance(p, GOAL), jnp.zeros(3), constraints=disc, history=True)
    assert result.status == Status.CONVERGED
    columns = result.history.to_dict()
    assert columns["violation"][-1] <= 1e-6
    assert columns["violation"].max() > 1e-3
    np.testing.assert_allclose(columns["value"][-1], result.value)


@pytest.mark.sweep
def test_a_checkpoint_goes_on_to_the_same_result(tmp_path):
    call = (lambda p: distance(p, GOAL), jnp.zeros(3))
    options = dict(constraints=Constraint(lambda p: jnp.sum(p**2), upper=1.0))
    whole = gdjax.minimize(*call, **options)
    path = tmp_path / "descent.npz"
    cut = gdjax.minimize(*call, **options, max_evals=5, checkpoint=path)
    assert cut.status == Status.MAX_EVALS
    rest = gdjax.resume(path, *call, **options)
    assert rest.status == whole.status
    np.testing.assert_array_equal(rest.params, whole.params)


@pytest.mark.sweep
def test_iterate_shows_the_steps_of_minimize():
    disc = Constraint(lambda p: jnp.sum(p**2), upper=1.0)
    *_, last = gdjax.iterate(lambda p: distance(p, GOAL), jnp.zeros(3), constraints=disc)
    whole = gdjax.minimize(lambda p: distance(p, GOAL), jnp.zeros(3), constraints=disc)
    assert last.status == whole.status == Status.CONVERGED
    np.testing.assert_array_equal(last.params, whole.params)


def test_check_gradient_looks_at_each_constraint():
    @jax.custom_jvp
    def wrong(p):
        return jnp.sum(p**2)

    wrong.defjvp(lambda p, t: (wrong(*p), jnp.sum(p[0] * t[0])))  # a 2 is missing
    loss, constraints = square, [DISC, Constraint(wrong, lower=1.0)]
    report = gdjax.check_gradient(loss, jnp.array([1.0, 2.0]), constraints=constraints)
    assert not report.ok
    assert all(text.startswith("constraints[1]") for text in report.problems)
    assert gdjax.check_gradient(loss, jnp.array([1.0, 2.0]), constraints=DISC).ok
    with pytest.raises(ValueError, match=r"constraints\[1\]"):
        gdjax.minimize(loss, jnp.array([1.0, 2.0]), constraints=constraints, check_grad=True)


def test_a_given_gradient_is_used_and_a_wrong_one_is_found():
    goal = np.array([3.0, 1.0])
    loss = lambda p: jnp.sum((p - goal) ** 2)
    right = gdjax.minimize(loss, jnp.zeros(2), grad=lambda p: 2 * (p - goal), constraints=DISC)
    assert right.status == Status.CONVERGED
    np.testing.assert_allclose(right.params, goal / np.sqrt(10), atol=1e-5)
    wrong = gdjax.minimize(loss, jnp.zeros(2), grad=lambda p: 2 * (p - goal[::-1]), constraints=DISC)
    assert wrong.status == Status.WRONG_GRADIENT
    assert not wrong.converged


@pytest.mark.sweep
def test_parameters_in_spaces_are_seen_by_constraints_as_they_are():
    shares = {"w": np.full(3, 1 / 3), "scale": 1.0}
    where = {"w": gdjax.spaces.Simplex(), "scale": gdjax.spaces.Positive()}
    c = Constraint(lambda p: p["w"][0] * p["scale"], lower=2.0, upper=2.0)
    loss = lambda p: 10 * jnp.sum(p["w"] ** 2) + p["scale"]
    result = gdjax.minimize(loss, shares, space=where, constraints=c)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params["w"][0] * result.params["scale"], 2.0, atol=1e-5)
    np.testing.assert_allclose(result.params["w"].sum(), 1.0, atol=1e-12)


@pytest.mark.sweep
@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_no_violation_is_overlooked_in_other_units_of_the_parameters(unit):
    plane = Constraint(jnp.sum, lower=3 * unit, upper=3 * unit)
    result = gdjax.minimize(lambda x: jnp.sum((x / unit - 2) ** 2), jnp.full(2, unit), constraints=plane)
    far = abs(float(jnp.sum(result.params)) / unit - 3)
    assert far <= 1e-5 or not result.converged


def test_a_constraint_that_takes_no_data_is_told_of_them():
    with pytest.raises(TypeError, match=r"a constraint is called with the data of the loss: .*lambda params, \*data"):
        gdjax.minimize(distance, jnp.zeros(2), 1.0, constraints=Constraint(lambda p: p, lower=0.0))
