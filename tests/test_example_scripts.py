"""Every example runs as a script, and draws the pictures that it names into the folder that it is given."""

import ast
import pathlib
import re
import runpy
import subprocess
import sys

import jax
import pytest

MODES = [True]  # the scripts choose their own precision, this one

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
# tune_regularisation takes half a minute, and all that it does is tested in test_examples; first_hour has a test file
# of its own; pictures is what the others share.
SCRIPTS = {p.name for p in EXAMPLES.glob("*.py")} - {"tune_regularisation.py", "first_hour.py", "pictures.py"}
# quickstart as a newcomer runs it; the devices of sharded_regression must be asked for before JAX starts. The others
# run in this process, which saves three seconds of imports each.
APART = {"quickstart.py", "sharded_regression.py"}


def run_here(script, arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    monkeypatch.syspath_prepend(EXAMPLES)
    try:
        with jax.numpy_dtype_promotion("standard"):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        jax.config.update("jax_enable_x64", False)


def run_apart(script, arguments, folder):
    command = [sys.executable, "-W", "error", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


@pytest.mark.sample("saddle.py", "your_own_method.py", "local_minima.py")
@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_script_runs(name, tmp_path, monkeypatch, capsys):
    script = EXAMPLES / name
    folder = [tmp_path / "new"] if "from pictures import" in script.read_text() else []
    monkeypatch.chdir(tmp_path)
    if name in APART:
        run_apart(script, folder, tmp_path)
    else:
        run_here(script, folder, monkeypatch)
    assert len(capsys.readouterr().out) > 200
    promised = set(re.findall(r"\w+\.(?:png|gif)", ast.get_docstring(ast.parse(script.read_text()))))
    assert promised == {p.name for p in tmp_path.rglob("*.*")}


def test_the_index_lists_each_script_once():
    listed = re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == sorted(p.name for p in EXAMPLES.glob("*.py"))
