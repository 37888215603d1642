"""The table a run prints to the terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simulator.report.headline import Cell, Metric, headline, mark_meaning
from simulator.report.results import runs_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_SHORT_LIST = (
    "completed",
    "failed",
    "offered_rate",
    "request_goodput",
    "slo_attainment",
    "p99_ttft_ms",
    "p99_tpot_ms",
    "p99_e2el_ms",
    "preemptions",
)
_NAME_WIDTH = 18
_LABEL_WIDTH = 28


def print_summary(summary: Mapping[str, Any], console: "Console") -> None:
    """Print the headline figures of every run: a column a run while they fit the terminal, else a row a run.

    ``summary`` is a parsed ``summary.json``. The best figure of each metric carries an asterisk.
    """
    runs = runs_of(summary)
    names = [run.name for run in runs]
    rows = headline(runs)
    widths = [max(min(len(name), _NAME_WIDTH), *(len(_mark(cells[i])) for _, cells in rows)) + 2
              for i, name in enumerate(names)] if rows else []  # fmt: skip
    upright = _LABEL_WIDTH + sum(widths) <= console.width
    table = _runs_as_columns(names, rows) if upright else _runs_as_rows(names, rows)
    table.title = f"{summary['experiment']}: {len(names)} run{'s' * (len(names) != 1)}"
    if any(cell.best for _, cells in rows for cell in cells):
        table.caption = f"* {mark_meaning(runs)}"
    console.print(table)


def _runs_as_columns(names: Sequence[str], rows: Sequence[tuple[Metric, list[Cell]]]) -> "Table":
    from rich.text import Text

    table = _empty()
    table.add_column("")
    table.add_column("unit", style="dim")
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold", max_width=_NAME_WIDTH)
    for metric, cells in rows:
        table.add_row(metric.label, metric.unit, *map(_text, cells))
    return table


def _runs_as_rows(names: Sequence[str], rows: Sequence[tuple[Metric, list[Cell]]]) -> "Table":
    from rich.text import Text

    shown = [row for row in rows if row[0].key in _SHORT_LIST]
    table = _empty()
    table.add_column("run", overflow="fold", min_width=12)
    for metric, _ in shown:
        table.add_column(metric.short, justify="right", no_wrap=True)
    for i, name in enumerate(names):
        table.add_row(Text(name), *(_text(cells[i]) for _, cells in shown))
    return table


def _empty() -> "Table":
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_style="bold", caption_style="dim")


def _mark(cell: Cell) -> str:
    # The blank keeps the digits of marked and unmarked figures under each other.
    return cell.text + ("*" if cell.best else " ")


def _text(cell: Cell) -> "Text":
    from rich.text import Text

    return Text(_mark(cell), style="bold green" if cell.best else "")
