import pytest
from microbench import synthetic

from simulator.hardware.compare_run import ceilings, compare_run, profile_of
from simulator.hardware.import_profile import import_into
from simulator.hardware.recorded_run import RecordedRun, read_run
from simulator.hardware.registry import known_profiles, load_profile


def run_of(tmp_path, some):
    return read_run([str(synthetic.write(tmp_path / "other.jsonl", some))])


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    return import_into(folder / "own.yaml", "microbench", [str(synthetic.write(folder / "run.jsonl"))]).profile


def test_a_run_a_quarter_slower_is_found_a_quarter_slower(tmp_path, profile):
    some = [synthetic.machine(), *synthetic.rest(), *synthetic.products(slower=1.25), *synthetic.attention(slower=1.25)]
    rows = {(row["operator"], row["rests_on"]): row for row in compare_run(run_of(tmp_path, some), profile)}
    table = "microbench-2026.01.02"
    for operator in ("gemm", "decode_attention", "prefill_attention"):
        assert rows[operator, table]["ratio"] == pytest.approx(1.25, rel=0.01)
    # Cached tokens have no table.
    assert rows["prefill_attention", "roofline"]["points"] == 2 * 6
    assert rows["prefill_attention", "roofline"]["ratio"] == pytest.approx(1.25, rel=0.02)
    assert rows["small operators", "elementwise"]["ratio"] == pytest.approx(1.0, rel=0.01)


def test_rooflines_only_leaves_tables_aside(tmp_path, profile):
    rows = compare_run(run_of(tmp_path, synthetic.lines()), profile, rooflines_only=True)
    assert {row["rests_on"] for row in rows} == {"roofline", "elementwise"}
    assert all(row["ratio"] == pytest.approx(1.0, rel=0.02) for row in rows)
    assert sum(row["points"] for row in rows if row["operator"] == "gemm") == 2 * 66


def test_points_beyond_a_table_are_held_against_the_roofline(tmp_path, profile):
    far = synthetic.result("gemm", {"dtype": "bfloat16", "m": 9999, "n": 4096, "k": 4096}, 1e-3)
    (row,) = compare_run(run_of(tmp_path, [synthetic.machine(), far]), profile)
    assert (row["rests_on"], row["points"]) == ("roofline", 1)


def test_ceilings(tmp_path, profile):
    rows = {row["what"]: row for row in ceilings(run_of(tmp_path, synthetic.lines()), profile)}
    assert rows["memory bandwidth"]["measured"] == pytest.approx(synthetic.BANDWIDTH, rel=0.01)
    assert rows["memory bandwidth"]["ratio"] == pytest.approx(3.0 / 3.2, rel=0.01)
    assert rows["bfloat16 matrix products"]["measured"] == pytest.approx(synthetic.COMPUTE, rel=0.05)
    assert rows["bfloat16 matrix products"]["ratio"] is None
    assert rows["host to device"]["measured"] == pytest.approx(synthetic.LINK_BANDWIDTH, rel=0.01)
    assert ceilings(run_of(tmp_path, [synthetic.machine(), *synthetic.rest()]), None)[0]["profile"] is None


@pytest.mark.parametrize(
    ("gpu", "sms", "name"),
    [
        ("NVIDIA H200", 132, "h200_sxm"),
        ("NVIDIA H100 80GB HBM3", 132, "h100_sxm"),
        ("NVIDIA A100-SXM4-80GB", 108, "a100_sxm"),
        ("NVIDIA L40S", 142, "l40s"),
        ("NVIDIA GeForce RTX 4090", 128, "rtx_4090"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 188, "rtx_pro_6000"),
        ("NVIDIA RTX 6000 Ada Generation", 142, None),
        ("NVIDIA H100 PCIe", 114, None),
        ("A processor without a number", None, None),
    ],
)
def test_the_shipped_profile_of_a_gpu(gpu, sms, name):
    run = RecordedRun(synthetic.machine(gpu=gpu, sms=sms))
    found = profile_of(run, map(load_profile, known_profiles()))
    assert (found and found.name) == name
