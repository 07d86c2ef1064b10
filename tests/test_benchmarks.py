"""Every benchmark of speed runs, at the smallest size, and saves what it shows. Needs the `bench` extra."""

import json
from importlib.util import find_spec

import jax
import pytest

MODES = [False]  # the benchmarks set the precision themselves
SMALL = {
    "compile": ["--solvers", "hand", "--problems", "Rosen"],
    "solve": ["--solvers", "optimistix.BFGS", "--problems", "logistic"],
    "overhead": ["--solvers", "value", "hand", "--sizes", "10", "--trips", "10"],
    "batch": ["--solvers", "optimistix.BFGS", "--problems", "curve", "--count", "4", "--max-evals", "50"],
    "memory": ["--solvers", "value", "hand", "--size", "100"],
    "again": ["--solvers", "gdjax"],
    "scale": ["--solvers", "value", "--max-n", "100", "--max-batch", "1"],
}


@pytest.fixture
def main():
    """The command; its peers warn when they are imported, and promote dtypes."""
    missing = [name for name in ("jaxopt", "optimistix", "sif2jax", "matplotlib") if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    with jax.numpy_dtype_promotion("standard"):
        from benchmarks.__main__ import main

        yield main


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_prints_a_table_and_saves_records_and_a_picture(name, main, tmp_path, capsys):
    saved = tmp_path / f"{name}.jsonl"
    main([name, *SMALL[name], "--dtype", "float32", "--device", "cpu", "--repeats", "1", "--json", str(saved)])
    header, *records = map(json.loads, saved.read_text().splitlines())
    assert header["device"] == "cpu"
    assert records
    printed = capsys.readouterr().out
    assert all(record["solver"] in printed for record in records)
    assert saved.with_suffix(".png").stat().st_size > 0
    main([name, "--report", str(saved)])
    assert printed.startswith(capsys.readouterr().out[:100])
