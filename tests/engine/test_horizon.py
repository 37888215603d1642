"""A plan holds for its horizon and no longer: policies with time slices rely on being asked again."""

from itertools import pairwise

import pytest

from simulator.core import InputError, Request
from simulator.cost.base import FixedCost
from simulator.engine.clock import ARRIVE, Clock, Moment
from simulator.engine.core import EngineCore
from simulator.engine.instance import Instance
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.engine.scheduler import FOREVER, Plan, Scheduler
from simulator.scheduling.vllm import VLLM

STEP = 10**9


class Asked(VLLM):
    """vLLM's decisions with a horizon of at most ``longest``; notes before which iteration it was asked."""

    def __init__(self, longest, *, outlives_finishes):
        super().__init__()
        self.longest = longest
        self.outlives_finishes = outlives_finishes
        self.asked = []

    def plan(self):
        plan = super().plan()
        self.asked.append(self.now // STEP)
        outlives = plan.outlives_finishes and self.outlives_finishes
        return plan._replace(horizon=min(plan.horizon, self.longest), outlives_finishes=outlives)


def run(longest, requests, *, blocks=1000, exact_steps=False, outlives_finishes=False):
    policy, clock = Asked(longest, outlives_finishes=outlives_finishes), Clock()
    core = EngineCore(CountingPool(blocks, 4, reuse=True), policy, Ledger(), 10**6)
    instance = Instance(clock, 0, core, FixedCost(STEP), lambda *_: None, exact_steps=exact_steps)
    for request in requests:
        instance.submit(request)
    clock.run()
    return policy.asked, [request.finished_at for request in requests]


@pytest.mark.parametrize("longest", [2, 3, 7])
def test_a_policy_is_asked_again_when_its_horizon_is_over(longest):
    asked, _ = run(longest, [Request(0, 0, 10, 40)])
    assert max(later - earlier for earlier, later in pairwise(asked)) == longest


@pytest.mark.parametrize("exact_steps", [True, False])
def test_who_asks_hears_of_every_change_of_the_queue(exact_steps):
    # One slot: request 0 runs at once, 1 waits for it, 2 for both. That a queue is empty again must be heard of, too.
    policy, clock, heard = VLLM(max_num_seqs=1), Clock(), []
    core = EngineCore(CountingPool(1000, 4, reuse=True), policy, Ledger(), 10**6)
    instance = Instance(clock, 0, core, FixedCost(STEP), lambda *_: None, exact_steps=exact_steps)
    instance.on_queue = lambda _, waiting: heard.append((clock.time // STEP, waiting))
    for index, at in enumerate((0, 2, 3)):
        request = Request(index, at * STEP, 10, 10)
        Moment(clock, request.arrival, ARRIVE, lambda _, request=request: instance.submit(request))
    clock.run()
    assert heard == [(0, 1), (0, 0), (2, 1), (3, 2), (10, 1), (20, 0)]


def test_a_long_horizon_lasts_until_somebody_finishes():
    asked, finished = run(FOREVER, [Request(0, 0, 10, 40), Request(1, 0, 10, 25)])
    assert finished == [40 * STEP, 25 * STEP]
    assert asked == [0, 25, 40]


@pytest.mark.parametrize(("longest", "asked_at"), [(FOREVER, [0, 40]), (30, [0, 30, 40]), (25, [0, 25, 40])])
def test_a_decision_that_outlives_finishes_lasts_to_its_horizon(longest, asked_at):
    requests = [Request(0, 0, 10, 40), Request(1, 0, 10, 25)]
    asked, finished = run(longest, requests, outlives_finishes=True)
    assert finished == [40 * STEP, 25 * STEP]
    assert asked == asked_at


def test_an_arrival_ends_a_decision_that_outlives_finishes():
    # The second finishes at 25; from then on the decision stands by itself until, in iteration 30, the third arrives.
    first, second, third = (Request(index, 0, 10, tokens) for index, tokens in enumerate((40, 25, 5)))
    policy, clock = Asked(FOREVER, outlives_finishes=True), Clock()
    core = EngineCore(CountingPool(1000, 4, reuse=True), policy, Ledger(), 10**6)
    instance = Instance(clock, 0, core, FixedCost(STEP), lambda *_: None)
    instance.submit(first)
    instance.submit(second)
    Moment(clock, 30 * STEP - 1, ARRIVE, lambda _: instance.submit(third))
    clock.run()
    assert policy.asked == [0, 30, 40]
    assert (third.admitted_at, third.finished_at) == (30 * STEP, 35 * STEP)


def test_a_long_horizon_ends_where_memory_does():
    # 10 blocks of 4: prompts take 3 + 3; both decode on into 2 more each; then one of them must give way.
    requests = [Request(0, 0, 10, 29), Request(1, 0, 10, 29)]
    asked, _ = run(FOREVER, requests, blocks=10)
    assert requests[1].preemptions > 0
    assert 11 in asked
    assert not any(0 < moment < 11 for moment in asked)


@pytest.mark.parametrize("longest", [1, 2, 5, FOREVER])
@pytest.mark.parametrize("blocks", [10, 1000])
def test_the_horizon_changes_no_outcome_of_a_policy_without_slices(longest, blocks):
    def requests():
        return [Request(index, 0, 10, 29) for index in range(4)]

    assert run(longest, requests(), blocks=blocks)[1] == run(1, requests(), blocks=blocks, exact_steps=True)[1]


def test_a_policy_without_a_queue_is_told_so():
    class Queueless(Scheduler):
        def add(self, request): ...

        def plan(self):
            return Plan()

        def finished(self, request): ...

    with pytest.raises(InputError, match=r"scheduler Queueless has no queue \(set self.queue"):
        EngineCore(CountingPool(10, 4, reuse=True), Queueless(), Ledger(), 100)
