"""What holds in every world: conservation of requests, tokens and KV blocks, causality, and no idling."""

from collections import defaultdict
from itertools import pairwise

from hypothesis import example, given
from support.worlds import (
    ITERATION_PS,
    InstanceSetup,
    Outcome,
    World,
    simulate,
    table,
    token_times,
    with_output,
    worlds,
)

from simulator.core import Status


def busy(outcome: Outcome) -> list[list[tuple[int, int]]]:
    """Return, for each instance, when (ps) each of its runs of iterations began and ended."""
    return [
        [
            (start, start + count * first + growth * (count * (count - 1) // 2))
            for start, first, growth, count, *_ in ledger.runs().tolist()
        ]
        for ledger in outcome.ledgers
    ]


@given(worlds())
def test_every_request_ends_exactly_once(world):
    outcome = simulate(world)
    assert sorted(request.index for request in outcome.requests) == list(range(len(world.workload)))
    assert outcome.ended == len(world.workload)
    for request in outcome.requests:
        assert request.finished_at >= 0
        if request.status is Status.FAILED:
            assert request.failure
            assert (request.admitted_at, request.first_token_at) == (-1, -1)
        else:
            assert request.status is Status.COMPLETED


@given(worlds())
def test_tokens_out_are_tokens_asked(world):
    outcome = simulate(world)
    times = token_times(outcome)
    for request in outcome.requests:
        made = times.pop(request.index, [])
        assert len(made) == (0 if request.failure else request.output_tokens)
        assert all(earlier < later for earlier, later in pairwise(made))
        if made:
            assert (made[0], made[-1]) == (request.first_token_at, request.finished_at)
            assert request.generated == request.output_tokens
    assert not times


@given(worlds())
def test_kv_blocks_are_conserved(world):
    # That no plan ever overdraws the pool is asserted by the watched policies that every simulation here runs.
    for server in simulate(world).servers:
        server.core.kv.check_integrity()
        host = server.core.scheduler.host
        assert host.free == host.total and not host.blocks
        assert not server.core.decodes
        assert len(server.core.scheduler.queue) == 0


@given(worlds())
def test_time_never_runs_back(world):
    outcome = simulate(world)
    for request in outcome.requests:
        if not request.failure:
            reached = request.arrival + world.instances[request.instance].intake_ps
            assert reached <= request.admitted_at < request.first_token_at <= request.finished_at
            assert (request.first_token_at == request.finished_at) == (request.output_tokens == 1)
    for intervals in busy(outcome):
        assert all(begin < end for begin, end in intervals)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(intervals))


@given(worlds())
def test_an_instance_with_something_to_do_is_never_idle(world):
    outcome = simulate(world)
    present = defaultdict(list)
    for request in outcome.requests:
        if not request.failure:
            reached = request.arrival + world.instances[request.instance].intake_ps
            present[request.instance].append((reached, request.finished_at))
    for index, intervals in enumerate(busy(outcome)):
        for (_, end), (begin, _) in pairwise(intervals):
            # A request that is here all through a pause could have run in it: each one fits an empty instance.
            assert begin == end or not any(came < begin and gone > end for came, gone in present[index])
        if intervals:
            assert min(came for came, _ in present[index]) == intervals[0][0]


# Patient request 0 preempts itself in an iteration that then runs nothing: request 1 sits it out, as in vLLM.
EMPTY_ITERATION = World(
    table([(0, 5, 5), (ITERATION_PS // 2, 2, 5)], priority=[3, 0]),
    (InstanceSetup("vllm", 2, 500, "priority", 10, 1, False, 4096, ("fixed", (ITERATION_PS,))),),
    "round_robin",
    0,
)


@given(worlds())
@example(EMPTY_ITERATION)
def test_ledgers_count_every_preemption(world):
    outcome = simulate(world)
    preempted = sum(int(ledger.runs()[:, 10].sum()) for ledger in outcome.ledgers)
    assert preempted == sum(request.preemptions for request in outcome.requests)


@given(worlds())
def test_no_iteration_exceeds_its_limits(world):
    outcome = simulate(world)
    for setup, ledger in zip(world.instances, outcome.ledgers, strict=True):
        runs = ledger.runs()
        assert (runs[:, 4] + runs[:, 5] <= setup.max_num_seqs).all()
        # What a request had before it was preempted may be more than a budget for prompts: then it runs alone.
        alone = (runs[:, 4] == 0) & (runs[:, 5] == 1)
        assert ((runs[:, 4] + runs[:, 6] <= setup.max_num_batched_tokens) | alone).all()
        assert (runs[:, 9] <= setup.blocks).all()
        assert (runs[:, 3] >= 1).all()
        assert (runs[:, 4] + runs[:, 5] >= 1).all(), "no iteration is empty"


@given(worlds())
def test_cached_tokens_are_whole_blocks_short_of_the_prompt(world):
    for request in simulate(world).requests:
        setup = world.instances[request.instance]
        assert 0 <= request.cached < request.prompt_tokens or request.cached == 0
        assert request.cached % setup.block_size == 0
        if not setup.caching or world.workload.prefix is None:
            assert request.cached == 0, "a first admission finds nothing where nobody shares"


@given(worlds())
def test_a_request_too_large_fails_at_once_and_alone(world):
    most = max(min(setup.max_model_len, setup.blocks * setup.block_size + 1) for setup in world.instances)
    index = len(world.workload) // 2
    outcome = simulate(World(with_output(world.workload, index, most + 1), world.instances, world.router, world.seed))
    large = next(request for request in outcome.requests if request.index == index)
    assert any(reason in large.failure for reason in ("context limit", "KV blocks", "a prompt of"))
    assert large.finished_at == large.arrival
    for request in outcome.requests:
        fits = world.instances[request.instance].fits(request.prompt_tokens, request.output_tokens)
        assert request.status is (Status.COMPLETED if fits else Status.FAILED)


@given(worlds())
def test_trtllm_never_preempts(world):
    outcome = simulate(world.scheduled_by("trtllm"))
    assert not any(request.preemptions for request in outcome.requests)
    assert all(request.finished_at >= 0 for request in outcome.requests)
