"""The first hour: every claim of its text holds for what its cells compute."""

import pathlib
import re
import runpy
import sys

import jax
import numpy as np
import pytest

from gdjax import Status

MODES = [True]  # as the script chooses

SCRIPT = pathlib.Path(__file__).parent.parent / "examples" / "first_hour.py"


@pytest.fixture(scope="module")
def hour(tmp_path_factory):
    """All names of the script after it ran, and its folder of pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    before = jax.config.jax_enable_x64  # for all that follows; within enable_x64 it would be for that block alone
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        patch.setattr(sys, "argv", [str(SCRIPT), str(folder)])
        patch.syspath_prepend(SCRIPT.parent)
        yield runpy.run_path(str(SCRIPT)) | {"folder": folder}
    jax.config.update("jax_enable_x64", before)


@pytest.mark.sweep
def test_the_gradient_by_hand_is_right_and_the_forgetful_one_is_found_out(hour):
    np.testing.assert_allclose(hour["own"]["slope"], hour["automatic"]["slope"], rtol=1e-12)
    assert hour["good"].ok
    assert not hour["bad"].ok
    assert "params['slope']" in hour["bad"].problems[0]


@pytest.mark.sweep
def test_one_step_is_old_minus_rate_times_gradient(hour):
    before, after = hour["before"], hour["after"]
    for name in before.params:
        np.testing.assert_allclose(after.params[name], before.params[name] - 0.1 * before.grad[name], rtol=1e-12)


@pytest.mark.sweep
def test_the_rates_are_too_small_right_and_too_large(hour):
    statuses = [result.status for result in hour["three"].values()]
    assert statuses == [Status.MAX_STEPS, Status.CONVERGED, Status.DIVERGED]
    assert 0.1 < hour["report"].stable_limit < 0.2
    assert hour["report"].recommended < hour["report"].stable_limit


@pytest.mark.sweep
def test_each_method_is_faster_than_the_one_before_it_and_two_need_no_rate(hour):
    evaluations = {name: int(result.num_evals) for name, result in hour["descents"].items()}
    assert all(result.status == Status.CONVERGED for result in hour["descents"].values())
    assert all(np.allclose(result.params, 1, atol=1e-3) for result in hour["descents"].values())
    assert evaluations["gradient descent"] > 5 * evaluations["momentum"]
    assert max(evaluations["L-BFGS"], evaluations["trust region"]) < 100
    assert hour["path"][-1].status == Status.CONVERGED


@pytest.mark.sweep
def test_the_saddle_is_named_and_left(hour):
    assert hour["stuck"].status == hour["free"].status == Status.CONVERGED
    assert (hour["kind"].kind.name, hour["free"].certificate.kind.name) == ("SADDLE", "MINIMUM")


@pytest.mark.sweep
def test_the_fit_is_that_of_bates_and_watts(hour):
    fit = hour["fit"]
    assert fit.status == Status.CONVERGED
    found = [fit.params["largest"], fit.standard_errors["largest"], fit.params["half"], fit.standard_errors["half"]]
    np.testing.assert_allclose(found, [212.7, 6.947, 0.06412, 0.008281], rtol=2e-4)
    profile = hour["profile"]
    assert profile.upper - profile.estimate > 1.2 * (profile.estimate - profile.lower)


@pytest.mark.sweep
def test_all_its_pictures_are_drawn(hour):
    named = set(re.findall(r"first_hour_\w+\.png", SCRIPT.read_text()))
    assert named == {path.name for path in hour["folder"].iterdir()}


def test_it_opens_as_a_notebook():
    """Cells in the percent form: each text is a comment, and each cell of code compiles by itself."""
    cells = re.split(r"^# %%", SCRIPT.read_text(), flags=re.MULTILINE)[1:]
    texts = [cell for cell in cells if cell.startswith(" [markdown]\n")]
    assert len(texts) >= 9
    assert all(line.startswith("#") for text in texts for line in text.splitlines()[1:] if line)
    for cell in cells:
        compile(cell.removeprefix(" [markdown]"), str(SCRIPT), "exec")
