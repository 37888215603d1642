"""Bring measurements into a profile: a YAML file for people, and the table file beside it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from simulator.core import InputError
from simulator.core.quantity import parse
from simulator.core.yaml_source import dump_yaml, read_yaml
from simulator.hardware.grid import Grid
from simulator.hardware.importers.base import IMPORTERS, Imported, most_of
from simulator.hardware.points import impossible, matrix_products, prompt_attention
from simulator.hardware.profile import SCHEMA, Profile, check_schema
from simulator.hardware.sections import TableFile
from simulator.hardware.tables import Tables

_ORDER = ("schema", "name", "gpu", "sms", "memory", "peak", "links", "power", "price", "gemm", "rooflines",
          "prefill_attention", "decode_attention", "allreduce", "elementwise", "skew_alpha", "tables",
          "provenance")  # fmt: skip
# Imported entries of these join those that are there instead of replacing all.
_JOINED = ("links", "rooflines", "peak")
_FIGURES = ("median", "p95", "samples", "knots", "repeats", "source")
_POOLED = "pooled fit to the layer profiles of vLLM 0.19 on RTX 4090 and RTX PRO 6000 (LLMServingSim, MIT)"


class Written(NamedTuple):
    """What an import did: the profile, its files, the sections that came from the measurements."""

    profile: Profile
    files: list[Path]
    sections: list[str]
    grids: int


def import_into(
    path: Path, kind: str, paths: Sequence[str], name: str | None = None, source: str | None = None
) -> Written:
    """Read measurements with the importer ``kind`` and write them into the profile at ``path``, made if there is none.

    Sections that were not measured stay as they are. Comments at the top of the file are kept, others are not. Both
    files are replaced whole, the YAML last. InputError for unreadable measurements, and if what results is no profile.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError("a profile is a .yaml file", where=str(path))
    importer = IMPORTERS.get(kind)()
    known: dict[str, Any] = {}
    if path.exists():
        present = read_yaml(path)
        check_schema(present)
        known = present.value
    imported = importer.read(paths, source or importer.source, known)
    values = _merged(known, imported, name or known.get("name") or path.stem)
    left_out = _leave_out_impossible(imported.grids, values)
    tables = path.with_suffix(".npz")
    beside = {file: file.with_name(f".{os.getpid()}.{file.name}") for file in (tables, path)}
    joined = _joined(_tables_of(path, known), imported, source or importer.source) if imported.grids else None
    try:
        if joined is not None:
            values["tables"] = {"file": tables.name, "sha256": joined.save(beside[tables])}
            values["provenance"]["tables"] = _describe(joined.about["errors"], left_out)
        beside[path].write_text(_comments(path, values) + dump_yaml(_ordered(values)))
        _check_complete(beside[path], path)
        written = [file for file, temporary in beside.items() if temporary.exists()]
        for file in written:
            beside[file].replace(file)
    finally:
        for temporary in beside.values():
            temporary.unlink(missing_ok=True)
    return Written(Profile.load(path), written, sorted(imported.measured), len(imported.grids))


def _check_complete(written: Path, path: Path) -> None:
    try:
        Profile.load(written)
    except InputError as error:
        hint = "write what is missing into the file, or import kernel tables first"
        raise InputError(f"this would not be a profile: {error.message}", where=str(path), hint=hint) from None


def _leave_out_impossible(grids: Sequence[Grid], values: Mapping[str, Any]) -> int:
    """Make holes of measurements that are faster than the profile's datasheet figures allow; return how many."""
    tables, cells = Tables(grids), 0
    l2 = values.get("memory", {}).get("l2")
    for kind in (matrix_products, prompt_attention):
        for points in kind(tables):
            wrong = impossible(points, most_of(values, points.dtype), parse(l2, "size") if l2 else None)
            points.grid.seconds[tuple(points.places[wrong].T)] = np.nan
            cells += int(wrong.sum())
    return cells


def _tables_of(path: Path, known: Mapping[str, Any]) -> Tables:
    if "tables" not in known:
        return Tables()
    try:
        named = TableFile.model_validate(known["tables"])
    except ValidationError:
        raise InputError("tables needs file and sha256", where=str(path)) from None
    return Tables.load(path.parent / named.file, named.sha256)


def _merged(known: Mapping[str, Any], imported: Imported, name: str) -> dict[str, Any]:
    values: dict[str, Any] = {**imported.stated, **known, "schema": SCHEMA, "name": name}
    provenance = {key: text for key, text in imported.provenance.items() if key not in known}
    for key, section in imported.measured.items():
        values[key] = {**values.get(key, {}), **section} if key in _JOINED else section
        provenance[key] = imported.provenance[key]
    values["provenance"] = {**known.get("provenance", {}), **provenance}
    if "memory" in values:
        _assume(values)
    values["provenance"] = _ordered(values["provenance"])
    return values


def _ordered(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in (*_ORDER, *sorted(values.keys() - set(_ORDER))) if key in values}


def _assume(values: dict[str, Any]) -> None:
    """Fill in what no importer measures, and say that it is assumed."""
    if "elementwise" not in values:
        bandwidth = parse(values["memory"]["bandwidth"], "bandwidth")
        values["elementwise"] = {"launch": "2.5us", "bandwidth": f"{0.78 * bandwidth / 1e9:.4g}GB/s"}
        text = f"assumed: 2.5 us and 0.78 of the datasheet bandwidth, a {_POOLED}; not measured on this GPU"
        values["provenance"]["elementwise"] = text


def _joined(old: Tables, imported: Imported, source: str) -> Tables:
    """Return the old grids and the imported ones, which replace those of the same library, operator and attributes."""
    grids = {_key(grid): grid for grid in (*old, *imported.grids)}
    new = [{**entry, "source": source} for entry in imported.errors]
    errors = {_group(entry): entry for entry in (*old.about.get("errors", []), *new)}
    return Tables(grids.values(), {"errors": list(errors.values())})


def _key(grid: Grid) -> tuple[Any, ...]:
    return grid.library, grid.operator, *sorted(grid.attributes.items())


def _group(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple((key, value) for key, value in entry.items() if key not in _FIGURES)


def _describe(errors: Sequence[Mapping[str, Any]], left_out: int) -> str:
    """Return a sentence for the provenance of tables."""
    sources: dict[str, set[str]] = {}
    for entry in errors:
        sources.setdefault(entry["source"], set()).add(entry["library"])
    named = "; ".join(f"{', '.join(sorted(libraries))}: {source}" for source, libraries in sources.items())
    samples = sum(entry["samples"] for entry in errors)
    median, p95 = (max(entry[figure] for entry in errors) for figure in ("median", "p95"))
    repeats = [entry["repeats"] for entry in errors if "repeats" in entry]
    noise = ", ".join(f"{each['points']} points measured again were {each['apart']:.1%} apart" for each in repeats)
    return (
        f"{named}. {samples} measurements; of several kernels the fastest. Interpolation between the knots kept "
        f"reproduces them to {median:.1%} (median) and {p95:.1%} (95th percentile) at worst, by operator and type "
        f"('tokenyard profiles show' lists them). Noise: {noise or 'no point was measured twice'}"
        + (f". {left_out} measurements faster than the datasheet allows were left out" if left_out else "")
    )


def _comments(path: Path, values: Mapping[str, Any]) -> str:
    if not path.exists():
        return f"# {values['gpu'] if 'gpu' in values else values['name']}\n"
    lines = path.read_text().splitlines(keepends=True)
    top = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:top])
