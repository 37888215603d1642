"""Skeleton-of-Thought and cascades: what follows what, what the answer is, and when it no longer pays."""

import numpy as np
import pytest
from support.techniques import MIXED, SPLIT, assembled, experiment, simulated, times

from simulator.core import InputError
from simulator.experiment.load import load_mapping
from simulator.experiment.metrics import RequestTable
from simulator.experiment.runner import run_experiment
from simulator.experiment.techniques.stack import workload_of

TIERS = [{**MIXED[0]}, {**MIXED[0], "model": "llama-3.2-1b"}]
SHORT = {
    "arrivals": {"process": "poisson", "rate": "1/s"},
    "prompt": {"distribution": "fixed", "tokens": 100},
    "output": {"distribution": "fixed", "tokens": 400},
    "requests": 20,
}
SOT = {"name": "skeleton_of_thought", "instructions": 60}


def at(rate, **changes):
    return {**SHORT, "arrivals": {"process": "poisson", "rate": f"{rate}/s"}, **changes}


def e2e_s(techniques, workload, **changes):
    requests = simulated(experiment(techniques, workload=workload, **changes))
    return float(np.nanmean(RequestTable.of(requests).answers().e2el_ms())) / 1e3


def test_a_request_becomes_a_skeleton_and_points(tmp_path):
    workload = workload_of(experiment([SOT], workload=SHORT), tmp_path)
    assert len(workload) == 20 * 6
    assert workload.prompt_tokens[:6].tolist() == [100] + [100 + 35 + 60] * 5
    assert workload.output_tokens[:6].tolist() == [35] + [80] * 5
    assert workload.follow_ups.after[:7].tolist() == [-1, 0, 0, 0, 0, 0, -1]
    prefix = workload.prefix
    assert prefix.end_tokens[:3].tolist() == [100, 100, 135]
    assert prefix.ids[0] == prefix.ids[1] and len(set(prefix.ids[2:11:2].tolist())) == 1


def test_short_answers_stay_as_they_are(tmp_path):
    workload = workload_of(experiment([SOT], workload=at(1, output={"distribution": "fixed", "tokens": 20})), tmp_path)
    assert len(workload) == 20 and workload.output_tokens.tolist() == [20] * 20


def test_points_start_together_when_the_skeleton_ends_and_share_its_kv():
    requests = {request.index: request for request in simulated(experiment([SOT], workload=SHORT))}
    skeleton, points = requests[0], [requests[index] for index in range(1, 6)]
    assert {point.arrival for point in points} == {skeleton.finished_at}
    assert sum(point.cached for point in points) >= 4 * 128


def test_answers_come_sooner_while_the_gpu_has_room_and_later_under_load():
    assert e2e_s([SOT], at(1)) < 0.5 * e2e_s([], at(1))
    many = {"requests": 1500}
    assert e2e_s([SOT], at(60, **many)) > e2e_s([], at(60, **many))


def test_a_cascade_asks_a_share_again(tmp_path):
    config = experiment([{"name": "cascade", "escalate": 0.3}], workload=at(5, requests=1000), instances=TIERS)
    workload = workload_of(config, tmp_path)
    again = int((workload.follow_ups.after >= 0).sum())
    assert 250 < again < 350
    assert int((~workload.follow_ups.shown).sum()) == again


def test_first_tries_go_to_the_small_model_and_second_ones_to_the_large():
    requests = simulated(experiment([{"name": "cascade", "escalate": 0.5}], workload=SHORT, instances=TIERS))
    assert {request.instance for request in requests if request.after < 0} == {1}
    assert {request.instance for request in requests if request.after >= 0} == {0}
    answers = RequestTable.of(requests).answers()
    assert answers.output_tokens.tolist() == [400] * 20


def test_a_cascade_pays_until_most_are_asked_again():
    large = e2e_s([], SHORT)
    few, all_ = (e2e_s([{"name": "cascade", "escalate": share}], SHORT, instances=TIERS) for share in (0.1, 1.0))
    assert few < 0.6 * large
    assert all_ > large


@pytest.mark.parametrize("router", ["least_outstanding", "join_shortest_queue", "power_of_two", "least_kv"])
def test_a_cascade_is_exact_behind_any_router(router):
    tiers = [{**each, "count": 2} for each in TIERS]
    config = experiment([{"name": "cascade", "escalate": 0.5}], cluster={"instances": tiers, "router": router})
    assert times(simulated(config)) == times(simulated(config, exact_steps=True))


@pytest.mark.parametrize(
    ("techniques", "instances", "reason"),
    [
        ([{"name": "cascade", "escalate": 0.3}], MIXED, "with a model of their own, and some without"),
        ([{"name": "cascade", "escalate": 0.3}], [TIERS[1]], "with a model of their own, and some without"),
        ([], TIERS, "nothing that sends requests there"),
        ([{"name": "cascade", "escalate": 0.3}], [{**SPLIT[0], "model": "llama-3.2-1b"}, SPLIT[1]], "with roles"),
        ([SOT, {"name": "cascade", "escalate": 0.3}], TIERS, "both change the requests that follow others"),
    ],
)
def test_what_cannot_be_is_refused(techniques, instances, reason):
    with pytest.raises(InputError, match=reason):
        assembled(techniques, instances=instances)


def test_retrieval_before_a_skeleton_is_waited_for_once(tmp_path):
    rag = {"name": "rag", "retrieval": "2s"}
    for order in ([rag, SOT], [SOT, rag]):
        workload = workload_of(experiment(order, workload=SHORT), tmp_path)
        assert (workload.lead_ps[workload.follow_ups.after >= 0] == 0).all()
        assert (workload.lead_ps[workload.follow_ups.after < 0] > 0).all()


def test_results_count_answers_and_what_was_offered(tmp_path):
    values = {"model": "llama-3.1-8b", "workload": SHORT, "cluster": {"instances": MIXED}}
    plain, split = (
        run_experiment(load_mapping({**values, "techniques": techniques}, tmp_path), tmp_path).summary["runs"][0]
        for techniques in ([], [SOT])
    )
    assert plain["metrics"]["completed"] == split["metrics"]["completed"] == 20
    assert plain["offered_rate"] == split["offered_rate"]
    assert split["metrics"]["output_throughput"] * split["metrics"]["duration_s"] == pytest.approx(20 * (35 + 400))
    assert split["metrics"]["mean_tpot_ms"] < 0.5 * plain["metrics"]["mean_tpot_ms"]
