"""Speculative decoding in whole clusters: gains where memory-bound, losses beyond the ridge, and what is refused."""

import pytest
from support.techniques import MIXED, SPLIT, assembled, experiment, simulated, times

from simulator.core import InputError
from simulator.cost.tabulated import Alike
from simulator.experiment.techniques.registry import TECHNIQUES
from simulator.hardware.registry import load_profile

DRAFT = {"name": "speculative", "draft": "llama-3.2-1b", "acceptance": 0.7}
KINDS = {
    "draft model": DRAFT,
    "medusa": {"name": "medusa", "acceptance": [0.6, 0.5, 0.4, 0.3]},
    "eagle": {"name": "eagle", "acceptance": 0.7},
}


def decode_ps(techniques, batch, mean=512, **changes):
    cost = assembled(techniques, **changes).costs[0]
    return cost.decode_run(batch, batch * mean, Alike(mean))[0]


@pytest.mark.parametrize("technique", KINDS.values(), ids=KINDS)
def test_a_single_request_gains_and_a_batch_beyond_the_ridge_loses(technique):
    gains = [decode_ps([], batch, 128) / decode_ps([technique], batch, 128) for batch in (1, 64, 512)]
    assert gains[0] > 1.3
    assert gains[-1] < 1


def test_the_gain_is_below_one_where_batch_times_draft_length_is_past_the_ridge():
    profile = load_profile("h100_sxm")
    ridge = profile.gemm.compute / profile.gemm.bandwidth  # FLOPs a byte: tokens, at two FLOPs and two bytes a weight
    assert 250 < ridge < 300
    # Heads cost next to nothing, so what is left is the verification.
    medusa = {"name": "medusa", "acceptance": 0.6, "heads": 1, "nodes": 16}
    gain = [decode_ps([], batch, 128) / decode_ps([medusa], batch, 128) for batch in (1, 4, 64, 256)]
    assert 4 * 17 < ridge < 64 * 17
    assert gain[0] > 1.3 and gain[1] > 1.3
    assert gain[2] < 1 and gain[3] < 1


def test_nothing_accepted_is_slower_and_everything_accepted_makes_all_tokens():
    never, always = ({**DRAFT, "acceptance": rate} for rate in (0.0, 1.0))
    assert decode_ps([never], 1) > decode_ps([], 1)
    assert decode_ps([never], 1) / decode_ps([always], 1) == pytest.approx(5, rel=1e-6)


def test_the_draft_and_proposed_tokens_take_memory():
    plain, speculating = (assembled(techniques).kinds[0]["kv_blocks"] for techniques in ([], [DRAFT]))
    utilization, capacity, reserved = 0.9, load_profile("h100_sxm").memory.capacity, 1.24e9
    target, draft = 2 * 8030257152, 2 * 1235746816
    token = 131072 + 32768
    slots = 1024 * 4 * token
    free = utilization * capacity - reserved - target - draft - slots
    assert speculating == pytest.approx(free / (16 * token), rel=2e-3)
    assert plain > speculating


@pytest.mark.parametrize(
    ("techniques", "changes", "reason"),
    [
        ([{**DRAFT, "acceptance": [0.5, 0.5]}], {}, "2 rates of acceptance for 4 draft tokens"),
        ([{**DRAFT, "draft": "llama-3.1-70b"}], {}, "no smaller than"),
        ([{**DRAFT, "draft": "opt-13b"}], {"model": "llama-3.1-70b", "instances": [{**MIXED[0], "tensor_parallel": 4}]},
         "a draft with the same vocabulary"),
        ([{"name": "medusa", "acceptance": 0.5, "nodes": 2}], {}, "no path of 4"),
        ([DRAFT, KINDS["eagle"]], {}, "both change the speculative decoding"),
        ([DRAFT, "without_cuda_graphs"], {}, "list without_cuda_graphs before it"),
        (["layer_skipping", DRAFT], {}, "skip layers"),
        ([DRAFT, "layer_skipping"], {}, "layer skipping by tokens"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(techniques, changes, reason):
    with pytest.raises(InputError, match=reason):
        assembled(techniques, **changes)


@pytest.mark.parametrize("scheduler", ["vllm", "trtllm", "orca", "skip_join_mlfq", "sarathi", "static"])
def test_any_policy_speculates(scheduler):
    config = experiment([DRAFT], instances=[{**MIXED[0], "scheduler": scheduler}])
    fast = simulated(config)
    assert times(fast) == times(simulated(config, exact_steps=True))
    assert all(request.finished_at > 0 and request.failure is None for request in fast)


def test_stages_and_waiting_for_the_longest_context_speculate_exactly():
    for instance in (
        {"hardware": "rtx_4090", "kv_blocks": 2000},
        {"hardware": "h100_sxm", "tensor_parallel": 2, "pipeline_parallel": 2},
        {"hardware": "h100_sxm", "engine": "trtllm"},
    ):
        config = experiment([KINDS["eagle"]], instances=[instance])
        assert times(simulated(config)) == times(simulated(config, exact_steps=True))


def test_quantization_speculation_and_disaggregation_compose():
    quantized = {"name": "quantization", "format": "fp8"}
    config = experiment([quantized, DRAFT], instances=SPLIT)
    fast = simulated(config)
    assert times(fast) == times(simulated(config, exact_steps=True))
    assert all(request.finished_at > 0 and request.failure is None for request in fast)

    def decoding(techniques):
        requests = simulated(experiment(techniques, instances=SPLIT))
        return sum(request.finished_at - request.first_token_at for request in requests)

    both, one, none = decoding([quantized, DRAFT]), decoding([quantized]), decoding([])
    assert both < one < none


def test_each_kind_says_where_it_is_from():
    assert all("arXiv" in TECHNIQUES.get(each["name"]).source for each in KINDS.values())
