"""What requests fetch before they start: adapters by slots, and KV from the host's memory by a second cache's hits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.core import InputError, Request, Segment
from simulator.cost.base import FixedCost
from simulator.engine.adapter_pool import AdapterPool
from simulator.engine.decode_set import DecodeSet
from simulator.engine.kv_pool import CountingPool, KVPool
from simulator.engine.prefix_pool import PrefixPool
from simulator.engine.tiered_pool import TieredPool

LOAD = 10**9


def ready(pool: KVPool) -> KVPool:
    pool.decodes = DecodeSet(pool.block_size, lambda *packed: None)
    return pool


def adapters(slots):
    return ready(AdapterPool(CountingPool(1000, 16, reuse=False), slots, LOAD))


def asking(adapter, index=0):
    return Request(index, 0, 10, 5, client=adapter)


def waits(pool, request):
    """Admit a request; return what its first iteration waits."""
    assert pool.can_admit(request)
    pool.admit(request)
    return pool.timed(FixedCost(1)).mixed([(request, 10)], 10, 0, 0, pool.decodes) - 1


def test_an_adapter_is_loaded_once_while_it_stays():
    pool = adapters(2)
    first, second, third = asking(0), asking(0), asking(1)
    assert [waits(pool, each) for each in (first, second, third)] == [LOAD, 0, LOAD]
    for each in (first, second, third):
        pool.release(each)
    assert waits(pool, asking(0)) == 0


def test_nobody_runs_without_a_slot():
    pool = adapters(2)
    running = [asking(0), asking(1)]
    for each in running:
        waits(pool, each)
    assert not pool.can_admit(asking(2))
    assert pool.can_admit(asking(1)) and pool.can_admit(asking(-1))
    pool.release(running[0])
    assert waits(pool, asking(2)) == LOAD


def test_a_policy_that_does_not_ask_is_told_so():
    pool = adapters(1)
    pool.admit(asking(0))
    with pytest.raises(InputError, match="without asking"):
        pool.admit(asking(1))


def test_a_preempted_request_brings_its_adapter_back():
    pool, first, second = adapters(1), asking(0), asking(1)
    waits(pool, first)
    pool.release(first, resumes=True)
    first.preemptions = 1
    assert waits(pool, second) == LOAD
    pool.admit(first)
    assert pool.timed(FixedCost(1)).mixed([(first, 10)], 10, 0, 0, pool.decodes) == 1 + LOAD


def test_the_longest_unused_adapter_leaves_first():
    pool = adapters(2)
    for adapter in (0, 1, 0):
        request = asking(adapter)
        waits(pool, request)
        pool.release(request)
    request = asking(2)
    waits(pool, request)
    pool.release(request)
    assert waits(pool, asking(0)) == 0
    assert waits(pool, asking(1)) == LOAD


def test_later_chunks_wait_no_more():
    pool, request = adapters(1), asking(0)
    waits(pool, request)
    request.computed = 5
    assert pool.timed(FixedCost(1)).mixed([(request, 5)], 5, 0, 0, pool.decodes) == 1


def test_a_pool_without_a_slot_is_refused():
    with pytest.raises(InputError, match="slots"):
        adapters(0)


def tiered(blocks, host_blocks):
    return ready(TieredPool(PrefixPool(blocks, 4), host_blocks, 100))


def serve(pool, request):
    """Compute a request's prompt and let it end; return the tokens that it did not have to compute."""
    pool.admit(request)
    found = request.computed
    pool.extend(request, request.tokens - found)
    request.computed = request.tokens
    pool.release(request)
    return found


def conversation(index, content, tokens):
    return Request(index, 0, tokens, 1, segments=(Segment(content, tokens - 1),))


def test_what_the_gpu_forgot_is_fetched_from_the_host():
    pool = tiered(blocks=10, host_blocks=100)
    assert serve(pool, conversation(0, 7, 33)) == 0
    assert serve(pool, conversation(1, 8, 33)) == 0  # takes the blocks of the first
    again = conversation(2, 7, 33)
    pool.admit(again)
    assert again.computed == 32
    local = pool.tokens_fetched
    assert 0 < local <= 32
    waited = pool.timed(FixedCost(1)).mixed([(again, 1)], 1, 0, 0, pool.decodes) - 1
    assert waited == 100 * local


def test_what_the_gpu_has_is_not_fetched():
    pool = tiered(blocks=100, host_blocks=100)
    serve(pool, conversation(0, 7, 33))
    assert serve(pool, conversation(1, 7, 33)) == 32
    assert pool.tokens_fetched == 0


@given(st.integers(0, 2**32 - 1), st.integers(3, 60))
def test_both_tiers_find_what_a_replay_of_the_longest_unused_finds(seed, host_blocks):
    """A GPU tier too small to keep anything leaves the host's: whole contents of 4 blocks, the longest unused first."""
    rng = np.random.default_rng(seed)
    pool, kept, capacity = tiered(blocks=5, host_blocks=4 * host_blocks), {}, host_blocks
    for index in range(60):
        content = int(rng.integers(0, 20))
        request = conversation(index, content, 17)
        found = serve(pool, request)
        assert found == (16 if content in kept else found)
        if content not in kept:
            assert found in (0, 4, 8, 12)  # of a content whose last blocks made room for another
        kept.pop(content, None)
        kept[content] = None
        while len(kept) > capacity:
            del kept[next(iter(kept))]


@given(st.integers(0, 2**32 - 1))
def test_no_block_is_lost(seed):
    rng = np.random.default_rng(seed)
    pool = tiered(blocks=40, host_blocks=30)
    for index in range(40):
        serve(pool, conversation(index, int(rng.integers(0, 12)), int(rng.integers(2, 120))))
    pool.check_integrity()
    assert pool.free == pool.total
