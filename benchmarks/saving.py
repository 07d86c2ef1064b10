"""Records of a benchmark in a file: a line of JSON each, written as soon as it is known."""

import argparse
import json
import os
import threading
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Saved:
    """A file of records after a header, open to write more; close it by `with`.

    With ``resume`` those that it has, of a run that was cut off, are kept; a line that was not finished is not.

    Raises:
        SystemExit: if it holds the records of another run, whose header differs by more than the date.
    """

    def __init__(self, path: Path, header: Record, resume: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if resume and path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        self.header, self.records = (lines[0], lines[1:]) if lines else (header, [])
        other = {key for key in header | self.header if key != "date" and header.get(key) != self.header.get(key)}
        if other:
            raise SystemExit(f"{path} cannot be resumed: its run had another {', '.join(sorted(other))}")
        if lines:
            os.truncate(path, len(whole.encode()))
        self.file, self.lock = path.open("a" if lines else "w"), threading.Lock()
        if not lines:
            self.write(header)

    def __enter__(self) -> "Saved":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, record: Record) -> None:
        """One more."""
        with self.lock:
            self.records.append(record)
            self.write(record)

    def write(self, line: Record) -> None:
        print(json.dumps(line), file=self.file, flush=True)

    def lacks(self, solver: str, problem: str) -> bool:
        """Whether there is no record of this solver on this problem."""
        return not any((r.get("solver"), r.get("problem")) == (solver, problem) for r in self.records)


def add_resume(parser: argparse.ArgumentParser) -> None:
    """The option of benchmarks with long lists."""
    parser.add_argument("--resume", action="store_true", help="keep what --json has already, and run only the rest")
