"""One page over several results folders."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from simulator.report.pages.answer import answer, slo_text
from simulator.report.pages.document import Section, document, scrolling
from simulator.report.pages.findings import findings_of
from simulator.report.pages.sections import run_legend, sections_of
from simulator.report.results import Results, RunTables

_MISSING = "not set"


def comparison_page(folders: Sequence[Results]) -> str:
    """Return a page that puts the runs of several results folders side by side, and says how they were set up apart."""
    names = _names(folders)
    tables = [
        _renamed(each, name, alone=len(results.runs) == 1)
        for results, name in zip(folders, names, strict=True)
        for each in results.tables
    ]
    found = findings_of(tables)
    sections, charts = sections_of(found, {})
    differing = _differing(folders)
    sections.insert(1, Section("settings", "What was set differently", _settings(names, differing)))
    runs = found.runs
    title = f"Comparison of {len(folders)} results"
    top = (
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="lead">{len(runs)} simulated runs from {escape(", ".join(names))}. {escape(slo_text(runs))}</p>'
        f'<p class="answer">{escape(answer(runs))}</p>'
    )
    return document(f"{title}: Tokenyard", top, sections, charts, run_legend(runs))


def _names(folders: Sequence[Results]) -> list[str]:
    """Return a short name a folder: its experiment's, or as many parts of its path as tell it from the others."""
    experiments = [results.experiment for results in folders]
    if len(set(experiments)) == len(experiments):
        return experiments
    paths = [results.folder.resolve().parts for results in folders]
    depth = 1
    while len({path[-depth:] for path in paths}) < len(paths) and depth < max(map(len, paths)):
        depth += 1
    names = ["/".join(path[-depth:]) for path in paths]
    # The same folder given twice still makes two columns.
    return [f"{name} ({names[:i].count(name) + 1})" if name in names[:i] else name for i, name in enumerate(names)]


def _renamed(tables: RunTables, folder: str, *, alone: bool) -> RunTables:
    run = tables.run
    name = folder if alone else f"{folder}: {run.name}"
    group = folder if alone else f"{folder}: {run.group}"
    return replace(tables, run=replace(run, name=name, group=group))


def _differing(folders: Sequence[Results]) -> dict[str, list[str]]:
    """Return the settings that are not alike everywhere: key path to one text a folder."""
    import yaml

    flat = []
    for results in folders:
        try:
            flat.append(dict(_leaves(yaml.safe_load(results.config))) if results.config else {})
        except yaml.YAMLError:
            flat.append({})
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = {key: [each.get(key, _MISSING) for each in flat] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1 and key != "name"}


def _leaves(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]")
    else:
        yield path, str(value)


def _settings(names: Sequence[str], differing: dict[str, list[str]]) -> str:
    if not differing:
        return "<p>Nothing: the configurations are the same.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(key)}</th>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'
        for key, values in differing.items()
    )
    table = f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return scrolling(table, "settings that differ")
