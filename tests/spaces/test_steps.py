"""A loop of one's own takes spaces and models, too."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_descents import SPACE, START, check, loss
from test_models import Curve, X, Y, error

import gdjax
from gdjax import Status
from gdjax.spaces import UnitVector


@pytest.mark.sweep
def test_steps_are_those_of_minimize_and_show_the_parameters():
    state, whole = gdjax.init(loss, START, space=SPACE), gdjax.minimize(loss, START, space=SPACE)
    for name, start in START.items():
        np.testing.assert_allclose(state.params[name], start, rtol=1e-6)
    step = jax.jit(lambda state: gdjax.step(loss, state))
    while state.status == Status.RUNNING:
        state = step(state)
    assert state.status == whole.status == Status.CONVERGED
    assert state.num_evals == whole.num_evals
    check(state.params)
    result = state.result(loss)
    assert result.status == Status.CONVERGED
    check(result.params)


def test_where_to_go_on_must_be_inside_and_what_is_held_stays():
    state = gdjax.init(loss, START, space=SPACE)
    with pytest.raises(ValueError, match=r"params\['scale'\] starts at -1"):
        gdjax.step(loss, state, params=dict(START, scale=-1.0), new_data=True)
    with pytest.raises(ValueError, match=r"params\['known'\] is held at .* and cannot become"):
        gdjax.step(loss, state, params=dict(START, known=jnp.zeros(2)), new_data=True)


@pytest.mark.sweep
def test_a_space_that_takes_something_from_the_start_keeps_it():
    pull = lambda u: -u @ jnp.array([3.0, 4.0])
    state = gdjax.init(pull, jnp.array([1.0, 0.0]), space=UnitVector())
    for _ in range(12):
        state = gdjax.step(pull, state)
    assert state.status == Status.CONVERGED
    np.testing.assert_allclose(state.params, [0.6, 0.8], rtol=1e-3)


def test_models_are_trained_on_batches():
    state = gdjax.init(error, Curve(jnp.array(1.0), 1.0, 2), X, Y, method=optax.adam(0.05))
    train = jax.jit(lambda state, x, y: gdjax.step(error, state, x, y, new_data=True))
    for _ in range(200):
        state = train(state, X, Y)
    assert state.params.times == 2
    assert float(error(state.params, X, Y)) < 0.01


@pytest.mark.sweep
def test_nnx_models_with_keys_are_trained():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Sequential(
        nnx.Linear(1, 4, rngs=nnx.Rngs(0)),
        jnp.tanh,
        nnx.Dropout(0.1, rngs=nnx.Rngs(1)),
        nnx.Linear(4, 1, rngs=nnx.Rngs(2)),
    )
    squares = lambda m, x, y: jnp.mean((m(x[:, None])[:, 0] - y) ** 2)
    with pytest.raises(ValueError, match=r"the loss changes layers.*count.* of the model"):  # one mask for ever
        gdjax.init(squares, model, X, Y, method=optax.adam(0.05))
    model.eval()
    state = gdjax.init(squares, model, X, Y, method=optax.adam(0.05))
    train = jax.jit(lambda state: gdjax.step(squares, state, X, Y, new_data=True))
    for _ in range(100):
        state = train(state)
    assert float(state.value) < float(squares(model, X, Y))
    result = gdjax.minimize(squares, model, X, Y, max_steps=20)
    assert result.value < 0.1
    assert isinstance(result.params, nnx.Sequential)
