"""The CUTEst problems that sif2jax ports, unconstrained or with bounds alone, one at a time.

Importing sif2jax builds all of its 700 problems, which takes a minute, and switches 64-bit mode on. With its packages
left empty a problem's own module is imported alone, in milliseconds, in whatever mode JAX is in.
"""

import ast
import importlib
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from jax.flatten_util import ravel_pytree

PACKAGE = "sif2jax.cutest._unconstrained_minimisation"
ROOT = Path(find_spec("sif2jax").origin).parent  # found without being imported
CONTENTS = ast.parse((ROOT.joinpath(*PACKAGE.split(".")[1:]) / "__init__.py").read_text())
BOUNDED = ("sif2jax.cutest._bounded_minimisation", "sif2jax.cutest._quadratic_problems")
DEVELOPMENT = Path(__file__).with_name("cutest_dev.txt")
DEVELOPMENT_BOUNDED = Path(__file__).with_name("cutest_bounded_dev.txt")


def read_names(path: Path) -> list[str]:
    """The names in a file, one a line; # begins a comment."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def all_names() -> list[str]:
    """Every problem in sif2jax's own list."""
    listed = [node.value for node in CONTENTS.body if isinstance(node, ast.Assign)][-1]
    return sorted({call.func.id for call in listed.elts})


def build(name: str) -> tuple[Callable[[jax.Array], jax.Array], jax.Array]:
    """The loss of one flat vector, and where to start, in JAX's present default precision."""
    loss, start, _ = load(PACKAGE, CONTENTS, name)
    return loss, start


def build_bounded(name: str) -> tuple[Callable[[jax.Array], jax.Array], jax.Array, jax.Array, jax.Array]:
    """The loss of one flat vector, where to start, lower and upper bounds."""
    for package in BOUNDED:
        contents = ast.parse((ROOT.joinpath(*package.split(".")[1:]) / "__init__.py").read_text())
        if any(alias.name == name for node in contents.body for alias in getattr(node, "names", [])):
            loss, start, problem = load(package, contents, name)
            lower, upper = (ravel_pytree(side)[0].astype(start.dtype) for side in problem.bounds)
            return loss, start, lower, upper
    raise ValueError(f"sif2jax has no problem {name} with bounds")


def load(package: str, contents: ast.Module, name: str) -> tuple[Callable[[jax.Array], jax.Array], jax.Array, Any]:
    """The loss of one flat vector, where to start, and sif2jax's own object."""
    for depth in range(3):
        leave_empty(package.rsplit(".", depth)[0])
    modules = {alias.name: node.module for node in contents.body for alias in getattr(node, "names", [])}
    problem = getattr(importlib.import_module(f"{package}.{modules[name]}"), name)()
    start, unravel = ravel_pytree(problem.y0)
    args = problem.args
    return lambda x: problem.objective(unravel(x), args), start, problem


def leave_empty(package: str) -> None:
    """Stand in for a package so that its modules can be imported without it."""
    if package not in sys.modules:
        module = types.ModuleType(package)
        module.__path__ = [str(ROOT.joinpath(*package.split(".")[1:]))]
        sys.modules[package] = module
