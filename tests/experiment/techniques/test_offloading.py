"""Offloading in groups of 4-bit numbers: less to keep and to send, 16 bit to compute with, and what is refused."""

import pytest
from support.techniques import assembled

from simulator.core import InputError
from simulator.cost.packing import STORED_BYTES, unpack_bytes
from simulator.cost.tabulated import Alike
from simulator.hardware.registry import load_profile
from simulator.model import load_model

HOST = {"name": "offloading", "weights_host": 1.0, "host_memory": "200GB"}
SMALLER = STORED_BYTES / 2
NUMBERS = load_model("llama-3.1-8b").weight_bytes() / 2


def decode_s(techniques, batch=1, mean=512):
    cost = assembled(techniques).costs[0]
    return cost.decode_run(batch, batch * mean, Alike(mean))[0] / 1e12


def blocks(techniques):
    return assembled(techniques).kinds[0]["kv_blocks"]


def test_compressed_weights_send_four_and_a_half_bits_each():
    assert decode_s([{**HOST, "compress_weights": True}]) == pytest.approx(decode_s([HOST]) * SMALLER, rel=1e-6)


def test_where_weights_stay_compression_only_costs_and_costs_more_in_each_pass():
    here = {"name": "offloading", "host_memory": "200GB", "compress_weights": True}
    pass_s = NUMBERS * unpack_bytes(scattered=False) / load_profile("h100_sxm").elementwise.bandwidth
    assert decode_s([here], 64) - decode_s([], 64) == pytest.approx(pass_s, rel=1e-6)
    passes = decode_s([{**here, "gpu_batch": 16}], 64) - 4 * decode_s([], 16)
    assert passes == pytest.approx(4 * pass_s, rel=1e-6)


def test_compressed_kv_fills_host_memory_later_and_is_attended_in_16_bit():
    kv = {"name": "offloading", "kv_host": 1.0, "host_memory": "50GB"}
    assert blocks([{**kv, "compress_kv": True}]) == pytest.approx(blocks([kv]) / SMALLER, abs=4)
    here = {"name": "offloading", "host_memory": "50GB", "compress_kv": True}
    assert decode_s([here], 64, 4096) > decode_s([], 64, 4096) > decode_s([{"name": "kv_quantization"}], 64, 4096)


def test_compressed_weights_leave_room_for_kv_beside_a_layer_unpacked():
    free = 16 * 131072 * (blocks([{"name": "offloading", "host_memory": "1GB", "compress_weights": True}]) - blocks([]))
    saved = 2 * NUMBERS * (1 - SMALLER - 1 / 32)
    assert free == pytest.approx(saved, rel=1e-3)


@pytest.mark.parametrize(
    ("before", "changes", "reason"),
    [
        ([], {"weights_host": 0.0}, "nothing is offloaded or compressed"),
        ([{"name": "quantization"}], {"compress_weights": True}, "quantized already"),
        ([{"name": "kv_quantization"}], {"compress_kv": True}, "quantized already"),
        ([], {"kv_host": 1.0, "attention": "host", "host_bandwidth": "10GB/s", "compress_kv": True}, "in 16 bit"),
    ],
)
def test_what_cannot_be_is_refused(before, changes, reason):
    with pytest.raises(InputError, match=reason):
        assembled([*before, {**HOST, **changes}])


def test_weights_may_be_quantized_where_only_kv_is_compressed():
    both = [{"name": "quantization"}, {**HOST, "compress_kv": True}]
    weights = load_model("llama-3.1-8b").with_precision("fp8", "auto").weight_bytes()
    assert decode_s(both) == pytest.approx(weights / load_profile("h100_sxm").links.pcie.bandwidth, rel=1e-6)
