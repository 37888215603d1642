"""Tables, plots and the HTML report of a results folder. Reads result files, never the simulation."""

from pathlib import Path


def write_report(folder: Path) -> list[Path]:
    """Draw every plot of a results folder (PNG and SVG) and ``report.html``; return the paths written, report last.

    Raises ``InputError`` when the folder's files are missing, damaged or cannot be written beside.
    """
    from simulator.report.writer import write  # Matplotlib takes longer to load than a small run takes.

    return write(folder)
