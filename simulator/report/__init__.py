"""Tables, plots, pages and time lines of results folders. Reads result files, never the simulation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_report(folder: Path) -> list[Path]:
    """Draw every plot of a results folder (PNG and SVG) and ``report.html``; return the paths written, report last.

    Raises ``InputError`` when the folder's files are missing, damaged or cannot be written beside.
    """
    from simulator.report.writer import write  # Matplotlib takes longer to load than a small run takes.

    return write(folder)


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write one HTML page that puts the runs of several results folders side by side to the file ``out``.

    Raises ``InputError`` when a folder's files are missing or damaged or ``out`` cannot be written.
    """
    from simulator.report.writer import write_comparison_page

    return write_comparison_page(folders, out)


def write_pareto_page(plan: Mapping[str, Any], out: Path) -> Path:
    """Write one HTML page of a plan's candidates (layout: docs/report.md) to the file ``out``.

    Raises ``InputError`` when the plan has no candidates or ``out`` cannot be written.
    """
    from simulator.report.writer import write_plan_page

    return write_plan_page(plan, out)


def write_timelines(
    folder: Path, run: str | None = None, start_s: float = 0.0, end_s: float | None = None, out: Path | None = None
) -> list[Path]:
    """Write a results folder's runs as traces for Perfetto into ``folder/timelines``; return the files.

    With ``run`` only that one, with ``out`` to that file, with a window only what happens in it. Raises ``InputError``
    where the run is unknown, the window is empty, the results are damaged or nothing can be written.
    """
    from simulator.report import trace_file

    return trace_file.write_timelines(folder, run, start_s, end_s, out)
