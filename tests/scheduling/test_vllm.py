"""The vLLM policy's decisions, one plan at a time; the recorded schedules test it as a whole."""

import pytest

from simulator.core import InputError, Request
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.scheduling.vllm import VLLM


class Engine:
    """An engine stepped by hand: ``step`` plans and runs one iteration and says who got how many tokens."""

    def __init__(self, *, blocks=100, block_size=4, reuse=False, **params):
        self.policy = VLLM(**params)
        self.core = EngineCore(CountingPool(blocks, block_size, reuse=reuse), self.policy, Ledger(), 10**6)
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


def request(index, prompt, output=100, *, priority=0, arrival=0):
    return Request(index, arrival, prompt, output, priority=priority)


def test_prompts_are_chunked_to_the_token_budget_decodes_first():
    engine = Engine(max_num_batched_tokens=10, max_num_seqs=10)
    engine.send(request(0, 4), request(1, 15))
    assert engine.steps(4) == [{0: 4, 1: 6}, {0: 1, 1: 9}, {0: 1, 1: 1}, {0: 1, 1: 1}]


def test_no_more_run_than_there_are_slots():
    engine = Engine(max_num_seqs=2, max_num_batched_tokens=100)
    engine.send(request(0, 4, 2), request(1, 4, 3), request(2, 4, 2))
    assert engine.steps(4) == [{0: 4, 1: 4}, {0: 1, 1: 1}, {1: 1, 2: 4}, {2: 1}]


def test_a_prompt_is_admitted_only_if_it_fits_as_a_whole():
    engine = Engine(blocks=5, max_num_batched_tokens=100, max_num_seqs=10)
    engine.send(request(0, 11, 2), request(1, 12, 1), request(2, 4, 1))
    # Request 1 needs 3 blocks where 2 are free; request 2 would fit, but nobody overtakes.
    assert engine.steps(3) == [{0: 11}, {0: 1}, {1: 12, 2: 4}]


def test_the_last_admitted_gives_way_and_comes_back_first():
    engine = Engine(blocks=4, max_num_batched_tokens=100, max_num_seqs=10)
    first, second, third = request(0, 8, 9), request(1, 7, 3), request(2, 2, 1)
    engine.send(first, second)
    assert engine.step() == {0: 8, 1: 7}
    engine.send(third)
    # Request 0 opens a block, so request 1 loses its two; nobody is admitted in an iteration that preempts.
    assert engine.step() == {0: 1}
    assert (second.preemptions, second.generated, list(engine.policy.queue)) == (1, 1, [second, third])
    # It must recompute its prompt and the token it made: 8 tokens need 2 blocks, and 1 is free until request 0 is done.
    assert engine.steps(8) == [{0: 1}] * 7 + [{1: 8, 2: 2}]


def test_the_least_urgent_gives_way_by_priority():
    engine = Engine(blocks=4, policy="priority", max_num_batched_tokens=100, max_num_seqs=10)
    urgent, patient = request(0, 7, priority=1), request(1, 8, priority=5)
    engine.send(patient, urgent)
    assert engine.step() == {0: 7, 1: 8}
    assert engine.step() == {0: 1}
    assert patient.preemptions == 1


def test_the_urgent_are_admitted_first_by_priority():
    engine = Engine(policy="priority", max_num_seqs=1, max_num_batched_tokens=10)
    engine.send(request(0, 3, 1, priority=2), request(1, 4, 1, priority=1, arrival=3), request(2, 5, 1, priority=1))
    assert engine.steps(3) == [{2: 5}, {1: 4}, {0: 3}]


@pytest.mark.parametrize(("waiting", "horizon_is_long"), [(0, True), (1, True), (2, False)])
def test_a_plan_holds_until_something_changes(waiting, horizon_is_long):
    # The budget of 4 has room for a decode and one prompt of 3: a second one is for the next plan.
    engine = Engine(max_num_seqs=4, max_num_batched_tokens=4)
    engine.send(request(0, 3))
    engine.step()
    engine.send(*(request(1 + index, 3) for index in range(waiting)))
    assert (engine.policy.plan().horizon > 10**6) == horizon_is_long


def test_arrivals_cannot_change_a_blocked_first_come_first_served_queue():
    fcfs, priority = (Engine(max_num_seqs=1, max_num_batched_tokens=9, policy=p) for p in ("fcfs", "priority"))
    for engine in (fcfs, priority):
        engine.send(request(0, 3), request(1, 3))
        engine.step()
    assert not fcfs.policy.plan().arrivals_matter
    assert priority.policy.plan().arrivals_matter


@pytest.mark.parametrize(("seqs", "tokens"), [(0, 10), (11, 10), (-1, -1)])
def test_limits_that_vllm_refuses(seqs, tokens):
    with pytest.raises(InputError, match=f"max_num_seqs is {seqs}"):
        VLLM(max_num_seqs=seqs, max_num_batched_tokens=tokens)
