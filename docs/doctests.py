"""For the reference: the examples that end our docstrings are code, not quotations."""

import re

import griffe

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?=.*\S).*)*", re.MULTILINE)


def fenced(text: str) -> str:
    """Doctests between fences."""
    return EXAMPLE.sub(lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", text)


class Doctests(griffe.Extension):
    """Called by griffe for each object that it finds."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Fence its examples."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
