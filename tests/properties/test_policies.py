"""What every policy promises, whatever it is: one world each, fast and in exact steps, all invariants at once."""

from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from support.worlds import ITERATION_PS, InstanceSetup, Outcome, World, history, simulate, table, token_times, worlds

from simulator.core import Status
from simulator.scheduling.registry import SCHEDULERS


def small(rows: list[tuple[int, int, int]], seqs: int, blocks: int, *, instances: int = 1, **more: Any) -> World:
    """Return a world of requests at halves of an iteration, behind the router that looks most closely."""
    setup = InstanceSetup("vllm", seqs, 500, "fcfs", blocks, 1, False, 4096, ("fixed", (ITERATION_PS,)), **more)
    requests = [(halves * ITERATION_PS // 2, prompt, output) for halves, prompt, output in rows]
    return World(table(requests), (setup,) * instances, "freeness", 0)


# The smallest worlds in which a policy broke its promise; all of them have to keep theirs here.
# One request is swapped, then one discarded: what that frees beside its need is enough for the swapped one.
SWAPPED_AND_DISCARDED = small([(0, 2, 5), (0, 3, 3), (2, 2, 3)], 8, 8, host_tokens=3, preemption="swap")
# Memory runs out while the engine doesn't know yet that another request is done.
SHORT_BESIDE_ONE_THAT_ENDED = small([(0, 1, 1), (0, 1, 2)], 2, 2, host_tokens=9, preemption="swap", admission_lag=1)
# It fills the instance, but for its last token, which is never written.
JUST_FITS = small([(0, 4, 3)], 1, 6)
# The router asks how much memory is left for others in the middle of a run.
ASKED_WITHIN_A_RUN = small([(0, 1, 2), (1, 1, 2), (3, 2, 1)], 2, 6, instances=2)
# An eviction frees memory after it was decided whose KV comes back from the host, and nobody else takes it.
ROOM_TO_COME_BACK = small([(1, 10, 5), (3, 2, 25), (3, 7, 33), (3, 8, 35)], 1, 49, host_tokens=32)


@pytest.mark.parametrize("name", SCHEDULERS.names())
@settings(max_examples=settings().max_examples * 3 // 5)
@given(world=worlds())
@example(world=SWAPPED_AND_DISCARDED)
@example(world=SHORT_BESIDE_ONE_THAT_ENDED)
@example(world=JUST_FITS)
@example(world=ASKED_WITHIN_A_RUN)
@example(world=ROOM_TO_COME_BACK)
def test_a_policy_keeps_its_promises(name: str, world: World):
    world = world.scheduled_by(name)
    fast, exact = simulate(world), simulate(world, exact_steps=True)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    every_request_ends_once(world, fast)
    tokens_are_those_asked_for(fast, holds_back=SCHEDULERS.get(name).holds_back)
    memory_is_whole(fast)
    if not SCHEDULERS.get(name).idles:
        nobody_waits_while_nothing_runs(world, fast)


def every_request_ends_once(world: World, outcome: Outcome) -> None:
    assert sorted(request.index for request in outcome.requests) == list(range(len(world.workload)))
    assert outcome.ended == len(world.workload)
    for request in outcome.requests:
        setup = world.instances[request.instance]
        fits = setup.fits(request.prompt_tokens, request.output_tokens)
        assert request.status is (Status.COMPLETED if fits else Status.FAILED)


def tokens_are_those_asked_for(outcome: Outcome, *, holds_back: bool) -> None:
    times = token_times(outcome)
    for request in outcome.requests:
        made = times.get(request.index, [])
        assert len(made) == (0 if request.failure else request.output_tokens)
        assert all(earlier < later for earlier, later in pairwise(made))
        if made:
            assert request.arrival <= request.admitted_at < made[0] == request.first_token_at
            assert made[-1] == request.finished_at or (holds_back and made[-1] < request.finished_at)


def memory_is_whole(outcome: Outcome) -> None:
    # That no plan overdraws the pool on the way is asserted by the watched policies that every simulation here runs.
    for server in outcome.servers:
        server.core.kv.check_integrity()
        host = server.core.scheduler.host
        assert host.free == host.total
        assert not host.blocks
        assert not server.core.decodes
        assert len(server.core.scheduler.queue) == 0


def nobody_waits_while_nothing_runs(world: World, outcome: Outcome) -> None:
    present = defaultdict(list)
    for request in outcome.requests:
        if not request.failure:
            reached = request.arrival + world.instances[request.instance].intake_ps
            present[request.instance].append((reached, request.finished_at))
    for index, ledger in enumerate(outcome.ledgers):
        busy = [
            (start, start + count * first + growth * (count * (count - 1) // 2))
            for start, first, growth, count, *_ in ledger.runs().tolist()
        ]
        for (_, end), (begin, _) in pairwise(busy):
            # A request that is here all through a pause could have run in it: each one fits an empty instance.
            assert begin == end or not any(came < begin and gone > end for came, gone in present[index])


def test_every_policy_names_its_source():
    assert all(SCHEDULERS.get(name).source for name in SCHEDULERS.names())


@pytest.mark.parametrize("name", SCHEDULERS.names())
def test_an_old_request_is_served_in_spite_of_newcomers(name: str):
    """Who promises not to starve anybody finishes a long request though short urgent ones keep coming for ever."""
    if SCHEDULERS.get(name).starves:
        pytest.skip("makes no such promise")
    setup = InstanceSetup(name, 2, 500, "fcfs", 600, 1, False, 4096, ("fixed", (ITERATION_PS,)))
    # Two slots, and work for two and a half: the queue grows as long as they come.
    newcomers = [(ITERATION_PS * (1 + 4 * n), 3, 10) for n in range(600)]
    world = World(table([(0, 100, 60), *newcomers], priority=[1] + [0] * 600), (setup,), "round_robin", 0)
    outcome = simulate(world)
    before = sum(request.finished_at < outcome.requests[0].finished_at for request in outcome.requests)
    assert before < 300
