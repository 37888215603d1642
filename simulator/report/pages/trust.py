"""What a run ran on, and how far its figures can be trusted, as far as the results folder says."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from simulator.report.headline import number
from simulator.report.pages.document import facts
from simulator.report.results import Run

_SPLITS = (("tensor_parallel", "TP"), ("pipeline_parallel", "PP"), ("expert_parallel", "EP"))


def ran_on_html(runs: Sequence[Run]) -> str:
    """Return what was simulated, workload and cluster: first what all runs share, then the rest run by run."""
    every = [_facts(run) for run in runs]
    first = every[0]
    common = {name: text for name, text in first.items() if all(each.get(name) == text for each in every)}
    together: dict[str, list[str]] = {}
    for run, each in zip(runs, every, strict=True):
        own = {name: text for name, text in each.items() if name not in common}
        if own:
            together.setdefault(facts(own), []).append(run.name)
    top = f'<div class="card"><h3>{escape(_names([run.name for run in runs], len(runs)))}</h3>{facts(common)}</div>'
    return (top if common else "") + "".join(
        f'<div class="card"><h3>{escape(_names(names, len(runs)))}</h3>{body}</div>' for body, names in together.items()
    )


def _names(names: Sequence[str], count: int) -> str:
    if len(names) == count and count > 1:
        return f"All {count} runs"
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _facts(run: Run) -> dict[str, str]:
    found = {}
    if run.workload:
        requests = f"{run.workload['requests']:,} requests" if "requests" in run.workload else ""
        named = str(run.workload.get("name") or "")
        found["workload"] = ", ".join(part for part in (named, requests) if part)
        if run.workload.get("source"):
            found["from"] = str(run.workload["source"])
    kinds = run.cluster.get("kinds") or ()
    found["instances"] = " + ".join(map(_kind, kinds)) or "not recorded"
    if run.cluster.get("gpus") is not None:
        found["GPUs"] = str(run.cluster["gpus"])
    if run.cluster.get("router") is not None:
        found["router"] = str(run.cluster["router"])
    for key, label in (("price_source", "price"), ("power_source", "power")):
        said = list(dict.fromkeys(str(kind[key]) for kind in kinds if kind.get(key)))
        if said:
            found[label] = "; ".join(said)
    return found


def _kind(kind: Mapping[str, Any]) -> str:
    parts = [str(kind.get("engine") or kind.get("scheduler"))]
    if kind.get("engine") and kind.get("scheduler"):
        parts[0] = f"{kind['engine']}, policy {kind['scheduler']}"
    parts += [f"{short} {kind[name]}" for name, short in _SPLITS if kind.get(name) not in (None, 1)]
    parts += [f"{name} {number(float(most))}" for name, most in (kind.get("limits") or {}).items()]
    if kind.get("kv_blocks") is not None:
        parts.append(f"{number(float(kind['kv_blocks']))} KV blocks of {kind.get('block_size')} tokens")
    what = f"{kind['model']} on " if kind.get("model") else ""
    return f"{kind.get('count')} x {what}{kind.get('hardware')} ({', '.join(parts)})"


def in_short(runs: Sequence[Run]) -> str:
    """Return what ran on what in a few words, as far as the runs agree: requests, workload and hardware."""
    workloads = {str(run.workload.get("name")) for run in runs if run.workload.get("name")}
    counts = {int(run.workload["requests"]) for run in runs if "requests" in run.workload}
    hardware = {str(kind["hardware"]) for run in runs for kind in run.cluster.get("kinds") or () if "hardware" in kind}
    span = [f"{count:,}" for count in sorted({min(counts), max(counts)})] if counts else []
    parts = [f"{' to '.join(span)} requests"] if span else []
    parts += [f"of {', '.join(sorted(workloads))}"] if 0 < len(workloads) <= 3 else []
    parts += [f"on {', '.join(sorted(hardware))}"] if 0 < len(hardware) <= 4 else []
    return " ".join(parts)


def caveats(runs: Sequence[Run]) -> list[str]:
    """Return what a reader must know before believing a figure: reads beyond measured tables, assumptions, failures."""
    found: dict[str, None] = {}
    for run in runs:
        for text in _warnings(run.coverage):
            found.setdefault(text)
        if run.metric("failed") > 0:
            found.setdefault(f'"{run.name}": {run.metric("failed"):,.0f} requests failed and have no latency.')
    return list(found)


def _warnings(value: object, name: str = "") -> Iterable[str]:
    """Yield the entries of every list called ``beyond`` or ``notes``, and ``terms`` that no measurement backs."""
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        if key == "terms" and isinstance(item, Mapping):
            assumed = [f"{term} ({_text(why)})" for term, why in item.items() if not _backed(why)]
            if assumed:
                yield f"Not measured{f' ({name})' if name else ''}: {', '.join(assumed)}"
        if key in ("beyond", "notes") and isinstance(item, list):
            start = "Beyond what was measured" if key == "beyond" else "Note"
            yield from (f"{start}{f' ({name})' if name else ''}: {_text(each)}" for each in item)
        else:
            yield from _warnings(item, str(key))


def _backed(why: object) -> bool:
    return str(why).startswith(("measured", "none needed"))


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return number(value) if isinstance(value, float) else str(value)


def trust_html(runs: Sequence[Run]) -> str:
    """Return the caveats, then what each part of an iteration's time rests on, runs with the same answer together."""
    warnings = caveats(runs)
    listed = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    top = (
        f'<ul class="warn card">{listed}</ul>'
        if warnings
        else "<p>No time was looked up beyond what was measured, and every one has a measurement.</p>"
    )
    known = any(run.coverage for run in runs)
    if not known:
        top = "<p>Nothing is recorded about where the times come from.</p>" + (top if warnings else "")
    together: dict[str, list[str]] = {}
    for run in runs:
        if run.coverage:
            together.setdefault(_tree(run.coverage), []).append(run.name)
    blocks = (
        f"<details{' open' if i == 0 else ''}><summary>What the times rest on: {escape(_names(names, len(runs)))}"
        f'</summary><div class="card">{body}</div></details>'
        for i, (body, names) in enumerate(together.items())
    )
    about = (
        '<p class="hint">Figures are simulated. How far such figures were from real engines, by GPU and load, is in '
        "docs/fidelity.md; <code>tokenyard validate</code> repeats it.</p>"
    )
    return top + about + "".join(blocks)


def _tree(value: object) -> str:
    """Return nested mappings and lists, whatever the simulation recorded, as nested HTML lists."""
    if isinstance(value, Mapping):
        return _list(f"{escape(str(key).replace('_', ' '))}: {_tree(item)}" for key, item in value.items())
    if isinstance(value, list):
        return _list(map(_tree, value)) if value else "nothing"
    if isinstance(value, float):
        return number(value)
    return escape(str(value))


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
