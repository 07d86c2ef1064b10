"""The playground shows what gdjax does today, and is one file that asks for nothing else."""

import json
import re

import jax
import numpy as np
import pytest

from docs.playground import lessons, make, record

MODES = [True]  # as the page was recorded

PAGE = make.PAGE.read_text(encoding="utf-8")
RUNS = {one["key"]: one for one in json.loads(make.recorded(PAGE))}
LESSONS = {one.key: one for one in lessons.LESSONS}


@pytest.fixture(autouse=True)
def standard(x64):
    """As in a script of a user."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def without_numbers(words):
    return re.sub(r"[-+.\de]*\d", "#", words)


@pytest.mark.sample("bowl-descent-0", "rosenbrock-descent--3")
@pytest.mark.parametrize(
    ("lesson", "method", "rate"),
    [("bowl", "descent", 0), ("bowl", "descent", -1), ("valleys", "momentum", 9), ("narrow", "adam", 9),
     ("rosenbrock", "trust", None), ("line", "lbfgs", None), ("rosenbrock", "descent", -3)],
)  # fmt: skip
def test_what_is_recorded_is_what_gdjax_does(lesson, method, rate):
    one = LESSONS[lesson]
    shown = next(m for m in RUNS[lesson]["methods"] if m["key"] == method)
    make_method = lessons.METHODS[method][1]
    now = record.run(one, make_method() if rate is None else make_method(one.rates[method][rate]))
    then = shown["runs"][0 if rate is None else rate]
    assert now["status"] == then["status"]
    assert without_numbers(now["words"]) == without_numbers(then["words"])
    np.testing.assert_allclose(now["x"], then["x"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(now["f"], then["f"], rtol=1e-2, atol=1e-12)


def test_the_saddle_is_left_by_its_curvature():
    now, then = record.escape(LESSONS["saddle"])["runs"][0], RUNS["saddle"]["methods"][-1]["runs"][0]
    assert now["status"] == then["status"] == "CONVERGED"
    assert "a minimum" in now["words"]
    assert abs(then["x"][-2]) == pytest.approx(1, abs=1e-4)


def test_the_verdicts_are_those_of_learning_rate_range():
    now = record.verdicts(LESSONS["bowl"], "descent")["verdicts"]
    assert now == RUNS["bowl"]["methods"][0]["verdicts"]
    assert {"too small", "right", "too large"} == set(now)


def test_the_page_is_up_to_date():
    """Otherwise run python -m docs.playground.make."""
    assert make.assemble(make.recorded(PAGE)) == PAGE
    for key, one in LESSONS.items():
        shown = RUNS[key]
        assert (shown["title"], shown["formula"], shown["text"]) == (one.title, one.formula, one.text)
        assert {m["key"]: m["rates"] for m in shown["methods"] if "rates" in m} == one.rates
        assert [place for _, place in shown["presets"]] == [place for _, place in record.presets(one)]
    assert list(RUNS) == list(LESSONS)


def test_the_page_is_one_small_file_that_asks_for_nothing_else():
    assert len(PAGE.encode()) < 1e6
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)|\bsrc=|fetch\(|XMLHttpRequest", PAGE)
