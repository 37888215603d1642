"""Listings name what an experiment can name, for people and for programs."""

import json

import pytest

from simulator.cli.main import main


def output(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(list(args))
    assert end.value.code in (0, None)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "key", "known"),
    [
        (["policies"], "policies", {"vllm", "round_robin", "random", "least_outstanding", "target_utilization"}),
        (["models"], "models", {"llama-3.1-8b"}),
        (["profiles"], "profiles", {"h100_sxm"}),
        (["traces", "list"], "traces", {"azure_conv_2023", "mooncake_conversation"}),
    ],
)
def test_json_and_table_list_the_same_names(capsys, words, key, known):
    listed = json.loads(output(capsys, *words, "--json"))
    assert set(listed) == {key}
    names = [row["name"] for row in listed[key]]
    assert known <= set(names)
    table = output(capsys, *words)
    assert all(name in table for name in names)


def test_policies_tell_their_parameters(capsys):
    policies = json.loads(output(capsys, "policies", "--json"))["policies"]
    vllm = next(row for row in policies if row["name"] == "vllm")
    assert vllm["kind"] == "scheduler"
    assert {"name": "max_num_batched_tokens", "type": "int", "default": 8192} in vllm["parameters"]
    assert all(row["summary"] for row in policies)
    edf = next(row for row in policies if row["name"] == "edf")
    assert {"name": "tpot", "type": "a duration with its unit", "default": "0.05s"} in edf["parameters"]


def test_the_schema_is_a_json_schema_of_experiments(capsys):
    schema = json.loads(output(capsys, "schema"))
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"workload", "cluster", "compare"} <= set(schema["properties"])
