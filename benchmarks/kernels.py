"""What XLA made of a program, counted in its text."""

import re

CALLED = re.compile(r"(?:to_apply|body|condition|calls)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}")


def count_kernels(text: str) -> int:
    """Functions that are launched by themselves: fusions, and calls that are compiled as one function, loops and all.

    XLA's CPU backend marks such a call as ``xla_cpu_small_call``; fusions inside of one are parts of its function.
    """
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        header = re.match(r"(?:ENTRY )?%?([\w.\-]+) \(", line)
        if header and line.endswith("{"):
            lines = computations.setdefault(header[1], [])
        lines.append(line)
    calls = (line for lines in computations.values() for line in lines if " call(" in line)
    small = [line for line in calls if 'xla_cpu_small_call="true"' in line]
    inside: set[str] = set()
    pending = [name for line in small for name in called(line)]
    while pending:
        name = pending.pop()
        if name not in inside:
            inside.add(name)
            pending += [inner for line in computations.get(name, []) for inner in called(line)]
    alone = (line for name, lines in computations.items() if name not in inside for line in lines)
    return len(small) + sum(" fusion(" in line for line in alone)


def called(line: str) -> list[str]:
    """The computations that an instruction calls."""
    found = CALLED.findall(line)
    return [name.strip().lstrip("%") for one, many in found for name in (one or many).split(",")]
