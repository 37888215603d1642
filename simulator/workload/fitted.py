"""Files that hold a fitted workload and where its figures come from."""

import hashlib
import json
import textwrap
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from simulator.core.errors import InputError
from simulator.workload.fit import fit
from simulator.workload.generators.arrivals import Counts
from simulator.workload.readers import read_trace
from simulator.workload.readers.source import open_text
from simulator.workload.registry import load_registry
from simulator.workload.section import Count, Section
from simulator.workload.spec import WorkloadSpec

_KEPT = "requests in each {every}, variation of the gaps within, prompt and output lengths together"
_KEPT_PREFIX = "; share of prompt tokens that repeat an earlier prompt, length and pace of conversations"
_LOST = "the order of requests, lengths that change with time, times that requests share"


class Provenance(Section):
    """Where the figures of a fitted workload come from, so that anyone can repeat them."""

    trace: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    requests: Count
    licence: str
    citation: str
    fitted: str
    command: str
    kept: str
    lost: str


class FittedFile(Section):
    """What ``tokenyard traces fit`` writes: provenance, and a ``workload`` that can be pasted into an experiment."""

    about: Provenance
    workload: WorkloadSpec


@dataclass(frozen=True)
class Fitted:
    """A generator with the figures of a trace; relative files in it are found from ``folder``."""

    name: str
    source: str
    workload: WorkloadSpec
    folder: Path


def load_fitted(path: Path) -> Fitted:
    """Return the workload of a file that ``write_fitted`` wrote."""
    try:
        content: Any = yaml.load(open_text(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        file = FittedFile.model_validate(content)
    except yaml.YAMLError as error:
        raise InputError(f"not YAML: {' '.join(str(error).split())}", where=str(path)) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{key}: {first['msg']}" if key else first["msg"], where=str(path),
                         hint="a fitted workload is written by 'tokenyard traces fit'") from None  # fmt: skip
    return Fitted(path.stem, f"{path.name}: fitted to {file.about.trace}", file.workload, path.parent)


def write_fitted(trace: Path, out: Path, today: date) -> FittedFile:
    """Fit a trace file and write the YAML; a registered trace is known by its digest and gets its licence noted."""
    workload = read_trace(trace)
    digest = hashlib.sha256(trace.read_bytes()).hexdigest()
    public = next((entry for entry in load_registry().values() if entry.sha256 == digest), None)
    spec = fit(workload)
    assert isinstance(spec.arrivals, Counts)
    kept = _KEPT.format(every=f"{spec.arrivals.every:g} s") + (_KEPT_PREFIX if spec.prefix else "")
    about = Provenance(
        trace=public.url if public else trace.name,
        sha256=digest,
        requests=len(workload),
        licence=public.licence if public else "unknown",
        citation=public.citation if public else "unknown",
        fitted=today.isoformat(),
        command=f"tokenyard traces fit {trace.name} --out {out.name}",
        kept=kept,
        lost=_LOST,
    )
    file = FittedFile(about=about, workload=spec)
    out.write_text(_render(file), encoding="utf-8")
    return file


def _render(file: FittedFile) -> str:
    """Return the YAML: JSON values in YAML's block form, the histogram as a block of text."""
    workload = file.workload.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    histogram = workload.pop("lengths")["histogram"]
    lines = ["about:", *_block(file.about.model_dump(), 2), "workload:", *_block(workload, 2), "  lengths:"]
    lines += ["    histogram: |", *("      " + line for line in histogram.splitlines())]
    return "\n".join(lines) + "\n"


def _block(values: dict[str, Any], indent: int) -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{' ' * indent}{key}:", *_block(value, indent + 2)]
        else:
            text = f"{' ' * indent}{key}: {json.dumps(value, ensure_ascii=False)}"
            wrapped = isinstance(value, list)  # a text's blanks must stay; a list's don't matter
            lines += textwrap.wrap(text, 118, subsequent_indent=" " * (indent + 2)) if wrapped else [text]
    return lines
