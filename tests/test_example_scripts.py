"""Every example runs as a script, and draws the pictures that it names into the folder that it is given."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

MODES = [True]  # the scripts choose their own precision

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
# tune_regularisation takes half a minute, and all that it does is tested in test_examples; first_hour has a test file
# of its own; pictures is what the others share.
SCRIPTS = {p.name for p in EXAMPLES.glob("*.py")} - {"tune_regularisation.py", "first_hour.py", "pictures.py"}


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_script_runs(script, tmp_path):
    folder = [tmp_path / "new"] if "from pictures import" in (EXAMPLES / script).read_text() else []
    quick = {} if script == "quickstart.py" else {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # a third less to compile
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, *folder],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env=os.environ | quick,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 200
    promised = set(re.findall(r"\w+\.(?:png|gif)", ast.get_docstring(ast.parse((EXAMPLES / script).read_text()))))
    assert promised == {p.name for p in tmp_path.rglob("*.*")}


def test_the_index_lists_each_script_once():
    listed = re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == sorted(p.name for p in EXAMPLES.glob("*.py"))
