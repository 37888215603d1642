"""The fast path gives what stepping every iteration gives, to the last bit: time is whole picoseconds."""

from hypothesis import example, given, settings
from support.worlds import (
    ITERATION_PS,
    InstanceSetup,
    Outcome,
    World,
    history,
    simulate,
    table,
    token_times,
    worlds,
)

from simulator.experiment.metrics import RequestTable, summarize
from simulator.experiment.schema import Slo
from simulator.workload.table import ClosedLoop


def metrics(outcome: Outcome) -> dict:
    return summarize(RequestTable.of(outcome.requests), outcome.ledgers, Slo(ttft="100ms", tpot="20ms"), gpus=4)


# Request 1 waits for memory; request 2, small and urgent, comes in the middle of a long run and overtakes it.
OVERTAKEN = World(
    table([(0, 5, 6), (0, 6, 2), (2 * ITERATION_PS + 5, 1, 2)], priority=[0, 2, 1]),
    (InstanceSetup("vllm", 4, 500, "priority", 12, 1, False, 4096, ("fixed", (ITERATION_PS,))),),
    "round_robin",
    0,
)


# More examples than elsewhere: every result rests on this.
@settings(max_examples=4 * settings().max_examples)
@given(worlds())
@example(OVERTAKEN)
def test_the_fast_path_equals_exact_steps(world):
    fast, exact = simulate(world), simulate(world, exact_steps=True)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    assert metrics(fast) == metrics(exact)


# Both instances admit from their queues at the same moments as their clients send the next requests.
SHORTEST_QUEUES = World(
    table(
        list(zip([0] * 10, [7, 2, 1, 7, 1, 5, 1, 3, 4, 4], [3, 1, 1, 1, 1, 3, 2, 3, 3, 2], strict=True)),
        closed_loop=ClosedLoop(3),
    ),
    (InstanceSetup("vllm", 1, 501, "fcfs", 300, 1, False, 4096, ("fixed", (ITERATION_PS,))),) * 2,
    "join_shortest_queue",
    0,
)


def test_shortest_queues_are_the_same_however_time_is_stepped():
    fast, exact = simulate(SHORTEST_QUEUES), simulate(SHORTEST_QUEUES, exact_steps=True)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]


@given(worlds())
def test_exact_steps_are_single_and_the_fast_path_adds_up_to_them(world):
    fast, exact = simulate(world), simulate(world, exact_steps=True)
    for quick, slow in zip(fast.ledgers, exact.ledgers, strict=True):
        assert (slow.runs()[:, 3] == 1).all()
        assert quick.runs()[:, 3].sum() == len(slow.runs())
        assert len(quick.runs()) <= len(slow.runs())


@given(worlds(prefixes=False))
def test_counting_blocks_equals_telling_them_apart_where_nobody_shares(world: World):
    counted, told_apart = simulate(world, by_content=False), simulate(world, by_content=True)
    assert [history(request) for request in counted.requests] == [history(request) for request in told_apart.requests]


@given(worlds())
def test_a_world_repeats_itself(world):
    once, again = simulate(world), simulate(world)
    assert [history(request) for request in once.requests] == [history(request) for request in again.requests]
    for first, second in zip(once.ledgers, again.ledgers, strict=True):
        assert first.runs().tobytes() == second.runs().tobytes()
        assert first.spans().tobytes() == second.spans().tobytes()
