"""Five files written for jaxopt, as its users write them, run with one change: the import.

``answers.json`` has the answers of jaxopt 0.8.5 in float64, by ``python tests/downstream/test_project.py jaxopt``.
"""

import json
import pathlib
import re
import sys
import time
import types

import jax
import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
FILES = ["transport", "contacts", "mixed_penalties", "spectra", "training"]
OURS = "gdjax.compat.jaxopt"
# What is no minimum, but where a training of 300 steps has come to: the steps are optax's, so it is the same, too.
TOLERANCE = {"trained": 1e-4, "theta": 1e-3, "slope": 1e-3}


def load(name, library):
    """The module, with ``library`` in place of jaxopt."""
    text = (HERE / "project" / f"{name}.py").read_text()
    if library != "jaxopt":
        text = re.sub(r"^import jaxopt$", f"import {library} as jaxopt", text, flags=re.MULTILINE)
        text = re.sub(r"^from jaxopt import", f"from {library} import", text, flags=re.MULTILINE)
        assert f"import {library} as jaxopt" in text
    module = types.ModuleType(name)
    exec(compile(text, f"{name}.py", "exec"), vars(module))
    return module


@pytest.mark.sample("transport", "contacts")
@pytest.mark.float64
@pytest.mark.parametrize("name", FILES)
def test_the_answers_are_those_of_jaxopt(name):
    with jax.numpy_dtype_promotion("standard"):
        answer = load(name, OURS).answer()
    recorded = json.loads((HERE / "answers.json").read_text())[name]
    assert answer.keys() == recorded.keys()
    for key, value in recorded.items():
        np.testing.assert_allclose(answer[key], value, rtol=1e-4, atol=TOLERANCE.get(key, 1e-5), err_msg=key)


def record(library):
    """The answers of a library and what they took, as JSON."""
    jax.config.update("jax_enable_x64", True)
    answers, seconds = {}, {}
    for name in FILES:
        cpu, wall = time.process_time(), time.perf_counter()
        answers[name] = {key: np.asarray(value).tolist() for key, value in load(name, library).answer().items()}
        seconds[name] = [time.process_time() - cpu, time.perf_counter() - wall]
    return answers, seconds


if __name__ == "__main__":
    answers, seconds = record(sys.argv[1])
    for name, (cpu, wall) in seconds.items():
        print(f"{name}: {cpu:.1f} CPU s, {wall:.1f} s, most of it compiling", file=sys.stderr)
    if sys.argv[1] == "jaxopt":
        (HERE / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
