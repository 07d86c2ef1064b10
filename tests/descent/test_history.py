"""The record of a descent: every step while there is room, evenly thinned out after, at fixed memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import SEARCH, quadratic, rosenbrock

import gdjax
from gdjax import GradientDescent, Status

MODES = [False]  # JAX's default: precision is not what these are about

SLOW = GradientDescent(0.01)


def test_all_steps_are_kept_while_there_is_room():
    result = gdjax.minimize(quadratic, np.zeros(3), method=SLOW, max_steps=20, history=True)
    history = result.history.trim()
    assert result.status == Status.MAX_STEPS
    np.testing.assert_array_equal(history.step, np.arange(21))
    np.testing.assert_array_equal(history.num_evals, np.arange(1, 22))
    np.testing.assert_allclose(history.step_size[1:], 0.01, rtol=1e-6)
    np.testing.assert_allclose(history.value[-1], result.value)
    np.testing.assert_allclose(history.grad_norm[-1], result.grad_norm)
    assert len(result.history) == len(history) == 21


@pytest.mark.sample("4-5", "8-5")
@pytest.mark.parametrize("steps", [5, 6, 7, 8, 9, 11, 12, 15, 16, 17, 24, 31, 33, 50, 97])
@pytest.mark.parametrize("capacity", [4, 8])
def test_thinning_keeps_even_spacing_the_start_and_the_last_step(steps, capacity):
    result = gdjax.minimize(quadratic, np.zeros(3), method=SLOW, tol=0.0, max_steps=steps, history=capacity)
    history = result.history.trim()
    assert result.status == Status.MAX_STEPS
    assert (history.step[0], history.step[-1]) == (0, steps)
    assert len(history) <= capacity + 1
    assert len(history) >= min(steps + 1, capacity // 2 + 1)
    stride = history.step[1] - history.step[0]
    np.testing.assert_array_equal(np.diff(history.step[:-1]), stride)
    full = gdjax.minimize(quadratic, np.zeros(3), method=SLOW, tol=0.0, max_steps=steps, history=True)
    np.testing.assert_allclose(history.value, full.history.trim().value[history.step], rtol=1e-6)


def test_evaluations_of_rejected_trials_are_in_the_count():
    result = gdjax.minimize(rosenbrock, np.zeros(4), method=SEARCH, max_steps=30, history=True)
    history = result.history.trim()
    assert result.status == Status.MAX_STEPS
    assert history.num_evals[-1] == result.num_evals
    assert np.all(np.diff(history.num_evals) >= 1)
    assert np.any(np.diff(history.num_evals) > 1)
    assert np.all(np.diff(history.value) <= 0)


def test_history_under_vmap():
    starts = jnp.stack([jnp.zeros(3), jnp.full(3, 0.9)])
    solve = lambda p: gdjax.minimize(quadratic, p, method=GradientDescent(0.1), tol=1e-2, history=8)
    result = jax.vmap(solve)(starts)
    assert result.converged.all()
    for lane in range(2):
        one = solve(starts[lane])
        np.testing.assert_array_equal(result.history.step[lane], one.history.step)
        np.testing.assert_allclose(result.history.value[lane], one.history.value, rtol=1e-4, atol=1e-6)


def test_as_dict_csv_and_pandas(tmp_path):
    pd = pytest.importorskip("pandas")
    history = gdjax.minimize(quadratic, np.zeros(3), method=SLOW, max_steps=20, history=True).history
    columns = history.to_dict()
    assert list(columns) == ["step", "value", "grad_norm", "step_size", "num_evals"]
    assert {len(column) for column in columns.values()} == {21}
    history.to_csv(tmp_path / "history.csv")
    back = pd.read_csv(tmp_path / "history.csv")
    for frame in (history.to_pandas(), back):
        assert list(frame.columns) == list(columns)
        for name, column in columns.items():
            np.testing.assert_array_equal(frame[name].to_numpy().astype(column.dtype), column)


def test_histories_of_a_batch_are_taken_one_by_one():
    solve = lambda p: gdjax.minimize(quadratic, p, method=SLOW, max_steps=20, history=True)
    batch = jax.vmap(solve)(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"take one problem's, as in result\[0\].history"):
        batch.history.to_dict()
    assert len(batch[1].history.to_dict()["value"]) == 21


def test_no_history_by_default():
    assert gdjax.minimize(quadratic, np.zeros(3), method=SLOW, max_steps=1).history is None
