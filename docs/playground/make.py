"""Make docs/playground.html, a page on which recorded descents of gdjax are played. It needs no server and no network.

Everything that moves on the page was computed by gdjax when this script ran: the points, the values, the statuses and
their words. The page only plays it.

Run it with: python -m docs.playground.make (a minute or two). After a change of page.html, page.css or page.js alone:
python -m docs.playground.make --keep, which keeps what is recorded.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "playground.html"
BEGIN, END = '<script type="application/json" id="runs">', "</script>"


def assemble(runs: str) -> str:
    """The page from its three files and the recorded runs."""
    page = (HERE / "page.html").read_text(encoding="utf-8")
    for mark, text in (
        ("/* page.css */", (HERE / "page.css").read_text(encoding="utf-8")),
        ("/* page.js */", (HERE / "page.js").read_text(encoding="utf-8")),
        ("<!-- runs -->", BEGIN + runs + END),
    ):
        if page.count(mark) != 1:
            raise ValueError(f"page.html must have {mark} once")
        page = page.replace(mark, text)
    return page


def recorded(page: str) -> str:
    """The runs in a page, as JSON."""
    return page.partition(BEGIN)[2].partition(END)[0]


def record() -> str:
    """The runs as JSON, computed anew."""
    import jax

    jax.config.update("jax_enable_x64", True)

    from docs.playground import lessons, record

    everything = [record.lesson(one) for one in lessons.LESSONS]
    return json.dumps(everything, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def main() -> None:
    """Write the page."""
    keep = "--keep" in sys.argv[1:]
    runs = recorded(PAGE.read_text(encoding="utf-8")) if keep else record()
    page = assemble(runs)
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE}: {len(page.encode()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
