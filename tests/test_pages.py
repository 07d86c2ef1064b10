"""The pages in docs: their code runs, from top to bottom."""

import pathlib
import re

import pytest

MODES = [False]

DOCS = pathlib.Path(__file__).parent.parent / "docs"
PAGES = [page for page in sorted(DOCS.glob("*.md")) if "```python" in page.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    exec(compile("\n".join(blocks), page.name, "exec"), {"__name__": page.stem})
