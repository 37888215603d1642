"""What ``tokenyard reproduce`` prints for a person, from the plain values of a reproduction."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {"reproduced": "bold green", "shape only": "bold yellow", "not reproduced": "bold red"}
_READ_IN = {
    "paper": "the paper",
    "code": "the authors' code",
    "notes": "notes that quote the paper",
    "abstract": "the paper's abstract or the project's README",
    "ours": "a simulation of this project's own",
}


def print_reproduction(found: Mapping[str, Any], console: "Console") -> None:
    """Print one reproduction: claim, set-up, table, calibrated constants, notes, verdict."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(f"{found['system']} ({found['venue']})", style="bold"))
    lines = [
        ("claim", f"{found['claim']} [{found['source']}; read in {_and(found['read_in'])}]"),
        ("set-up", found["setup"]),
        ("size", f"{_requests(found)}, {_seeds(found['seeds'])}; {found['horizon']}"),
    ]
    lines += [
        ("calibrated", f"{each['constant']}: {each['value']} (uncalibrated {each['published']}): {each['why']}")
        for each in found["calibrated"]
    ]
    lines += [("note", text) for text in found["notes"]]
    for label, text in lines:
        console.print(Padding(Text.assemble((f"{label}: ", "dim"), text), (0, 0, 0, 2)))
    console.print(_table(found))
    verdict = found["verdict"] + (f" ({found['why']})" if found["why"] else "")
    quick = "; a quick look, which counts for nothing" if found["quick"] else ""
    console.print(
        Padding(Text.assemble(("verdict: ", "dim"), (verdict, _STYLES[found["verdict"]]), quick), (0, 0, 1, 2))
    )


def _table(found: Mapping[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    rows = found["rows"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    plain, effects = any(row["uncalibrated"] for row in rows), any(row["effect"] for row in rows)
    table.add_column("", overflow="fold")
    if effects:
        table.add_column("effect")
    for title in ("paper", "ours", *(["uncal."] if plain else [])):
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("tolerance", overflow="fold")
    table.add_column("holds", no_wrap=True)
    for row in rows:
        cells = [f"{row['what']}{', ' + row['unit'] if row['unit'] else ''}"]
        cells += [row["effect"] or ""] if effects else []
        cells += ["" if row["paper"] is None else f"{row['paper']:g}", stated(row["ours"])]
        cells += ["" if row["uncalibrated"] is None else stated(row["uncalibrated"])] if plain else []
        shape = " (shape)" if row["role"] == "shape" else ""
        cells += [row["tolerance"] + shape, {True: "yes", False: "NO", None: ""}[row["holds"]]]
        table.add_row(*cells, style=None if row["holds"] is not None else "dim")
    return table


def stated(spread: Mapping[str, Any]) -> str:
    """Return a spread in words: its median where that is what counts, else its mean, and the SD of several seeds."""
    value = spread.get("median", spread["mean"])
    text = "none" if value is None else f"{value:.4g}"
    return text + (f" ± {spread['sd']:.2g}" if len(spread["values"]) > 1 and spread["sd"] is not None else "")


def _and(places: list[str]) -> str:
    return " and ".join(_READ_IN[place] for place in places)


def _requests(found: Mapping[str, Any]) -> str:
    return f"{found['requests']:,} requests"


def _seeds(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{len(seeds)} seeds ({seeds[0]} to {seeds[-1]})"
    return f"{len(seeds)} seeds ({', '.join(map(str, seeds))})"
