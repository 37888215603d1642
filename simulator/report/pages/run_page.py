"""The page of one results folder."""

from html import escape

from simulator.report.pages.answer import answer, slo_text
from simulator.report.pages.document import Section, document
from simulator.report.pages.findings import Findings
from simulator.report.pages.sections import run_legend, sections_of
from simulator.report.pages.trust import in_short
from simulator.report.results import Results


def run_page(results: Results, found: Findings) -> str:
    """Return ``report.html``: what ran, figures, latency, SLO and instances over time, worst requests, caveats."""
    sections, charts = sections_of(found, results.comparison)
    if results.config:
        text = f"<details><summary>Configuration</summary><pre>{escape(results.config)}</pre></details>"
        sections.append(Section("configuration", "Configuration", text))
    count = len(found.runs)
    what = ", ".join(part for part in (f"{count} simulated run{'s' * (count != 1)}", _models(results)) if part)
    lead = f"{what}: {in_short(found.runs)}. {slo_text(found.runs)}"
    top = (
        f"<h1>{escape(results.experiment)}</h1>\n"
        f'<p class="lead">{escape(lead)}</p><p class="answer">{escape(answer(found.runs))}</p>'
    )
    return document(f"{results.experiment}: Tokenyard report", top, sections, charts, run_legend(found.runs))


def _models(results: Results) -> str:
    """Return the models that instances serve, or the one that the experiment names; nothing where none is a word."""
    import yaml

    kinds = [kind for run in results.runs for kind in run.cluster.get("kinds") or ()]
    if several := dict.fromkeys(str(kind["model"]) for kind in kinds if kind.get("model")):
        return " and ".join(several)
    try:
        model = (yaml.safe_load(results.config) or {}).get("model")
    except (yaml.YAMLError, AttributeError):
        return ""
    return model if isinstance(model, str) else ""
