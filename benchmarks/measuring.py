"""What the benchmarks of speed share: options, where they run, how they time, what they write.

A program does the same work in every call and other work on the machine only adds to its seconds: the figure is the
least of all calls. They are made in rounds (A, B, C, A, B, C, ...), for what else runs comes and goes. All rounds are
in the records.
"""

import argparse
import datetime
import importlib.metadata
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.saving import Record, Saved

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("gdjax", "jax", "optax", "jaxopt", "optimistix", "scipy", "sif2jax", "numpy")
ROUND = 0.05  # seconds: shorter calls are repeated within a round until it takes this long


def machine() -> Record:
    """What the numbers were measured with."""
    versions = {name: version(name) for name in PACKAGES}
    date = datetime.date.today().isoformat()
    return dict(
        date=date, cores=os.cpu_count(), machine=platform.machine(), python=platform.python_version(), **versions
    )


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def add_arguments(parser: argparse.ArgumentParser, name: str, repeats: int = 5) -> None:
    """The options that all have."""
    parser.add_argument("--device", choices=("cpu", "gpu"), help="where to run (default: JAX's choice)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"rounds (default {repeats})")
    parser.add_argument("--solvers", nargs="+", metavar="SOLVER", help="those whose names begin so (default all)")
    parser.add_argument("--problems", nargs="+", metavar="PROBLEM", help="likewise, where there are several")
    parser.add_argument("--json", type=Path, default=RESULTS / f"{name}.jsonl", help="records; the picture lies beside")
    parser.add_argument("--report", type=Path, metavar="FILE", help="show saved records and run nothing")


def run_or_load(
    options: argparse.Namespace, run: Callable[[argparse.Namespace], Iterable[Record]]
) -> tuple[Record, list[Record], Path]:
    """The header, the records (saved one by one as they come, or read) and the picture's path."""
    if options.report:
        return *load(options.report), options.report.with_suffix(".png")
    with Saved(options.json, machine() | begin(options)) as saved:
        for record in run(options):
            saved.add(record)
    return saved.header, saved.records, options.json.with_suffix(".png")


def load(path: Path) -> tuple[Record, list[Record]]:
    """The header and the records of a file."""
    header, *records = (json.loads(line) for line in path.read_text().splitlines())
    return header, records


def begin(options: argparse.Namespace) -> Record:
    """Set the device and the precision, and say which they are."""
    jax.config.update("jax_enable_x64", options.dtype == "float64")
    if options.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    device = jax.devices()[0]  # a GPU, where JAX finds one
    if options.device not in (None, device.platform):
        raise SystemExit(f"JAX finds no {options.device} on this machine")
    return dict(device=device.platform, device_kind=device.device_kind, dtype=options.dtype, repeats=options.repeats)


def chosen(beginnings: list[str] | None, things: dict[str, Any]) -> dict[str, Any]:
    """Those whose names have one of the beginnings; all if none are given."""
    wanted = tuple(beginnings or [""])
    return {name: thing for name, thing in things.items() if name.startswith(wanted)}


def progress(what: str, names: Iterable[str]) -> Iterator[str]:
    """The names, each told on the error stream when its turn comes."""
    for name in names:
        print(f"{what}: {name}", file=sys.stderr, flush=True)
        yield name


def timed(call: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    """Seconds of a call and what it returned."""
    began = time.perf_counter()
    out = jax.block_until_ready(call(*args))
    return time.perf_counter() - began, out


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int, least: float = ROUND) -> dict[str, list[float]]:
    """Seconds of the fastest call of each, round by round; a first call, which may compile, is not counted."""
    counts = {}
    for name, call in calls.items():
        timed(call)
        counts[name] = math.ceil(least / max(timed(call)[0], 1e-9))

    fastest = lambda name: min(timed(calls[name])[0] for _ in range(counts[name]))
    rounds = [{name: fastest(name) for name in calls} for _ in range(repeats)]
    return {name: [times[name] for times in rounds] for name in calls}


def title(header: Record) -> str:
    """Where and with what, in one line."""
    kind = header["device_kind"] if header["device"] != "cpu" else f"CPU, {header['cores']} cores"
    packages = ", ".join(f"{name} {header[name]}" for name in PACKAGES[:5] if header[name])
    return f"{kind}, {header['dtype']}, {header['date']}: {packages}"


def table(rows: Iterable[Iterable[Any]]) -> str:
    """Columns in line: the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def lines() -> Iterator[str]:
        for first, *others in cells:
            aligned = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
            yield "  ".join([first.ljust(widths[0]), *aligned]).rstrip()

    return "\n".join(lines())
