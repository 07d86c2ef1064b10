"""The playground in a real browser: buttons, keyboard, telephone."""

import shutil

import pytest

from docs.playground import make

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright, to test the page in a browser")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Open the page at a lesson; no error may come from it, and nothing may be asked of a network."""
    contexts, complaints = [], []

    def open_page(lesson, width=1000, **options):
        options = dict(reduced_motion="reduce", viewport={"width": width, "height": 740}) | options
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url))
        page.goto(f"{make.PAGE.as_uri()}#{lesson}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def point(page, method="descent"):
    return [float(x) for x in page.locator(f"[data-method={method}] .now").get_attribute("data-point").split()]


def rate(page, method="descent"):
    return float(page.locator(f"[data-method={method}] .rate b").inner_text())


def test_three_steps_are_three_times_x_minus_rate_times_slope(visit):
    page = visit("bowl")
    page.get_by_role("button", name="right", exact=True).click()
    x = point(page)[0]
    assert x == 2
    for _ in range(3):
        page.get_by_role("button", name="Step").click()
        x -= rate(page) * 2 * x
    assert point(page)[0] == pytest.approx(x, abs=1e-5)
    said = page.get_by_role("status").inner_text()
    assert said.startswith("Gradient descent: step 3, x = ")
    assert float(said.split("x = ")[1].split(",")[0]) == pytest.approx(x, abs=1e-5)


@pytest.mark.parametrize(
    ("button", "status"), [("too small", "MAX_STEPS"), ("right", "CONVERGED"), ("too large", "DIVERGED")]
)
def test_a_rate_that_is_too_small_right_or_too_large_ends_in_gdjaxs_words(visit, button, status):
    page = visit("bowl")
    page.get_by_role("button", name=button, exact=True).click()
    assert button in page.locator("[data-method=descent] .verdict").inner_text()
    page.get_by_role("button", name="Run").click()
    assert page.locator("[data-method=descent] .end").inner_text().startswith(f"{status}: ")
    assert page.get_by_role("button", name="Step").is_disabled()
    page.get_by_role("button", name="Reset").click()
    assert point(page) == [2.0]
    assert not page.locator("[data-method=descent] .end").is_visible()


def test_run_slides_and_can_be_paused(visit):
    page = visit("bowl", reduced_motion="no-preference")
    page.get_by_role("button", name="Run").click()
    page.wait_for_function("document.querySelector('.now').textContent.startsWith('Step 2:')")
    page.get_by_role("button", name="Pause").click()
    stopped = point(page)
    page.wait_for_timeout(500)
    assert point(page) == stopped
    assert page.get_by_role("button", name="Run").is_enabled()


def test_the_keyboard_alone_is_enough(visit):
    page = visit("bowl")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # the next loss of the group
    assert page.locator("h2").inner_text() == "Two valleys"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_by_role("status").inner_text().startswith("Gradient descent: step 1,")
    slider = page.get_by_label("Rate of Gradient descent")
    slider.focus()
    before = rate(page)
    page.keyboard.press("ArrowRight")
    assert rate(page) > before
    assert str(rate(page)) in slider.get_attribute("aria-valuetext")
    page.get_by_label("L-BFGS").focus()
    page.keyboard.press("Space")
    assert page.locator("[data-method=lbfgs] .now").is_visible()


def test_each_loss_has_a_row_for_each_method_and_all_come_to_an_end(visit):
    page = visit("bowl")
    for loss in page.locator("#lessons label").all():
        loss.click()
        for box in page.locator(".methods input[type=checkbox]").all():
            box.check()
        page.get_by_role("button", name="Run").click()
        rows = page.locator(".row").all()
        assert len(rows) == 6 + (page.locator("h2").inner_text() == "A saddle")
        assert all(row.locator(".end").is_visible() for row in rows)
        assert len(page.locator("#loss .head").all()) == len(rows)


def test_a_step_moves_the_line_through_the_data(visit):
    page = visit("line")
    line = page.locator("#fit .trail")
    before = line.get_attribute("d")
    page.get_by_role("button", name="Step").click()
    assert line.get_attribute("d") != before
    assert len(page.locator("#fit .dot").all()) == 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("lesson", ["valleys", "line"])
def test_a_telephone_shows_it_without_scrolling_sideways(visit, lesson, scheme):
    page = visit(lesson, width=360, color_scheme=scheme, has_touch=True)
    for box in page.locator(".methods input[type=checkbox]").all():
        box.check()
    page.get_by_role("button", name="Run").tap()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for button in page.get_by_role("button").all():
        assert button.bounding_box()["height"] >= 40  # large enough for a thumb
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
