"""Every example runs as a script."""

import pathlib
import subprocess
import sys

import pytest

MODES = [True]  # the scripts choose their own precision

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


# tune_regularisation takes half a minute, and all that it does is tested in test_examples.
@pytest.mark.parametrize("script", sorted(p.name for p in EXAMPLES.glob("*.py") if p.stem != "tune_regularisation"))
def test_script_runs(script, tmp_path):
    folder = [tmp_path] if "sys.argv[1]" in (EXAMPLES / script).read_text() else []  # for its pictures
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, *folder],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 200
