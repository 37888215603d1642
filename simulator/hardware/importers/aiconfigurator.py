"""aiconfigurator's kernel tables of one GPU: a folder of ``*_perf`` files, or a system of the installed package."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core import InputError
from simulator.hardware.fit_roofline import Most, as_yaml, fit_allreduce, fit_decode, fit_gemm, fit_prefill
from simulator.hardware.importers.aiconfigurator_systems import datasheet, locate, relative, scaled
from simulator.hardware.importers.aiconfigurator_tables import TABLES, Table
from simulator.hardware.importers.base import IMPORTERS, Imported, Importer, most_of
from simulator.hardware.importers.measurements import Measured, to_grids

_Fit = Callable[[Any, Most], dict[str, Any] | None]
_MS = 1e-3
_ENDINGS = (".csv.gz", ".csv", ".txt", ".parquet")
_DTYPES = ("fp8", "fp8_block", "nvfp4")


@IMPORTERS.register("aiconfigurator")
class AIConfigurator(Importer):
    """Kernel tables of NVIDIA's aiconfigurator: a folder, or a system's name with aiconfigurator-core installed."""

    @property
    def source(self) -> str:  # type: ignore[override]
        """The installed package and its version, or only whose layout it is."""
        try:
            return f"aiconfigurator-core {metadata.version('aiconfigurator-core')}, Apache-2.0"
        except metadata.PackageNotFoundError:
            return "kernel tables in aiconfigurator's layout"

    def read(self, paths: Sequence[str], source: str, known: Mapping[str, Any]) -> Imported:
        """Read every table of a kind we know below the given folders; InputError if there is none.

        A system that the package lists without tables has the rooflines of a relative, scaled by their datasheets.
        """
        measured, device = Measured(), ""
        stated: dict[str, Any] = {}
        estimated: dict[str, str] = {}
        for path in paths:
            system = locate(path)
            figures = datasheet(system.figures) if system.figures else {}
            if system.tables is None:
                assert system.figures is not None
                sections, estimated = _estimated(system.figures, {**figures, **known}, source)
                stated |= sections | {"gpu": f"{path}, of which nothing was measured"}
            else:
                own, gpu = read_tables(system.tables)
                measured.add(own)
                device = device or gpu
            stated |= figures
        fitted, said = _fits(measured, source, {**stated, **known})
        if (known.get("allreduce") or {}).get("direct") is False:
            # These were measured on a node of another kind than the one the profile is of.
            fitted.pop("allreduce", None)
            said.pop("allreduce", None)
        if device:
            stated["gpu"] = device
        provenance = {section: f"as {source} states it for this system" for section in stated if section != "gpu"}
        return Imported(measured.grids, measured.errors, fitted, stated, provenance | estimated | said)


def _estimated(figures: Path, own: Mapping[str, Any], source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return rooflines of a GPU that was not measured, and where each comes from."""
    system = relative(figures)
    found = locate(system)
    assert found.tables is not None and found.figures is not None
    theirs = datasheet(found.figures)
    fits, said = _fits(read_tables(found.tables)[0], source, theirs)
    sections = scaled(fits, theirs, own)
    text = f"estimated, not measured on this GPU: that of {system} by the ratio of the two datasheets"
    return sections, {name: f"{text}. {system}: {said[name]}" for name in sections}


def read_tables(folder: Path) -> tuple[Measured, str]:
    """Return all tables of a kind we know in a folder and those below it, and the GPU's name, if they give it.

    A library is called as the folder its tables are in (``vllm-0.24.0``), or as its two last ones where the last is a
    bare version (``vllm/0.24.0``).
    """
    measured, device = Measured(), ""
    for path in _files(folder):
        if (table := TABLES.get(_stem(path))) is not None:
            rows = _rows(path, table)
            measured.add(to_grids(rows, _library(path), table.layout))
            device = device or (str(rows.device.iloc[0]) if "device" in rows and len(rows) else "")
    if not measured.grids:
        hint = "it should hold files such as gemm_perf.csv.gz, here or in folders such as vllm-0.24.0"
        raise InputError("no kernel tables here", where=str(folder), hint=hint)
    return measured, device


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*_perf.*")):
        if path.name.endswith(_ENDINGS):
            yield path


def _stem(path: Path) -> str:
    return path.name[: path.name.index("_perf.")]


def _library(path: Path) -> str:
    version = path.parent.name
    return f"{path.parent.parent.name}-{version}" if version[:1].isdigit() else version


def _rows(path: Path, table: Table) -> Any:
    """Read a file as a data frame with our names for its columns, and ``seconds``."""
    import pandas as pd

    try:
        rows = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"cannot be read as a table: {error}", where=str(path)) from None
    # Columns that never vary may be kept beside the table.
    beside = path.with_name(f"{_stem(path)}_perf.const.json")
    if beside.exists():
        rows = rows.assign(**json.loads(beside.read_text())["constant_columns"])
    try:
        rows = table.prepare(rows.assign(seconds=rows["latency"].astype(float) * _MS))
        rows = rows.rename(columns={theirs: ours for ours, theirs in table.columns.items()})
        wanted = [*table.layout.attributes, *(name for name, _ in table.layout.axes), "seconds"]
        rows = rows.rename(columns={"kernel_source": "kernel"})
        rows = rows[[*wanted, *(name for name in ("kernel", "device") if name in rows)]]
    except KeyError as error:
        raise InputError(f"the table has no column {error}", where=str(path)) from None
    except ValueError as error:
        raise InputError(f"latency is not a number: {error}", where=str(path)) from None
    wrong = np.flatnonzero(~np.isfinite(rows.seconds) | (rows.seconds < 0))
    if len(wrong):
        what = f"{len(wrong)} of {len(rows)} rows have a latency that is no time (not a number, infinite or below 0)"
        raise InputError(what, where=f"{path}:{wrong[0] + 2}", hint="remove them; a missing row is a hole")
    # What took less than the timer tells says nothing.
    return rows[rows.seconds > 0]


def _fits(measured: Measured, source: str, said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return rooflines and the all-reduce as sections of a profile, and where each comes from."""
    sections: dict[str, Any] = {}
    provenance: dict[str, str] = {}

    def fitted(operator: str, fit: _Fit, what: str, dtype: str = "bfloat16") -> tuple[dict[str, Any], str] | None:
        for library in _preferred(measured, operator):
            if (found := fit(measured.rows[library, operator], most_of(said, dtype))) is not None:
                text = f"fit to {found['samples']} measured {what} of {library} ({source}), median error"
                return as_yaml(found), f"{text} {found['error']:.1%}; clocks and dates not recorded there"
        return None

    for section, operator, fit, what in (
        ("gemm", "gemm", partial(fit_gemm, "bfloat16"), "bf16 matrix products"),
        ("prefill_attention", "prefill_attention", fit_prefill, "bf16 attentions of prompts"),
        ("decode_attention", "decode_attention", fit_decode, "bf16 attentions of decodes"),
    ):
        if (found := fitted(operator, fit, what)) is not None:
            sections[section], provenance[section] = found
    by_type = {dtype: fitted("gemm", partial(fit_gemm, dtype), f"{dtype} matrix products", dtype) for dtype in _DTYPES}
    if known := {dtype: found for dtype, found in by_type.items() if found is not None}:
        sections["rooflines"] = {dtype: section for dtype, (section, _) in known.items()}
        provenance["rooflines"] = ". ".join(f"{dtype}: {text}" for dtype, (_, text) in known.items())
    for operator, wanted in (("allreduce", {"graph": 1}), ("collective", {"op": "all_reduce", "dtype": "half"})):
        for library in _preferred(measured, operator):
            rows = measured.rows[library, operator]
            for column, value in wanted.items():
                rows = rows[rows[column] == value]
            if "allreduce" in sections or not len(rows):
                continue
            link = as_yaml(fit_allreduce(rows))
            error, samples = link.pop("error"), link.pop("samples")
            sections["allreduce"] = link
            provenance["allreduce"] = (
                f"fit to {samples} measured all-reduces of {library} ({source}), median error {error:.1%}"
            )
    return sections, provenance


def _preferred(measured: Measured, operator: str) -> list[str]:
    """Return the libraries an operator was measured with, vLLM's newest first."""
    libraries = sorted((library for library, name in measured.rows if name == operator), reverse=True)
    return sorted(libraries, key=lambda library: not library.startswith("vllm"))
