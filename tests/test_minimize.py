"""The front door: what it takes, what it returns, what it compiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import SEARCH, CompileCounter, count_primitive, marked, quadratic, rosenbrock, tree_loss

import gdjax
from gdjax import GradientDescent, Optax, Status, Stop

METHODS = {
    "fixed": GradientDescent(0.1),
    "momentum": GradientDescent(0.05, momentum=0.5),
    "nesterov": GradientDescent(0.05, momentum=0.5, nesterov=True),
    "schedule": GradientDescent(optax.exponential_decay(0.2, 10, 0.99)),
    "backtracking": SEARCH,
    "adam": optax.adam(0.05),
    "traced adam": Optax(optax.adam, learning_rate=0.05),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


@pytest.mark.float64
@each_method
def test_the_loss_occurs_once_in_the_program_and_is_traced_once(method):
    calls = []

    def loss(p, x):
        calls.append(1)
        return marked(p, x)

    solve = lambda p, x: gdjax.minimize(loss, p, x, method=method, history=True)
    jaxpr = jax.make_jaxpr(solve)(jnp.zeros(5), 0.1).jaxpr
    assert (count_primitive(jaxpr, "sin"), count_primitive(jaxpr, "cos"), len(calls)) == (1, 1, 1)


@pytest.mark.sample("fixed")
@each_method
def test_same_iterates_outside_jit_inside_and_by_hand(method):
    x0 = jnp.array([2.0, -1.0, 0.5])
    solve = lambda p: gdjax.minimize(quadratic, p, method=method, history=True, tol=1e-3)
    outside, inside = solve(x0), jax.jit(solve)(x0)
    states = list(gdjax.iterate(quadratic, x0, method=method, tol=1e-3))
    assert outside.status == inside.status == states[-1].status == Status.CONVERGED
    assert int(outside.num_steps) == int(inside.num_steps) == int(states[-1].num_steps) == len(states) - 1
    assert all(s.status == Status.RUNNING for s in states[:-1])
    np.testing.assert_allclose(outside.params, inside.params, rtol=1e-6)
    np.testing.assert_allclose(outside.params, states[-1].params, rtol=1e-6)
    values = outside.history.trim().value
    np.testing.assert_allclose(values, [s.value for s in states], rtol=1e-5, atol=1e-7)


@pytest.mark.sample("fixed", "adam")
@each_method
def test_any_pytree_in_the_same_pytree_out(method):
    params = {
        "real": jnp.zeros((2, 2), jnp.float32),
        "half": [jnp.full(3, 3.0, jnp.bfloat16), None],
        "complex": (jnp.array([0.5j], jnp.complex64), 2.0),
    }
    result = gdjax.minimize(tree_loss, params, method=method)
    assert result.status == Status.CONVERGED
    assert jax.tree.structure(result.params) == jax.tree.structure(params)
    assert jax.tree.structure(result.grad) == jax.tree.structure(params)
    for out, given in zip(jax.tree.leaves(result.params), jax.tree.leaves(params), strict=True):
        assert out.dtype == jnp.asarray(given).dtype
        assert out.shape == jnp.shape(given)
        np.testing.assert_allclose(out, 1 + 2j if jnp.iscomplexobj(out) else 1, atol=0.1)


@pytest.mark.float64
def test_gradient_of_complex_params_is_in_the_convention_of_jax_grad():
    loss = lambda z: jnp.abs(z - (1 + 2j)) ** 2
    result = gdjax.minimize(loss, jnp.asarray(3 + 1j, jnp.complex64), method=GradientDescent(0.1), max_steps=3)
    np.testing.assert_allclose(result.grad, jax.grad(loss)(result.params), rtol=1e-5)
    given = gdjax.minimize(
        loss,
        jnp.asarray(3 + 1j, jnp.complex64),
        grad=jax.grad(loss),
        method=GradientDescent(0.1),
        max_steps=3,
    )
    np.testing.assert_allclose(given.params, result.params, rtol=1e-6)


@pytest.mark.float64
def test_float32_params_stay_float32_in_64_bit_mode():
    result = gdjax.minimize(quadratic, jnp.zeros(3, jnp.float32), method=SEARCH)
    assert result.status == Status.CONVERGED
    assert {x.dtype for x in (result.params, result.grad, result.value)} == {jnp.dtype("float32")}


def test_second_call_with_new_data_settings_or_start_compiles_nothing():
    loss = lambda p, x, y: jnp.mean((p["a"] * x + p["b"] - y) ** 2)
    x = jnp.linspace(0.0, 1.0, 10)
    start = {"a": jnp.asarray(0.0), "b": jnp.asarray(0.0)}

    def solve(scale, rate, tol, steps):
        return [
            gdjax.minimize(loss, start, x, scale * x + 1, method=GradientDescent(rate), tol=tol, max_steps=steps),
            gdjax.minimize(loss, start, x, scale * x + 1, method=GradientDescent(rate, momentum=rate), tol=tol),
            gdjax.minimize(loss, start, x, scale * x + 1, method=GradientDescent(gdjax.Backtracking(rate)), tol=tol),
            gdjax.minimize(loss, start, x, scale * x + 1, method=Optax(optax.adam, learning_rate=rate), tol=tol),
            gdjax.minimize(loss, start, x, scale * x + 1, tol=tol, max_steps=steps),
        ]

    first = solve(2.0, 0.3, 1e-3, 1000)
    with jax.log_compiles(False), CompileCounter() as compiled:
        second = solve(3.0, 0.2, 1e-2, 2000)
    assert compiled.count == 0
    assert all(r.status == Status.CONVERGED for r in first + second)
    assert all(abs(float(r.params["a"]) - 3) < 0.3 for r in second)


@pytest.mark.parametrize("constrained", [False, True])
def test_going_on_from_a_result_compiles_nothing(constrained):
    """Its params are arrays, though the start was of Python's numbers; and there are multipliers."""
    start, loss = {"a": 0.0, "b": jnp.asarray(0.5)}, lambda p: jnp.exp(p["a"]) - 3 * p["a"] + (p["b"] - 1) ** 2
    limits = gdjax.Constraint(lambda p: p["a"] + p["b"], upper=1.0) if constrained else None
    first = gdjax.minimize(loss, start, constraints=limits)
    more = dict(multipliers=first.multipliers) if constrained else {}
    near = jax.tree.map(lambda x: x + 0.1, first.params)
    with jax.log_compiles(False), CompileCounter() as compiled:
        second = gdjax.minimize(loss, near, constraints=limits, **more)
    assert compiled.count == 0
    assert first.status == second.status == Status.CONVERGED


@pytest.mark.float64
def test_the_compile_counter_counts():
    with CompileCounter() as compiled:
        gdjax.minimize(lambda p: p**2, 1.0, method=GradientDescent(0.1))
    assert compiled.count >= 1


def test_arrays_of_a_loss_that_is_a_pytree_are_traced():
    def loss(data, p):
        return jnp.sum((p - data) ** 2)

    run = lambda data: gdjax.minimize(jax.tree_util.Partial(loss, data), jnp.zeros(3), method=GradientDescent(0.25))
    first = run(jnp.ones(3))
    data = 2 * jnp.ones(3)
    with CompileCounter() as compiled:
        second = run(data)
    assert compiled.count == 0
    assert (first.status, second.status) == (Status.CONVERGED,) * 2
    np.testing.assert_allclose(second.params, data, atol=1e-3)


def test_data_by_name_static_data_and_switches():
    def loss(p, x, *, power, squared, name):
        assert name == "mse"
        error = (p - x) ** power
        return jnp.mean(error**2 if squared else jnp.abs(error))

    options = dict(x=jnp.ones(2), power=1, squared=True, name="mse")
    result = gdjax.minimize(loss, jnp.zeros(2), kwargs=options, method=GradientDescent(0.5))
    assert result.status == Status.CONVERGED


def test_aux_is_that_of_the_point_returned():
    loss = lambda p, x: (jnp.sum((p - x) ** 2), {"residual": p - x, "count": jnp.asarray(3), "flag": True})
    result = gdjax.minimize(loss, jnp.zeros(2), jnp.ones(2), has_aux=True, method=GradientDescent(0.3))
    assert result.status == Status.CONVERGED
    np.testing.assert_array_equal(result.aux["residual"], result.params - 1)
    assert int(result.aux["count"]) == 3
    assert bool(result.aux["flag"])


def test_maximize_reports_the_users_function():
    area = lambda length: length * (100 - length)
    start = next(gdjax.iterate(area, 57.0, method=GradientDescent(0.1), maximize=True))
    assert (float(start.value), float(start.grad)) == (2451.0, -14.0)
    result = gdjax.maximize(area, 57.0, method=GradientDescent(0.1), history=True)
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose([result.params, result.value], [50, 2500], rtol=1e-3)
    assert np.all(np.diff(result.history.trim().value) >= 0)
    reached = gdjax.maximize(area, 57.0, method=GradientDescent(0.1), stop=Stop(target=2499.0))
    assert reached.status == Status.TARGET_REACHED
    assert float(reached.value) >= 2499


def test_analytic_gradient_is_used():
    wrong = lambda p: jnp.zeros_like(p)
    result = gdjax.minimize(quadratic, jnp.zeros(3), grad=wrong, method=GradientDescent(0.1))
    assert (result.status, int(result.num_evals)) == (Status.WRONG_GRADIENT, 1)
    right = gdjax.minimize(quadratic, jnp.zeros(3), grad=jax.grad(quadratic), method=GradientDescent(0.1))
    assert right.status == Status.CONVERGED
    np.testing.assert_allclose(right.params, 1, atol=1e-3)


def test_analytic_gradient_is_used_by_methods_that_call_the_loss_themselves():
    def loss(p):  # has no derivative of its own
        return jax.lax.stop_gradient(quadratic(p))

    result = gdjax.minimize(loss, jnp.zeros(3), grad=jax.grad(quadratic), method=optax.lbfgs())
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=1e-3)


def test_vmap_over_learning_rates():
    rates = jnp.array([0.05, 0.1, 1.0])
    result = jax.vmap(lambda rate: gdjax.minimize(quadratic, jnp.zeros(3), method=GradientDescent(rate)))(rates)
    assert result.code.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.DIVERGED]
    adam = lambda rate: gdjax.minimize(quadratic, jnp.zeros(3), method=Optax(optax.adam, learning_rate=rate))
    assert jax.vmap(adam)(rates[:2]).converged.tolist() == [True, True]


@pytest.mark.float64
def test_result_goes_through_jit_and_reads_as_a_sentence():
    result = jax.jit(functools.partial(gdjax.minimize, rosenbrock, method=SEARCH, max_steps=5))(jnp.zeros(4))
    assert result.status is Status.MAX_STEPS
    assert not result.converged
    assert "limit of 5 steps" in str(result)
    assert "still falling" in str(result)
    assert f"{float(result.value):.6g}" in str(result)


@pytest.mark.float64
def test_max_steps_zero_evaluates_the_start():
    result = gdjax.minimize(rosenbrock, jnp.zeros(4), method=SEARCH, max_steps=0)
    assert (result.status, int(result.num_steps), int(result.num_evals)) == (Status.MAX_STEPS, 0, 1)
    assert float(result.value) == 3


def test_default_method_solves_rosenbrock():
    result = gdjax.minimize(rosenbrock, jnp.array([-1.2, 1.0]))
    assert result.status == Status.CONVERGED
    np.testing.assert_allclose(result.params, 1, atol=2e-3)


ERRORS = [
    (dict(loss=lambda p: p), TypeError, r"one number.*shape \(2,\).*jnp.mean"),
    (dict(loss=lambda p: None), TypeError, "returned None; is its return statement missing"),
    (dict(loss=lambda p: jnp.asarray(3)), TypeError, "dtype int32.*no slope|dtype int64.*no slope"),
    (dict(loss=lambda p: "a string"), TypeError, "it returned a str"),
    (dict(loss=lambda p: jax.lax.complex(jnp.sum(p), jnp.sum(p))), TypeError, "complex number"),
    (dict(loss=lambda p: (jnp.sum(p), p)), TypeError, "pass has_aux=True"),
    (dict(loss=lambda p: jnp.sum(p), has_aux=True), TypeError, r"needs a loss that returns \(value, aux\)"),
    (dict(loss=lambda p: (jnp.sum(p), "text"), has_aux=True), TypeError, "aux is not an array"),
    (dict(loss=3), TypeError, "loss must be a function"),
    (dict(params={"w": [jnp.ones(2), 3]}, loss=tree_loss), TypeError, r"params\['w'\]\[1\] has dtype int"),
    (dict(params={"w": np.array([True])}, loss=tree_loss), TypeError, r"params\['w'\] has dtype bool"),
    (dict(params={"w": "text"}, loss=tree_loss), TypeError, r"params\['w'\] is a str, not an array"),
    (dict(params={}, loss=tree_loss), ValueError, "params holds no numbers"),
    (dict(params=jnp.zeros(0)), ValueError, "params holds no numbers"),
    (dict(grad=lambda p: (p,)), TypeError, "grad must return a pytree like params"),
    (dict(grad=lambda p: p[:1]), ValueError, r"grad has shape \(1,\); the parameter has shape \(2,\)"),
    (dict(grad=lambda p: p.astype(int)), TypeError, "grad has dtype int"),
    (dict(grad=lambda p: jax.lax.complex(p, p)), TypeError, "grad has dtype complex"),
    (dict(grad=lambda p: "text"), TypeError, "grad is a str"),
    (dict(grad=3), TypeError, "grad must be a function"),
    (dict(tol=-1.0), ValueError, "tol must not be negative, got -1.0"),
    (dict(tol=float("nan")), ValueError, "tol must not be negative, got nan"),
    (dict(max_steps=-1), ValueError, "max_steps must not be negative"),
    (dict(tol=1.0, stop=Stop(tol=1.0)), ValueError, "tol is given both by name and in stop"),
    (dict(method="adam"), TypeError, r"got 'adam'; for optax's write method=optax.adam"),
    (dict(method=optax.adam), TypeError, "call it first"),
    (dict(method=GradientDescent), TypeError, "call it first"),
    (dict(method=3), TypeError, "method must be a gdjax method or an optax optimiser, got 3"),
    (dict(history=-5), ValueError, "history must be"),
    (dict(tol="1e-3"), TypeError, "tol must be a real number, got '1e-3'"),
    (dict(tol=1e-3j), TypeError, "tol must be a real number"),
    (dict(tol=np.ones(2)), ValueError, r"stop.tol has shape \(2,\); it must be one number"),
    (dict(method=GradientDescent(np.ones(2))), ValueError, r"method.learning_rate has shape \(2,\)"),
    (dict(max_steps=1.5), ValueError, "max_steps must be a whole number"),
    (dict(stop=0.1), TypeError, "stop must be a gdjax.Stop"),
    (dict(kwargs=[1]), TypeError, "kwargs must be a dict"),
]


@pytest.mark.float64
@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[m[:30] for _, _, m in ERRORS])
def test_errors_name_the_argument_and_the_leaf(call, error, message):
    call = dict(loss=lambda p: jnp.sum(p**2), params=jnp.ones(2), method=GradientDescent(0.1)) | call
    with pytest.raises(error, match=message):
        gdjax.minimize(call.pop("loss"), call.pop("params"), **call)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientDescent(-0.1), "learning_rate must be positive, got -0.1"),
        (lambda: GradientDescent(jnp.array([0.1, -0.1])), "learning_rate must be positive"),
        (lambda: GradientDescent(0.1, momentum=1.0), "momentum must be at least 0 and below 1"),
        (lambda: gdjax.Backtracking(initial=0.0), "initial must be positive"),
        (lambda: gdjax.Backtracking(decrease=1.5), "decrease must lie between 0 and 1"),
        (lambda: gdjax.Backtracking(grow=0.5), "grow must be at least 1"),
        (lambda: gdjax.Backtracking(max_trials=0), "max_trials must be at least 1"),
        (lambda: Stop(step=-1.0), "step must not be negative"),
        (lambda: Stop(patience=0), "patience must be at least 1"),
        (lambda: Stop(target=float("nan")), "target must not be NaN"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_that_do_not_exist_and_traces_are_refused():
    with pytest.raises(TypeError, match="maximize has no option 'tolerance'; tolerance: tol="):
        gdjax.maximize(quadratic, jnp.zeros(2), tolerance=1.0)
    with pytest.raises(ValueError, match="iterate steps in Python, so it cannot be used inside jit"):
        jax.jit(lambda p: next(gdjax.iterate(quadratic, p)))(jnp.zeros(2))
    with pytest.raises(ValueError, match="check_grad=True compares numbers"):
        jax.jit(lambda p: gdjax.minimize(quadratic, p, check_grad=True))(jnp.zeros(2))
    with pytest.raises(TypeError, match="line_search must be a line search"):
        gdjax.LBFGS(line_search="zoom")


@pytest.mark.float64
def test_forward_derivatives_pass_and_healthy_runs_hold_no_nan():
    loss = lambda p, x: jnp.sum((p - x) ** 2)
    solve = lambda x: gdjax.minimize(loss, jnp.zeros(2), x, method=GradientDescent(0.25)).params
    np.testing.assert_allclose(jax.jvp(solve, (jnp.ones(2),), (jnp.ones(2),))[1], 1, atol=1e-2)
    with jax.debug_nans(True):
        for method in (GradientDescent(0.25), SEARCH):
            assert gdjax.minimize(loss, jnp.zeros(2), jnp.ones(2), method=method).status == Status.CONVERGED


@pytest.mark.float64
@pytest.mark.parametrize("rate", ["fast", None, gdjax.MoreThuente(), True])
def test_a_learning_rate_of_another_type_is_refused(rate):
    with pytest.raises(TypeError, match="a number, a schedule or a step-size rule"):
        GradientDescent(rate)


class Unhashable:
    __hash__ = None

    def __call__(self, p, power=2):
        return p**2


def test_losses_and_static_data_that_cannot_be_hashed_will_do():
    assert gdjax.minimize(Unhashable(), 1.0).status == Status.CONVERGED
    assert gdjax.minimize(lambda p, f: f(p), 1.0, Unhashable()).status == Status.CONVERGED


@pytest.mark.float64
def test_check_grad_refuses_to_start_on_a_wrong_gradient():
    with pytest.raises(ValueError, match=r"fails its check(.|\n)*analytic gradient is"):
        gdjax.minimize(quadratic, jnp.zeros(3), grad=lambda p: p, check_grad=True)
    result = gdjax.minimize(
        quadratic, jnp.zeros(3), grad=jax.grad(quadratic), check_grad=True, method=GradientDescent(0.1)
    )
    assert result.status == Status.CONVERGED
