"""What the reproduction of LightLLM measures of each way of admission, and its clients that send again."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from simulator.core import Streams
from simulator.engine.instance import Instance
from simulator.experiment.reproductions import lightllm
from simulator.experiment.reproductions.tools import gaps, retries
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.reproduce import setup_of
from simulator.experiment.reproductions.tools.workloads import workload
from simulator.workload.table import ClosedLoop


@pytest.fixture(scope="module")
def setup():
    found = setup_of("lightllm")
    assert isinstance(found, lightllm.LightLLMSetup)
    return found


def until_good(setup, name, clients, requests=120):
    return lightllm.until_good(
        setup.world(name), setup.limits(name), setup.before, clients, requests, setup.lengths, 0, None
    )


def drawn(setup, requests):
    return setup.lengths.draw(Streams(0).get("lengths"), requests)


def test_filling_memory_evicts_and_reserving_never_does(setup):
    conservative, aggressive = (until_good(setup, name, 100) for name in ("conservative", "aggressive"))
    assert aggressive[1] > 0.2
    assert conservative[1] == 0
    assert conservative[2] > 1  # nearly all wait too long at first


def test_with_room_for_all_admission_makes_no_difference(setup):
    found = {until_good(setup, name, 10) for name in ("conservative", "aggressive", "past_future")}
    assert len(found) == 1
    ((goodput, evicted, dropped),) = found
    assert goodput > 0
    assert evicted == dropped == 0


def test_each_request_is_answered_in_time_once(setup):
    lengths = drawn(setup, 150)
    kept = retries.serve_until_good(setup.world("aggressive"), lengths, 100, setup.limits("aggressive"))
    assert sorted((r.prompt_tokens, r.output_tokens) for r in kept.good) == sorted(
        zip(*map(list, lengths), strict=True)
    )
    assert all(request.first_token_at - request.arrival <= setup.ttft * 10**12 for request in kept.good)
    failed = [request for request in kept.sent if request.failure is not None]
    late = [request for request in kept.sent if request.failure is None and request not in kept.good]
    assert all(request.finished_at - request.arrival >= setup.drop * 10**12 for request in failed)
    assert late
    assert len(kept.sent) == len(kept.good) + len(failed) + len(late)


def test_who_was_evicted_for_too_long_is_given_up_when_it_goes_on(setup):
    limits = setup.limits("past_future")
    kept = retries.serve_until_good(setup.world("aggressive"), drawn(setup, 150), 100, limits)
    aborted = [request for request in kept.sent if (request.failure or "").startswith("aborted")]
    assert aborted
    for request in aborted:
        assert request.preemptions > 0
        assert 0 < request.generated < request.output_tokens
    assert len(kept.good) == 150


def test_what_was_served_before_does_not_count(setup):
    before = Drawn(np.full(30, 100), np.full(30, 400))
    world, limits, after = setup.world("conservative"), setup.limits("conservative"), drawn(setup, 40)
    alone = retries.serve_until_good(world, after, 10, limits)
    later = retries.serve_until_good(world, after, 10, limits, before=before, before_clients=5)
    assert len(later.good) == len(alone.good) == len(later.sent) == 40
    assert later.duration_s == pytest.approx(alone.duration_s, rel=0.01)


@pytest.mark.parametrize("name", ["aggressive", "past_future"])
def test_the_clients_do_not_depend_on_how_time_is_stepped(setup, name, monkeypatch):
    fast = until_good(setup, name, 90, 60)
    monkeypatch.setattr(retries, "Instance", partial(Instance, exact_steps=True))
    assert until_good(setup, name, 90, 60) == fast


def test_one_requests_longest_gap_is_as_among_all(setup):
    world = setup.world("aggressive")
    served = world.serve(replace(workload(np.zeros(150), drawn(setup, 150)), closed_loop=ClosedLoop(100)))
    alone = [retries.longest_gap_s(served.ledgers[0], request) for request in served.requests]
    assert served.preemptions > 0
    assert alone == pytest.approx(gaps.longest_gap_s(served))
