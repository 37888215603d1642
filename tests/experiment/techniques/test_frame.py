"""Every technique is listed, composes with the cluster's other choices, and leaves the fast path exact."""

from pathlib import Path

import pytest
from support.techniques import MIXED, SPLIT, assembled, examples, experiment, simulated, times

from simulator.core import InputError
from simulator.experiment.load import load_mapping
from simulator.experiment.techniques.describe import describe_techniques
from simulator.experiment.techniques.registry import TECHNIQUES
from simulator.experiment.techniques.stack import workload_of

TIERED = [{"hardware": "h100_sxm", "model": "llama-3.2-3b"}, {"hardware": "h100_sxm"}]
TOGETHER = {name: TIERED if TECHNIQUES.get(name).has_tiers else MIXED for name in TECHNIQUES.names()}
WORLDS = [*TOGETHER.items(), *((name, SPLIT) for name, instances in TOGETHER.items() if instances is MIXED)]


@pytest.mark.parametrize(("name", "instances"), WORLDS)
def test_the_fast_path_equals_exact_steps(name, instances):
    config = experiment([examples()[name]], instances=instances)
    fast = simulated(config)
    assert times(fast) == times(simulated(config, exact_steps=True))
    assert all(request.failure is None and request.finished_at > 0 for request in fast)


def test_every_technique_has_an_experiment():
    assert set(TECHNIQUES.names()) == set(examples())


@pytest.mark.parametrize("row", describe_techniques(), ids=lambda row: row["name"])
def test_each_says_what_it_changes_and_where_it_is_from(row):
    assert row["level"] in ("data", "model", "engine")
    assert row["summary"] and row["changes"] and row["source"]
    assert "[M]" not in row["source"]


@pytest.mark.parametrize("name", TECHNIQUES.names())
def test_none_is_given_twice(name):
    with pytest.raises(InputError, match=r"given twice"):
        assembled([examples()[name]] * 2, instances=TOGETHER[name])


def test_instances_of_all_kinds_get_them():
    kinds = [{"hardware": "h100_sxm"}, {"hardware": "a100_sxm", "count": 2}]
    pairs = zip(assembled([], instances=kinds).kinds, assembled(["quantization"], instances=kinds).kinds, strict=True)
    more, same = (after["kv_blocks"] - before["kv_blocks"] for before, after in pairs)
    assert more > 1000 and abs(more - same) <= 1  # as many bytes of weights are spared on either


def test_a_variant_has_its_own_list():
    compare = {"as it is": {"techniques": []}, "short": {"techniques[0].share": 0.75}}
    loaded = load_mapping(
        {
            **experiment([]).model_dump(mode="json", exclude_none=True),
            "techniques": ["prompt_pruning"],
            "compare": compare,
        },
        Path(),
    )
    plain, short = (workload_of(run.config, Path()) for run in loaded.runs)
    assert (short.prompt_tokens == -(-plain.prompt_tokens // 4)).all()
    assert "prompt_pruning" in short.source and "prompt_pruning" not in plain.source


def test_an_unknown_one_is_named_with_what_is_meant():
    with pytest.raises(InputError, match=r"techniques\[1\]: unknown technique 'quantisation'.*did you mean 'quant"):
        experiment(["kv_quantization", "quantisation"])


def test_a_wrong_parameter_is_refused():
    with pytest.raises(InputError, match=r"techniques\[0\].format: must be 'w8a8'"):
        experiment([{"name": "quantization", "format": "w2a2"}])
