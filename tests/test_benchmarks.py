"""Every benchmark of speed runs, at the smallest size, and saves what it shows. Needs the `bench` extra."""

import argparse
import json
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest

MODES = [False]  # the benchmarks set the precision themselves
SMALL = {
    "compile": ["--solvers", "hand", "--problems", "Rosen"],
    "solve": ["--solvers", "optimistix.BFGS", "--problems", "logistic"],
    "overhead": ["--solvers", "value", "hand", "--sizes", "10", "--trips", "10"],
    "batch": ["--solvers", "optimistix.BFGS", "--problems", "curve", "--count", "4", "--max-evals", "50"],
    "memory": ["--solvers", "value", "hand", "--size", "100"],
    "again": ["--solvers", "gdjax"],
    "fits": ["--solvers", "optimistix", "--count", "4"],
    "counts": ["--solvers", "optimistix.BFGS", "--problems", "Rosen", "--most", "1"],
    "train": ["--solvers", "gdjax", "--scale", "0.001"],
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


@pytest.mark.sample("compile", "scale")
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


GPU = [
    dict(section="correct32", device="gpu", device_kind="Card", date="2026-11-26", cores=1, jax="0.11", gdjax=None,
         optax="1", jaxopt=None, optimistix=None),
    dict(section="correct32", case="LBFGS", dtype="float32", wrong="", seconds=1.0),
    dict(section="trips", n=100, solver="gdjax.LBFGS", us=90.0, compile=3.0, kernels={"fusion": 20, "conditional": 3}),
    dict(section="trips", n=100, solver="optax.lbfgs", failed="out of memory"),
    dict(section="batch", skipped="gdjax.minimize_many, 4096 lanes"),
    dict(section="solve", problem="network", solver="optax.lbfgs", skipped="no time"),
    dict(section="solve", took=45.0, failed="ended with code -9"),
    *(dict(section="batch", count=n, solver=name, seconds=1e-3 * n, first=2.0, solved=1.0, evals=60.0, most=90)
      for n in (10, 100) for name in ("gdjax.minimize_many", "optimistix.BFGS, vmap")),
    dict(section="bandwidth", n=1000, solver="gdjax.LBFGS", us=9.0, gigabytes=2.0, share=0.7, passes=32, kernels={}),
    dict(section="solve", problem="Rosenbrock-100", solver="gdjax.LBFGS", seconds=0.01, first=3.0, evals=100,
         gradient=1e-6),
]  # fmt: skip


@pytest.mark.parametrize("wrong", ["", "AssertionError: params is off"])
def test_records_of_a_gpu_become_tables_pictures_and_an_exit_code(wrong, main, tmp_path, capsys):
    saved = tmp_path / "gpu_Card.jsonl"
    records = [r | dict(wrong=wrong) if "case" in r else r for r in GPU]
    saved.write_text("".join(json.dumps(r) + "\n" for r in records))
    with pytest.raises(SystemExit) as ending:
        main(["gpu", "--report", str(saved)])
    assert ending.value.code == bool(wrong)
    printed = capsys.readouterr().out
    assert all(r[key] in printed for r in records for key in ("solver", "skipped", "failed") if key in r)
    assert wrong in printed
    assert saved.with_suffix(".png").stat().st_size > 0
    assert (tmp_path / "gpu_Card_bandwidth.png").stat().st_size > 0


def test_records_of_sections_that_are_run_again_are_replaced_and_others_kept(tmp_path):
    from benchmarks.gpu.sections import Book

    for value in (1, 2):
        book = Book(tmp_path, ["trips"] if value == 2 else ["trips", "batch"])
        book.put(dict(section="trips", device_kind="A card", value=value))
        if value == 1:
            book.put(dict(section="batch", value=value))
    lines = [json.loads(line) for line in book.close().read_text().splitlines()]
    assert [(r["section"], r["value"]) for r in lines] == [("batch", 1), ("trips", 2)]
    assert book.close().name == "gpu_A-card.jsonl"


def test_a_run_that_was_cut_off_keeps_its_records_and_does_only_the_rest(tmp_path):
    from benchmarks.saving import Saved

    path, header = tmp_path / "saved.jsonl", dict(date="2026-11-27", dtype="float64")
    with Saved(path, header) as saved:
        saved.add(dict(solver="LBFGS", problem="bowl", evals=3))
    path.write_text(path.read_text() + '{"solver": "LBFGS", "prob')
    with Saved(path, header | dict(date="2026-11-28"), resume=True) as saved:
        assert [saved.lacks("LBFGS", name) for name in ("bowl", "valley")] == [False, True]
        saved.add(dict(solver="LBFGS", problem="valley", evals=9))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == header
    assert lines[1:] == saved.records
    assert [r["evals"] for r in saved.records] == [3, 9]
    with pytest.raises(SystemExit, match="another dtype"):
        Saved(path, header | dict(dtype="float32"), resume=True)


def test_a_problem_is_impossible_only_if_that_is_proved_of_its_linear_constraints():
    if find_spec("sif2jax") is None:  # (importing it builds all its problems)
        pytest.skip("needs sif2jax")
    from benchmarks.constrained_problems import Problem, is_impossible

    x, all_of = jnp.ones(2), jnp.full(2, jnp.inf)

    def found(positive, lower=-all_of, equal=lambda x: x[:1] * 2 - 1):
        return is_impossible(Problem(jnp.sum, x, lower, all_of, equal, positive))

    assert found(lambda x: jnp.stack([x[0] + x[1] - 1, 0.9 - x[0] - x[1]]))
    assert not found(lambda x: jnp.stack([x[0] + x[1] - 1, 1 - 1e-7 - x[0] - x[1]]))
    assert found(lambda x: -jnp.ones(1) - x[1:], lower=jnp.zeros(2))
    assert not found(lambda x: jnp.stack([1 - x @ x, x[1] - 9]))  # it is, but not for these reasons alone


def test_what_got_worse_by_more_than_noise_is_named_whatever_the_machine(tmp_path, capsys):
    from benchmarks.compare import main as compare

    def saved(name, ours, peers, evals=100, solved=1.0):
        lines = [
            dict(date="2026-11-27", jax="0.10.2"),
            dict(solver="gdjax.LBFGS", problem="bowl", seconds=ours, evals=evals, solved=solved),
            *(dict(solver=f"peer {i}", problem="bowl", seconds=peers, evals=50) for i in range(3)),
        ]
        path = tmp_path / name
        path.write_text("\n".join(map(json.dumps, lines)))
        return path

    def worse(*new):
        old = saved("old.jsonl", [1.0, 1.02, 1.3], [2.0, 2.0, 2.0])
        with pytest.raises(SystemExit) as end:
            compare(argparse.Namespace(new=[saved("new.jsonl", *new)], old=old, since="HEAD", all=False))
        return end.value.code, capsys.readouterr().out

    assert worse([1.04, 1.1, 1.1], [2.0, 2.0, 2.0])[0] == 0  # noise
    assert worse([2.0, 2.1, 2.1], [4.0, 4.0, 4.0])[0] == 0  # a machine half as fast
    code, printed = worse([1.2, 1.2, 1.2], [2.0, 2.0, 2.0])
    assert code == 1
    assert "gdjax.LBFGS bowl  seconds" in printed
    assert worse([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], 110)[0] == 1
    assert worse([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], 100, 0.9)[0] == 1
