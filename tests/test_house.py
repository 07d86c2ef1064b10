"""The house: which room may import which. A reader who knows the order knows where to look."""

import ast
import graphlib
import pathlib

import gdjax

ROOT = pathlib.Path(gdjax.__file__).parent

# From the street down; what stands in one row may not import each other.
ORDER = [
    ["compat"],
    ["plot"],
    ["front doors"],
    ["many", "training"],
    ["running"],
    ["insight"],
    ["spaces"],
    ["derivatives"],
    ["descent"],
    ["methods"],
    ["line_search", "problem"],
    ["penalties"],
    ["jaxtools"],
    ["vectors"],
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
# ``result.explain(...)``, a door from below, opened when it is called.
DOORS = {("descent.result", "insight.explain")}


def modules():
    """Every file of gdjax by its dotted name."""
    files = [path for path in ROOT.rglob("*.py") if path.name != "__init__.py"]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}


def imports(path, known):
    """The files of gdjax that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gdjax":
            module = node.module.removeprefix("gdjax").removeprefix(".")
            for name in node.names:
                inner = f"{module}.{name.name}".removeprefix(".")
                yield from ({inner, module} & set(known)) or [room for room in [module] if room]


def room_of(module):
    """The folder, or the front doors."""
    return module.partition(".")[0] if "." in module or module in LEVEL else "front doors"


def arrows():
    """Who imports whom."""
    known = modules()
    return {(one, other) for one, path in known.items() for other in imports(path, known)} - DOORS


def test_no_import_runs_upward():
    up = [(a, b) for a, b in arrows() if LEVEL[room_of(a)] > LEVEL[room_of(b)]]
    across = [(a, b) for a, b in arrows() if LEVEL[room_of(a)] == LEVEL[room_of(b)] and room_of(a) != room_of(b)]
    assert up + across == []


def test_no_import_runs_in_a_circle():
    graph = {}
    for one, other in arrows():
        graph.setdefault(one, set()).add(other)
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_every_room_says_what_lives_there():
    for room in [name for name in LEVEL if name != "front doors"]:
        assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())), room


def test_files_and_functions_are_short():
    long = [name for name, path in modules().items() if len(path.read_text().splitlines()) > 270]
    assert long == []
