"""A results folder's page without its plots."""

from pathlib import Path

from simulator.report.pages.findings import findings_of
from simulator.report.pages.run_page import run_page
from simulator.report.results import read_results


def write_page(folder: Path) -> Path:
    """Write only a results folder's page: drawing its plots takes longer, and has tests of its own."""
    results = read_results(folder)
    page = folder / "report.html"
    page.write_text(run_page(results, findings_of(results.tables)), encoding="utf-8")
    return page
