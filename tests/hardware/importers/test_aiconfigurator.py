"""Kernel tables in aiconfigurator's layout: units, names, layouts on disk, and what is refused."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from support.kernel_tables import write_tables

from simulator.core import InputError
from simulator.core.quantity import parse
from simulator.hardware.importers.aiconfigurator import AIConfigurator, read_tables

SOURCE = "a test"


def write(folder, table, rows, ending="csv", const=None):
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows)
    path = folder / f"{table}_perf.{ending}"
    if ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    if const:
        (folder / f"{table}_perf.const.json").write_text(json.dumps({"rows": len(frame), "constant_columns": const}))
    return path


def gemm(dtype="fp8", source="a", scale=1.0, **more):
    return [
        {
            "gemm_dtype": dtype,
            "kernel_source": source,
            "m": m,
            "n": n,
            "k": k,
            "latency": scale * 1e-3 * (5 + m),
            **more,
        }
        for m in (1, 16, 17, 32)
        for n in (64, 128)
        for k in (64, 256)
    ]


def only(measured, operator, **attributes):
    (grid,) = [
        grid
        for grid in measured.grids
        if grid.operator == operator and attributes.items() <= dict(grid.attributes).items()
    ]
    return grid


def test_milliseconds_become_seconds(tmp_path):
    write(tmp_path / "vllm-1.0", "gemm", gemm())
    measured, _ = read_tables(tmp_path)
    grid = only(measured, "gemm", dtype="fp8")
    assert grid.library == "vllm-1.0"
    assert [axis.name for axis in grid.axes] == ["n", "k", "m"]
    assert grid.at(64, 256, 17) == pytest.approx(22e-6)


def test_the_fastest_kernel_counts(tmp_path):
    write(tmp_path / "vllm-1.0", "gemm", gemm(source="a") + gemm(source="b", scale=0.5))
    assert only(read_tables(tmp_path)[0], "gemm").at(64, 64, 1) == pytest.approx(3e-6)


def test_repeats_of_one_kernel_are_noise(tmp_path):
    write(tmp_path / "vllm-1.0", "gemm", gemm() + gemm(scale=1.02))
    (entry,) = read_tables(tmp_path)[0].errors
    assert entry["repeats"]["points"] == 16
    assert entry["repeats"]["apart"] == pytest.approx(0.02)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "txt", "parquet"])
@pytest.mark.parametrize("folder", ["vllm-1.0", "gemm/vllm/1.0"])
def test_every_layout_on_disk_reads_the_same(tmp_path, ending, folder):
    rows = [{key: value for key, value in row.items() if key != "gemm_dtype"} for row in gemm()]
    write(tmp_path / folder, "gemm", rows, ending, {"gemm_dtype": "fp8", "device": "NVIDIA Test"})
    measured, device = read_tables(tmp_path)
    assert device == "NVIDIA Test"
    assert only(measured, "gemm", dtype="fp8").library == "vllm-1.0"


def test_step_counts_the_cached_tokens_and_the_new_one_comes_on_top(tmp_path):
    rows = [
        {"batch_size": b, "num_heads": 8, "num_key_value_heads": 0, "head_dim": 128, "kv_cache_dtype": "fp8",
         "step": step, "latency": 1e-3 * b * (step + 1)}
        for b in (1, 8) for step in (1, 127, 1023)
    ]  # fmt: skip
    write(tmp_path / "vllm-1.0", "generation_attention", rows)
    # No column of windows means none; 0 KV heads means as many as heads.
    grid = only(read_tables(tmp_path)[0], "decode_attention", window=0, heads=8, kv_heads=8, kv_dtype="fp8")
    assert grid.axis("context").knots.tolist()[-1] == 1024
    assert grid.at(8, 128) == pytest.approx(8 * 128e-6)


def test_modules_of_other_models_are_not_taken_for_deepseeks(tmp_path):
    rows = [
        {"architecture": name, "kv_cache_dtype": "fp8", "gemm_type": "bfloat16", "num_heads": heads, "batch_size": 1,
         "isl": 1, "step": step, "latency": latency}
        for name, latency in (("DeepseekV3ForCausalLM", 0.04), ("KimiK3ForConditionalGeneration", 0.02))
        for heads in (16, 32) for step in (1, 1023)
    ]  # fmt: skip
    write(tmp_path / "vllm-1.0", "mla_generation_module", rows)
    write(tmp_path / "vllm-1.0", "mla_context_module", [row | {"isl": row["step"]} for row in rows])
    measured, _ = read_tables(tmp_path)
    for operator in ("mla_decode", "mla_prefill"):
        np.testing.assert_allclose(only(measured, operator).seconds, 40e-6)


def test_message_sizes_are_elements(tmp_path):
    rows = [
        {"num_gpus": gpus, "message_size": size, "allreduce_dtype": "bfloat16", "backend": backend, "latency": 0.01}
        for gpus in (2, 4) for size in (256, 512) for backend in ("vllm_graph", "vllm_eager")
    ]  # fmt: skip
    write(tmp_path / "vllm-1.0", "custom_allreduce", rows)
    rows = [
        {"op_name": op, "nccl_dtype": dtype, "num_gpus": gpus, "message_size": size, "latency": 0.01}
        for op in ("all_reduce", "alltoall") for dtype in ("half", "int8") for gpus in (2, 4) for size in (256, 512)
    ]  # fmt: skip
    write(tmp_path / "nccl-2.0", "nccl", rows)
    measured, _ = read_tables(tmp_path)
    for graph in (0, 1):
        assert only(measured, "allreduce", graph=graph).axis("bytes").knots.tolist() == [512, 1024]
    assert only(measured, "collective", op="alltoall", dtype="half").axis("bytes").knots.tolist() == [512, 1024]
    assert only(measured, "collective", op="alltoall", dtype="int8").axis("bytes").knots.tolist() == [256, 512]


def test_an_all_reduce_without_a_backend_is_captured(tmp_path):
    rows = [{"num_gpus": g, "message_size": 256, "allreduce_dtype": "bfloat16", "latency": 0.01} for g in (2, 4)]
    write(tmp_path / "trtllm-1.0", "custom_allreduce", rows)
    assert only(read_tables(tmp_path)[0], "allreduce").attributes["graph"] == 1


def test_the_all_to_all_table_is_in_microseconds(tmp_path):
    rows = [
        {"comm_backend": "deepep_ll", "phase": "dispatch", "hidden_size": 7168, "topk": 8, "num_experts": 256,
         "num_tokens": tokens, "sms": 0, "transmit_us": 40.0, "latency": 40.0}
        for tokens in (1, 8)
    ]  # fmt: skip
    write(tmp_path / "vllm-1.0", "moe_a2a", rows)
    assert only(read_tables(tmp_path)[0], "moe_a2a").at(4) == pytest.approx(40e-6)


def test_a_difference_that_came_out_as_nothing_stays_a_number(tmp_path):
    rows = [
        {"quant_dtype": "fp8", "m": m, "k": k, "latency": 0.0 if m == 1 else 0.01} for m in (1, 2) for k in (64, 128)
    ]
    write(tmp_path / "vllm-1.0", "computescale", rows)
    assert only(read_tables(tmp_path)[0], "quantize").at(64, 1) == pytest.approx(1e-8)


def test_both_ends_of_fp8_teeth_stay(tmp_path):
    m = np.array([1, 8, 16, 17, 24, 32, 64, 65, 80, 128, 129, 200, 256, 257, 300, 512.0])
    rows = [{"gemm_dtype": "fp8", "m": each, "n": 64, "k": 64, "latency": 0.02} for each in m]
    write(tmp_path / "vllm-1.0", "gemm", rows)
    kept = only(read_tables(tmp_path)[0], "gemm").axis("m").knots
    assert kept.tolist() == [1, 16, 17, 64, 65, 128, 129, 256, 257, 512]


@pytest.mark.parametrize("latency", [float("nan"), float("inf"), -1.0, None])
def test_a_row_without_a_time_is_named(tmp_path, latency):
    rows = gemm()
    rows[5]["latency"] = latency
    path = write(tmp_path / "vllm-1.0", "gemm", rows)
    with pytest.raises(InputError, match="1 of 16 rows") as error:
        read_tables(tmp_path)
    assert error.value.where == f"{path}:7"


def test_text_for_a_time(tmp_path):
    write(tmp_path / "vllm-1.0", "gemm", gemm(latency="fast"))
    with pytest.raises(InputError, match="not a number"):
        read_tables(tmp_path)


def test_a_missing_column_is_named(tmp_path):
    rows = [{key: value for key, value in row.items() if key != "k"} for row in gemm()]
    write(tmp_path / "vllm-1.0", "gemm", rows)
    with pytest.raises(InputError, match=r"no column .*k"):
        read_tables(tmp_path)


def test_a_folder_without_tables(tmp_path):
    write(tmp_path / "vllm-1.0", "something_new", gemm())
    with pytest.raises(InputError, match="no kernel tables") as error:
        read_tables(tmp_path)
    assert "gemm_perf.csv.gz" in error.value.hint


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_a_damaged_table(tmp_path, ending):
    path = write(tmp_path / "vllm-1.0", "gemm", gemm(), ending)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match="cannot be read") as error:
        read_tables(tmp_path)
    assert error.value.where == str(path)


def test_no_folder_and_no_package(tmp_path):
    with pytest.raises(InputError) as error:
        AIConfigurator().read([str(tmp_path / "h999")], SOURCE, {})
    assert "install" in error.value.hint or "known" in error.value.hint


def products(dtype, compute, bandwidth, each):
    """Return matrix products of a GPU that is exactly a roofline, in milliseconds."""
    rows = []
    for n in (1024, 4096, 8192, 16384):
        for k in (1024, 4096, 8192, 16384):
            for m in (1, 4, 16, 64, 256, 1024, 4096, 16384):
                seconds = 4e-6 + max(2 * m * n * k / compute, (each * (m * k + k * n) + 2 * m * n) / bandwidth)
                rows.append({"gemm_dtype": dtype, "m": m, "n": n, "k": k, "latency": seconds * 1e3})
    return rows


def test_rooflines_are_fitted_by_type(tmp_path):
    rows = products("bfloat16", 800e12, 3e12, 2) + products("fp8", 1500e12, 3e12, 1)
    write(tmp_path / "vllm-1.0", "gemm", rows)
    imported = AIConfigurator().read([str(tmp_path)], SOURCE, {})
    for section, compute in ((imported.measured["gemm"], 800), (imported.measured["rooflines"]["fp8"], 1500)):
        assert float(section["compute"].removesuffix("TFLOP/s")) == pytest.approx(compute, rel=0.03)
        assert float(section["bandwidth"].removesuffix("GB/s")) == pytest.approx(3000, rel=0.03)
        assert section["error"] < 0.02
    assert SOURCE in imported.provenance["gemm"]
    assert "128 measured" in imported.provenance["gemm"]


def test_no_fit_exceeds_the_datasheet(tmp_path):
    write(tmp_path / "vllm-1.0", "gemm", products("bfloat16", 800e12, 3e12, 2))
    known = {"memory": {"capacity": "80GiB", "bandwidth": "2000GB/s"}, "peak": {"bfloat16": "500TFLOP/s"}}
    section = AIConfigurator().read([str(tmp_path)], SOURCE, known).measured["gemm"]
    assert float(section["bandwidth"].removesuffix("GB/s")) <= 2000.1
    assert float(section["compute"].removesuffix("TFLOP/s")) <= 500.1


def test_a_system_file_gives_the_datasheet(tmp_path):
    write(tmp_path / "vllm-1.0", "gemm", gemm(device="NVIDIA Test"))
    (tmp_path / "system.yaml").write_text(
        "gpu: {mem_bw: 2000000000000, mem_capacity: 85899345920, bfloat16_tc_flops: 312000000000000, power: 400}\n"
        "node: {intra_node_bw: 300000000000, pcie_bw: 32000000000, inter_node_bw: 25000000000}\n"
    )
    stated = AIConfigurator().read([str(tmp_path)], SOURCE, {}).stated
    assert stated["gpu"] == "NVIDIA Test"
    assert stated["memory"] == {"capacity": "80GiB", "bandwidth": "2000GB/s"}
    assert stated["peak"] == {"bfloat16": "312TFLOP/s"}
    assert stated["power"] == {"tdp": "400W"}
    assert stated["links"]["nvlink"] == {"bandwidth": "300GB/s"}
    # What a person sees in the profile says whose word each figure is.
    said = AIConfigurator().read([str(tmp_path)], SOURCE, {}).provenance
    assert {said[section] for section in ("memory", "peak", "links", "power")} == {
        f"as {SOURCE} states it for this system"
    }


def test_a_node_without_nvlink_has_none(tmp_path):
    write(tmp_path / "vllm-1.0", "gemm", gemm())
    (tmp_path / "system.yaml").write_text("node: {intra_node_bw: 28.4e9, pcie_bw: 32.0e9}\n")
    assert AIConfigurator().read([str(tmp_path)], SOURCE, {}).stated["links"] == {"pcie": {"bandwidth": "32GB/s"}}


def test_all_reduces_timed_outside_graphs_alone_leave_the_fit_to_collectives(tmp_path):
    # As of an Arc Pro B60, whose collectives are oneCCL's.
    sizes, gpus = (2**10, 2**14, 2**18, 2**22), (2, 4)
    eager = [
        {"num_gpus": g, "message_size": size, "allreduce_dtype": "bfloat16", "backend": "vllm_eager", "latency": 9.0}
        for g in gpus for size in sizes
    ]  # fmt: skip
    write(tmp_path / "vllm-1.0", "custom_allreduce", eager)
    collectives = [
        {"op_name": "all_reduce", "nccl_dtype": "half", "num_gpus": g, "message_size": size,
         "latency": 1e3 * (16e-6 + 2 * (g - 1) / g * 2 * size / 20e9)}
        for g in gpus for size in sizes
    ]  # fmt: skip
    write(tmp_path / "oneccl-1.0", "oneccl", collectives)
    imported = AIConfigurator().read([str(tmp_path)], SOURCE, {})
    link = imported.measured["allreduce"]
    assert parse(link["latency"], "duration") == pytest.approx(16e-6, rel=1e-3)
    assert parse(link["bandwidth"], "bandwidth") == pytest.approx(20e9, rel=1e-3)
    assert "oneccl-1.0" in imported.provenance["allreduce"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package with one measured system, and two of which it only states figures."""
    systems = tmp_path / "aiconfigurator_core" / "systems"
    (systems / "data" / "x1_sxm").mkdir(parents=True)
    (tmp_path / "aiconfigurator_core" / "__init__.py").touch()
    write_tables(systems / "data" / "x1_sxm")
    gpu = "gpu: {{mem_bw: {0}e9, mem_capacity: 8.0e10, bfloat16_tc_flops: {1}e12, power: 300, sm_version: {2}}}\n"
    for name, bandwidth, compute, architecture in (
        ("x1_sxm", 500, 100, 90), ("x1_pcie", 250, 75, 90), ("y1", 100, 100, 120)
    ):  # fmt: skip
        (systems / "data" / name).mkdir(exist_ok=True)
        (systems / f"{name}.yaml").write_text(gpu.format(bandwidth, compute, architecture))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "aiconfigurator_core", raising=False)


def test_a_system_without_tables_is_estimated_from_its_relative_and_says_so(package):
    theirs = AIConfigurator().read(["x1_sxm"], SOURCE, {}).measured
    imported = AIConfigurator().read(["x1_pcie"], SOURCE, {})
    assert not imported.grids and not imported.measured, "nothing was measured"
    for section in ("gemm", "prefill_attention", "decode_attention"):
        ours = imported.stated[section]
        assert ours["launch"] == theirs[section]["launch"]
        for rate, kind, ratio in (("compute", "compute", 0.75), ("bandwidth", "bandwidth", 0.5)):
            assert parse(ours[rate], kind) == pytest.approx(ratio * parse(theirs[section][rate], kind), rel=1e-3)
        assert "samples" not in ours
        assert imported.provenance[section].startswith("estimated, not measured on this GPU: that of x1_sxm")
    assert imported.stated["memory"]["bandwidth"] == "250GB/s"
    assert "nothing was measured" in imported.stated["gpu"]


def test_a_system_without_tables_or_relatives_is_refused(package):
    with pytest.raises(InputError, match="no GPU of its architecture was measured"):
        AIConfigurator().read(["y1"], SOURCE, {})


def test_a_system_that_is_none_is_told_which_there_are(package):
    with pytest.raises(InputError) as error:
        AIConfigurator().read(["z1"], SOURCE, {})
    assert error.value.hint == "known, with tables: x1_sxm; estimated from a relative: x1_pcie, y1"
