"""The check finds what cannot be right, and finds no error in what we ship."""

import numpy as np
import pytest

from simulator.core.yaml_source import dump_yaml
from simulator.hardware.check_profile import check_profile
from simulator.hardware.grid import Axis, Grid
from simulator.hardware.profile import Profile
from simulator.hardware.registry import known_profiles, load_profile
from simulator.hardware.tables import Tables

LINE = {"launch": "5us", "compute": "90TFLOP/s", "bandwidth": "900GB/s", "blend": 2, "error": 0.1, "samples": 100}
N, M = np.array([1024.0, 4096, 16384]), np.array([1.0, 16, 64, 256, 1024, 8192])


def products():
    """Return matrix products of a GPU of 80 TFLOP/s and 900 GB/s."""
    n, k, m = np.meshgrid(N, N, M, indexing="ij")
    return 5e-6 + np.maximum(2 * m * n * k / 80e12, 2 * (m * k + k * n + m * n) / 900e9)


def gemm(seconds):
    return Grid(
        "vllm-1.0", "gemm", (Axis("n", N, "log"), Axis("k", N, "log"), Axis("m", M)), seconds, {"dtype": "bfloat16"}
    )


def profile(tmp_path, *grids, **changes):
    sha = Tables(grids).save(tmp_path / "mine.npz")
    values = {
        "schema": 2, "name": "mine", "gpu": "Some GPU",
        "memory": {"capacity": "24GiB", "bandwidth": "1000GB/s", "l2": "50MB"}, "peak": {"bfloat16": "100TFLOP/s"},
        "links": {"nvlink": {"bandwidth": "100GB/s"}},
        "gemm": LINE, "prefill_attention": LINE, "decode_attention": LINE,
        "elementwise": {"launch": "2us", "bandwidth": "800GB/s"},
        "tables": {"file": "mine.npz", "sha256": sha}, "provenance": {}, **changes,
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(dump_yaml(values))
    return Profile.load(tmp_path / "mine.yaml")


def found(tmp_path, *grids, **changes):
    return [
        (finding.level, finding.what, finding.cells) for finding in check_profile(profile(tmp_path, *grids, **changes))
    ]


def test_a_plausible_table_has_no_findings(tmp_path):
    assert found(tmp_path, gemm(products())) == []


def test_a_gap_is_a_warning_and_an_end_is_not(tmp_path):
    seconds = products()
    seconds[1, 1, 2] = np.nan
    seconds[2, 2, 5] = np.nan
    assert found(tmp_path, gemm(seconds)) == [("warning", "not measured, though its neighbours were", 1)]


def test_one_kernel_faster_than_the_datasheet_is_an_error(tmp_path):
    seconds = products()
    seconds[2, 2, 5] /= 1.5
    (finding,) = check_profile(profile(tmp_path, gemm(seconds)))
    assert (finding.level, finding.cells) == ("error", 1)
    assert finding.where == "vllm-1.0 gemm bfloat16"
    assert finding.example.startswith("n 16384, k 16384, m 8192")


def test_small_kernels_may_live_in_the_cache(tmp_path):
    seconds = products()
    # 2 MB of weights in 1.2 us: 1.7 TB/s, from a cache of 50 MB.
    seconds[0, 0, 0] = 1.2e-6
    assert ("error", "faster than the datasheet allows", 1) not in found(tmp_path, gemm(seconds))


@pytest.mark.parametrize("factor", [1e-3, 1e-6])
def test_a_unit_too_small_is_faster_than_the_datasheet(tmp_path, factor):
    assert "faster than the datasheet allows" in {what for _, what, _ in found(tmp_path, gemm(products() * factor))}


@pytest.mark.parametrize("factor", [1e3, 1e6])
def test_a_unit_too_large_is_slow_everywhere(tmp_path, factor):
    (finding,) = found(tmp_path, gemm(products() * factor))
    assert finding[0] == "error"
    assert "wrong unit" in finding[1]


def test_times_that_fall_and_outliers_are_warnings(tmp_path):
    seconds = products()
    seconds[1, 1, 1] *= 20
    findings = found(tmp_path, gemm(seconds))
    assert {level for level, _, _ in findings} == {"warning"}
    assert {what for _, what, _ in findings} == {"a factor 3 off its neighbours", "less time than for less work"}


def test_the_teeth_of_fp8_kernels_are_no_fall(tmp_path):
    seconds = products()
    seconds[:, :, 2] *= 1.8
    assert found(tmp_path, gemm(np.maximum.accumulate(seconds, 0))) == []


def test_collectives_faster_than_the_link(tmp_path):
    axes = (Axis("gpus", np.array([2.0, 4])), Axis("bytes", np.array([1e3, 1e6, 1e9]), "log"))
    seconds = np.tile([1e-5, 5e-5, 1e9 / 95e9], (2, 1))
    kind = {"dtype": "bfloat16", "graph": 1}
    assert found(tmp_path, Grid("vllm-1.0", "allreduce", axes, seconds, kind)) == []
    seconds[1, 2] /= 2
    (finding,) = found(tmp_path, Grid("vllm-1.0", "allreduce", axes, seconds, kind))
    assert finding == ("error", "faster than the link's datasheet allows", 1)


def test_a_grid_of_holes_is_an_error(tmp_path):
    assert ("error", "nothing measured", 1) in found(tmp_path, gemm(products()), gemm(np.full((3, 3, 6), np.nan)))


@pytest.mark.parametrize(("key", "value"), [("compute", "150TFLOP/s"), ("bandwidth", "1200GB/s")])
def test_a_roofline_beyond_the_datasheet(tmp_path, key, value):
    (finding,) = found(tmp_path, gemm={**LINE, key: value})
    assert finding[0] == "error"
    assert key in finding[1]


@pytest.mark.parametrize("name", known_profiles())
def test_shipped_profiles_have_no_errors(name):
    assert [finding for finding in check_profile(load_profile(name)) if finding.level == "error"] == []
