"""Layer profiles of LLMServingSim: times of one layer inside vLLM, by model and tensor parallelism.

A folder such as ``RTX4090/meta-llama/Llama-3.1-8B/bf16/tp1`` holds ``dense``, ``per_sequence``, ``attention``, perhaps
``moe`` and ``skew_fit`` (``.csv`` or ``.csv.gz``, microseconds); ``meta.yaml`` stands above it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core import InputError
from simulator.hardware.fit_roofline import Most, as_yaml, fit_decode, fit_gemm, fit_prefill
from simulator.hardware.importers.base import IMPORTERS, Imported, Importer, most_of
from simulator.hardware.importers.layer_folder import LayerFolder, layer_folders
from simulator.hardware.importers.layer_rows import attention_rows, gemm_rows, products
from simulator.hardware.importers.measurements import Layout, Limits, Measured, to_grids
from simulator.hardware.importers.mixed_attention import fill_mixed
from simulator.hardware.importers.skew import skew_by_load, skew_rows

_US = 1e-6


@IMPORTERS.register("layer_profiles")
class LayerProfiles(Importer):
    """Times of a model's layers inside vLLM, as LLMServingSim profiles them."""

    source = "LLMServingSim layer profiles, MIT"

    def read(self, paths: Sequence[str], source: str, known: Mapping[str, Any]) -> Imported:
        """Read all models below the given folders; rooflines are fitted where the profile has none."""
        folders = [folder for path in paths for folder in layer_folders(Path(path))]
        measured = read_layers(folders)
        imported = Imported(measured.grids, measured.errors)
        imported.stated["gpu"] = str(folders[0].meta["gpu"])
        engines = ", ".join(sorted({f"{folder.library} of {folder.date}" for folder in folders}))
        what = f"({source}; {engines}; eager mode, clocks not recorded)"
        _fit(folders, imported, what, most_of(known, "bfloat16"))
        said = known.get("provenance", {})
        for section in [name for name in imported.stated if name in known and source in said.get(name, "")]:
            # From an earlier import of the same.
            imported.measured[section] = imported.stated.pop(section)
        if (sms := known.get("sms")) and (shares := skew_by_load(folders, int(sms))):
            imported.measured["skew_alpha"] = shares
            imported.provenance["skew_alpha"] = (
                f"quartiles over groups of decode-only measurements, by requests x KV heads / (2 x {sms}) {what}"
            )
        return imported


def read_layers(folders: Sequence[LayerFolder]) -> Measured:
    """Return the grids of all folders, thinned with common knots for all models of an operator."""
    import pandas as pd

    measured = Measured()
    for name, (layout, columns) in _TABLES.items():
        found = [
            (folder.library, _sized(table, folder)) for folder in folders if (table := folder.table(name)) is not None
        ]
        for library in sorted({library for library, _ in found}):
            rows = pd.concat([table for own, table in found if own == library])
            try:
                rows = rows.rename(columns=columns).assign(seconds=rows["time_us"] * _US)
            except KeyError as error:
                raise InputError(f"a {name} table has no column {error}", where=str(folders[0].path)) from None
            if not np.isfinite(rows.seconds).all():
                raise InputError(f"a {name} table has times that are not numbers", where=str(folders[0].path))
            measured.add(to_grids(rows[rows.seconds > 0], library, layout))
    for library in sorted({folder.library for folder in folders}):
        rows = skew_rows([folder for folder in folders if folder.library == library])
        if rows is not None:
            measured.add(to_grids(rows, library, _SKEW))
    return measured


def _fit(folders: Sequence[LayerFolder], imported: Imported, what: str, most: Most) -> None:
    """Fit rooflines to matrix products and attention of all models whose shape is known."""
    fits: dict[str, tuple[Callable[[Any, Most], dict[str, Any] | None], Any, str]] = {
        "gemm": (partial(fit_gemm, "bfloat16"), gemm_rows(folders), "matrix products"),
        "prefill_attention": (fit_prefill, attention_rows(folders, "prefill"), "attentions of a prompt"),
        "decode_attention": (fit_decode, attention_rows(folders, "decode"), "attentions of decodes"),
    }
    for section, (fit, rows, kind) in fits.items():
        if rows is not None and (found := fit(rows, most)) is not None:
            imported.stated[section] = as_yaml(found)
            imported.provenance[section] = (
                f"fit to {found['samples']} measured {kind} {what}, median error {found['error']:.1%}"
            )


def _sized(table: Any, folder: LayerFolder) -> Any:
    """Add the sizes of what was measured: n and k of a matrix product, heads of attention; 0 where not known."""
    shape = folder.shape()
    if "layer" in table:
        sizes = {} if shape is None else products(shape)
        n, k = (
            table.layer.map({part: size[at] for part, size in sizes.items()}).fillna(0).astype(int) for at in (0, 1)
        )
        return table.assign(n=n, k=k)
    heads, kv_heads, head_dim = (0, 0, 0) if shape is None else (shape.heads, shape.kv_heads, shape.head_dim)
    return table.assign(heads=heads, kv_heads=kv_heads, head_dim=head_dim)


_MODEL = ("model", "tp")
_SIZED = (*_MODEL, "part", "n", "k")
_SEQUENCES = (("sequences", "linear"),)
_PART = {"layer": "part"}
_SKEW = Layout("layer_skew", (*_MODEL, "part"), _SEQUENCES)
_TABLES: dict[str, tuple[Layout, dict[str, str]]] = {
    "dense": (Layout("layer", _SIZED, (("tokens", "linear"),), thinned=("tokens",)), _PART),
    "per_sequence": (Layout("layer_sequence", _SIZED, _SEQUENCES, thinned=("sequences",)), _PART),
    "attention": (
        Layout(
            "layer_attention",
            (*_MODEL, "heads", "kv_heads", "head_dim"),
            (("new", "linear"), ("past", "linear"), ("decodes", "linear"), ("context", "linear")),
            thinned=("new", "past", "decodes", "context"),
            # Decodes without a prompt are a small part of the grid and the greater part of an engine's iterations.
            limits=Limits(knot_median=0.005, knot_p95=0.03),
            fill=fill_mixed,
        ),
        {"prefill_chunk": "new", "kv_prefill": "past", "n_decode": "decodes", "kv_decode": "context"},
    ),
    "moe": (
        Layout("layer_moe", _MODEL, (("tokens", "linear"), ("experts", "linear"))),
        {"activated_experts": "experts"},
    ),
}
