"""A plan's YAML: the candidates it stands for, and where its mistakes are."""

from pathlib import Path

import pytest

from simulator.core import InputError
from simulator.core.data import data_dir
from simulator.experiment.planning.load_plan import load_plan

HEAD = """\
workload: {arrivals: {process: poisson, rate: 1/s}, prompt: {distribution: fixed, tokens: 10},
           output: {distribution: fixed, tokens: 10}, requests: 100}
model: llama-3.1-8b
cluster:
  instances: [{hardware: h100_sxm}]
"""


def plan_of(tmp_path, rest, head=HEAD, sets=()):
    file = tmp_path / "plan.yaml"
    file.write_text(head + rest)
    return load_plan(file, sets)


def test_candidates_are_all_combinations_named_by_their_choices(file):
    plan = load_plan(file)
    names = [each.name for each in plan.candidates]
    assert names == [f"{gpu} {router}" for gpu in ("h100_sxm", "l40s") for router in ("least_outstanding", "random")]
    assert [each.config.cluster.instances[0].hardware for each in plan.candidates] == ["h100_sxm"] * 2 + ["l40s"] * 2
    assert plan.candidates[1].config.cluster.router.name == "random"
    assert [each.gpus for each in plan.candidates] == [1] * 4


def test_routers_are_told_apart_only_where_a_unit_has_several_instances(tmp_path):
    rest = "slo: {ttft: 1s}\nspace: {router: [random, round_robin]}\n"
    one, other = plan_of(tmp_path, rest).candidates
    assert one.alike == other.alike
    one, other = plan_of(
        tmp_path, rest, HEAD.replace("{hardware: h100_sxm}", "{count: 2, hardware: h100_sxm}")
    ).candidates
    assert one.alike != other.alike


def test_a_size_multiplies_every_kind_of_instance(tmp_path):
    head = HEAD.replace(
        "[{hardware: h100_sxm}]", "[{hardware: h100_sxm, tensor_parallel: 2}, {count: 3, hardware: l40s}]"
    )
    (candidate,) = plan_of(tmp_path, "slo: {ttft: 1s}\n", head).candidates
    assert candidate.gpus == 5
    assert [spec.count for spec in candidate.sized(4).cluster.instances] == [4, 12]
    assert [spec["count"] for spec in candidate.sized_tree(4)["cluster"]["instances"]] == [4, 12]


def test_whole_clusters_can_be_chosen_by_label(tmp_path):
    rest = """\
slo: {ttft: 1s}
space:
  cluster:
    even: {instances: [{hardware: h100_sxm, count: 2}]}
    mixed: {instances: [{hardware: h100_sxm}, {hardware: l40s}]}
  quantization: {16 bit: null, fp8: fp8}
"""
    plan = plan_of(tmp_path, rest)
    assert [each.name for each in plan.candidates] == ["even 16 bit", "even fp8", "mixed 16 bit", "mixed fp8"]
    assert [spec.quantization for spec in plan.candidates[3].config.cluster.instances] == ["fp8", "fp8"]


def test_prices_come_from_the_plan_then_the_profile_and_stay_unknown_otherwise(tmp_path):
    rest = "slo: {ttft: 1s}\nspace: {hardware: [h100_sxm, l40s, rtx_pro_6000]}\nprices: {l40s: 0.5 USD/h}\n"
    h100, l40s, unknown = plan_of(tmp_path, rest).candidates
    assert h100.usd_per_hour > 1
    assert l40s.usd_per_hour == 0.5
    assert l40s.sized_tree(1)["cluster"]["instances"][0]["price"] == "0.5USD/h"
    assert unknown.usd_per_hour is None


@pytest.mark.parametrize(
    ("rest", "where", "said"),
    [
        ("slo: {}\n", "plan.yaml:6:6", "at least one objective"),
        ("slo: {ttft: {p99: 1s}}\nspace: {hardwear: [l40s]}\n", "plan.yaml:7:9", "hardwear"),
        ("slo: {ttft: {p99: 1s}}\nspace: {hardware: [l40]}\n", "plan.yaml:7:20", "l40"),
        ("slo: {ttft: {p98: 1s}}\n", "plan.yaml:6", "p98"),
        ("slo: {ttft: 1s}\nobjektive: cost\n", "plan.yaml:7:1", "did you mean 'objective'"),
        ("slo: {ttft: 1s}\nspace: {hardware: []}\n", "plan.yaml:7", "no values"),
        ("slo: {ttft: 1s}\nspace: {router: [random, random]}\n", "plan.yaml:7", "two candidates"),
        ("slo: {ttft: 1s}\nprices: {h100: 2 USD/h}\n", "plan.yaml:7:10", "did you mean 'h100_sxm'"),
        ("slo: {ttft: 1s}\nbudget: {cost: 60}\n", "plan.yaml:7:16", "no unit"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, rest, where, said):
    with pytest.raises(InputError) as error:
        plan_of(tmp_path, rest)
    assert where in str(error.value.where)
    assert said in str(error.value)


def test_set_overrides_a_key(file):
    assert load_plan(file, ["objective=gpus"]).spec.objective == "gpus"


def test_the_shipped_plans_load_and_choose_from_many():
    plans = sorted((data_dir("experiments") / "capacity").glob("*.yaml"))
    assert plans
    sizes = {path.stem: len(load_plan(path).candidates) for path in plans}
    assert sizes["azure_conv"] >= 60


def test_the_documented_plan_loads(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "planning.md").read_text()
    blocks = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    (tmp_path / "documented.yaml").write_text(blocks[0])
    assert len(load_plan(tmp_path / "documented.yaml").candidates) == 16
    labelled = blocks[0][: blocks[0].index("space:")] + blocks[1]
    (tmp_path / "labelled.yaml").write_text(labelled)
    assert [each.gpus for each in load_plan(tmp_path / "labelled.yaml").candidates] == [1, 2]
    (tmp_path / "split.yaml").write_text(blocks[0][: blocks[0].index("space:")] + blocks[2])
    split = load_plan(tmp_path / "split.yaml").candidates
    assert [each.gpus for each in split] == [1, 2, 3]
    assert [(spec.role, spec.count) for spec in split[2].sized(3).cluster.instances] == [("prefill", 6), ("decode", 3)]
