"""vLLM's policy has the limits that vLLM chooses for its GPU, unless the experiment says others; results tell them."""

import json
from pathlib import Path

import pytest
from support.techniques import assembled, examples

from simulator.core import InputError
from simulator.experiment.load import load_mapping
from simulator.experiment.runner import run_experiment


def limits(hardware, scheduler=None, *, engine="vllm", server=True):
    """Return the limits of an instance as its results tell them, after a look at what its policy was made with."""
    instance = {"hardware": hardware, "kv_blocks": 4000, "engine": {"name": engine, "server": server}}
    made = assembled([], instances=[instance | ({} if scheduler is None else {"scheduler": scheduler})])
    told = made.kinds[0]["limits"]
    assert {name: getattr(made.servers[0].core.scheduler, name) for name in told} == told
    return tuple(told.values())


@pytest.mark.parametrize(
    ("hardware", "behind", "in_process"),
    [
        ("h100_sxm", (1024, 8192), (1024, 16384)),
        ("h200_sxm", (1024, 8192), (1024, 16384)),
        ("rtx_pro_6000", (1024, 8192), (1024, 16384)),
        ("a100_sxm", (256, 2048), (256, 8192)),
        ("l40s", (256, 2048), (256, 8192)),
        ("rtx_4090", (256, 2048), (256, 8192)),
    ],
)
def test_limits_left_out_are_those_of_vllm_on_that_gpu(hardware, behind, in_process):
    assert limits(hardware) == limits(hardware, "vllm") == limits(hardware, {"policy": "priority"}) == behind
    assert limits(hardware, server=False) == in_process


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"max_num_seqs": 1024, "max_num_batched_tokens": 8192}, (1024, 8192)),
        ({"max_num_seqs": 512}, (512, 2048)),
        ({"max_num_seqs": 4096}, (4096, 4096)),
        ({"max_num_batched_tokens": 8192}, (256, 8192)),
        ({"max_num_batched_tokens": 128}, (128, 128)),
    ],
)
@pytest.mark.parametrize("hardware", ["a100_sxm", "l40s"])
def test_a_limit_that_is_given_stays_and_the_other_one_fits_it(hardware, scheduler, expected):
    assert limits(hardware, scheduler) == expected


@pytest.mark.parametrize(
    "scheduler",
    [{"max_num_seqs": 1024, "max_num_batched_tokens": 512}, {"max_num_seqs": 0}, {"max_num_batched_tokens": 0}],
)
def test_limits_that_exclude_each_other_are_refused(scheduler):
    with pytest.raises(InputError, match="max_num_seqs <= max_num_batched_tokens") as error:
        limits("h100_sxm", scheduler)
    assert "instances[0].scheduler" in error.value.message


def test_other_policies_and_engines_keep_their_own():
    assert limits("a100_sxm", "sarathi") == limits("h100_sxm", "sarathi") == (128, 512)
    assert limits("l40s", engine="trtllm") == (2048, 8192)
    assert limits("l40s", "vllm", engine="trtllm") == (1024, 8192)
    assert limits("l40s", "lcf") == limits("h100_sxm", "lcf")
    assert limits("l40s", "static") == (8,)


def test_memory_for_drafts_goes_by_the_requests_that_may_run():
    def blocks(scheduler):
        draft = examples()["eagle"]
        return assembled([draft], instances=[{"hardware": "a100_sxm", "scheduler": scheduler}]).kinds[0]["kv_blocks"]

    assert blocks({}) == blocks({"max_num_seqs": 256}) > blocks({"max_num_seqs": 1024})


def test_the_summary_tells_the_limits_of_each_kind(tmp_path):
    values = {
        "workload": {
            "arrivals": {"process": "constant", "rate": "20/s"},
            "prompt": {"distribution": "fixed", "tokens": 100},
            "output": {"distribution": "fixed", "tokens": 10},
            "requests": 5,
        },
        "model": "llama-3.1-8b",
        "cluster": {"instances": [{"hardware": "h100_sxm", "role": "prefill"},
                                  {"hardware": "a100_sxm", "role": "decode", "scheduler": {"max_num_seqs": 64}}]},
        "compare": {"split": {}, "elsewhere": {"cluster.instances[1].hardware": "l40s",
                                               "cluster.instances[1].scheduler": "vllm"}},
    }  # fmt: skip
    loaded = load_mapping(values, Path())
    result = run_experiment(loaded, tmp_path)
    runs = json.loads((result.folder / "summary.json").read_text())["runs"]
    names = ("max_num_seqs", "max_num_batched_tokens")
    told = [[tuple(kind["limits"][name] for name in names) for kind in run["cluster"]["kinds"]] for run in runs]
    assert told == [[(1024, 8192), (64, 2048)], [(1024, 8192), (256, 2048)]]
    # What was left out stays so in the configuration: read back, a variant's GPU still decides.
    assert "2048" not in loaded.resolved()
