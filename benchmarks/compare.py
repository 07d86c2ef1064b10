"""`python -m benchmarks compare`: what got worse by more than noise since the last record.

Records are files of benchmarks/results, or others; each is held against the same file of an earlier revision
(``--since``, by default the last commit), or against one that is named. Lines are the same if their names, sizes and
counts of problems are. Of timings the least of all rounds counts, and noise is by how much the median lies above it, in
either record, but at least 5% (20% of what was timed once). Another machine is faster or slower as a whole: where a
record holds peers too, the median change of their timings is taken out first.
"""

import argparse
import json
import math
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import RESULTS, Record, table

NAMES = ("solver", "problem", "case", "kind", "part", "set", "section", "n", "at", "count", "dtype")
TIMINGS = ("seconds", "cpu", "long", "first")
COUNTS = ("evals", "kernels", "compiled", "peak")  # fewer are better
SHARES = ("solved", "claimed", "lowest")  # more are better
LEAST, ONCE = 0.05, 0.2  # noise of a figure measured in rounds or counted, and of one timed once


class Change(NamedTuple):
    """A figure of both records."""

    key: tuple[Any, ...]
    figure: str
    old: float
    new: float
    noise: float  # share by which it may change

    @property
    def ratio(self) -> float:
        """More than 1 is worse."""
        old, new = (self.new, self.old) if self.figure in SHARES else (self.old, self.new)
        return new / old if old > 0 else math.inf if new > 0 else 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("new", type=Path, nargs="*", help="records (default: all of benchmarks/results)")
    parser.add_argument("--old", type=Path, help="what one record is held against (default: itself at --since)")
    parser.add_argument("--since", default="HEAD", metavar="REVISION", help="of git (default HEAD)")
    parser.add_argument("--all", action="store_true", help="list what did not get worse, too")


def main(options: argparse.Namespace) -> None:
    """Print what got worse; exit with 1 if anything did."""
    worse = 0
    for path in options.new or sorted(RESULTS.glob("*.jsonl")):
        before = options.old.read_text() if options.old else earlier(path, options.since)
        if before is None or before == path.read_text():
            continue
        found = list(changes(records(before), records(path.read_text())))
        bad = [c for c in found if c.ratio > 1 + c.noise]
        worse += len(bad)
        print(f"{path.name}: {len(bad)} of {len(found)} figures are worse by more than noise")
        rows = [
            (" ".join(map(str, c.key)), c.figure, f"{c.old:.4g}", f"{c.new:.4g}", f"{c.ratio:.2f}", f"{c.noise:.0%}")
            for c in (found if options.all else bad)
        ]
        if rows:
            print(table([("", "figure", "old", "new", "ratio", "noise"), *rows]))
    raise SystemExit(1 if worse else 0)


def earlier(path: Path, revision: str) -> str | None:
    """The file at a revision of git; None if it was not there."""
    shown = ["git", "-C", str(path.parent), "show", f"{revision}:./{path.name}"]
    done = subprocess.run(shown, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def records(text: str) -> dict[tuple[Any, ...], Record]:
    """By name; lines without a solver are about the machine."""
    lines = [json.loads(line) for line in text.splitlines()]
    return {tuple(r[name] for name in NAMES if r.get(name) is not None): r for r in lines if "solver" in r}


def changes(old: dict[tuple[Any, ...], Record], new: dict[tuple[Any, ...], Record]) -> Iterator[Change]:
    """Every figure that both records have; timings as the old machine would have them."""
    both = [(key, old[key], new[key]) for key in new if key in old]
    speed = {figure: machine(both, figure) for figure in TIMINGS}
    for key, before, after in both:
        for figure in (*TIMINGS, *COUNTS, *SHARES):
            one, other = (measured(r.get(figure), figure) for r in (before, after))
            if one is not None and other is not None:
                yield Change(key, figure, one[0], other[0] / speed.get(figure, 1.0), max(one[1], other[1]))


def machine(both: list[tuple[Any, Record, Record]], figure: str) -> float:
    """The median change of the peers' timings; 1 without any."""
    ratios = []
    for key, before, after in both:
        one, other = measured(before.get(figure), figure), measured(after.get(figure), figure)
        if one and other and one[0] > 0 and not str(key[0]).startswith("gdjax"):
            ratios.append(other[0] / one[0])
    return statistics.median(ratios) if ratios else 1.0


def measured(value: Any, figure: str) -> tuple[float, float] | None:
    """A figure and its noise; None where there is none."""
    if figure in TIMINGS:
        if isinstance(value, list) and value:
            least = min(value)
            return least, max(LEAST, statistics.median(value) / least - 1 if least > 0 else 0)
        return (float(value), ONCE) if isinstance(value, int | float) else None
    value = value[0] if isinstance(value, list) and value else value  # the median lane's comes first
    return (float(value), LEAST) if isinstance(value, int | float) else None
