"""Migration and Llumnix by hand: downtime, refusals, making room, priorities, instances that leave."""

import pytest
from support.worlds import ITERATION_PS, InstanceSetup, Outcome, table, token_times

from simulator.cluster.cluster import Cluster
from simulator.cluster.front import RouterFront
from simulator.cluster.llumnix import Llumnix
from simulator.cluster.migration import Copying, Migration
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.cluster.topology import Place, Topology
from simulator.cluster.virtual_usage import VirtualUsage
from simulator.core import InputError, Streams

SETUP = InstanceSetup("vllm", 8, 8192, "fcfs", 600, 16, False, 16_384, ("fixed", (ITERATION_PS,)))
TOKEN = 1000.0  # bytes
BLOCK_PS = round(16 * TOKEN / 1e9 * 1e12)  # what a KV block takes on the link


def copying(instances: int = 2, bandwidth: float = 1e9, **choices) -> Copying:
    return Copying(Topology([Place(1, None, bandwidth)] * instances, 1), TOKEN, **choices)


class Pinned(Router):
    """Sends each request where its session says."""

    def route(self, request):
        return request.session


class Once(RouterFront):
    """Migrates the first request from instance 0 to instance 1 at a time, and perhaps cancels that at another."""

    def __init__(self, copying: Copying, when: int, cancel_at: int | None = None) -> None:
        super().__init__(Pinned())
        self.copying, self.when, self.cancel_at = copying, when, cancel_at
        self.outcomes = []

    def start(self, cluster):
        super().start(cluster)
        cluster.every(ITERATION_PS // 4, self.tick)

    def tick(self, now):
        if now == self.when:
            instances, request = self.cluster.instances, self.cluster.requests[0]
            done = lambda migration, moved: self.outcomes.append(moved)  # noqa: E731
            self.migration = Migration(self.cluster, self.copying, request, instances[0], instances[1], done)
        if now == self.cancel_at:
            self.migration.cancel()


def run(front, rows, setups=(SETUP, SETUP), **columns) -> tuple[Outcome, Cluster]:
    servers = [setup.server(by_content=False) for setup in setups]
    for index, server in enumerate(servers):
        server.core.scheduler.away = lambda index=index: sum(
            migration.held * (migration.target.index == index)
            + migration.request.blocks * (migration.source.index == index and migration.stopped)
            for migration in active(front)
        )
    cluster = Cluster(servers, front, table(rows, **columns), Streams(0).get("router"))
    cluster.run()
    for server in servers:
        server.core.kv.check_integrity()
        assert not server.core.decodes
    return Outcome(cluster.requests, servers, cluster.ended), cluster


def active(front):
    if isinstance(front, Llumnix):
        return list(front.active)
    return [front.migration] if hasattr(front, "migration") and not front.outcomes else []


@pytest.mark.parametrize("prompt", [500, 1500, 4000, 8000])
def test_downtime_does_not_depend_on_length(prompt):
    outcome, cluster = run(Once(copying(), when=5 * ITERATION_PS), [(0, prompt, 100)], session=[0])
    (move,) = cluster.moves
    assert (move.kind, move.source, move.target) == ("migration", 0, 1)
    assert move.size == pytest.approx(TOKEN * (prompt + (move.ended - move.stopped) // ITERATION_PS - 1), abs=2 * TOKEN)
    # What is left for the last stage: the tokens made while the one before was copied, and an unfinished block.
    assert 0 < move.stopped <= 2 * BLOCK_PS
    assert move.ended - move.started >= prompt * TOKEN / 1e9 * 1e12
    assert outcome.requests[0].instance == 1


def test_a_request_goes_on_making_tokens_while_it_is_copied():
    outcome, cluster = run(Once(copying(bandwidth=1e8), when=5 * ITERATION_PS), [(0, 1500, 100)], session=[0])
    (move,) = cluster.moves
    made = token_times(outcome)[0]
    meanwhile = [at for at in made if move.started < at <= move.ended - move.stopped]
    assert len(meanwhile) == round((move.ended - move.stopped - move.started) / ITERATION_PS) >= 10


def test_a_target_without_room_refuses_and_nothing_leaks():
    front = Once(copying(), when=5 * ITERATION_PS)
    # Instance 1 is full but for less than the request needs.
    outcome, cluster = run(front, [(0, 1000, 50), (0, 8000, 100)], setups=(SETUP, SETUP), session=[0, 1])
    full = Once(copying(), when=5 * ITERATION_PS)
    small = InstanceSetup("vllm", 8, 8192, "fcfs", 510, 16, False, 16_384, ("fixed", (ITERATION_PS,)))
    refused, without = run(full, [(0, 1000, 50), (0, 8000, 100)], setups=(SETUP, small), session=[0, 1])
    assert (front.outcomes, full.outcomes) == ([True], [False])
    assert len(cluster.moves) == 1 and not without.moves
    assert refused.requests[0].instance == 0
    assert len(token_times(refused)[0]) == 50 == len(token_times(outcome)[0])


def test_a_request_that_ends_on_the_way_stays():
    front = Once(copying(bandwidth=1e6), when=5 * ITERATION_PS)
    outcome, cluster = run(front, [(0, 1000, 20)], session=[0])
    assert front.outcomes == [False] and not cluster.moves
    assert outcome.requests[0].finished_at == 20 * ITERATION_PS


def test_a_migration_that_is_cancelled_leaves_the_request_where_it_is():
    front = Once(copying(bandwidth=1e8), when=5 * ITERATION_PS, cancel_at=10 * ITERATION_PS)
    outcome, cluster = run(front, [(0, 1500, 100)], session=[0])
    assert front.outcomes == [False] and not cluster.moves
    assert outcome.requests[0].finished_at == 100 * ITERATION_PS


def llumnix(router=None, instances=2, usage=None, **choices) -> Llumnix:
    usage = usage or VirtualUsage()
    return Llumnix(router or Pinned(), copying(instances), usage, period=ITERATION_PS, **choices)


# Each instance has two requests with 1,200 of its 9,600 tokens each; the fifth needs more than either has left.
FRAGMENTED = [(0, 1000, 1500)] * 4 + [(200 * ITERATION_PS, 7500, 10)]


def test_requests_move_to_make_room_for_the_first_in_the_queue():
    alone = run(Once(copying(), when=-1), FRAGMENTED, session=[0, 0, 1, 1, 0])[0].requests[4]
    helped, cluster = run(llumnix(), FRAGMENTED, session=[0, 0, 1, 1, 0])
    assert alone.admitted_at >= 1500 * ITERATION_PS
    assert helped.requests[4].admitted_at <= 210 * ITERATION_PS
    assert {(move.source, move.target) for move in cluster.moves[:1]} == {(0, 1)}


def test_the_least_urgent_request_moves_and_of_these_the_shortest():
    rows = [(0, 300, 900), (0, 500, 900), (0, 400, 900)]
    _, cluster = run(llumnix(threshold=250.0), rows, session=[0, 0, 0], priority=[0, 1, 1])
    assert cluster.moves[0].request == 2


def test_an_urgent_request_keeps_others_away():
    rows = [(0, 100, 80), (ITERATION_PS, 100, 80), (2 * ITERATION_PS, 100, 80)]

    def places(**headroom) -> list[int]:
        router = ROUTERS.make("freeness", headroom)
        outcome, _ = run(llumnix(router, usage=VirtualUsage(**headroom)), rows, priority=[0, 1, 1])
        return [request.instance for request in outcome.requests]

    assert places() == [0, 1, 0]
    assert places(urgent=0, headroom=8000) == [0, 1, 1]


def test_requests_leave_an_instance_that_closes():
    class Closing(Llumnix):
        def _pair(self, now):
            if now == 10 * ITERATION_PS:
                self.router.closed(0)
            super()._pair(now)

    front = Closing(Pinned(), copying(), VirtualUsage(), period=ITERATION_PS)
    outcome, cluster = run(front, [(0, 100, 300), (0, 100, 300), (0, 100, 300)], session=[0, 0, 0])
    assert len(cluster.moves) == 3
    assert all(move.ended < 40 * ITERATION_PS for move in cluster.moves)
    assert [request.instance for request in outcome.requests] == [1, 1, 1]


def test_freeness_is_what_each_request_could_still_have():
    seen = {}

    class Front(Llumnix):
        def _pair(self, now):
            if now == 10 * ITERATION_PS:
                for index in range(2):
                    seen[index] = self.usage.dispatch(index), self.usage.migration(index)

    rows = [(0, 1600, 500), (0, 1600, 500), (5 * ITERATION_PS, 8000, 9), (6 * ITERATION_PS, 800, 9)]
    front = Front(Pinned(), copying(), VirtualUsage(), period=ITERATION_PS)
    run(front, rows, session=[0, 0, 0, 0])
    # In its tenth iteration each of the two holds 1,600 + 9 tokens; 8,000 and 800 wait for 500 and 50 blocks.
    free = 600 - 2 * 101
    assert seen[0] == ((free - 550) / 4, (free - 500) / 3)
    assert seen[1] == (600, 600)


def test_policies_that_cannot_go_on_with_others_requests_are_refused():
    sarathi = InstanceSetup("sarathi", 8, 512, "fcfs", 600, 16, False, 16_384, ("fixed", (ITERATION_PS,)))
    with pytest.raises(InputError, match="cannot go on with"):
        run(llumnix(), [(0, 10, 10)], setups=(sarathi, sarathi), session=[0])


@pytest.mark.parametrize("choice", [{"last_blocks": 0}, {"stages": 0}])
def test_impossible_stages_are_refused(choice):
    with pytest.raises(InputError, match="1 or more"):
        copying(**choice)


def test_headroom_needs_to_know_for_whom():
    with pytest.raises(InputError, match="urgent"):
        VirtualUsage(headroom=100)
