"""What a fleet does with its instances and requests, by hand; test_fleet in properties has what always holds."""

from functools import partial

import pytest
from support.fleet_worlds import server
from support.worlds import ITERATION_PS, InstanceSetup, table

from simulator.cluster.autoscaler import Autoscaler
from simulator.cluster.autoscalers.schedule import Schedule
from simulator.cluster.autoscaling import Scaling
from simulator.cluster.cluster import Cluster
from simulator.cluster.faults import Fault, FaultEvent, Faults, RandomFaults
from simulator.cluster.fleet import Fleet, Loss, State
from simulator.cluster.registry import AUTOSCALERS, ROUTERS
from simulator.core import InputError, Request, Status, Streams

STEP = ITERATION_PS
SETUP = InstanceSetup("vllm", 8, 500, "fcfs", 100, 16, False, 4096, ("fixed", (STEP,)))


def run(fleet: Fleet, requests: list[tuple[int, int, int]], instances: int) -> tuple[Cluster, list[Request]]:
    servers = [server(SETUP, False, lambda: 0) for _ in range(instances)]
    cluster = Cluster(servers, fleet, table(requests), Streams(0).get("router"))
    cluster.run()
    return cluster, cluster.requests


def fleet(
    *events: FaultEvent, loss: Loss | None = None, scaling: Scaling | None = None, initial: int | None = None
) -> Fleet:
    drivers = [Faults(events)] + ([scaling] if scaling else [])
    return Fleet(ROUTERS.make("round_robin", {}), loss, drivers, initial=initial)


CRASH = FaultEvent(10 * STEP + STEP // 2, 0, Fault("crash", 20 * STEP))


@pytest.mark.parametrize(
    ("in_flight", "ends", "first"),
    # 11 iterations made 11 tokens when the engine went, in the middle of the eleventh.
    [("retry", 11 + 20, 12), ("resume", 11 + 20 - 11, 1), ("fail", 11, 1)],
)
def test_what_becomes_of_a_request_on_a_crashed_instance(in_flight: str, ends: int, first: int):
    _, (request,) = run(fleet(CRASH, loss=Loss(in_flight)), [(0, 5, 20)], 2)
    assert request.finished_at // STEP == ends
    assert request.first_token_at // STEP == first
    assert request.status is (Status.FAILED if in_flight == "fail" else Status.COMPLETED)
    assert request.instance == (0 if in_flight == "fail" else 1)


def test_a_request_waits_for_the_only_instance_to_come_back():
    _, (request,) = run(fleet(CRASH), [(15 * STEP, 5, 20)], 1)
    assert request.admitted_at == CRASH.at + 20 * STEP  # an idle one is gone at once


def test_requests_fail_where_no_instance_is_left():
    gone = FaultEvent(10 * STEP, 0, Fault("crash"))
    _, (running, waiting) = run(fleet(gone), [(0, 5, 20), (12 * STEP, 5, 20)], 1)
    assert running.failure == waiting.failure == "no instance is left, and none will come back"


def test_a_request_fails_that_was_lost_too_often():
    again = FaultEvent(15 * STEP, 1, Fault("crash", STEP))
    _, (request,) = run(fleet(CRASH, again, loss=Loss("resume", retries=1)), [(0, 5, 200)], 2)
    assert request.failure == "instance 1 crashed"


def test_a_slow_instance_takes_longer_as_long_as_it_is_slow():
    slow = FaultEvent(10 * STEP, 0, Fault("slow", 30 * STEP, factor=3.0))
    _, (request,) = run(fleet(slow), [(0, 5, 30)], 1)
    assert request.finished_at == (10 + 10 * 3 + 10) * STEP


def test_nothing_reaches_an_instance_without_links():
    lost = FaultEvent(0, 0, Fault("link_loss", 10 * STEP))
    _, requests = run(fleet(lost), [(STEP, 5, 5), (2 * STEP, 5, 5), (11 * STEP, 5, 5), (11 * STEP, 5, 5)], 2)
    assert [request.instance for request in requests[:2]] == [1, 1]
    assert {request.instance for request in requests[2:]} == {0, 1}


def test_a_spot_instance_serves_on_until_its_grace_is_over():
    spot = FaultEvent(5 * STEP, 0, Fault("spot", None, grace=20 * STEP))
    cluster, (short, long, later) = run(fleet(spot), [(0, 5, 10), (0, 5, 100), (6 * STEP, 5, 10)], 3)
    assert short.instance == 0 and short.finished_at == 10 * STEP
    assert long.instance == 1
    assert later.instance != 0
    assert cluster.front.state[0] is State.DOWN
    assert cluster.front.up_ps(0, 0, 100 * STEP) == 25 * STEP


def test_random_faults_come_as_often_as_they_should():
    faults = Faults([], [RandomFaults(Fault("slow", STEP, factor=2.0), mtbf=0.05)], seed=3)
    rows = [(n * STEP * 100, 5, 1) for n in range(100)]
    run(Fleet(ROUTERS.make("round_robin", {}), None, [faults]), rows, 2)
    assert faults.happened == pytest.approx(2 * 9.9 / 0.05, rel=0.15)


def test_an_autoscaler_pays_for_the_start_and_drains_before_it_stops():
    plan = Schedule(plan=[{"at": 0.0, "instances": 1}, {"at": 0.01, "instances": 2}, {"at": 0.1, "instances": 1}])
    scaling = Scaling(plan, period=STEP, startup=5 * STEP, least=1, most=2, calm=0)
    cluster, requests = run(fleet(scaling=scaling, initial=1), [(n * STEP, 5, 60) for n in range(50)], 2)
    front = cluster.front
    sent = [request.admitted_at // STEP for request in requests if request.instance == 1]
    assert min(sent) >= 15 and all(request.status is Status.COMPLETED for request in requests)
    (off,) = front.those(State.OFF)
    last = max(request.finished_at for request in requests if request.instance == off)
    assert front.up_ps(off, 0, 10**15) == last - (10 * STEP if off == 1 else 0)


class Wants(Autoscaler):
    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def wanted(self, fleet: Fleet, now: int) -> int:
        return self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]


def test_fewer_instances_only_after_a_calm_time_and_more_at_once():
    scaling = Scaling(Wants([3, 1, 1, 1, 1, 1]), period=STEP, startup=0, least=1, most=3, calm=4 * STEP)
    cluster, _ = run(fleet(scaling=scaling, initial=1), [(0, 5, 30), (29 * STEP, 5, 1)], 3)
    started = [cluster.front.up_ps(index, 0, 10**15) // STEP for index in (1, 2)]
    assert started == [5, 5]


@pytest.mark.parametrize("name", ["target_utilization", "queue", "slo"])
def test_policies_start_instances_under_load_and_stop_them_after(name: str):
    params = {"target_utilization": {"target": 0.3}, "queue": {}, "slo": {"ttft": "20ms", "window": 4}}[name]
    scaling = Scaling(AUTOSCALERS.make(name, params), period=STEP, startup=STEP, least=1, most=3, calm=5 * STEP)
    rows = [(n * 2 * STEP, 50, 40) for n in range(60)] + [(300 * STEP + n * 20 * STEP, 5, 3) for n in range(40)]
    cluster, requests = run(fleet(scaling=scaling, initial=1), rows, 3)
    assert {request.instance for request in requests[:60]} == {0, 1, 2}
    assert len(cluster.front.those(State.SERVING)) == 1


def test_mistakes_are_named():
    with pytest.raises(InputError, match="a fault of instance 2"):
        run(fleet(FaultEvent(0, 2, Fault("crash"))), [(0, 1, 1)], 2)
    with pytest.raises(InputError, match="without an end"):
        Fault("slow", factor=2.0)
    with pytest.raises(InputError, match="migrate need links"):
        Loss("migrate")
    with pytest.raises(InputError, match="begin at 0"):
        Schedule(plan=[{"at": 1.0, "instances": 1}])
    with pytest.raises(InputError, match="cannot resume"):
        servers = [server(InstanceSetup(**{**SETUP.__dict__, "scheduler": "static"}), False, partial(int, 0))]
        Cluster(servers, fleet(), table([(0, 1, 1)]), Streams(0).get("router"))
