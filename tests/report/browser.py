"""A headless Chromium for tests, as Debian ships it, driven by playwright."""

import importlib.util
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="no chromium on PATH" if CHROMIUM is None else "playwright is not installed",
)


@contextmanager
def started():
    """Start a browser and end it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser, url, **context):
    """Open a page in a window of its own; ``context`` is what playwright's ``new_context`` takes."""
    window = browser.new_context(**context)
    try:
        page = window.new_page()
        page.fetched, page.complaints = [], []
        page.on("request", lambda request: page.fetched.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(url)
        yield page
    finally:
        window.close()
