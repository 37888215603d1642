"""KV blocks as the engines count them; vLLM's own count on a real GPU is met."""

import json
from pathlib import Path

import pytest
from support.gpus import engine, gpu, model

from simulator.core import InputError
from simulator.cost.kv_memory import kv_blocks
from simulator.cost.parallelism import Parallelism
from simulator.hardware.engine_profile import load_engine
from simulator.hardware.registry import load_profile
from simulator.model.registry import load_model

MODEL, H100, VLLM = load_model("llama-3.1-8b"), load_profile("h100_sxm"), load_engine("vllm")
ALONE = Parallelism()
RUN = Path(__file__).parents[2] / "../shared/measured/request_runs/RTX4090_Llama-3.1-8B/meta.json"


def blocks(known=MODEL, profile=H100, parallel=ALONE, *, block_size=16, share=0.9, by=VLLM):
    return kv_blocks(known, profile, by, by.build(), parallel, block_size, share)


def test_a_share_of_all_memory_holds_weights_reserve_and_blocks():
    count = blocks()
    left = 0.9 * H100.memory.capacity - MODEL.weight_bytes() - VLLM.build().reserved_memory
    assert count * 16 * 131_072 <= left < (count + 1) * 16 * 131_072
    # An H100 of 80 GB has room for some 400,000 tokens of Llama 3.1 8B, as vLLM reports on start.
    assert 400_000 < count * 16 < 460_000


def test_or_a_share_of_what_the_weights_leave():
    tensorrt = load_engine("trtllm")
    assert (VLLM.memory_of, tensorrt.memory_of) == ("total", "free")
    count = blocks(by=tensorrt, block_size=32)
    left = 0.9 * (H100.memory.capacity - MODEL.weight_bytes() - tensorrt.build().reserved_memory)
    assert count * 32 * 131_072 <= left < (count + 1) * 32 * 131_072
    assert blocks(by=tensorrt) > blocks(), "the weights are not taken from its share"


@pytest.mark.skipif(not RUN.is_file(), reason="the measured runs are not here")
def test_vllm_counts_as_many_blocks_on_an_rtx_4090():
    recorded = json.loads(RUN.read_text())["kv_cache"]
    counted = blocks(profile=load_profile("rtx_4090"), share=recorded["gpu_memory_utilization"])
    # vLLM's count has one block more than requests can use: its null block. That is far below the percent asked for.
    assert recorded["num_gpu_blocks"] == 2588
    assert counted == pytest.approx(recorded["num_gpu_blocks"], rel=0.01)


def test_two_gpus_have_more_than_twice_the_room_of_one():
    assert blocks(parallel=Parallelism(2)) > 2 * blocks()


def test_pipeline_stages_keep_the_tokens_of_their_layers():
    # Two stages of 16 layers: a token takes half the bytes on each GPU, and so does the model's weight.
    by_stage, by_tensor = blocks(parallel=Parallelism(pipeline=2)), blocks(parallel=Parallelism(2))
    assert by_stage == pytest.approx(by_tensor, rel=0.01)


def test_kv_heads_are_copied_beyond_their_number():
    known = model(heads=32, kv_heads=2, layers=4)
    roomy = gpu(memory={"capacity": "80GB", "bandwidth": "2TB/s"})
    two, eight = (blocks(known, roomy, Parallelism(gpus), by=engine()) for gpus in (2, 8))
    assert eight == pytest.approx(two, rel=0.01)


@pytest.mark.parametrize(("name", "tensor"), [("llama-3.1-70b", 1), ("llama-2-70b", 1), ("qwen2.5-72b", 1)])
def test_a_model_that_does_not_fit_is_refused(name, tensor):
    with pytest.raises(InputError, match=f"{name} does not fit h100_sxm") as error:
        blocks(load_model(name), parallel=Parallelism(tensor))
    assert "tensor_parallel" in error.value.hint


@pytest.mark.parametrize("by", [engine(), engine().model_copy(update={"memory_of": "free"})], ids=["total", "free"])
def test_room_for_less_than_a_block_is_none(by):
    known = model()
    exact = known.weight_bytes() + by.build().reserved_memory + 16 * known.kv_bytes_per_token()

    def sized(capacity):
        return gpu(memory={"capacity": f"{capacity}B", "bandwidth": "2TB/s"})

    with pytest.raises(InputError, match="leave no room"):
        blocks(known, sized(exact - 2), share=1.0, by=by)
    assert blocks(known, sized(exact + 2), share=1.0, by=by) == 1
