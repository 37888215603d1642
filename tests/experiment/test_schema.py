"""The JSON Schema describes what the loader accepts."""

import pytest

from simulator.experiment.json_schema import experiment_schema, keys_at
from simulator.experiment.schema import ClusterSpec, Experiment, InstanceSpec, Slo


def test_the_schema_lists_every_key():
    schema = experiment_schema()
    assert set(schema["properties"]) == set(Experiment.model_fields)
    assert set(schema["required"]) == {"workload", "model", "cluster"}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ((), set(Experiment.model_fields)),
        (("cluster",), set(ClusterSpec.model_fields)),
        (("cluster", "instances", 0), set(InstanceSpec.model_fields)),
        (("slo",), set(Slo.model_fields)),
    ],
)
def test_keys_of_a_place(path, keys):
    assert keys_at(path, {"cluster": {"instances": [{}]}, "slo": {}}) == keys


def test_a_unions_tag_decides_which_keys_are_known():
    def keys(process):
        return keys_at(("workload", "arrivals"), {"workload": {"arrivals": {"process": process}}})

    assert "cv" in keys("gamma")
    assert "cv" not in keys("poisson")
    assert "concurrency" in keys("closed_loop")


def test_quantities_show_an_example_with_its_unit():
    slo = experiment_schema()["$defs"]["Slo"]["properties"]["ttft"]
    assert {"type": "string", "description": "a duration with its unit", "examples": ["500ms"]} in slo["anyOf"]
