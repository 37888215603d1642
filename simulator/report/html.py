"""The report page: one file that a browser opens anywhere, with the plots inside and nothing fetched."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

from simulator.report import style
from simulator.report.headline import headline, mark_meaning, milliseconds, number
from simulator.report.results import Results, Run


@dataclass(frozen=True)
class Plot:
    """A plot for the page: the caption under it, and its SVG for a screen and for a phone."""

    name: str
    caption: str
    wide_svg: str
    narrow_svg: str


def page(results: Results, plots: Sequence[Plot]) -> str:
    """Return the whole page."""
    name = escape(results.experiment)
    css = resources.files("simulator.report").joinpath("page.css").read_text(encoding="utf-8")
    overview = [plot for plot in plots if not plot.name.startswith("timeline-")]
    timelines = [plot for plot in plots if plot.name.startswith("timeline-")]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name}: Tokenyard report</title>\n<style>\n{css}</style></head><body><main>",
            f"<h1>{name}</h1>",
            f'<p class="lead">{escape(_lead(results.runs))}</p>',
            _headline_table(results.runs),
            *map(_figure, overview),
            *(["<h2>Over time</h2>"] if timelines else []),
            *map(_figure, timelines),
            "<h2>Clusters</h2>",
            _clusters(results.runs),
            "<h2>How far to trust these figures</h2>",
            _coverage(results.runs),
            f"<details><summary>Configuration</summary><pre>{escape(results.config)}</pre></details>"
            if results.config
            else "",
            "<footer>Made by Tokenyard from simulated results.</footer></main></body></html>\n",
        ]
    )


def _lead(runs: Sequence[Run]) -> str:
    limits = sorted({f"{key.upper().replace('E2EL', 'end to end')} {milliseconds(value)}"
                     for run in runs for key, value in run.slo_ms.items()})  # fmt: skip
    slo = f"SLO: {', '.join(limits)}." if limits else "No SLO was set, so goodput is not defined."
    return f"{len(runs)} simulated run{'s' * (len(runs) != 1)}. {slo}"


def _headline_table(runs: Sequence[Run]) -> str:
    head = "".join(f'<th scope="col">{escape(run.name)}</th>' for run in runs)
    rows = []
    best = f'<td class="best" title="{mark_meaning(runs)}">'
    for metric, cells in headline(runs):
        unit = f" <small>{escape(metric.unit)}</small>" if metric.unit else ""
        figures = "".join(f"{best if cell.best else '<td>'}{escape(cell.text)}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(metric.label)}{unit}</th>{figures}</tr>')
    return _scrolling(f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")


def _clusters(runs: Sequence[Run]) -> str:
    """Return what each run ran on, runs with the same cluster together."""
    together: dict[str, list[str]] = {}
    for run in runs:
        together.setdefault(_cluster(run.cluster), []).append(run.name)
    items = (f"<li><b>{escape(', '.join(names))}</b>: {escape(text)}</li>" for text, names in together.items())
    return f"<ul>{''.join(items)}</ul>"


def _cluster(cluster: Mapping[str, Any]) -> str:
    kinds = []
    for kind in cluster.get("kinds") or ():
        blocks = kind.get("kv_blocks")
        memory = "" if blocks is None else f", {number(float(blocks))} KV blocks of {kind.get('block_size')} tokens"
        parallel = f", tensor parallel {kind.get('tensor_parallel')}" if kind.get("tensor_parallel") != 1 else ""
        kinds.append(f"{kind.get('count')} {kind.get('hardware')} ({kind.get('scheduler')}{parallel}{memory})")
    gpus = cluster.get("gpus")
    return f"{' + '.join(kinds) or 'not recorded'}; {gpus} GPU{'s' * (gpus != 1)}; router {cluster.get('router')}"


def _coverage(runs: Sequence[Run]) -> str:
    together: dict[str, list[str]] = {}
    for run in runs:
        body = _tree(run.coverage) if run.coverage else "<p>Nothing is recorded about where the times come from.</p>"
        together.setdefault(body, []).append(run.name)
    if len(together) == 1:
        return next(iter(together))
    return "".join(f"<h3>{escape(', '.join(names))}</h3>{body}" for body, names in together.items())


def _tree(value: object) -> str:
    """Return nested mappings and lists, whatever the simulation recorded, as nested HTML lists."""
    if isinstance(value, Mapping):
        return _list(f"{escape(str(key).replace('_', ' '))}: {_tree(item)}" for key, item in value.items())
    if isinstance(value, list):
        return _list(map(_tree, value))
    if isinstance(value, float):
        return number(value)
    return escape(str(value))


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _figure(plot: Plot) -> str:
    drawings = "".join(
        f'<div class="{kind}">{_inline(svg, f"{plot.name}-{kind}", plot.name)}</div>'
        for kind, svg in (("wide", plot.wide_svg), ("narrow", plot.narrow_svg))
    )
    return f'<figure id="{escape(plot.name)}">{drawings}<figcaption>{escape(plot.caption)}</figcaption></figure>'


def _inline(svg: str, prefix: str, label: str) -> str:
    """Return an SVG file's text fit to stand inside a page: own ids, the page's colours, the width of its place."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg {view.group() if view else ""} role="img" aria-label="{escape(label)}">'
    svg = re.sub(r"<svg[^>]*>", head, svg, count=1)
    # Several drawings share one page, and Matplotlib numbers each one's parts from 1.
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    for variable, colour in style.PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return re.sub(r"\s*\n\s*", " ", svg)


def _scrolling(table: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="headline figures">{table}</div>'
