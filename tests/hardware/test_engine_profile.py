"""Engine profiles: the build of a version or flag, constants with their source, and clear errors for broken files."""

import re

import pytest

from simulator.core import InputError
from simulator.core.data import data_dir
from simulator.hardware.engine_profile import Host, known_engines, load_engine
from simulator.hardware.save_engine import save_engine

VLLM = load_engine("vllm")
CONSTANTS = Host.model_fields


def shipped(name="vllm"):
    return (data_dir("hardware_profiles") / "engines" / f"{name}.yaml").read_text()


def written(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return str(file)


def test_the_engines_people_run_are_there():
    assert {"vllm", "trtllm"} <= set(known_engines())


@pytest.mark.parametrize("name", known_engines())
def test_an_engine_is_named_as_its_file_and_its_constants_are_few_and_have_a_source(name):
    engine = load_engine(name)
    assert engine.name == name
    assert len({build.name for build in engine.builds}) == len(engine.builds)
    for build in engine.builds:
        assert {"host", "reserved_memory"} <= set(build.provenance)
        for host in (build.host, build.in_process):
            used = [key for key, field in CONSTANTS.items() if getattr(host, key) not in (0, field.default)]
            fitted = [key for key in used if key not in build.provenance]  # others are published, or assumed
            assert len(fitted) <= 8, "more constants fit anything"


@pytest.mark.parametrize(
    ("version", "asynchronous", "lag"),
    [("0.8", False, 0), ("0.12.0", False, 0), ("0.13.9", False, 0), ("0.14", True, 1), ("0.17.1", True, 1),
     ("0.18.0", True, 1), ("0.19", True, 1), ("0.100", True, 1), ("1.0.0rc2", True, 1), (None, True, 1)],
)  # fmt: skip
def test_a_version_has_the_build_of_its_time(version, asynchronous, lag):
    build = VLLM.build(version)
    assert (build.asynchronous, build.admission_lag) == (asynchronous, lag)


def test_newer_is_told_by_numbers_not_by_letters():
    assert VLLM.build("0.9") == VLLM.build("0.10.1") != VLLM.build("0.100")
    assert VLLM.build() == VLLM.build("99")


@pytest.mark.parametrize(("most", "captured"), [(None, 512), (1024, 512), (256, 512), (128, 256), (8, 16)])
def test_vllm_captures_graphs_for_twice_the_requests_that_may_run(most, captured):
    assert VLLM.build().serving(most).captured == captured


@pytest.mark.parametrize(("version", "flag"), [("0.12", True), ("0.19", False), (None, False), (None, True)])
def test_a_flag_overrides_how_a_version_schedules(version, flag):
    assert VLLM.build(version, asynchronous=flag).asynchronous is flag


def test_a_flag_that_says_what_the_version_does_anyway_changes_nothing():
    assert VLLM.build("0.15", asynchronous=True) == VLLM.build("0.15")
    assert VLLM.build("0.12", asynchronous=False) == VLLM.build("0.12")


@pytest.mark.parametrize("version", ["0.1", "0.7.3", "nightly", ""])
def test_a_version_that_nobody_measured_is_refused_with_those_that_were(version):
    with pytest.raises(InputError, match="no build profile fits") as error:
        VLLM.build(version)
    assert "synchronous (0.8 to 0.14)" in error.value.hint


def test_an_engine_that_always_overlaps_cannot_be_told_not_to():
    with pytest.raises(InputError, match="trtllm"):
        load_engine("trtllm").build(asynchronous=False)


def test_builds_are_found_by_name_too():
    for build in VLLM.builds:
        assert VLLM.named(build.name) == build
    with pytest.raises(InputError, match=f"did you mean '{VLLM.builds[0].name}'"):
        VLLM.named(VLLM.builds[0].name + "x")


@pytest.mark.parametrize("name", known_engines())
def test_a_saved_engine_is_read_back_as_it_was(name, tmp_path):
    file = tmp_path / "mine.yaml"
    save_engine(load_engine(name), file)
    assert load_engine(str(file)) == load_engine(name)


BROKEN = [
    (r"^schema: 1", "schema: 2", "engine profile schema 2, this version reads 1"),
    (r"^schema: 1\n", "", "engine profile schema None, this version reads 1"),
    (r"^name: vllm", "nmae: vllm", "name: Field required"),
    (r"^builds:(.|\n)*", "builds: []", "builds: Tuple should have at least 1 item"),
    (r"^    host:\n(      .*\n)+", "", "builds.0.host: Field required"),
    (r"^      iteration: \S+", "      iteration: 5", "builds.0.host.iteration: 5 has no unit"),
    (r"^      iteration: \S+", "      iteration: nanms", "builds.0.host.iteration: 'nanms' is not a duration"),
    (r"^      iteration: \S+", "      iteration: .nan", "builds.0.host.iteration: nan has no unit"),
    (r"^      iteration: \S+", "      iteration: 1GB", "builds.0.host.iteration: 'GB' is not a unit of duration"),
    (r"^      iteration: \S+", "      iteration: -1ms", "builds.0.host.iteration: '-1ms' must be finite"),
    (r"^      iteration: \S+", "      iteration: 1ms\n      decode: .nan", "builds.0.host.decode"),
    (r"^      iteration: \S+", "      iteration: 1ms\n      prefill: 11", "builds.0.host.prefill"),
    (r"^      iteration: \S+", "      iteration: 1ms\n      speed: 1ms", "builds.0.host.speed: Extra inputs"),
    (r"^    admission_lag: 0", "    admission_lag: 2", "builds.0.admission_lag"),
    (r"^    captured: 512", "    captured: -1", "builds.0.captured"),
    (
        r"^    reserved_memory: \S+",
        "    reserved_memory: 0GB",
        "builds.0.reserved_memory: '0GB' must be finite and above 0",
    ),
    (r"^gpu_memory_utilization: 0.9", "gpu_memory_utilization: .nan", "gpu_memory_utilization"),
    (r"^gpu_memory_utilization: 0.9", "gpu_memory_utilization: 90", "gpu_memory_utilization"),
    (r"^block_size: 16", "block_size: 0", "block_size"),
]


@pytest.mark.parametrize(("change", "to", "message"), BROKEN, ids=[message for *_, message in BROKEN])
def test_a_broken_engine_profile_is_refused_with_its_place(tmp_path, change, to, message):
    text, found = re.subn(change, to, shipped(), count=1, flags=re.MULTILINE)
    assert found
    file = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_engine(file)
    assert message in error.value.message
    assert error.value.where.startswith(file)


@pytest.mark.parametrize("content", ["", "- 1", "5", "a: [", "schema: 1\nschema: 1", "schema: 1"])
def test_a_file_that_is_no_engine_profile(tmp_path, content):
    file = written(tmp_path, content)
    with pytest.raises(InputError) as error:
        load_engine(file)
    assert file in str(error.value)


def test_names_that_nobody_ships():
    with pytest.raises(InputError, match="did you mean 'vllm'"):
        load_engine("vlm")
    with pytest.raises(InputError, match=r"other\.yaml"):
        load_engine("other.yaml")
