"""Layer profiles: microseconds, sizes, mixed attention made whole, skew made small."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from simulator.core import InputError
from simulator.hardware.grid import Axis
from simulator.hardware.importers.layer_folder import layer_folders
from simulator.hardware.importers.layer_profiles import LayerProfiles, read_layers
from simulator.hardware.importers.mixed_attention import fill_mixed

NEW, PAST, DECODES, CONTEXT = (0, 16, 64), (0, 16, 64), (0, 1, 4, 8), (0, 16, 64)


def attention_us(new, past, decodes, context):
    return 5 + 0.1 * new * (past + new / 2) + 0.02 * decodes * context + 0.01 * new * decodes


def attention_rows():
    """Return what the profiler measures: no past without new tokens, no context without decodes, and the most decodes
    without a prompt only.
    """
    return [
        (new, past, decodes, context, attention_us(new, past, decodes, context))
        for new in NEW for past in (PAST if new else (0,))
        for decodes in DECODES for context in (CONTEXT[1:] if decodes else (0,))
        if (new or decodes) and not (new and decodes == 8)
    ]  # fmt: skip


def write(root, model="meta-llama/Llama-3.1-8B", tp=1, degrees=(1,), **meta):
    folder = root / model / "bf16"
    (folder / f"tp{tp}").mkdir(parents=True, exist_ok=True)
    overrides = {"num_attention_heads": 32 // degrees[-1], "num_key_value_heads": 8 // degrees[-1],
                 "intermediate_size": 14336 // degrees[-1], "vocab_size": 128256 // degrees[-1]}  # fmt: skip
    values = {
        "vllm_version": "0.19.0",
        "gpu": "NVIDIA Test",
        "model": model,
        "tp_degrees": list(degrees),
        "profiled_at": "2026-08-17T19:43:32+00:00",
        "engine_effective": {"hf_overrides": overrides},
        **meta,
    }
    (folder / "meta.yaml").write_text(
        yaml.safe_dump({key: value for key, value in values.items() if value is not None})
    )
    tables = {
        "dense": pd.DataFrame(
            [(part, tokens, 3 + 0.5 * tokens) for part in ("qkv_proj", "act_fn") for tokens in (1, 2, 64, 128, 2048)],
            columns=["layer", "tokens", "time_us"],
        ),
        "per_sequence": pd.DataFrame(
            [("lm_head", sequences, 500 + sequences) for sequences in (1, 8, 256)],
            columns=["layer", "sequences", "time_us"],
        ),
        "attention": pd.DataFrame(
            attention_rows(), columns=["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"]
        ),
        "skew_fit": pd.DataFrame(
            [(pc, f"n<={n}", alpha, 4) for pc in (0, 16) for n in (2, 32) for alpha in (0.1, 0.2, 0.6)]
            + [(0, "n>256", 0.9, 1)],
            columns=["pc", "n_label", "alpha", "n_samples"],
        ),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"tp{tp}" / f"{name}.csv.gz", index=False)
    return folder


def grid_of(measured, operator, **attributes):
    (grid,) = [
        grid
        for grid in measured.grids
        if grid.operator == operator and attributes.items() <= dict(grid.attributes).items()
    ]
    return grid


def test_microseconds_become_seconds_by_part(tmp_path):
    write(tmp_path)
    measured = read_layers(layer_folders(tmp_path))
    product = grid_of(measured, "layer", part="qkv_proj")
    assert product.library == "vllm-0.19.0"
    assert product.at(100) == pytest.approx(53e-6)
    assert (product.attributes["n"], product.attributes["k"]) == ((32 + 2 * 8) * 128, 4096)
    assert grid_of(measured, "layer", part="act_fn").attributes["n"] == 0
    assert grid_of(measured, "layer_sequence", part="lm_head").at(8) == pytest.approx(508e-6)


def test_a_split_model_has_its_share_of_heads(tmp_path):
    write(tmp_path, tp=1, degrees=(1, 2))
    write(tmp_path, tp=2, degrees=(1, 2))
    one, two = layer_folders(tmp_path)
    assert (one.kv_heads(), two.kv_heads()) == (8, 4)
    assert two.shape().heads == 16
    assert two.shape().ffn == 7168


def test_mixed_attention_has_no_holes_and_keeps_what_was_measured(tmp_path):
    write(tmp_path)
    grid = grid_of(read_layers(layer_folders(tmp_path)), "layer_attention", model="meta-llama/Llama-3.1-8B", tp=1)
    assert not np.isnan(grid.seconds).any()
    for *point, time in attention_rows():
        assert grid.at(*point) == pytest.approx(time * 1e-6, rel=0.04)
    # Decodes alone, whatever the past of a prompt that is not there.
    assert grid.at(0, 64, 4, 64) == grid.at(0, 0, 4, 64)
    # A prompt alone, whatever the context of decodes that are not there.
    assert grid.at(64, 16, 0, 64) == grid.at(64, 16, 0, 0)
    # The most decodes with a prompt: as much more than the next fewer as without one.
    without = grid.at(0, 0, 8, 64) / grid.at(0, 0, 4, 64)
    assert grid.at(64, 16, 8, 64) == pytest.approx(grid.at(64, 16, 4, 64) * without)


def test_two_regular_grids_laid_over_each_other(tmp_path):
    new, past, decodes, context = (0, 16, 24, 32), (0, 16, 512), (0, 1, 2), (0, 16, 512, 1024)
    axes = tuple(Axis(name, np.array(knots, float)) for name, knots in
                 zip(("new", "past", "decodes", "context"), (new, past, decodes, context), strict=True))  # fmt: skip
    points = np.meshgrid(*(axis.knots for axis in axes), indexing="ij")
    truth = attention_us(*points)
    measured = np.full(truth.shape, np.nan)
    for coarse in (True, False):
        # The coarse one has all but 24; the fine one has 24 too, but no context or past below 512.
        keep_new = [0, 1, 3] if coarse else [0, 1, 2, 3]
        keep_past, keep_context = ([0, 1, 2], [0, 1, 2, 3]) if coarse else ([0, 2], [0, 2, 3])
        block = np.ix_(keep_new, keep_past, [0, 1, 2], keep_context)
        measured[block] = truth[block]
    measured[0, 1:], measured[:, :, 0, 1:], measured[:, :, 1:, 0], measured[0, :, 0] = (np.nan,) * 4
    filled = fill_mixed(measured[None], axes)[0]
    assert not np.isnan(filled).any()
    known = ~np.isnan(measured)
    np.testing.assert_array_equal(filled[known], measured[known])
    # 24 new tokens, 1 decode of context 16: from the coarse grid, not from the fine one's 512.
    assert filled[2, 0, 1, 1] == pytest.approx((truth[1, 0, 1, 1] + truth[3, 0, 1, 1]) / 2)


def test_skew_becomes_medians_by_batch_and_quartiles_by_load(tmp_path):
    write(tmp_path)
    known = {"sms": 128, "memory": {"capacity": "24GiB", "bandwidth": "1008GB/s"}}
    imported = LayerProfiles().read([str(tmp_path)], "a test", known)
    for part in ("decode", "mixed"):
        grid = grid_of(imported, "layer_skew", part=part)
        assert grid.axis("sequences").knots.tolist() == [2, 32]
        assert grid.at(2) == pytest.approx(0.2)
    assert imported.measured["skew_alpha"] == [
        {"x": x, "mean": 0.3, "median": 0.2, "low": 0.15, "high": 0.4, "cells": 3} for x in (0.0625, 1.0)
    ]
    assert "skew_alpha" not in LayerProfiles().read([str(tmp_path)], "a test", {}).measured


def test_the_source_and_the_day_are_in_the_provenance(tmp_path):
    write(tmp_path)
    imported = LayerProfiles().read([str(tmp_path)], "a test", {"sms": 128})
    assert imported.stated["gpu"] == "NVIDIA Test"
    assert "vllm-0.19.0 of 2026-08-17" in imported.provenance["skew_alpha"]


def test_a_config_beside_gives_the_shape_of_a_model_we_do_not_know(tmp_path):
    folder = write(tmp_path, model="someone/model")
    (found,) = layer_folders(tmp_path)
    assert found.shape() is None
    config = {"hidden_size": 2048, "num_attention_heads": 32}
    (folder / "config.json").write_text(json.dumps(config))
    assert found.shape().head_dim == 64


@pytest.mark.parametrize("missing", ["model", "gpu", "vllm_version"])
def test_meta_that_lacks_a_key(tmp_path, missing):
    folder = write(tmp_path, **({missing: None} if missing != "model" else {}))
    if missing == "model":
        (folder / "meta.yaml").write_text("gpu: x\nvllm_version: 1\n")
    with pytest.raises(InputError, match=missing) as error:
        layer_folders(tmp_path)
    assert "meta.yaml" in error.value.where


def test_a_folder_without_profiles(tmp_path):
    with pytest.raises(InputError, match="no layer profiles"):
        layer_folders(tmp_path)


def test_a_table_without_times(tmp_path):
    folder = write(tmp_path)
    pd.DataFrame({"layer": ["act_fn"], "tokens": [1]}).to_csv(folder / "tp1/dense.csv.gz", index=False)
    with pytest.raises(InputError, match=r"dense table has no column .*time_us"):
        read_layers(layer_folders(tmp_path))
    pd.DataFrame({"layer": ["act_fn"], "tokens": [1], "time_us": [None]}).to_csv(
        folder / "tp1/dense.csv.gz", index=False
    )
    with pytest.raises(InputError, match="not numbers"):
        read_layers(layer_folders(tmp_path))
