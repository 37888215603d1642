"""Overrides change exactly what their key path names, and remember where they were written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.core.errors import InputError
from simulator.core.yaml_source import dump_yaml, parse_yaml
from simulator.experiment.overrides import override, parse_set

BASE = """\
cluster:
  instances: [{count: 1, scheduler: vllm}, {count: 2}]
  router: random
slo:
"""


def changed(path, value, text=BASE):
    return override(parse_yaml(text, "x.yaml"), path, parse_yaml(value, "value"), where="here")


@pytest.mark.parametrize(
    ("path", "value", "instances", "router"),
    [
        ("cluster.router", "round_robin", [{"count": 1, "scheduler": "vllm"}, {"count": 2}], "round_robin"),
        ("cluster.instances[1].count", "7", [{"count": 1, "scheduler": "vllm"}, {"count": 7}], "random"),
        ("cluster.instances[*].count", "7", [{"count": 7, "scheduler": "vllm"}, {"count": 7}], "random"),
        ("cluster.instances[1]", "{count: 3}", [{"count": 1, "scheduler": "vllm"}, {"count": 3}], "random"),
        ("cluster.instances", "[{}]", [{}], "random"),
        ("cluster.router.seed", "3", [{"count": 1, "scheduler": "vllm"}, {"count": 2}], {"name": "random", "seed": 3}),
        (
            "cluster.instances[*].scheduler.policy",
            "fcfs",
            [
                {"count": 1, "scheduler": {"name": "vllm", "policy": "fcfs"}},
                {"count": 2, "scheduler": {"policy": "fcfs"}},
            ],
            "random",
        ),
    ],
)
def test_a_path_names_what_changes(path, value, instances, router):
    base = parse_yaml(BASE, "x.yaml")
    after = override(base, path, parse_yaml(value, "value"), where="here")
    assert after.value == {"cluster": {"instances": instances, "router": router}, "slo": None}
    assert base.value == parse_yaml(BASE, "x.yaml").value, "the base is not touched"


def test_sections_on_the_way_are_made():
    assert changed("slo.ttft", "1s").value["slo"] == {"ttft": "1s"}
    assert changed("workload.arrivals.rate", "5/s").value["workload"] == {"arrivals": {"rate": "5/s"}}


def test_places_follow_the_override():
    after = changed("cluster.instances[*]", "{a: {b: 1}}")
    assert after.where(("cluster", "instances", 1, "a", "b")) == "value:1:9"
    assert after.where_key(("cluster", "instances", 0)) == "here"
    assert after.where(("cluster", "router")) == "x.yaml:3:11"
    assert changed("new.key", "1").where_key(("new",)) == "here"


def test_two_entries_do_not_share_a_value():
    after = changed("cluster.instances[*].scheduler", "{name: x}")
    first, second = after.value["cluster"]["instances"]
    assert first["scheduler"] == second["scheduler"]
    assert first["scheduler"] is not second["scheduler"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("cluster.instances[2].count", "has 2 entries, counted from 0"),
        ("cluster.instances.count", r"is a list .*cluster\.instances\[\*\]\.count"),
        ("cluster.router[0]", "'cluster.router' is not a list"),
        ("cluster[*].router", "'cluster' is not a list"),
        ("cluster.instances[0].count.x", "is 1 and has no keys"),
        ("", "not a key path"),
        ("cluster.", "not a key path"),
        (".cluster", "not a key path"),
        ("cluster.instances[x].count", "not a key path"),
        ("cluster.instances[-1].count", "not a key path"),
        ("cluster.instances[*.count", "not a key path"),
        ("cluster.*.count", "not a key path"),
    ],
)
def test_a_path_that_leads_nowhere(path, message):
    with pytest.raises(InputError, match=message) as caught:
        changed(path, "1")
    assert caught.value.where == "here"


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a.b=1e-3", "a.b", 1e-3),
        ("a=on", "a", "on"),
        ("a=[1, {b: 2}]", "a", [1, {"b": 2}]),
        ("a=x=y", "a", "x=y"),
        ("a='1'", "a", "1"),
        ("a=null", "a", None),
        ("a=../t/x.csv", "a", "../t/x.csv"),
    ],
)
def test_set_reads_yaml(text, path, value):
    read_path, source = parse_set(text)
    assert (read_path, source.value) == (path, value)
    assert source.where() == f"--set {path}"


@given(st.dictionaries(st.from_regex(r"[a-z]{1,4}", fullmatch=True), st.integers() | st.text(max_size=5), min_size=1))
def test_setting_every_key_builds_the_mapping(mapping):
    source = parse_yaml("{}", "x.yaml")
    for key, value in mapping.items():
        path, parsed = parse_set(f"deep.{key}={dump_yaml(value).removesuffix('...' + chr(10))}")
        source = override(source, path, parsed, where=parsed.where())
    assert source.value == {"deep": mapping}
