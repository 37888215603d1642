"""Shipped profiles load and say where they come from; rooflines have the limits they claim; bad files are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.core import InputError
from simulator.core.data import data_dir
from simulator.core.yaml_source import dump_yaml, read_yaml
from simulator.hardware.profile import Roofline
from simulator.hardware.registry import known_profiles, load_profile

ROOFLINES = ("gemm", "prefill_attention", "decode_attention")
# The others state their rates.
MEASURED = [name for name in known_profiles() if load_profile(name).table_file is not None]


def test_the_profiles_a_platform_engineer_asks_for_are_there():
    assert {"a100_sxm", "h100_sxm", "h200_sxm", "l40s", "rtx_4090", "rtx_pro_6000"} <= set(known_profiles())


@pytest.mark.parametrize("name", known_profiles())
def test_a_profile_is_named_as_its_file_and_complete(name):
    profile = load_profile(name)
    assert profile.name == name
    assert 15e9 < profile.memory.capacity < 300e9
    for section in ROOFLINES:
        roofline = getattr(profile, section)
        if name in MEASURED:
            assert roofline.error < 0.25
            assert roofline.samples >= 96
        else:
            assert roofline.error is None and roofline.samples is None
            assert "not measured here" in profile.provenance[section]
        # No kernel is faster than the datasheet's memory by more than a cache can explain.
        assert roofline.bandwidth < 1.2 * profile.memory.bandwidth
    assert profile.elementwise.bandwidth < profile.memory.bandwidth


@pytest.mark.parametrize("name", known_profiles())
def test_every_section_has_its_source(name):
    profile = load_profile(name)
    given = read_yaml(data_dir("hardware_profiles") / f"{name}.yaml").value
    for section in given.keys() - {"schema", "name", "gpu", "provenance"}:
        source = profile.provenance.get(section)
        assert source, section
        assert len(source) > 15, f"{section}: {source} says little"


@pytest.mark.parametrize("name", MEASURED)
def test_tables_are_there_small_and_reproduce_what_was_measured(name):
    profile = load_profile(name)
    assert profile.tables.libraries()
    assert (data_dir("hardware_profiles") / profile.table_file.file).stat().st_size < 1.5e6
    for entry in profile.tables.about["errors"]:
        assert entry["median"] <= 0.01, entry
        assert entry["p95"] <= 0.04, entry


def test_tables_are_opened_when_asked_for(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(shipped())
    profile = load_profile(str(file))
    with pytest.raises(InputError, match="no such table file"):
        _ = profile.tables
    (tmp_path / "h100_sxm.npz").write_bytes(b"something else")
    with pytest.raises(InputError, match="sha256"):
        _ = profile.tables


def test_a_profile_without_tables_has_none(tmp_path):
    file = tmp_path / "mine.yaml"
    values = read_yaml(data_dir("hardware_profiles") / "h100_sxm.yaml").value
    del values["tables"]
    file.write_text(dump_yaml(values))
    assert load_profile(str(file)).tables.libraries() == []


def test_rooflines_by_type():
    profile = load_profile("h200_sxm")
    assert profile.roofline("bfloat16") is profile.gemm
    assert profile.roofline("fp8").compute > profile.gemm.compute
    assert profile.roofline("int4") is None


@pytest.mark.parametrize("name", known_profiles())
@pytest.mark.parametrize("section", ROOFLINES)
def test_a_roofline_is_launch_for_the_small_and_a_rate_for_the_large(name, section):
    roofline = getattr(load_profile(name), section)
    assert roofline.seconds(0, 0) == roofline.launch
    assert roofline.seconds(1, 1) == pytest.approx(roofline.launch, rel=1e-3, abs=1e-9)
    compute = (roofline.seconds(2e18, 1) - roofline.seconds(1e18, 1)) / 1e18
    memory = (roofline.seconds(1, 2e18) - roofline.seconds(1, 1e18)) / 1e18
    assert compute == pytest.approx(1 / roofline.compute, rel=1e-6)
    assert memory == pytest.approx(1 / roofline.bandwidth, rel=1e-6)


sizes = st.floats(0, 1e18)


@given(sizes, sizes, st.floats(1, 50))
def test_a_roofline_lies_between_overlap_and_none(flops, size, blend):
    roofline = Roofline(launch="2us", compute="500TFLOP/s", bandwidth="2TB/s", blend=blend, error=0, samples=1)
    c, b = flops / roofline.compute, size / roofline.bandwidth
    spent = roofline.seconds(flops, size) - roofline.launch
    assert max(c, b) * (1 - 1e-9) - 1e-18 <= spent <= (c + b) * (1 + 1e-9) + 1e-18


@given(sizes, sizes, st.floats(1, 1e17), st.sampled_from([1, 1.1, 2.5, 30]))
def test_more_work_never_takes_less_time(flops, size, more, blend):
    roofline = Roofline(launch="2us", compute="500TFLOP/s", bandwidth="2TB/s", blend=blend, error=0, samples=1)
    now = roofline.seconds(flops, size)
    assert roofline.seconds(flops + more, size) >= now * (1 - 1e-12)
    assert roofline.seconds(flops, size + more) >= now * (1 - 1e-12)


def shipped():
    return (data_dir("hardware_profiles") / "h100_sxm.yaml").read_text()


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        ("schema: 2", "schema: 3", "profile schema 3, this version reads 2"),
        ("schema: 2", "schema: 1", "profile schema 1, this version reads 2"),
        ("schema: 2", "schema: two", "profile schema 'two', this version reads 2"),
        ("file: h100_sxm.npz", "file: ../h100_sxm.npz", "tables.file"),
        ("tdp: 700W", "tdp: 700", "power.tdp: 700 has no unit"),
        ("tdp: 700W", "tdp: 700J", "power.tdp: 'J' is not a unit of power"),
        ("fp8: 1979TFLOP/s", "fp8: .nan", "peak.fp8"),
        ("capacity: 79.19GiB", "capacity: nanGiB", "memory.capacity"),
        ("name: h100_sxm", "nmae: h100_sxm", "name: Field required"),
        ("capacity: 79.19GiB", "capacity: 79.19", "memory.capacity: 79.19 has no unit"),
        ("capacity: 79.19GiB", "capacity: 79.19GB/s", "memory.capacity: 'GB/s' is not a unit of size"),
        ("capacity: 79.19GiB", "capacity: -1GiB", "memory.capacity: '-1GiB' must be finite"),
        ("blend: 2.542", "blend: 0.5", "gemm.blend"),
        ("  samples: 26270", "  samples: 0", "gemm.samples"),
        ("  samples: 26270", "  samples: 1\n  extra: 5", "gemm.extra"),
        ("memory:", "memory: 5\nx:", "memory"),
    ],
)
def test_a_broken_profile_is_refused_with_its_line(tmp_path, change, to, message):
    assert change in shipped()
    file = tmp_path / "mine.yaml"
    file.write_text(shipped().replace(change, to, 1))
    with pytest.raises(InputError) as error:
        load_profile(str(file))
    assert message in error.value.message
    assert error.value.where.startswith(f"{file}:")
    if "required" not in message:
        line = shipped()[: shipped().index(change)].count("\n") + 1
        assert int(error.value.where.split(":")[-2]) in (line, line + 1)


@pytest.mark.parametrize(
    ("schema", "hint"), [("1", "write 'schema: 2'"), ("3", "upgrade tokenyard"), ("x", "begins with")]
)
def test_another_schema_comes_with_what_to_do(tmp_path, schema, hint):
    file = tmp_path / "mine.yaml"
    file.write_text(shipped().replace("schema: 2", f"schema: {schema}"))
    with pytest.raises(InputError) as error:
        load_profile(str(file))
    assert hint in error.value.hint


@pytest.mark.parametrize("content", [b"", b"- 1", b"5", b"\xff\xfe\x00", b"a: [", b"a: 1\na: 2"])
def test_a_file_that_is_no_profile(tmp_path, content):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_profile(str(file))
    assert str(file) in str(error.value)


def test_a_profile_of_ones_own_that_lies_here_is_not_taken_for_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b200.yaml").write_text(shipped())
    with pytest.raises(InputError, match="unknown hardware 'b200'") as error:
        load_profile("b200")
    assert error.value.hint == "name one of your own by its file: 'b200.yaml'"


def test_a_profile_of_ones_own_is_given_by_path(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(shipped().replace("name: h100_sxm", "name: mine"))
    assert load_profile(str(file)).name == "mine"
    with pytest.raises(InputError, match=r"other\.yaml"):
        load_profile(str(tmp_path / "other.yaml"))
    with pytest.raises(InputError, match="did you mean 'h100_sxm'"):
        load_profile("h100_smx")
