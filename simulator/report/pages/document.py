"""The frame of every page: style, theme switch, sections, charts with plotly.js packed inside."""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from simulator.report.pages.chart import Chart


@dataclass(frozen=True)
class Section:
    """A part of a page under its own heading, reachable from the page's menu."""

    id: str
    heading: str
    html: str


def document(title: str, top: str, sections: Sequence[Section], charts: Sequence[Chart], legend: str = "") -> str:
    """Return a whole page. ``top`` is HTML that stands before the sections, ``legend`` stays in view below the menu.

    Every chart of ``charts`` must stand in a section once (``chart_html``).
    """
    links = "".join(f'<a href="#{each.id}">{escape(each.heading)}</a>' for each in sections)
    body = "\n".join(
        f'<section id="{each.id}" aria-labelledby="{each.id}-heading"><h2 id="{each.id}-heading">'
        f"{escape(each.heading)}</h2>\n{each.html}</section>"
        for each in sections
    )
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Without an icon of its own, a browser would ask the server for one.
            f'<link rel="icon" href="data:,"><title>{escape(title)}</title>\n<style>\n{_resource("page.css")}</style>',
            # Styles hide what is only for browsers without scripts; <noscript> is ignored by some that switch them off.
            '<script>document.documentElement.dataset.script = "on";</script>',
            '</head><body><a class="skip" href="#content">Skip to the content</a>',
            f'<header><nav aria-label="Sections">{links}</nav>'
            '<button type="button" id="theme" aria-pressed="false">Dark mode</button></header>',
            legend,
            f'<main id="content">{top}',
            '<p class="warn needs-script">The charts need JavaScript; a results folder has most of them in plots/.</p>',
            '<p class="warn" id="failure" role="alert" hidden></p>',
            body,
            "<footer>Made by Tokenyard from simulated results. This page needs no network.</footer></main>",
            _data(charts),
            f"<script>\n{_resource('page.js')}</script></body></html>\n",
        ]
    )


def chart_html(chart: Chart) -> str:
    """Return the place of a chart: the page's script draws into it."""
    caption = f"<figcaption>{escape(chart.caption)}</figcaption>" if chart.caption else ""
    return (
        f'<figure><h3>{escape(chart.title)}</h3><div class="plot" id="{escape(chart.id)}" role="img" '
        f'aria-label="{escape(chart.label)}" style="height:{chart.height}px"></div>{caption}</figure>'
    )


def selector_html(selector: str, label: str, names: Sequence[str]) -> str:
    """Return a drop-down that switches every chart and block of ``selector``; nothing where there is no choice."""
    if len(names) < 2:
        return ""
    options = "".join(f'<option value="{i}">{escape(name)}</option>' for i, name in enumerate(names))
    return f'<label class="pick">{escape(label)} <select data-selector="{selector}">{options}</select></label>'


def alternatives(selector: str, blocks: Iterable[str]) -> str:
    """Return blocks of HTML of which the drop-down of ``selector`` shows one, the first at the start."""
    return "".join(f'<div data-of="{selector}"{" hidden" if i else ""}>{block}</div>' for i, block in enumerate(blocks))


def legend_html(scope: str, label: str, entries: Iterable[tuple[str, str, str, bool]]) -> str:
    """Return a row of buttons that show and hide what they name: (name, text, CSS colour, dashed)."""
    buttons = "".join(
        f'<button type="button" class="key" aria-pressed="true" data-key="{escape(f"{scope}:{name}")}">'
        f'<svg width="22" height="8" aria-hidden="true"><line x1="0" y1="4" x2="22" y2="4" stroke="{colour}" '
        f'stroke-width="3"{" stroke-dasharray=" + chr(34) + "6 3" + chr(34) if dashed else ""}/></svg>'
        f"{escape(text)}</button>"
        for name, text, colour, dashed in entries
    )
    return f'<div class="legend" role="group" aria-label="{escape(label)}">{buttons}</div>' if buttons else ""


def css_colour(name: str) -> str:
    """Return a chart's colour as CSS writes it."""
    return f"var({name})" if name.startswith("--") else name


def scrolling(table: str, label: str) -> str:
    """Return a table in a box that scrolls sideways, also by keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _data(charts: Sequence[Chart]) -> str:
    """Return the charts as JSON, and plotly.js packed to a third of its size: every browser since 2023 unpacks it."""
    specs = [
        {
            "id": chart.id,
            "selector": chart.selector,
            "views": [{"data": view.traces, "layout": view.layout} for view in chart.views],
        }
        for chart in charts
    ]
    # "</script>" in a run's name must not end the block.
    text = json.dumps(specs, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    library = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    packed = base64.b64encode(gzip.compress(library, compresslevel=6, mtime=0)).decode()
    return (
        f'<script type="application/json" id="charts">{text}</script>\n'
        f'<script type="text/plain" id="plotly-packed">{packed}</script>'
    )


def _resource(name: str) -> str:
    return resources.files("simulator.report.pages").joinpath(name).read_text(encoding="utf-8")


def facts(rows: Mapping[str, str]) -> str:
    """Return names and values as a definition list."""
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items()) + "</dl>"
