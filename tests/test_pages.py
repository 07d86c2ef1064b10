"""The pages in docs: their code runs, from top to bottom."""

import pathlib
import re

import pytest

MODES = [False]

DOCS = pathlib.Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(?!>>>)(.*?)^```", re.DOTALL | re.MULTILINE)  # what is a dialogue is a doctest
PAGES = [page for page in sorted(DOCS.glob("*.md")) if BLOCK.search(page.read_text())]


@pytest.mark.sweep
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page):
    blocks = BLOCK.findall(page.read_text())
    exec(compile("\n".join(blocks), page.name, "exec"), {"__name__": page.stem})
