"""Pages as a person meets them: in a browser, wide and narrow, light and dark, by mouse and by keyboard."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from simulator.report import write_comparison, write_pareto_page, write_report
from tests.report.browser import needs_chromium, opened
from tests.report.test_pareto import PLAN

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def pages(real_results, three_runs, tmp_path_factory):
    """Return every kind of page there is: of a run, of two results folders, of a plan."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        "run": write_report(real_results)[-1],
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
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_every_chart_is_drawn_and_nothing_is_fetched(pages, open_page, kind, width, scheme):
    with open_page(pages[kind], width, scheme) as page:
        _drawn(page)
        plots = page.locator(".plot")
        assert plots.count() == int(page.get_attribute("html", "data-drawn")) >= 2
        # A chart is drawn if its axes and its data are there, as wide as its place.
        found = page.evaluate("""[...document.querySelectorAll(".plot")].map((plot) => ({
            ticks: plot.querySelectorAll(".xtick").length, marks: plot.querySelectorAll(".trace path").length,
            width: plot.querySelector("svg.main-svg").getBoundingClientRect().width, place: plot.clientWidth}))""")
        assert all(one["ticks"] and one["marks"] and one["width"] == one["place"] > 300 for one in found), found
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert _is_dark(page) == (scheme == "dark")
        assert _colours(page.screenshot()) > 50
        plots.first.scroll_into_view_if_needed()
        assert _colours(plots.first.screenshot()) > 20
        assert page.fetched == [pages[kind].as_uri()] and page.complaints == []


def test_it_follows_the_window_and_the_system(pages, open_page):
    with open_page(pages["run"]) as page:
        _drawn(page)
        page.emulate_media(color_scheme="dark")
        assert _is_dark(page)
        page.set_viewport_size({"width": 360, "height": 700})
        page.wait_for_function("document.querySelector('#worst svg.main-svg').getBoundingClientRect().width < 360")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.complaints == []


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


def test_by_keyboard_alone_everything_can_be_reached(pages, open_page):
    with open_page(pages["run"]) as page:
        _drawn(page)
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("(e => e.id || e.dataset.key || e.dataset.selector || e.className || e.tagName)"
                                      "(document.activeElement)"))  # fmt: skip
        assert {"skip", "theme", "run:tight", "instance:instance 1", "instances", "worst", "scroll"} <= reached


def test_a_legends_button_hides_a_run_everywhere(pages, open_page):
    with open_page(pages["run"]) as page:
        _drawn(page)
        lines = page.locator("#cdf-ttft .scatterlayer .trace")
        over_time = page.locator("#slo-over-time .scatterlayer .trace")
        assert lines.count() == over_time.count() == 3
        key = page.locator('[data-key="run:tight"]')
        key.click()
        page.wait_for_function("document.querySelectorAll('#cdf-ttft .scatterlayer .trace').length === 2")
        page.wait_for_function("document.querySelectorAll('#slo-over-time .scatterlayer .trace').length === 2")
        assert key.get_attribute("aria-pressed") == "false"
        key.click()
        page.wait_for_function("document.querySelectorAll('#cdf-ttft .scatterlayer .trace').length === 3")


def test_the_selector_shows_another_runs_worst_requests(pages, open_page):
    with open_page(pages["run"]) as page:
        _drawn(page)
        blocks = page.locator('[data-of="worst"]')
        # The chart's bars are the rows of the table under it, in the same order.
        same = """i => {
            const down = (a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y;
            const names = (some) => [...some].sort(down).map((one) => one.textContent.trim());
            const rows = document.querySelectorAll('[data-of="worst"]')[i].querySelectorAll("tbody th");
            return names(document.querySelectorAll("#worst .ytick text")).join()
                === [...rows].map((one) => one.textContent.trim()).join();
        }"""
        assert page.evaluate(same, 0)
        assert [block.is_visible() for block in blocks.all()] == [True, False, False]
        page.locator('select[data-selector="worst"]').select_option("tight")
        assert [block.is_visible() for block in blocks.all()] == [False, True, False]
        page.wait_for_function(same, arg=1)
        assert not page.evaluate(same, 0)


def test_without_scripts_the_page_says_where_the_plots_are(pages, open_page):
    with open_page(pages["run"], java_script_enabled=False) as page:
        assert page.locator(".needs-script").is_visible()
        assert page.get_by_role("heading", name="tight memory").is_visible()
