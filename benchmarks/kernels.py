"""What XLA made of a program, counted in its text."""

import collections
import re
from collections.abc import Callable

CALLED = re.compile(r"(?:to_apply|body|condition|calls)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")
OPCODE = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = .*?(?<![\w.\-])([a-z][a-z\-]*)\(")
NOTHING = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}  # no work at run time


def count_kernels(text: str) -> int:
    """Functions that are launched by themselves: fusions, and calls that are compiled as one function, loops and all.

    XLA's CPU backend marks such a call as ``xla_cpu_small_call``; fusions inside of one are parts of its function.
    """
    computations = computations_of(text)
    calls = (line for lines in computations.values() for line in lines if " call(" in line)
    small = [line for line in calls if 'xla_cpu_small_call="true"' in line]
    below = lambda name: {inner for line in computations.get(name, []) for inner in called(line)}
    inside = reached({name for line in small for name in called(line)}, below)
    alone = (line for name, lines in computations.items() if name not in inside for line in lines)
    return len(small) + sum(" fusion(" in line for line in alone)


def called(line: str) -> list[str]:
    """The computations that an instruction calls."""
    found = CALLED.findall(line)
    return [name.strip().lstrip("%") for one, many in found for name in (one or many).split(",")]


def count_in_trip(text: str) -> dict[str, int]:
    """Operations by kind in the body of the longest loop that is in no other: on a GPU a kernel or a copy each.

    ``while`` and ``conditional`` are handled by the host, which waits for their predicate. What a command buffer holds
    is counted as "launched at once".
    """
    computations = computations_of(text)
    bodies = {m[1] for line in text.splitlines() if " while(" in line and (m := re.search(r"body=%?([\w.\-]+)", line))}
    below = lambda name: {inner for line in computations.get(name, []) for inner in called(line)}
    nested = {inner for body in bodies for inner in reached(below(body), below)}
    longest = max(bodies - nested, key=lambda name: len(computations[name]), default=None)
    counts: collections.Counter[str] = collections.Counter()
    for line in computations.get(longest or "", []):
        kind = operation(line)
        if kind == "call" and "command_buffer" in line:
            inside = [operation(inner) for name in called(line) for inner in computations[name]]
            counts["launched at once"] += sum(inner is not None for inner in inside)
        elif kind is not None:
            counts[kind] += 1
    return dict(counts)


def operation(line: str) -> str | None:
    """What an instruction does; None if nothing at run time."""
    found = OPCODE.match(line)
    return None if found is None or found[1] in NOTHING else found[1]


def reached(names: set[str], below: Callable[[str], set[str]]) -> set[str]:
    """These computations and all that they call."""
    found: set[str] = set()
    while names:
        found |= names
        names = {inner for name in names for inner in below(name)} - found
    return found


def computations_of(text: str) -> dict[str, list[str]]:
    """The lines of each computation."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        header = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(", line)
        if header and line.endswith("{"):
            lines = computations.setdefault(header[1], [])
        lines.append(line)
    return computations
