"""The documentation builds without a warning, and names everything that is public. (Its code runs as doctests.)"""

import os
import re
import subprocess
import sys
from pathlib import Path

import gdjax

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_the_site_builds_without_a_warning(tmp_path):
    """Every link and every picture is there, and every docstring of the reference can be read."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "LevenbergMarquardt" in (tmp_path / "reference" / "index.html").read_text()


def test_the_reference_has_every_public_name():
    """One entry each."""
    listed = re.findall(r"^::: gdjax\.(?:\w+\.)?(\w+)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    public = set(gdjax.__all__) - {"__version__"}
    assert sorted(listed) == sorted(public | {"plot"})


def test_every_block_of_the_readme_is_a_doctest():
    """Any other would go stale unseen. (Those of docs that are none are run by tests/test_pages.py.)"""
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL):
        assert block.startswith(">>>"), block


def test_every_command_of_the_benchmarks_exists():
    """Pages name them."""
    from benchmarks.__main__ import SUBCOMMANDS

    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for name in re.findall(r"python -m benchmarks (\w+)", page.read_text()):
            assert name in SUBCOMMANDS, f"{page.name}: {name}"


def test_the_page_of_statuses_has_all():
    """A status without an explanation explains nothing."""
    page = (DOCS / "statuses.md").read_text()
    assert [status.name for status in gdjax.Status if f"`{status.name}`" not in page] == []
