"""What people see of a class before its code."""

import pydoc

import pytest

import gdjax


@pytest.mark.parametrize("cls", [gdjax.Result, gdjax.Fit, gdjax.Training, gdjax.Uncertainty])
def test_help_begins_with_what_there_is_to_read(cls):
    lines = pydoc.render_doc(cls, renderer=pydoc.plaintext).splitlines()
    assert lines[3] == f" |  {cls.__doc__.splitlines()[0]}"
    assert max(map(len, lines[:40])) < 130


def test_help_of_the_package_is_a_table_of_contents():
    begins = "\n".join(pydoc.render_doc(gdjax, renderer=pydoc.plaintext).splitlines()[:40])
    assert [name for name in gdjax.__all__ if f"`{name}`" not in begins and f"`gdjax.{name}`" not in begins] == []
