"""TensorRT-LLM's rules, one plan at a time."""

import pytest

from simulator.core import InputError, Request, Segment
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool, KVPool
from simulator.engine.ledger import Ledger
from simulator.engine.prefix_pool import PrefixPool
from simulator.scheduling.trtllm import TRTLLM


class Engine:
    """An engine stepped by hand: ``step`` plans and runs one iteration and says who got how many tokens."""

    def __init__(self, kv: KVPool | None = None, **params):
        self.policy = TRTLLM(**params)
        self.core = EngineCore(kv or CountingPool(1000, 4, reuse=True), self.policy, Ledger(), 10**6)
        self.now = 0

    def send(self, *requests):
        for request in requests:
            self.policy.add(request)

    def step(self):
        plan = self.policy.plan()
        self.core.admit(plan.chunks, self.now)
        given = {request.index: tokens for request, tokens in plan.chunks}
        given |= {request.index: 1 for request in self.core.decodes}
        self.now += 1
        self.core.complete(plan.chunks, self.now)
        return given

    def steps(self, count):
        return [self.step() for _ in range(count)]


def request(index, prompt, output=100, **more):
    return Request(index, 0, prompt, output, **more)


def test_a_prompt_is_one_chunk_and_waits_until_it_fits():
    engine = Engine(max_num_tokens=10, max_batch_size=10)
    engine.send(request(0, 6, 3), request(1, 5, 2), request(2, 4, 2))
    # 6 and 5 are too many at once; then 5 and 4 fit, but not beside a decode.
    assert engine.steps(3) == [{0: 6}, {0: 1, 1: 5, 2: 4}, {0: 1, 1: 1, 2: 1}]


def test_nobody_overtakes_the_prompt_that_waits():
    engine = Engine(max_num_tokens=10, max_batch_size=10)
    engine.send(request(0, 6, 2), request(1, 10, 1), request(2, 1, 1))
    assert engine.steps(4) == [{0: 6}, {0: 1}, {1: 10}, {2: 1}]


def test_chunks_are_whole_blocks_but_for_the_last():
    engine = Engine(max_num_tokens=10, max_batch_size=10, enable_chunked_prefill=True)
    engine.send(request(0, 3, 9), request(1, 17, 2))
    # Blocks of 4: 7 tokens are left beside request 0's prompt, then 9 beside its decode.
    assert engine.steps(4) == [{0: 3, 1: 4}, {0: 1, 1: 8}, {0: 1, 1: 5}, {0: 1, 1: 1}]


def test_the_whole_output_is_reserved_before_a_start():
    # Request 0 may grow to 5 of 8 blocks, so request 1, which needs 4, waits for its end though 6 are free.
    engine = Engine(CountingPool(8, 4, reuse=True))
    engine.send(request(0, 8, 12), request(1, 8, 8))
    assert engine.step() == {0: 8}
    assert engine.core.kv.free == 6
    assert engine.steps(12)[-2:] == [{0: 1}, {1: 8}]


def test_no_more_run_than_there_are_slots():
    engine = Engine(max_batch_size=2, max_num_tokens=100)
    engine.send(request(0, 4, 2), request(1, 4, 3), request(2, 4, 2))
    assert engine.steps(4) == [{0: 4, 1: 4}, {0: 1, 1: 1}, {1: 1, 2: 4}, {2: 1}]


@pytest.mark.parametrize(("blocks", "started"), [(13, {0: 12, 1: 4, 2: 4}), (12, {0: 12, 1: 4})])
def test_shared_blocks_are_reserved_once(blocks, started):
    # Each may grow to 5 blocks, 2 of them the same: two are let in on 10, and then save 2 for the third.
    engine = Engine(PrefixPool(blocks, 4))
    engine.send(*(request(index, 12, 8, segments=(Segment(7, 8),)) for index in range(3)))
    assert engine.step() == started


def test_cached_tokens_are_not_computed_but_count_in_the_budget():
    engine = Engine(PrefixPool(100, 4), max_num_tokens=20, max_batch_size=10)
    engine.send(*(request(index, 12, 1, segments=(Segment(7, 8),)) for index in range(2)))
    assert engine.steps(2) == [{0: 12}, {1: 4}]


@pytest.mark.parametrize(("chunked", "longest"), [(False, 8192), (True, 2**62)])
def test_too_long_a_prompt_is_refused_unless_chunked(chunked, longest):
    assert TRTLLM(enable_chunked_prefill=chunked).longest_prompt == longest


def test_a_plan_says_how_long_it_stands():
    engine = Engine(max_batch_size=1, max_num_tokens=100)
    engine.send(request(0, 4, 5), request(1, 4, 5))
    assert engine.policy.plan().horizon == 1
    engine = Engine(max_batch_size=1, max_num_tokens=100)
    engine.send(request(0, 4, 5))
    engine.step()
    assert engine.policy.plan().outlives_finishes
    engine.core.complete((), 2)
    engine.send(request(1, 4, 5))
    blocked = engine.policy.plan()
    assert blocked.horizon > 1
    assert not blocked.arrivals_matter


@pytest.mark.parametrize("params", [{"max_batch_size": 0}, {"max_batch_size": 9, "max_num_tokens": 8}])
def test_impossible_limits_are_refused(params):
    with pytest.raises(InputError, match="max_batch_size"):
        TRTLLM(**params)
