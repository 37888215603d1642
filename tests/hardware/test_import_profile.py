"""An import writes both files or none, keeps what it did not measure, and can be repeated."""

import json

import pytest
from support.kernel_tables import write_tables

from simulator.core import InputError
from simulator.hardware.import_profile import import_into
from simulator.hardware.registry import load_profile

BASE = """\
# My GPU.
# Bought second-hand.
schema: 2
name: mine
gpu: Some GPU
sms: 100
memory: {capacity: 24GiB, bandwidth: 1000GB/s, l2: 50MB}
peak: {bfloat16: 200TFLOP/s}
links: {nvlink: {bandwidth: 400GB/s}}
provenance: {memory: the datasheet}
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "profiles/mine.yaml"
    path.parent.mkdir()
    path.write_text(BASE)
    return path


def test_tables_become_a_profile_that_loads(mine, tmp_path):
    written = import_into(mine, "aiconfigurator", [write_tables(tmp_path / "k")], source="my bench")
    assert [file.name for file in written.files] == ["mine.npz", "mine.yaml"]
    assert sorted(file.name for file in mine.parent.iterdir()) == ["mine.npz", "mine.yaml"]
    profile = load_profile(str(mine))
    assert profile.gemm.compute == pytest.approx(100e12, rel=0.03)
    assert profile.decode_attention.bandwidth == pytest.approx(450e9, rel=0.05)
    (grid,) = profile.tables.find("vllm-1.0", "gemm", dtype="bfloat16")
    assert grid.at(4096, 4096, 1) == pytest.approx(5e-6 + 2 * (4096 * 4096 + 2 * 4096) / 500e9, rel=1e-3)
    assert profile.sms == 100
    for section in ("gemm", "decode_attention", "tables"):
        assert "my bench" in profile.provenance[section]
    assert profile.provenance["memory"] == "the datasheet"
    assert "assumed" in profile.provenance["elementwise"]
    assert "assumed" in profile.provenance["elementwise"]
    assert mine.read_text().startswith("# My GPU.\n# Bought second-hand.\nschema: 2\n")


def test_every_group_of_grids_says_how_well_it_reproduces_its_samples(mine, tmp_path):
    import_into(mine, "aiconfigurator", [write_tables(tmp_path / "k")], source="my bench")
    entries = load_profile(str(mine)).tables.about["errors"]
    assert {entry["operator"] for entry in entries} == {"gemm", "prefill_attention", "decode_attention"}
    for entry in entries:
        assert entry["samples"] in (54, 60)
        assert entry["p95"] <= 0.04
        assert entry["source"] == "my bench"


def test_the_same_import_again_changes_nothing(mine, tmp_path):
    folder = write_tables(tmp_path / "k")
    import_into(mine, "aiconfigurator", [folder])
    before = mine.read_bytes(), mine.with_suffix(".npz").read_bytes()
    import_into(mine, "aiconfigurator", [folder])
    assert (mine.read_bytes(), mine.with_suffix(".npz").read_bytes()) == before


def test_new_measurements_replace_old_ones_and_leave_others(mine, tmp_path):
    import_into(
        mine, "aiconfigurator", [write_tables(tmp_path / "a"), write_tables(tmp_path / "b", library="trtllm-2.0")]
    )
    import_into(mine, "aiconfigurator", [write_tables(tmp_path / "c", factor=2.0)])
    profile = load_profile(str(mine))
    (new,) = profile.tables.find("vllm-1.0", "gemm")
    (old,) = profile.tables.find("trtllm-2.0", "gemm")
    assert new.at(1024, 1024, 1) == pytest.approx(2 * old.at(1024, 1024, 1), rel=1e-3)
    assert profile.gemm.compute == pytest.approx(50e12, rel=0.03)


def test_links_join_those_that_are_there(mine, tmp_path):
    import_into(mine, "aiconfigurator", [write_tables(tmp_path / "k")])
    run = {"nvbandwidth": {"testcases": [
        {"name": name, "status": "Passed", "bandwidth_matrix": [["25.5"]]}
        for name in ("host_to_device_memcpy_ce", "device_to_host_memcpy_ce")
    ]}}  # fmt: skip
    (tmp_path / "bw.json").write_text(json.dumps(run))
    tables_before = mine.with_suffix(".npz").read_bytes()
    import_into(mine, "nvbandwidth", [str(tmp_path / "bw.json")])
    links = load_profile(str(mine)).links
    assert links.pcie.bandwidth == 25.5e9
    assert links.nvlink.bandwidth == 400e9
    assert mine.with_suffix(".npz").read_bytes() == tables_before


def test_measurements_faster_than_the_datasheet_are_left_out(mine, tmp_path):
    folder = tmp_path / "k"
    write_tables(folder)
    file = folder / "vllm-1.0/gemm_perf.csv"
    file.write_text(file.read_text() + "\nbfloat16,4096,8192,16384,0.001")
    import_into(mine, "aiconfigurator", [str(folder)])
    profile = load_profile(str(mine))
    (grid,) = profile.tables.find("vllm-1.0", "gemm")
    assert 8192 not in grid.axis("n").knots
    assert "1 measurements faster than the datasheet" in profile.provenance["tables"]


def test_a_new_profile_needs_what_nobody_measures(tmp_path):
    path = tmp_path / "new.yaml"
    with pytest.raises(InputError, match="would not be a profile: gpu") as error:
        import_into(path, "aiconfigurator", [write_tables(tmp_path / "k")])
    assert "write what is missing" in error.value.hint
    assert error.value.where == str(path)
    assert not list(tmp_path.glob("*.yaml"))
    assert not list(tmp_path.glob("*.npz"))


def test_a_failed_import_leaves_both_files_as_they_were(mine, tmp_path):
    import_into(mine, "aiconfigurator", [write_tables(tmp_path / "k")])
    mine.write_text(mine.read_text().replace("sms: 100", "sms: -1"))
    before = mine.read_bytes(), mine.with_suffix(".npz").read_bytes()
    with pytest.raises(InputError, match="sms"):
        import_into(mine, "aiconfigurator", [write_tables(tmp_path / "k", factor=3.0)])
    assert (mine.read_bytes(), mine.with_suffix(".npz").read_bytes()) == before
    assert len(list(mine.parent.iterdir())) == 2


def test_an_unknown_key_is_not_dropped_silently(mine, tmp_path):
    mine.write_text(BASE + "notes: my favourite\n")
    with pytest.raises(InputError, match="notes"):
        import_into(mine, "aiconfigurator", [write_tables(tmp_path / "k")])


@pytest.mark.parametrize("schema", [1, 3])
def test_a_file_of_another_schema_is_not_touched(mine, tmp_path, schema):
    mine.write_text(BASE.replace("schema: 2", f"schema: {schema}"))
    with pytest.raises(InputError, match=f"schema {schema}"):
        import_into(mine, "aiconfigurator", [write_tables(tmp_path / "k")])


def test_an_importer_nobody_knows(mine):
    with pytest.raises(InputError, match="did you mean 'nccl_tests'"):
        import_into(mine, "nccl_test", ["x"])


def test_a_profile_is_yaml(tmp_path):
    with pytest.raises(InputError, match=r"\.yaml"):
        import_into(tmp_path / "mine.npz", "nccl_tests", ["x"])
