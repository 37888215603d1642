"""YAML is read by the 1.2 core schema, and every part knows its line and column."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.core.errors import InputError
from simulator.core.yaml_source import dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("12", 12),
        ("+12", 12),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("No", "No"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("2023-11-16", "2023-11-16"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!float 12", 12.0),
        ("500ms", "500ms"),
        ("1e", "1e"),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    read = parse_yaml(f"key: {text}", "x.yaml").value["key"]
    assert read == value
    assert type(read) is type(value)


def test_nan_is_a_number():
    assert math.isnan(parse_yaml("key: .nan", "x.yaml").value["key"])


def test_keys_are_text():
    assert parse_yaml("on: 1\n2: 3\nnull: 4", "x.yaml").value == {"on": 1, "2": 3, "null": 4}


def test_places_of_keys_and_values():
    source = parse_yaml("a:\n  b: [1, {c: x}]\n", "x.yaml")
    assert source.where_key(("a", "b")) == "x.yaml:2:3"
    assert source.where(("a", "b")) == "x.yaml:2:6"
    assert source.where(("a", "b", 0)) == "x.yaml:2:7"
    assert source.where_key(("a", "b", 1, "c")) == "x.yaml:2:11"
    assert source.where(("a", "b", 1, "c")) == "x.yaml:2:14"


def test_an_absent_path_stands_where_its_nearest_ancestor_does():
    source = parse_yaml("a:\n  b: {}\n", "x.yaml")
    assert source.where(("a", "b", "c", "d")) == "x.yaml:2:6"
    assert source.where(("z",)) == "x.yaml:1:1"


def test_an_alias_has_the_value_and_place_of_its_anchor():
    source = parse_yaml("a: &one {k: 1}\nb: *one\n", "x.yaml")
    assert source.value == {"a": {"k": 1}, "b": {"k": 1}}
    assert source.where(("b", "k")) == "x.yaml:1:13"


@pytest.mark.parametrize(
    ("data", "where", "message"),
    [
        (b"", ":1:1", "empty"),
        (b"# only a comment\n", ":1:1", "empty"),
        (b"- a\n", ":1:1", "must be a mapping"),
        (b"text\n", ":1:1", "must be a mapping"),
        (b"a: 1\nb: 2\na: 3\n", ":3:1", "duplicate key 'a'"),
        (b"a:\n  b: {c: 1, c: 2}\n", ":2:13", "duplicate key 'c'"),
        (b"a:\n\tb: 1\n", ":2:1", "tab"),
        (b"a: b\nc: d\xe9\n", ":2:5", "UTF-8"),
        ("é: \x00".encode() + b"\xff", ":1:5", "UTF-8"),
        ("a: 1".encode("utf-16"), ":1:1", "UTF-8"),
        (b"a: 'b\n", ":2:1", "not valid YAML"),
        (b"a: [1\nb: 2\n", ":2:2", "not valid YAML"),
        (b"a: b: c\n", ":1:5", "not valid YAML"),
        (b"a: 1\n--- \nb: 2\n", ":2:1", "single document"),
        (b"a: \x01\n", ":1:4", "does not allow"),
        (b"a: &x [*x]\n", ":1:4", "contains itself"),
        (b"a: *nowhere\n", ":1:4", "undefined alias"),
        (b"? [1, 2]\n: 3\n", ":1:3", "key must be text"),
        (b"a: !!python/name:os.system x\n", ":1:4", "tag '!!python/name:os.system'"),
        (b"a: !mine {b: 1}\n", ":1:4", "tag '!mine'"),
        (b"a: !!int many\n", ":1:4", "not of type int"),
        (b"[" * 5000, ":1:1", "nested too deeply"),
    ],
)
def test_broken_files_say_where(tmp_path, data, where, message):
    file = tmp_path / "broken.yaml"
    file.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_yaml(file)
    assert caught.value.where == f"{file}{where}"
    assert message in caught.value.message


def test_a_byte_order_mark_is_no_error(tmp_path):
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(file).value == {"a": 1}


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "quickstart.yaml").write_text("a: 1")
    with pytest.raises(InputError, match=r"no such file .*did you mean '.*quickstart\.yaml'"):
        read_yaml(tmp_path / "quikstart.yaml")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="folder"):
        read_yaml(Path(tmp_path))


_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
)
_TRICKY = st.sampled_from(
    ["1e-3", "0o17", "on", "yes", "1:30", "2023-11-16", ".5", "~", "null", "", "=", "<<", "0x1", "-"]
)
_VALUES = st.recursive(
    _SCALARS | _TRICKY, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TRICKY, inner, max_size=3)
)


@given(_VALUES)
def test_what_is_dumped_reads_back(value):
    assert parse_yaml(dump_yaml({"value": value}), "x.yaml").value["value"] == value


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_read_or_refused(text):
    try:
        parse_yaml(text, "x.yaml")
    except InputError as error:
        assert error.where is not None
        assert error.where.startswith("x.yaml:")
