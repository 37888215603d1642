"""Offloading: an iteration takes the longest of computing and transfers, and weights come once for any batch."""

import pytest

from simulator.core import PS_PER_S, Request
from simulator.cost.base import FixedCost
from simulator.cost.offload import OffloadedCost, Placement
from simulator.cost.packing import Packing, pack_bytes, unpack_bytes
from simulator.cost.tabulated import Alike

SECOND = FixedCost(PS_PER_S)


def placed(**changes):
    # Bytes so that each figure is a number of seconds.
    values = {
        "weights": 30.0, "disk_weights": 0.0, "token": 1.0, "kv_host": 0.0, "kv_disk": 0.0,
        "link": 10.0, "back": 1.0, "disk_read": 2.0, "disk_write": 0.5, "attention": None,
    }  # fmt: skip
    return Placement(**{**values, **changes})


def decode_s(placement, batch=1, context=4, cost=SECOND, overlaps=True, gpu_batch=None):
    offloaded = OffloadedCost(cost, placement, "a test", gpu_batch=gpu_batch, overlaps=overlaps)
    return offloaded.decode_run(batch, context, Alike(context // batch))[0] / PS_PER_S


def test_weights_come_once_for_any_batch():
    assert decode_s(placed()) == decode_s(placed(), batch=64, context=256) == 3


def test_computing_hides_transfers_that_are_shorter():
    assert decode_s(placed(weights=5.0)) == 1
    assert decode_s(placed(weights=5.0), overlaps=False) == 1.5


def test_kv_of_all_contexts_comes_with_the_weights_or_stays_with_a_host_that_attends_to_it():
    assert decode_s(placed(kv_host=0.5), batch=4, context=256) == (30 + 128) / 10
    # The host's attention follows the GPU's work on a layer.
    assert decode_s(placed(kv_host=0.5, attention=64.0), batch=4, context=256) == 1 + 128 / 64
    assert decode_s(placed(kv_host=0.5, attention=16.0), batch=4, context=256) == 1 + 128 / 16


def test_the_disk_is_read_for_its_share_and_written_for_new_tokens():
    assert decode_s(placed(disk_weights=20.0)) == 10
    assert decode_s(placed(kv_disk=1.0, disk_write=0.01), batch=1) == 100


def test_the_gpu_goes_over_a_layer_once_for_each_pass():
    assert decode_s(placed(weights=0.0), batch=64, context=256, gpu_batch=16) == 4


def test_weights_are_unpacked_in_every_pass_and_kv_once_an_iteration():
    packing = Packing(weights=6.0, token=0.5, bandwidth=10.0)
    weights = 4 * 6 * unpack_bytes(scattered=False)
    kv = 0.5 * (256 * unpack_bytes(scattered=True) + 64 * pack_bytes())
    seconds = decode_s(placed(weights=0.0, packing=packing), batch=64, context=256, gpu_batch=16)
    assert seconds == pytest.approx(4 + (weights + kv) / 10)


def test_unpacking_is_the_gpus_work_beside_which_transfers_go_on():
    packing = Packing(weights=10.0, token=0.0, bandwidth=unpack_bytes(scattered=False))
    assert decode_s(placed(weights=100.0, packing=packing)) == pytest.approx(1 + 10)
    assert decode_s(placed(weights=200.0, packing=packing)) == pytest.approx(20)


def test_a_prompt_packs_its_own_kv_and_unpacks_what_is_before_it():
    packing = Packing(weights=0.0, token=1.0, bandwidth=pack_bytes())
    cost = OffloadedCost(SECOND, placed(weights=0.0, packing=packing), "a test", gpu_batch=None, overlaps=True)
    request = Request(0, 0, 200, 1)
    assert cost.mixed([(request, 80)], 80, 0, 0, Alike(1)) == pytest.approx(81 * PS_PER_S)
    request.computed = 1000
    before = 1000 * unpack_bytes(scattered=True) / pack_bytes()
    assert cost.mixed([(request, 8)], 8, 0, 0, Alike(1)) == pytest.approx((1 + 8 + before) * PS_PER_S)


def test_a_prompt_sends_its_kv_back_and_reads_what_is_before_it():
    cost = OffloadedCost(SECOND, placed(kv_host=1.0), "a test", gpu_batch=None, overlaps=True)
    request = Request(0, 0, 200, 1)
    assert cost.mixed([(request, 80)], 80, 0, 0, Alike(1)) == 80 * PS_PER_S
    request.computed = 1000
    assert cost.mixed([(request, 8)], 8, 0, 0, Alike(1)) == (30 + 1000) / 10 * PS_PER_S


def test_runs_are_their_single_iterations():
    cost = OffloadedCost(SECOND, placed(kv_host=0.5), "a test", gpu_batch=None, overlaps=True)
    first, growth, limit = cost.decode_run(3, 3 * 300, Alike(300))
    for n in range(limit):
        assert cost.decode_run(3, 3 * (300 + n), Alike(300 + n))[0] == first + n * growth
    assert growth == pytest.approx(3 * 0.5 / 10 * PS_PER_S, rel=1e-9)
