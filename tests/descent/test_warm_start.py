"""A descent may begin with what another one has learnt."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import quadratic

import gdjax
from gdjax import BFGS, LBFGS, GradientDescent, Status, TrustRegion

MODES = [False]  # JAX's default: precision is not what these are about

START = np.linspace(-1.0, 2.0, 12)
bent = lambda p, shift: quadratic(p - shift, 1e3) + 0.1 * jnp.sum((p - shift) ** 4)


@pytest.mark.sample("LBFGS")
@pytest.mark.parametrize("method", [LBFGS(memory=12), BFGS(), TrustRegion()], ids=["LBFGS", "BFGS", "trust region"])
def test_curvature_that_was_learnt_saves_evaluations_on_new_data(method):
    solve = lambda start, shift, **options: gdjax.minimize(bent, start, shift, method=method, tol=1e-3, **options)
    first = solve(START, 0.0, keep_state=True)
    cold, warm = solve(first.params, 0.1), solve(first, 0.1)
    assert first.status == cold.status == warm.status == Status.CONVERGED
    assert int(warm.num_evals) < 0.7 * int(cold.num_evals)
    assert int(warm.progress.evals) == int(warm.num_evals)  # counted anew
    np.testing.assert_array_equal(solve(dataclasses.replace(first, state=None), 0.1).params, cold.params)


def test_state_is_kept_only_when_asked_for_and_changes_no_number():
    plain = gdjax.minimize(quadratic, START, method=LBFGS(memory=3))
    kept = gdjax.minimize(quadratic, START, method=LBFGS(memory=3), keep_state=True)
    assert plain.state is None
    assert kept.state.state.memory.pairs.shape == (6, 12)
    np.testing.assert_array_equal(plain.params, kept.params)
    assert kept.timing is None  # it was one compiled call


def test_velocity_schedule_and_moments_go_on():
    rate = optax.exponential_decay(0.05, 1, 0.8)
    for method in (GradientDescent(rate, momentum=0.5), optax.adam(rate)):
        first = gdjax.minimize(quadratic, START, method=method, tol=0.0, max_steps=20, keep_state=True)
        warm = gdjax.minimize(quadratic, first, method=method, tol=0.0, max_steps=1)
        cold = gdjax.minimize(quadratic, first.params, method=method, tol=0.0, max_steps=1)
        assert warm.status == cold.status == Status.MAX_STEPS
        moved = [float(jnp.linalg.norm(r.params - first.params)) for r in (warm, cold)]
        assert 0 < moved[0] < 0.2 * moved[1]  # the rate has decayed


def test_inside_jit_and_vmap():
    method = LBFGS(memory=3)
    kept = jax.vmap(lambda p: gdjax.minimize(quadratic, p, method=method, max_steps=3, keep_state=True))(
        jnp.stack([jnp.asarray(START), jnp.zeros(12)])
    )
    again = jax.jit(jax.vmap(lambda r: gdjax.minimize(quadratic, r, method=method)))(kept)
    assert kept.state.state.memory.stored.shape == (2,)
    assert again.converged.all()
    with pytest.raises(ValueError, match="cannot be used inside jit"):
        jax.vmap(lambda r: gdjax.resume(r, quadratic, START, method=method))(kept)


@pytest.mark.parametrize(
    ("method", "start", "message"),
    [
        (LBFGS(memory=4), START, r"pairs has shape \(6, 12\) and dtype float\d\d there, \(8, 12\)"),
        (BFGS(), START, "it has .*pairs where .*j is needed"),
        (optax.adam(0.1), START, "its state is a SearchState, that of the method a OptaxState"),
    ],
    ids=["memory", "method", "kind"],
)
def test_a_state_of_another_method_is_refused(method, start, message):
    kept = gdjax.minimize(quadratic, START, method=LBFGS(memory=3), max_steps=3, keep_state=True)
    with pytest.raises(ValueError, match=message):
        gdjax.minimize(quadratic, kept, method=method)
