"""The fast path gives what stepping every iteration gives, to the last bit: time is whole picoseconds."""

from hypothesis import given, settings
from support.worlds import Outcome, World, history, simulate, token_times, worlds

from simulator.experiment.metrics import RequestTable, summarize
from simulator.experiment.schema import Slo


def metrics(outcome: Outcome) -> dict:
    return summarize(RequestTable.of(outcome.requests), outcome.ledgers, Slo(ttft="100ms", tpot="20ms"), gpus=4)


@settings(max_examples=200)
@given(worlds())
def test_the_fast_path_equals_exact_steps(world):
    fast, exact = simulate(world), simulate(world, exact_steps=True)
    assert [history(request) for request in fast.requests] == [history(request) for request in exact.requests]
    assert token_times(fast) == token_times(exact)
    assert metrics(fast) == metrics(exact)


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
