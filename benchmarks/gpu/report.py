"""Tables and pictures of what the sections found on a card."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import Record, table, title
from benchmarks.pictures import bars, lines


def report(records: list[Record], path: Path) -> int:
    """Print the tables, draw the pictures; the number of what is wrong or missing in the correctness subset."""
    headers = [r for r in records if "device_kind" in r]
    found = {
        name: [r for r in records if r["section"] == name] for name in dict.fromkeys(r["section"] for r in records)
    }
    for name, of_section in found.items():
        rows = TABLES[name.partition("-")[0]]([r for r in of_section if {"solver", "case"} & r.keys()])
        print(f"\n{name}, {sum(r.get('took', 0) for r in of_section):.0f} s\n{table(rows)}" if len(rows) > 1 else "")
        for r in of_section:
            if "skipped" in r or "failed" in r:
                print("  ".join(str(r[key]) for key in ("section", "n", "count", "solver", "skipped", "failed")
                                if key in r))  # fmt: skip
    if headers:
        print("\n" + title(headers[0] | dict(dtype="float64 and float32")))
        draw(found, path, title(headers[0] | dict(dtype="float64; bandwidth float32")))
    checks = [r for name, of_section in found.items() if name.startswith("correct") for r in of_section]
    return sum(bool(r.get("wrong")) or "failed" in r or "skipped" in r for r in checks)


def correct(records: list[Record]) -> list[list[Any]]:
    """One line for all that is right, one for each that is not."""
    right = sum(not r["wrong"] for r in records)
    rows = [["case", "dtype", "s", "what is wrong"], [f"{right} of {len(records)} ok", "", "", ""]]
    return rows + [[r["case"], r["dtype"], f"{r['seconds']:.1f}", r["wrong"][:400]] for r in records if r["wrong"]]


def trips(records: list[Record]) -> list[list[Any]]:
    """Microseconds, what the program holds and what the profiler saw."""
    rows = [["n, solver", "us a trip", "compile s", "kernels", "conditionals", "busy us", "launches", "to host"]]
    for r in records:
        if "us" in r:
            kinds = dict(r["kernels"])
            branches = kinds.pop("conditional", 0), kinds.pop("while", 0)
            profiled = [f"{r[key]:.1f}" if key in r else "" for key in ("busy_us", "launches", "to_host")]
            rows.append([
                f"{r['n']:g} {r['solver']}" + (f" x {r['lanes']}" if "lanes" in r else ""), f"{r['us']:.4g}",
                f"{r['compile']:.1f}", sum(kinds.values()), "+".join(map(str, branches)), *profiled,
            ])  # fmt: skip
    return rows


def bandwidth(records: list[Record]) -> list[list[Any]]:
    """Share of the rate of a copy."""
    rows = [["n, solver", "ms a trip", "GB/s", "of a copy", "busy ms", "kernels", "launches"]]
    for r in records:
        if "gigabytes" in r:
            each = f"{1e-3 * r['us']:.4g}" if "us" in r else ""
            busy = [f"{1e-3 * r['busy_us']:.4g}" if "busy_us" in r else "", sum(r.get("kernels", {}).values()),
                    f"{r['launches']:.1f}" if "launches" in r else ""]  # fmt: skip
            share = f"{r['share']:.0%}" if "share" in r else ""
            rows.append([f"{r['n']:g} {r['solver']}", each, f"{r['gigabytes']:.0f}", share, *busy])
    return rows


def batch(records: list[Record]) -> list[list[Any]]:
    """Seconds and what came out."""
    rows = [["problems, solver", "ms", "of best peer", "first s", "solved", "evals", "most", "lanes", "calls", "trips"]]
    peers: dict[int, float] = {}
    for r in records:
        if "seconds" in r and not r["solver"].startswith("gdjax"):
            peers[r["count"]] = min(peers.get(r["count"], r["seconds"]), r["seconds"])
    for r in records:
        if "seconds" in r:
            ratio = f"{r['seconds'] / peers[r['count']]:.2f}" if r["count"] in peers else ""
            counted = [r.get(key, "") for key in ("lanes", "calls", "trips")]
            rows.append([
                f"{r['count']} {r['solver']}", f"{1e3 * r['seconds']:.1f}", ratio, f"{r['first']:.1f}",
                f"{r['solved']:.1%}", f"{r['evals']:.0f}", r["most"], *counted,
            ])  # fmt: skip
    return rows


def solve(records: list[Record]) -> list[list[Any]]:
    """Milliseconds, evaluations and the point reached."""
    rows = [["problem, solver", "ms", "us/eval", "evals", "first s", "|g|", "value"]]
    for r in records:
        if "seconds" in r:
            value = f"{r['value']:.4g}" if "value" in r else ""
            rows.append([
                f"{r['problem']}: {r['solver']}", f"{1e3 * r['seconds']:.2f}", f"{1e6 * r['seconds'] / r['evals']:.1f}",
                r["evals"], f"{r['first']:.1f}", f"{r['gradient']:.1e}", value,
            ])  # fmt: skip
    return rows


TABLES: dict[str, Callable[[list[Record]], list[list[Any]]]] = {
    "correct32": correct, "correct64": correct, "trips": trips, "bandwidth": bandwidth, "batch": batch, "solve": solve,
}  # fmt: skip


def curves(records: list[Record], along: str, up: str) -> Iterator[tuple[str, tuple[list[float], list[float]]]]:
    """The solvers with two points or more."""
    there = [r for r in records if up in r and along in r]  # not what was skipped or failed
    for name in dict.fromkeys(r["solver"] for r in there):
        points = sorted((r[along], r[up]) for r in there if r["solver"] == name)
        if len(points) > 1:
            x, y = zip(*points, strict=True)
            yield name, (list(x), list(y))


def draw(found: dict[str, list[Record]], path: Path, note: str) -> None:
    """Batches over their size, and shares of the bandwidth."""
    batches = dict(curves(found.get("batch", []), "count", "seconds"))
    if batches:
        lines({"Rosenbrock-10": batches}, path.with_suffix(".png"), "problems at once", "seconds", note)
    panels: dict[str, dict[str, float | None]] = {}
    for r in found.get("bandwidth", []):
        if "share" in r:
            panels.setdefault(f"n = {r['n']:g}: share of a copy's bandwidth", {})[r["solver"]] = r["share"]
    if panels:
        bars(panels, path.with_name(f"{path.stem}_bandwidth.png"), note)
