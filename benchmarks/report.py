"""Tables and pictures of saved records."""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bounded import BOUNDED
from benchmarks.pictures import plt, styles
from benchmarks.solvers import SECOND_ORDER, SOLVERS

Record = dict[str, Any]
Judged = dict[str, dict[str, Record]]  # solver -> problem -> record


def load(paths: Iterable[Path]) -> tuple[Record, Judged]:
    """The first file's header, and all records, judged; of two for the same solver and problem the later."""
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    header = next(line for line in lines if "date" in line)
    found: Judged = {}
    for record in lines:
        if "solver" in record:
            found.setdefault(record["solver"], {})[record["problem"]] = record
    judge(header, found)
    return header, {solver: found[solver] for solver in SOLVERS | BOUNDED if solver in found}


def judge(header: Record, found: Judged) -> None:
    """Mark every record as solved or not, and as a false claim or not."""
    for problem in {name for records in found.values() for name in records}:
        runs = [records[problem] for records in found.values() if problem in records]
        best = min((r["value"] for r in runs if r.get("value") is not None), default=None)
        for r in runs:
            known = r.get("value") is not None and r["gradient"] is not None
            stationary = known and r["gradient"] <= header["tol"] * (1 + abs(r["value"]))
            lowest = known and r.get("feasible", True) and r["value"] <= best + header["tol"] * (1 + abs(best))
            stationary = stationary and r.get("feasible", True)
            r["solved"] = stationary and r["evals"] <= header["max_evals"]
            r["false claim"] = bool(r.get("claimed")) and not stationary and not lowest


def table(header: Record, found: Judged) -> str:
    """One line a solver, then what gdjax did not solve."""
    solved = {solver: {p for p, r in records.items() if r["solved"]} for solver, records in found.items()}
    common = set.intersection(*solved.values())
    peers = [s for s in found if s not in SECOND_ORDER and not s.startswith("gdjax")] or list(found)
    best = max(peers, key=lambda s: len(solved[s]))
    lines = [
        f"{max(map(len, found.values()))} problems{' with bounds' * bool(header.get('bounded'))}, "
        f"{header['dtype']}: gradient <= {header['tol']:g} (1 + |f|) "
        f"at the point returned, {header['max_evals']} evaluations, {header['time_limit']:g} s",
        f"{'':22} {'solved':>11} {'claimed':>7} {'false':>5} {'evals':>6} {'ratio':>5} {'us/eval':>8}  failures",
    ]
    for s, records in sorted(found.items(), key=lambda item: -len(solved[item[0]])):
        share = f"{len(solved[s])} ({len(solved[s]) / len(records):.0%})"
        claimed, false = (sum(bool(r.get(key)) for r in records.values()) for key in ("claimed", "false claim"))
        evals = median(records[p]["evals"] for p in common)
        ratio = median(records[p]["evals"] / found[best][p]["evals"] for p in solved[s] & solved[best])
        timed = (1e6 * r["run_seconds"] / r["evals"] for r in records.values() if r.get("run_seconds"))
        lines.append(
            f"{s:22} {share:>11} {claimed:7} {false:5} {evals:6.0f} {ratio:5.2f} {median(timed):8.1f}  "
            f"{failures(records)}".rstrip()
        )
    lines += [
        f"evals: median over the {len(common)} problems that all solve; ratio: evaluations over those of {best},",
        "median over the problems that both solve; us/eval: median over all problems that ended in time",
        "",
    ]
    return "\n".join(lines + [line for s in found if s.startswith("gdjax") for line in unsolved(s, found[s])])


def median(numbers: Iterable[float]) -> float:
    """NaN for none."""
    return statistics.median([*numbers] or [np.nan])


def failures(records: dict[str, Record]) -> str:
    """How many of each kind."""
    kinds = [r["failure"] for r in records.values() if "failure" in r]
    kinds += ["infeasible" for r in records.values() if not r.get("feasible", True)]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))


def unsolved(solver: str, records: dict[str, Record]) -> list[str]:
    """What it did not solve, and how that ended."""
    lines = [f"not solved by {solver}:"]
    for problem, r in records.items():
        if r["solved"]:
            continue
        known = r.get("value") is not None and r["gradient"] is not None
        ratio = f"{r['gradient'] / (1 + abs(r['value'])):9.2e}" if known else " " * 9
        value = f"{r['value']:13.6e}" if known else " " * 13
        status = r.get("status") or r["failure"]
        lines.append(
            f"  {problem:12} n {r.get('n', '?'):>5}  f {value}  |g|/(1+|f|) {ratio}  {r.get('evals', ''):>6}  {status}"
        )
    return lines


def profile(header: Record, found: Judged, path: Path) -> None:
    """Dolan and More's performance profile of the evaluations (Math. Program. 91, 2002)."""
    problems = sorted({p for records in found.values() for p in records})
    evals = lambda r: float(r["evals"]) if r and r["solved"] else np.inf
    costs = np.array([[evals(records.get(p)) for p in problems] for records in found.values()])
    least = costs.min(axis=0)
    ratios = np.where(np.isfinite(costs), costs / np.where(np.isfinite(least), least, 1), np.inf)
    figure, axes = plt.subplots(figsize=(9, 5), dpi=150, layout="constrained")
    for (solver, style), row in zip(styles(found).items(), ratios, strict=True):
        steps = np.sort(row[np.isfinite(row)])
        share = np.arange(steps.size + 1) / len(problems)
        x, y = [0.9, *steps, 1e9], [*share, share[-1]]
        axes.step(x, y, where="post", label=f"{solver}  {share[-1]:.0%}", **style)
    axes.set(xscale="log", xlim=(1, 100), ylim=(0, 1.01), ylabel="share of problems solved")
    axes.set_xlabel("evaluations, as a multiple of the fewest that any solver needed")
    axes.set_title(f"{len(problems)} CUTEst problems, {header['dtype']}, |g| <= {header['tol']:g} (1 + |f|)")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right center", handlelength=4)
    figure.savefig(path)
    plt.close(figure)
