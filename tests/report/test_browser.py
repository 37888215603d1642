"""Pages as a person meets them: in a browser, wide and narrow, light and dark, by mouse and by keyboard."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from support.report_pages import write_page

from simulator.report import write_comparison, write_pareto_page
from tests.report.browser import needs_chromium, opened
from tests.report.test_pareto import PLAN

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def pages(real_results, three_runs, tmp_path_factory):
    """Return every kind of page there is: of a run, of two results folders, of a plan."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        "run": write_page(real_results),
        "comparison": write_comparison([real_results, three_runs], folder / "comparison.html"),
        "plan": write_pareto_page(PLAN, folder / "plan.html"),
    }


@pytest.fixture
def open_page(browser):
    def open_page(path, width=1280, scheme="light", **more):
        size = {"width": width, "height": 800}
        return opened(browser, Path(path).as_uri(), viewport=size, color_scheme=scheme, **more)

    return open_page


def _drawn(page):
    page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
    return page


def _colours(shot):
    pixels = (imread(io.BytesIO(shot))[..., :3] * 255).astype(np.int64)
    return len(np.unique(pixels @ [65536, 256, 1]))


def _is_dark(page):
    red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    return int(red) < 60


@pytest.mark.parametrize("kind", ["run", "comparison", "plan"])
@pytest.mark.parametrize(("width", "first", "then"), [(1280, "light", "dark"), (390, "dark", "light")])
def test_every_chart_is_drawn_and_nothing_is_fetched(pages, open_page, kind, width, first, then):
    with open_page(pages[kind], width, first) as page:
        _drawn(page)
        _all_is_there(page, width, first)
        page.emulate_media(color_scheme=then)
        _all_is_there(page, width, then)
        assert page.fetched == [pages[kind].as_uri()] and page.complaints == []


def _all_is_there(page, width, scheme):
    """Check that the page is as wide as its window, in the scheme's colours, and none of its charts blank."""
    assert _is_dark(page) == (scheme == "dark")
    # Charts are drawn anew in another theme's ink: that of the page's own words.
    page.wait_for_function("""[...document.querySelectorAll(".xtick text")].every(
        (mark) => getComputedStyle(mark).fill === getComputedStyle(document.body).color)""")
    plots = page.locator(".plot")
    assert plots.count() == int(page.get_attribute("html", "data-drawn")) >= 2
    # A chart is drawn if its axes and its data are there, as wide as its place.
    found = page.evaluate("""[...document.querySelectorAll(".plot")].map((plot) => ({
        ticks: plot.querySelectorAll(".xtick").length, marks: plot.querySelectorAll(".trace path").length,
        width: plot.querySelector("svg.main-svg").getBoundingClientRect().width, place: plot.clientWidth}))""")
    assert all(one["ticks"] and one["marks"] and one["width"] == one["place"] > 300 for one in found), found
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert _colours(page.screenshot()) > 50
    plots.first.scroll_into_view_if_needed()
    assert _colours(plots.first.screenshot()) > 20
    page.evaluate("scrollTo(0, 0)")


@pytest.fixture(scope="module")
def run_page(pages, browser):
    """Return the page of a run, drawn; each test leaves it as it found it."""
    with opened(browser, pages["run"].as_uri(), viewport={"width": 1280, "height": 800}, color_scheme="light") as page:
        yield _drawn(page)


def test_it_follows_the_window(run_page):
    run_page.set_viewport_size({"width": 360, "height": 700})
    run_page.wait_for_function("document.querySelector('#worst svg.main-svg').getBoundingClientRect().width < 360")
    assert run_page.evaluate("document.documentElement.scrollWidth") == 360
    run_page.set_viewport_size({"width": 1280, "height": 800})
    run_page.wait_for_function("document.querySelector('#worst svg.main-svg').getBoundingClientRect().width > 360")
    assert run_page.complaints == []


def test_the_theme_is_a_button_for_the_keyboard_too(pages, open_page):
    with open_page(pages["run"]) as page:
        button = _drawn(page).locator("#theme")
        ink = page.locator(".xtick text").first
        before = ink.evaluate("mark => getComputedStyle(mark).fill")
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-pressed") == "true" and _is_dark(page)
        page.wait_for_function(
            "old => getComputedStyle(document.querySelector('.xtick text')).fill !== old", arg=before
        )
        page.reload()
        _drawn(page)
        assert _is_dark(page), "the choice is remembered"


def test_by_keyboard_alone_everything_can_be_reached(run_page):
    run_page.mouse.click(1, 1)  # from the top, whatever had the focus before
    reached = set()
    for _ in range(60):
        run_page.keyboard.press("Tab")
        reached.add(run_page.evaluate("(e => e.id || e.dataset.key || e.dataset.selector || e.className || e.tagName)"
                                      "(document.activeElement)"))  # fmt: skip
    assert {"skip", "theme", "run:tight", "instance:instance 1", "instances", "worst", "scroll"} <= reached


def test_a_legends_button_hides_a_run_everywhere(run_page):
    lines = run_page.locator("#cdf-ttft .scatterlayer .trace")
    over_time = run_page.locator("#slo-over-time .scatterlayer .trace")
    assert lines.count() == over_time.count() == 3
    key = run_page.locator('[data-key="run:tight"]')
    key.click()
    run_page.wait_for_function("document.querySelectorAll('#cdf-ttft .scatterlayer .trace').length === 2")
    run_page.wait_for_function("document.querySelectorAll('#slo-over-time .scatterlayer .trace').length === 2")
    assert key.get_attribute("aria-pressed") == "false"
    key.click()
    run_page.wait_for_function("document.querySelectorAll('#cdf-ttft .scatterlayer .trace').length === 3")


def test_the_selector_shows_another_runs_worst_requests(run_page):
    blocks = run_page.locator('[data-of="worst"]')
    selector = run_page.locator('select[data-selector="worst"]')
    # The chart's bars are the rows of the table under it, in the same order.
    same = """i => {
        const down = (a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y;
        const names = (some) => [...some].sort(down).map((one) => one.textContent.trim());
        const rows = document.querySelectorAll('[data-of="worst"]')[i].querySelectorAll("tbody th");
        return names(document.querySelectorAll("#worst .ytick text")).join()
            === [...rows].map((one) => one.textContent.trim()).join();
    }"""
    assert run_page.evaluate(same, 0)
    assert [block.is_visible() for block in blocks.all()] == [True, False, False]
    selector.select_option("tight")
    assert [block.is_visible() for block in blocks.all()] == [False, True, False]
    run_page.wait_for_function(same, arg=1)
    assert not run_page.evaluate(same, 0)
    selector.select_option("roomy")
    run_page.wait_for_function(same, arg=0)


def test_without_scripts_the_page_says_where_the_plots_are(pages, open_page):
    with open_page(pages["run"], java_script_enabled=False) as page:
        assert page.locator(".needs-script").is_visible()
        assert page.get_by_role("heading", name="tight memory").is_visible()
