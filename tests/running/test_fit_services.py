"""Fits are watched, stopped, saved and resumed as the descents of losses are: to the same bits, and they are fits."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import Fit, Status

MODES = [True]  # proofs to many digits

X = np.linspace(0, 4, 20)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.01 * np.cos(37 * X)
START = {"height": 1.0, "rate": 1.0, "base": 0.0}
DATA = (START, X, Y)


def decay(p, x):
    return p["height"] * jnp.exp(-p["rate"] * x) + p["base"]


def misfit(p, x, y):
    return decay(p, x) - y


def assert_same(a, b):
    """Two fits, bit for bit."""
    assert type(a) is type(b) is Fit
    assert a.status == b.status
    parts = lambda r: (r.params, r.value, r.grad, r.progress, r.history, r.squares, r.count)
    for x, y in zip(jax.tree.leaves(parts(a)), jax.tree.leaves(parts(b)), strict=True):
        np.testing.assert_array_equal(x, y)


def test_killed_at_any_moment_a_fit_goes_on_to_the_bits_of_one_call(tmp_path):
    path, files, errors = tmp_path / "fit.npz", [], []
    plain = gdjax.least_squares(misfit, *DATA, history=8)
    assert plain.status == Status.CONVERGED

    def see(fit):
        errors.append(float(fit.standard_errors["rate"]))
        if path.exists():
            files.append(path.read_bytes())  # what a kill would leave

    watched = gdjax.least_squares(misfit, *DATA, history=8, checkpoint=path, checkpoint_seconds=0.0, callback=see)
    assert_same(plain, watched)
    assert len(files) == int(plain.num_steps)
    assert errors[-1] == float(plain.standard_errors["rate"])
    for left in files:
        path.write_bytes(left)
        assert_same(plain, gdjax.resume(path, misfit, *DATA))
    assert_same(plain, gdjax.resume(path, misfit, *DATA))  # it has ended: nothing is run


@pytest.mark.sweep
def test_a_fit_that_was_stopped_goes_on_from_its_state_and_warms_the_next():
    plain = gdjax.least_squares(misfit, *DATA)
    stopped = gdjax.least_squares(misfit, *DATA, callback=lambda s: s.num_steps >= 2, keep_state=True)
    assert (stopped.status, int(stopped.num_steps)) == (Status.STOPPED_BY_CALLBACK, 2)
    assert np.isfinite(stopped.covariance).all()
    assert_same(plain, gdjax.resume(stopped, misfit, *DATA))
    limited = gdjax.least_squares(misfit, *DATA, max_steps=3, keep_state=True)
    assert limited.status == Status.MAX_STEPS
    assert_same(plain, gdjax.resume(limited, misfit, *DATA))
    warm = gdjax.least_squares(misfit, stopped, X, Y)
    assert warm.status == Status.CONVERGED
    np.testing.assert_allclose(warm.params["rate"], plain.params["rate"], rtol=1e-9)
    late = gdjax.least_squares(misfit, *DATA, max_seconds=0)
    assert (late.status, int(late.num_evals)) == (Status.MAX_SECONDS, 1)


def test_under_the_transfer_guard_a_fit_is_a_fit():
    data = jax.device_put((*DATA, X < 3.5))
    with jax.transfer_guard("disallow"):
        fit = gdjax.curve_fit(decay, *data[:3], mask=data[3])
    assert fit.status == Status.CONVERGED
    assert int(fit.freedom) == np.sum(X < 3.5) - 3


def test_progress_of_a_fit_shows_how_far_its_own_test_is(capsys):
    fit = gdjax.least_squares(misfit, *DATA, progress=True)
    assert fit.status == Status.CONVERGED
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0].startswith("gdjax: step 0, value 7.46883, |grad| ")
    assert lines[-1].endswith(", CONVERGED")


def test_ctrl_c_in_a_fit():
    pressed = []

    def press(fit):
        if not pressed:
            pressed.append(fit)
            signal.raise_signal(signal.SIGINT)

    assert gdjax.least_squares(misfit, *DATA, callback=lambda fit: False).status == Status.CONVERGED  # all is compiled
    with pytest.raises(KeyboardInterrupt):
        gdjax.least_squares(misfit, *DATA, callback=press)
    assert len(pressed) == 1


@pytest.mark.sweep
def test_a_fit_leaves_a_saddle():
    residuals = lambda x: (x**2 - 1, 0.1 * x)
    assert float(gdjax.least_squares(residuals, 0.0).params) == 0
    free = gdjax.least_squares(residuals, 0.0, escape_saddles=True)
    assert free.status == Status.CONVERGED
    assert free.certificate.kind.name == "MINIMUM"
    np.testing.assert_allclose(abs(free.params), np.sqrt(1 - 0.005), rtol=1e-9)
    np.testing.assert_allclose(free.standard_errors, np.sqrt(free.chi2 / (4 * free.params**2 + 0.01)), rtol=1e-9)


@pytest.mark.sweep
def test_a_model_is_resumed_as_it_was_called(tmp_path):
    scipys, path = (lambda x, a, b, c: a * jnp.exp(-b * x) + c), tmp_path / "fit.npz"
    mask = X < 3.5
    call = lambda begin, **options: begin(scipys, X, Y, p0=[1.0, 1.0, 0.0], sigma=0.1, mask=mask, **options)
    plain = call(gdjax.curve_fit)
    assert plain.status == Status.CONVERGED
    assert int(plain.freedom) == mask.sum() - 3
    stopped = call(gdjax.curve_fit, max_steps=2, checkpoint=path, keep_state=True)
    assert stopped.status == Status.MAX_STEPS
    for source in (path, stopped):
        assert_same(plain, call(lambda *a, source=source, **k: gdjax.resume(source, *a, **k)))
    with pytest.raises(ValueError, match=r"fit.npz is of another model or other data: at the saved point it was"):
        gdjax.resume(path, lambda x, a, b, c: a * jnp.exp(-b * x), X, Y, p0=[1.0, 1.0, 0.0], sigma=0.1, mask=mask)


def test_another_fit_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "fit.npz"
    assert gdjax.least_squares(misfit, *DATA, max_steps=2, checkpoint=path).status == Status.MAX_STEPS
    resume = lambda *data, loss=misfit, **options: gdjax.resume(path, loss, *data, checkpoint=None, **options)
    other = r"fit.npz is of other residuals or other data: at the saved point it was 0.26394221, here it is "
    with pytest.raises(ValueError, match=other):
        resume(START, X, Y + 0.01)
    with pytest.raises(ValueError, match=other):
        resume(*DATA, robust=gdjax.Cauchy(0.01))
    with pytest.raises(ValueError, match=r"of another descent: state.iterate.residuals has shape \(20,\) .* \(10,\)"):
        resume(START, X[:10], Y[:10])
    with pytest.raises(ValueError, match=r"state.iterate.x has shape \(3,\) and dtype float64 there, .* float32 here"):
        resume(*jax.tree.map(jnp.float32, DATA))
    with pytest.raises(ValueError, match=r"was made with LevenbergMarquardt\(.*\), not with LBFGS"):
        resume(*DATA, method=gdjax.LBFGS())
    with pytest.raises(TypeError, match="resume has no option 'grad'"):
        resume(*DATA, grad=misfit)
    with pytest.raises(TypeError, match="resume has no option 'sigma'"):
        resume(*DATA, sigma=0.1)
