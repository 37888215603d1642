"""The roofline cost: closed form equals single steps, monotone, and split by tensor parallelism."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.costs import KnottyCost

from simulator.core import InputError, Request
from simulator.core.units import GIB, PS_PER_S
from simulator.cost.base import FixedCost
from simulator.cost.kv_memory import kv_blocks
from simulator.cost.roofline import RooflineCost
from simulator.hardware.profile import Profile
from simulator.hardware.registry import known_profiles, load_profile
from simulator.model.registry import load_model

MODEL, H100 = load_model("llama-3.1-8b"), load_profile("h100_sxm")
COST = RooflineCost(MODEL, H100, 1)


class Batch:
    """Decoding requests as a cost model sees them, stepped by hand."""

    def __init__(self, contexts):
        self.contexts = list(contexts)

    @property
    def longest(self):
        return max(self.contexts, default=0)

    def run(self, cost):
        """Return (first, growth, limit) for the batch as it stands."""
        return cost.decode_run(len(self.contexts), sum(self.contexts), self)

    def step(self):
        self.contexts = [context + 1 for context in self.contexts]


def mixed(cost, chunks, contexts=()):
    """Return the duration of an iteration with prompt chunks of (cached, new) tokens."""
    requests = []
    for index, (cached, new) in enumerate(chunks):
        request = Request(index, 0, cached + new, 10)
        request.computed = cached
        requests.append((request, new))
    batch = Batch(contexts)
    return cost.mixed(requests, sum(new for _, new in chunks), len(contexts), sum(contexts), batch)


def knotty():
    return KnottyCost(base=1000, total_width=37, longest_width=11, slopes=(5, 0, 13))


@pytest.mark.parametrize("cost", [COST, FixedCost(777), knotty()], ids=["roofline", "fixed", "knotty"])
@given(contexts=st.lists(st.integers(1, 5000), min_size=1, max_size=20), wanted=st.integers(1, 40))
def test_a_run_of_decodes_is_the_single_steps(cost, contexts, wanted):
    batch = Batch(contexts)
    first, growth, limit = batch.run(cost)
    assert limit >= 1
    assert growth >= 0
    for n in range(min(wanted, limit)):
        assert batch.run(cost)[0] == first + n * growth
        batch.step()


def test_costs_with_knots_change_at_them():
    batch = Batch([5])
    first, growth, limit = batch.run(knotty())
    for _ in range(limit):
        batch.step()
    assert batch.run(knotty())[0] != first + limit * growth


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=64), st.integers(1, 5000))
def test_more_context_and_more_requests_take_longer(contexts, more):
    now = Batch(contexts).run(COST)[0]
    assert Batch([contexts[0] + more, *contexts[1:]]).run(COST)[0] > now
    assert Batch([*contexts, more]).run(COST)[0] > now


@given(st.integers(1, 8000), st.integers(1, 8000), st.integers(1, 4000))
def test_longer_prompts_and_cached_ones_before_them_take_longer(cached, new, more):
    assert mixed(COST, [(0, new + more)]) > mixed(COST, [(0, new)])
    assert mixed(COST, [(cached + more, new)]) > mixed(COST, [(cached, new)])
    assert mixed(COST, [(0, new)], [cached]) > mixed(COST, [(0, new)])


def test_cached_tokens_save_most_of_a_prompt():
    assert mixed(COST, [(7000, 1000)]) < 0.3 * mixed(COST, [(0, 8000)])


def test_prompt_attention_reads_what_came_before_each_token():
    def attention(cached, new):
        attended = new * cached + new * (new + 1) / 2  # by each new token: the cached ones and, causally, the new ones
        flops = 4 * MODEL.heads * MODEL.head_dim * attended
        size = 2 * 2 * MODEL.head_dim * (MODEL.heads * new + MODEL.kv_heads * (cached + new))
        return MODEL.layers * H100.prefill_attention.seconds(flops, size) * PS_PER_S

    for cached in (0, 500, 6000):
        assert mixed(COST, [(cached, 2000)]) - mixed(COST, [(0, 2000)]) == pytest.approx(
            attention(cached, 2000) - attention(0, 2000), rel=0.01, abs=1e6
        )


def test_a_decode_reads_all_weights():
    # One token cannot be faster than its weights cross the memory bus, nor is it several times slower.
    layers = MODEL.parameters - MODEL.vocab * MODEL.hidden  # the input embedding is a look-up
    least = layers * 2 / H100.memory.bandwidth * PS_PER_S
    one = Batch([100]).run(COST)[0]
    assert least < one < 2 * least


def test_a_long_prompt_is_bound_by_compute():
    flops = 2 * (MODEL.parameters - 2 * MODEL.vocab * MODEL.hidden) * 8192
    least = flops / H100.gemm.compute * PS_PER_S
    assert least < mixed(COST, [(0, 8192)]) < 2 * least


def test_decode_slope_is_the_kv_cache_over_its_bandwidth():
    first, growth, _ = Batch([10_000] * 10).run(COST)
    per_token = MODEL.kv_bytes_per_token / H100.decode_attention.bandwidth * PS_PER_S
    flops = 4 * MODEL.layers * MODEL.heads * MODEL.head_dim / H100.decode_attention.compute * PS_PER_S
    # Between the textbook roofline and no overlap of the two at all.
    assert 10 * max(per_token, flops) * 0.999 <= growth <= 10 * (per_token + flops) * 1.001
    assert first > 100_000 * max(per_token, flops)


def test_tensor_parallelism_divides_the_work_and_adds_communication():
    durations = [mixed(RooflineCost(MODEL, H100, tp), [(0, 8192)]) for tp in (1, 2, 4, 8)]
    for fewer, more in pairwise(durations):
        assert fewer / 2 < more < fewer
    slopes = [Batch([9999]).run(RooflineCost(MODEL, H100, tp))[1] for tp in (1, 2, 4, 8)]
    for tp, slope in zip((1, 2, 4, 8), slopes, strict=True):
        assert slope == pytest.approx(slopes[0] / tp, rel=0.01)


@pytest.mark.parametrize(
    ("model", "hardware", "tp", "message"),
    [
        ("llama-3.1-8b", "h100_sxm", 3, "does not divide the 32 attention heads"),
        ("qwen2.5-7b", "h100_sxm", 8, "does not divide the 28 attention heads"),
        ("llama-3.1-8b", "h100_sxm", 16, "all-reduces .* up to 8 GPUs"),
    ],
)
def test_splits_that_cannot_be(model, hardware, tp, message):
    with pytest.raises(InputError, match=message):
        RooflineCost(load_model(model), load_profile(hardware), tp)


@pytest.mark.parametrize("hardware", known_profiles())
def test_every_profile_runs_a_model_and_says_what_it_rests_on(hardware):
    cost = RooflineCost(MODEL, load_profile(hardware), 1)
    assert 10**9 < Batch([500]).run(cost)[0] < 10**11
    coverage = cost.coverage()
    assert {"linear", "prefill_attention", "decode_attention", "elementwise", "allreduce", "host"} <= set(coverage)
    assert coverage["provenance"] == load_profile(hardware).provenance


def roomy(profile: Profile, **memory) -> Profile:
    return profile.model_copy(update={"memory": profile.memory.model_copy(update=memory)})


def test_kv_blocks_are_what_is_left_of_memory():
    blocks = kv_blocks(MODEL, H100, 1, 16, 0.9)
    left = 0.9 * H100.memory.capacity - MODEL.parameters * 2 - H100.host.reserved_memory
    assert blocks * 16 * 131_072 <= left < (blocks + 1) * 16 * 131_072
    # An H100 of 80 GB has room for some 400,000 tokens of Llama 3.1 8B, as vLLM reports on start.
    assert 400_000 < blocks * 16 < 460_000


def test_two_gpus_have_more_than_twice_the_room_of_one():
    one, two = (kv_blocks(MODEL, H100, tp, 16, 0.9) for tp in (1, 2))
    assert 2 * one < two


@pytest.mark.parametrize(("model", "tp"), [("llama-3.1-70b", 1), ("llama-2-70b", 1), ("qwen2.5-72b", 1)])
def test_a_model_that_does_not_fit_is_refused(model, tp):
    with pytest.raises(InputError, match=f"{model} does not fit h100_sxm") as error:
        kv_blocks(load_model(model), H100, tp, 16, 0.9)
    assert "tensor_parallel" in error.value.hint


def test_room_for_less_than_a_block_is_none():
    exact = MODEL.parameters * 2 + H100.host.reserved_memory
    with pytest.raises(InputError):
        kv_blocks(MODEL, roomy(H100, capacity=float(exact + 16 * 131_072 - 2)), 1, 16, 1.0)
    assert kv_blocks(MODEL, roomy(H100, capacity=float(exact + 16 * 131_072 + 2)), 1, 16, 1.0) == 1
    assert exact > GIB
