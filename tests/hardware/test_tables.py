"""A table file gives back what was saved, decodes on demand, and refuses what is not whole."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simulator.core import InputError
from simulator.hardware.grid import Axis, Grid
from simulator.hardware.tables import Tables

ROUNDING = 1.6e-4  # half a step of 3e-4 in the logarithm


def gemm(seconds, dtype="fp8", library="vllm-1.0", m=(1, 16, 17, 64)):
    axes = (Axis("n", np.array([64.0, 128.0]), "log"), Axis("m", np.array(m, float)))
    return Grid(library, "gemm", axes, np.asarray(seconds, float), {"dtype": dtype})


TIMES = [[1e-6, 2e-6, 5e-6, 4e-6], [2e-6, np.nan, 7e-6, 1e-3]]


def saved(tmp_path, *grids, about=None):
    path = tmp_path / "gpu.npz"
    sha = Tables(grids, about).save(path)
    return path, sha


def test_times_holes_axes_and_attributes_come_back(tmp_path):
    path, sha = saved(
        tmp_path, gemm(TIMES), gemm([[1.0, 2, 3], [4, 5, 6]], "bfloat16", m=(2, 3, 999)), about={"a": [1]}
    )
    tables = Tables.load(path, sha)
    (found,) = tables.find("vllm-1.0", "gemm", dtype="fp8")
    np.testing.assert_allclose(found.seconds, TIMES, rtol=ROUNDING)
    assert [(axis.name, axis.scale, axis.knots.tolist()) for axis in found.axes] == [
        ("n", "log", [64, 128]),
        ("m", "linear", [1, 16, 17, 64]),
    ]
    (other,) = tables.find("vllm-1.0", "gemm", dtype="bfloat16")
    # The knots of the first do not show in the second, though both stand on one shelf.
    assert other.axis("m").knots.tolist() == [2, 3, 999]
    assert other.attributes == {"dtype": "bfloat16"}
    assert tables.about == {"a": [1]}


def test_a_selection_by_library_operator_and_attributes(tmp_path):
    grids = [gemm(TIMES, "fp8"), gemm(TIMES, "fp8_block"), gemm(TIMES, "fp8", "trtllm-2")]
    tables = Tables.load(saved(tmp_path, *grids)[0])
    assert tables.libraries() == ["trtllm-2", "vllm-1.0"]
    assert tables.operators("trtllm-2") == ["gemm"]
    assert [row["dtype"] for row in tables.measured("vllm-1.0", "gemm")] == ["fp8", "fp8_block"]
    assert len(list(tables.find("vllm-1.0", "gemm"))) == 2
    assert not list(tables.find("vllm-1.0", "gemm", dtype="int8"))
    assert not list(tables.find("vllm-1.0", "moe"))
    assert not list(tables.find("vllm-1.0", "gemm", heads=3))
    assert len(list(tables)) == 3


def test_the_same_grids_make_the_same_bytes(tmp_path):
    first = saved(tmp_path, gemm(TIMES))[1]
    assert saved(tmp_path, gemm(TIMES))[1] == first
    assert saved(tmp_path, gemm(np.array(TIMES) * 2))[1] != first


def test_no_grids_at_all(tmp_path):
    tables = Tables.load(saved(tmp_path)[0])
    assert not list(tables)
    assert tables.libraries() == []
    assert Tables().about == {}


positive = st.floats(1e-8, 1e3)


@given(hnp.arrays(np.float64, (2, 4), elements=positive), hnp.arrays(np.bool_, (2, 4)))
def test_any_times_come_back_within_a_rounding(tmp_path_factory, times, holes):
    seconds = np.where(holes, np.nan, times)
    known = seconds[~np.isnan(seconds)]
    path = tmp_path_factory.mktemp("tables") / "any.npz"
    if len(known) and known.max() / known.min() > 1e8:
        seconds = np.where(np.isnan(seconds), np.nan, np.maximum(seconds, known.max() / 1e8))
    Tables([gemm(seconds)]).save(path)
    (found,) = Tables.load(path)
    rows, columns = (~np.isnan(seconds)).any(1), (~np.isnan(seconds)).any(0)
    np.testing.assert_allclose(found.seconds, seconds[np.ix_(rows, columns)], rtol=ROUNDING)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.inf])
def test_times_that_cannot_be_are_not_saved(tmp_path, wrong):
    with pytest.raises(AssertionError):
        saved(tmp_path, gemm([[1, 2, 3, wrong], [1, 2, 3, 4]]))
    assert not (tmp_path / "gpu.npz").exists()


def refused(path, sha=None):
    with pytest.raises(InputError) as error:
        for _ in Tables.load(path, sha):
            pass
    assert str(path) in str(error.value)
    assert error.value.hint
    return error.value.message


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short(tmp_path, share):
    path, sha = saved(tmp_path, gemm(TIMES))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "cut short" in refused(path)
    assert "sha256" in refused(path, sha)


def test_a_changed_file_is_not_the_one_the_profile_names(tmp_path):
    path, sha = saved(tmp_path, gemm(TIMES))
    saved(tmp_path, gemm(np.array(TIMES) * 2))
    assert sha[:12] in refused(path, sha)


def test_a_flipped_byte_is_noticed_without_a_sha(tmp_path):
    path, _ = saved(tmp_path, gemm(TIMES))
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("codes_0.npy")
    data = bytearray(path.read_bytes())
    data[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 0xFF
    path.write_bytes(data)
    assert "damaged" in refused(path)


def test_a_missing_file(tmp_path):
    assert "no such table file" in refused(tmp_path / "gone.npz")


@pytest.mark.parametrize(("schema", "hint"), [(2, "upgrade"), (99, "upgrade"), (0, "import"), (None, "import")])
def test_a_file_of_another_schema(tmp_path, schema, hint):
    path = tmp_path / "gpu.npz"
    index = np.frombuffer(json.dumps({"schema": schema, "shelves": []}).encode(), np.uint8)
    np.savez(path, index=index)
    with pytest.raises(InputError, match=f"schema {schema}") as error:
        Tables.load(path)
    assert hint in error.value.hint


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 100])
def test_a_file_that_is_something_else(tmp_path, content):
    path = tmp_path / "gpu.npz"
    path.write_bytes(content)
    assert "not a table file" in refused(path)


def test_an_npz_of_something_else(tmp_path):
    path = tmp_path / "gpu.npz"
    np.savez(path, index=np.arange(3.0))
    assert "damaged" in refused(path)
