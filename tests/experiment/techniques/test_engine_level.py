"""Offloading, graphs, kernels, adapters and tiers in whole clusters: what each changes, and what is refused."""

import pytest
from support.techniques import MIXED, assembled, examples, experiment, simulated, times

from simulator.core import InputError
from simulator.cost.tabulated import Alike
from simulator.hardware.registry import load_profile
from simulator.model import load_model

HALF = {"name": "offloading", "weights_host": 0.5, "host_memory": "200GB"}


def decode_ps(techniques, batch=1, mean=512, **changes):
    cost = assembled(techniques, **changes).costs[0]
    return cost.decode_run(batch, batch * mean, Alike(mean))[0]


def blocks(techniques, **changes):
    return assembled(techniques, **changes).kinds[0]["kv_blocks"]


def refused(reason, techniques, **changes):
    with pytest.raises(InputError, match=reason):
        assembled(techniques, **changes)


# Offloading


def test_streamed_weights_take_their_bytes_over_the_link():
    weights = load_model("llama-3.1-8b").weight_bytes()
    seconds = 0.5 * weights / load_profile("h100_sxm").links.pcie.bandwidth
    assert decode_ps([HALF]) == pytest.approx(1e12 * seconds, rel=1e-6)
    # As long for a batch of 64: that is why FlexGen makes batches large.
    assert decode_ps([HALF], 64) == decode_ps([HALF])


def test_kv_blocks_follow_from_what_is_left_on_the_gpu_and_in_the_host():
    assert blocks([HALF]) > blocks([])
    in_host = {"name": "offloading", "kv_host": 1.0, "host_memory": "50GB"}
    assert blocks([in_host]) == pytest.approx(50e9 / (16 * 131072), abs=1)


def test_a_model_runs_where_it_does_not_fit():
    large = {"model": "llama-3.1-70b"}
    refused("does not fit", [], **large)
    config = experiment([{"name": "offloading", "weights_host": 0.8, "host_memory": "200GB"}], **large)
    assert all(request.finished_at > 0 and request.failure is None for request in simulated(config))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weights_host": 0.0}, "nothing is offloaded"),
        ({"weights_host": 0.7, "weights_disk": 0.7}, "more than all"),
        ({"weights_disk": 0.5}, "disk_read"),
        ({"host_memory": "1GB"}, "do not fit into 1 GB"),
        ({"attention": "host"}, "needs KV there"),
    ],
)
def test_placements_that_cannot_be_are_refused(changes, reason):
    refused(reason, [{**HALF, **changes}])


# Graphs and kernels


def test_without_graphs_launching_all_layers_bounds_an_iteration():
    eager = [{"name": "without_cuda_graphs", "layer": "500us"}]
    assert decode_ps(eager) == 32 * 500 * 10**6
    assert decode_ps(eager, 1024, 4096) == pytest.approx(decode_ps([], 1024, 4096), rel=0.01)


def test_without_graphs_a_batch_is_not_padded():
    eager = [{"name": "without_cuda_graphs", "layer": "1us"}]
    assert decode_ps(eager, 9, 4) < decode_ps([], 9, 4)  # with graphs, as 16


def test_an_engine_profile_without_launch_times_asks_for_one():
    refused("layer: 200us", ["without_cuda_graphs"], instances=[{"hardware": "h100_sxm", "engine": "trtllm"}])


def test_flash_attention_matters_more_the_longer_the_prompt():
    def gain(tokens):
        def spent(techniques):
            request = simulated(experiment([]))[0]
            request.computed = 0
            return assembled(techniques).costs[0].mixed([(request, tokens)], tokens, 0, 0, Alike(1))

        return spent(["without_flash_attention"]) / spent([])

    assert 1 < gain(256) < gain(2048) < gain(8192)


def test_flash_decoding_matters_for_small_batches_of_long_contexts():
    def gain(batch, mean):
        return decode_ps(["without_flash_decoding"], batch, mean) / decode_ps([], batch, mean)

    assert gain(1, 65536) > 4
    assert gain(1, 65536) > gain(1, 1024) > 1
    assert gain(64, 8192) == pytest.approx(1, rel=1e-9)


def test_flash_decoding_is_not_for_latent_attention():
    refused("latent attention", ["without_flash_decoding"], model="deepseek-v3", instances=[
        {"hardware": "h200_sxm", "tensor_parallel": 8}])  # fmt: skip


# Adapters and tiers


def test_adapters_take_slots_and_wait_for_them():
    def waited(slots):
        requests = simulated(experiment([{"name": "lora", "adapters": 8, "slots": slots}]))
        return sum(request.admitted_at - request.arrival for request in requests)

    assert waited(1) > 3 * waited(8)


def test_adapters_of_one_kind_on_one_instance_are_loaded_less_often():
    def fetched(router):
        config = experiment([{"name": "lora", "adapters": 8, "slots": 4, "link": "1GB/s"}],
                            instances=[{**MIXED[0], "count": 2}])  # fmt: skip
        cluster = config.cluster.model_copy(
            update={"router": config.cluster.router.model_copy(update={"name": router})}
        )
        requests = simulated(config.model_copy(update={"cluster": cluster}))
        return len({(request.instance, request.client) for request in requests})

    assert fetched("client_affinity") < fetched("round_robin")


def test_adapters_follow_their_clients():
    clients = {
        "arrivals": {"process": "poisson", "rate": "20/s"},
        "prompt": {"distribution": "fixed", "tokens": 100},
        "output": {"distribution": "fixed", "tokens": 10},
        "clients": {"count": 3},
        "requests": 30,
    }
    plain = simulated(experiment([], workload=clients))
    assert [r.client for r in simulated(experiment(["lora"], workload=clients))] == [r.client for r in plain]


def test_a_host_tier_saves_prefills_that_the_gpu_forgot():
    turns = {
        "arrivals": {"process": "poisson", "rate": "2/s"},
        "prompt": {"distribution": "fixed", "tokens": 1200},
        "output": {"distribution": "fixed", "tokens": 20},
        "prefix": {"kind": "conversations", "turns": 6, "gap": "10s", "common": 0},
        "requests": 120,
    }
    small = [{**MIXED[0], "kv_blocks": 300}]

    def ttft(techniques):
        config = experiment(techniques, workload=turns, instances=small, model="llama-3.1-8b")
        requests = simulated(config)
        return sum(r.first_token_at - r.arrival for r in requests), sum(r.cached for r in requests)

    plain, cached = ttft([])
    with_tier, more = ttft([{"name": "tiered_kv", "host_memory": "100GB"}])
    assert more > 2 * cached and with_tier < plain
    slow, same = ttft([{"name": "tiered_kv", "host_memory": "100GB", "link": "500MB/s"}])
    assert same >= cached and slow > with_tier


def test_a_tier_needs_prefix_caching():
    refused("prefix caching", [{"name": "tiered_kv", "host_memory": "1GB"}],
            instances=[{**MIXED[0], "prefix_caching": False}])  # fmt: skip


@pytest.mark.parametrize("name", ["lora", "tiered_kv", "offloading", "without_cuda_graphs"])
@pytest.mark.parametrize("scheduler", ["vllm_v0", "trtllm", "skip_join_mlfq", "vtc", "srpt"])
def test_any_policy_and_little_memory(name, scheduler):
    before = ["skeleton_of_thought"] if name == "tiered_kv" else []
    config = experiment([*before, examples()[name]],
                        instances=[{**MIXED[0], "scheduler": scheduler, "kv_blocks": 480}])  # fmt: skip
    fast = simulated(config)
    assert times(fast) == times(simulated(config, exact_steps=True))
    assert all(request.finished_at > 0 for request in fast)
