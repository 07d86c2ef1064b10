"""`python -m benchmarks gpu`: on one GPU, in five minutes: is everything right there, and what does a trip cost?

Sections: ``correct32`` and ``correct64`` (descents of every kind against known minima), ``trips`` (microseconds a trip,
kernels, copies to the host), ``trips-buffers`` (the same with loops and conditionals in CUDA's command buffers),
``batch`` (100 to a million problems), ``bandwidth`` (1e7 and 1e8 variables against a copy on the device), ``solve``
(Rosenbrock-100, a network of a million weights). Each is a process of its own with a limit of time, so that one that
crashes or hangs loses itself alone; each beside optax and optimistix as their documentation says. Records go to
gpu_CARD.jsonl as they come; those of sections that are not run again are kept. The exit code is 1 if anything is wrong
or missing in the correctness subset. ``--device cpu`` is a rehearsal in small, with the code that is written for GPUs.
"""

import argparse
import importlib
import json
import time
from pathlib import Path

from benchmarks.gpu.sections import Book, Section, Work, run_all
from benchmarks.measuring import RESULTS, begin, machine

SHARED = dict(XLA_PYTHON_CLIENT_PREALLOCATE="false")  # two processes on one card
# Trying Triton's kernels for each product of a network took longer than all that was to be measured.
BY_LIBRARY = dict(XLA_FLAGS="--xla_gpu_enable_triton_gemm=false")
BUFFERS = dict(XLA_FLAGS="--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL")
SECTIONS = {
    "correct32": Section("checking", 60, SHARED),
    "correct64": Section("checking", 60, SHARED, beside=True),
    "trips": Section("trips", 50),
    "batch": Section("batch", 75),
    "bandwidth": Section("bandwidth", 40),
    "solve": Section("solve", 75, BY_LIBRARY),
    "trips-buffers": Section("trips", 45, BUFFERS),
}
ENDING = 0.85  # of its time: then a section begins nothing new


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: a rehearsal in small")
    parser.add_argument("--only", nargs="+", metavar="SECTION", choices=SECTIONS, help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seconds", type=float, default=300, help="for all of it (default 300)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of records and pictures")
    parser.add_argument("--report", type=Path, metavar="FILE", help="show saved records and run nothing")
    parser.add_argument("--child", choices=SECTIONS, help=argparse.SUPPRESS)


def main(options: argparse.Namespace) -> None:
    """Run the sections and report; or be one of them."""
    if options.child:
        child(options.child, options.device, options.seconds)
        return
    from benchmarks.gpu.report import report

    if options.report:
        records, path = [json.loads(line) for line in options.report.read_text().splitlines()], options.report
    else:
        chosen = {name: section for name, section in SECTIONS.items() if name in (options.only or SECTIONS)}
        book = Book(options.out, list(chosen))
        run_all(chosen, options.device, options.seconds, book)
        records, path = book.records, book.close()
        print(f"records: {path}")
    raise SystemExit(report(records, path) > 0)


def child(name: str, device: str, seconds: float) -> None:
    """A section: its header and its records, a line each."""
    work = Work(name, device, time.monotonic() + ENDING * seconds)
    where = begin(argparse.Namespace(device=device, dtype="float64", repeats=None))
    print(json.dumps(machine() | where | dict(environment=SECTIONS[name].environment)), flush=True)
    for record in importlib.import_module(f"benchmarks.gpu.{SECTIONS[name].module}").run(work):
        print(json.dumps(record), flush=True)
