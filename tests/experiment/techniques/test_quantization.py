"""Quantization of weights and KV: bytes as the format says, times where they matter, and never twice."""

import pytest
from support.techniques import SPLIT, assembled, experiment, simulated

from simulator.core import InputError


def blocks(*techniques, **changes):
    return assembled(list(techniques), **changes).kinds[0]["kv_blocks"]


@pytest.mark.parametrize(("kv", "times"), [("fp8", 2), ("int8", 2), ("int4", 4)])
def test_kv_blocks_grow_as_bytes_shrink(kv, times):
    fewer = blocks({"name": "kv_quantization", "format": kv})
    assert 0 <= fewer - times * blocks() < times


def test_weights_leave_room_for_kv():
    saved = blocks("quantization") - blocks()
    # Of 8.03 billion weights all but the embedding and the head (2 x 128256 x 4096) lose a byte.
    weights = 32 * (4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336)
    assert saved == pytest.approx(weights / (16 * 131072), abs=1)


def test_w4a16_decodes_faster_and_w8a8_prefills_faster():
    def spent(*techniques):
        cost = assembled(list(techniques)).costs[0]
        request = simulated(experiment([]))[0]
        request.computed = 0
        return cost.decode_run(1, 1000, request)[0], cost.mixed([(request, 4096)], 4096, 0, 0, request)

    base, four, eight = spent(), spent({"name": "quantization", "format": "w4a16"}), spent("quantization")
    assert four[0] < eight[0] < base[0]
    assert eight[1] < base[1] < 1.1 * four[1]


@pytest.mark.parametrize(
    ("techniques", "changes", "reason"),
    [
        (["quantization"], {"model": "llama-3.1-8b-fp8"}, r"techniques\[0\].*is a checkpoint in fp8 already"),
        (["quantization"], {"instances": [{"hardware": "h100_sxm", "quantization": "fp8"}]}, "weights quantized twice"),
        (["kv_quantization"], {"instances": [{"hardware": "h100_sxm", "kv_cache_dtype": "fp8"}]}, "KV quantized twice"),
    ],
)
def test_twice_is_refused(techniques, changes, reason):
    with pytest.raises(InputError, match=reason):
        assembled(techniques, **changes)


def test_less_kv_travels_between_instances():
    whole, half = (
        assembled(techniques, instances=SPLIT).router.handover.kv.token_bytes
        for techniques in ([], ["kv_quantization"])
    )
    assert whole == 2 * half == 131072
