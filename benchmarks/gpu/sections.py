"""Sections as processes of their own, with a limit of time each, and the file that their records go to."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import Record

ROOT = Path(__file__).parents[2]
QUIET = dict(TF_CPP_MIN_LOG_LEVEL="2", PYTHONUNBUFFERED="1")
# The code that is written for GPUs: see gdjax.jaxtools.scalar_kernels.
AS_ON_GPU = dict(GDJAX_AS_ON_GPU="1", GDJAX_ONE_FUNCTION="0")
REHEARSAL = 600  # seconds for a section on a CPU


class Work(NamedTuple):
    """What a section has to know."""

    name: str
    device: str
    deadline: float  # of `time.monotonic`, when it should come to an end

    def late(self) -> bool:
        """Whether no more time is left."""
        return time.monotonic() >= self.deadline

    def pick(self, large: Any, small: Any) -> Any:
        """The size on a GPU, or that of a rehearsal on a CPU."""
        return large if self.device == "gpu" else small

    def skipped(self, what: Any) -> Record:
        """That there was no time for something."""
        return dict(skipped=what)


class Section(NamedTuple):
    """A module with ``run(work)``, a generator of records, and how it is run."""

    module: str
    seconds: float  # at most
    environment: dict[str, str] = {}  # noqa: RUF012
    beside: bool = False  # whether it may run while the one before it does


class Book:
    """The records of one card. Those of the sections that are run anew are replaced, all others stay."""

    def __init__(self, folder: Path, anew: list[str]) -> None:
        self.folder, self.anew, self.lock = folder, anew, threading.Lock()
        self.path: Path | None = None
        self.records: list[Record] = []

    def put(self, record: Record) -> None:
        """Keep a record; on disk as soon as the card's name is known, which the header of a section tells."""
        with self.lock:
            self.records.append(record)
            if self.path is not None:
                with self.path.open("a") as file:
                    print(json.dumps(record), file=file)
            elif "device_kind" in record:
                self.open(record["device_kind"])

    def open(self, card: str) -> None:
        """Begin the file: what it held of other sections, and the records so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / f"gpu_{re.sub('[^A-Za-z0-9]+', '-', card).strip('-')}.jsonl"
        old = [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []
        self.records = [r for r in old if r["section"] not in self.anew] + self.records
        self.path.write_text("".join(json.dumps(r) + "\n" for r in self.records))

    def close(self) -> Path:
        """The file; without a name if no section got as far as a header."""
        if self.path is None:
            self.open("unknown card")
        assert self.path is not None
        return self.path


def run_all(sections: dict[str, Section], device: str, seconds: float, book: Book) -> None:
    """One after another, those that may run beside another at the same time, until the time is up."""
    end = time.monotonic() + seconds
    groups: list[list[str]] = []
    for name, section in sections.items():
        if section.beside and groups:
            groups[-1].append(name)
        else:
            groups.append([name])
    for group in groups:
        left = end - time.monotonic()
        with ThreadPoolExecutor(len(group)) as pool:
            list(pool.map(lambda name: run_one(name, sections[name], device, left, book), group))  # noqa: B023


def run_one(name: str, section: Section, device: str, left: float, book: Book) -> None:
    """A section, its records as they come, and how it ended if not well."""
    limit = min(section.seconds if device == "gpu" else REHEARSAL, left)
    if limit < 10:
        book.put(dict(section=name, failed="skipped: no time was left"))
        return
    began = time.monotonic()
    print(f"{name}: at most {limit:.0f} s", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks", "gpu", "--child", name, "--device", device]
    own = section.environment if device == "gpu" else AS_ON_GPU
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | QUIET | own | dict(PYTHONPATH=os.pathsep.join(paths))
    process = subprocess.Popen(
        [*command, "--seconds", str(limit)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        start_new_session=True,
    )  # fmt: skip
    watchdog = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                book.put(dict(section=name) | json.loads(line))
            else:
                sys.stderr.write(line)
        code = process.wait()
    finally:
        watchdog.cancel()
    took = time.monotonic() - began
    ending: Record = dict(section=name, took=took)
    if code:
        ending["failed"] = f"ended with code {code} after {took:.0f} of {limit:.0f} s"
    book.put(ending)
