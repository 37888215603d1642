"""FastServe, LTR and TRAIL against their baselines, at a size that a test can afford: what each claim rests on."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from simulator.experiment.reproductions import fastserve, ltr, trail
from simulator.experiment.reproductions.tools.reproduce import setup_of


def test_skip_join_serves_more_than_fcfs_and_the_more_so_the_longer_the_tail():
    setup = setup_of("fastserve")
    assert isinstance(setup, fastserve.FastServeSetup)

    def capacity(policy, outputs):
        guess = setup.check_simulation["400"][outputs][policy != "fcfs"]
        lengths = setup.outputs[outputs]
        return fastserve.capacity(setup.world(policy), lengths, 400, 0, setup.bound, guess, setup.highest, 0.1)

    gains = [capacity("skip_join", outputs) / capacity("fcfs", outputs) for outputs in ("cv_1", "cv_2")]
    assert 1.2 < gains[0] < gains[1] / 1.5


def test_prompts_of_many_quanta_hold_up_naive_feedback_queues():
    setup = setup_of("fastserve")
    assert isinstance(setup, fastserve.FastServeSetup)
    found = [
        fastserve.latencies(setup.world(policy), setup.long_prompts, 200, setup.long_prompts_rate, 0)
        for policy in ("naive", "skip_join")
    ]
    (naive, naive_ttft), (skip_join, skip_join_ttft) = found
    assert naive > skip_join
    assert naive_ttft > 1.5 * skip_join_ttft


def test_the_better_the_ranker_the_lower_the_latency():
    setup = setup_of("ltr")
    assert isinstance(setup, ltr.LtrSetup)
    names = ("tau_1", "tau_0_6", "tau_0_4", "fcfs")
    means = [ltr.latencies(setup.world(name), setup.lengths, setup.judged_at, 1200, 0)[0] for name in names]
    assert means == sorted(means)
    assert means[-1] > 1.2 * means[0]


def test_kendalls_tau_is_scipys():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 20, 300).astype(float), rng.normal(size=300)
    assert ltr.kendall_tau(one, one + 3 * other) == pytest.approx(kendalltau(one, one + 3 * other).statistic)


def test_trail_preempts_and_is_faster_than_fcfs_where_memory_is_short():
    setup = setup_of("trail")
    assert isinstance(setup, trail.TrailSetup)
    lengths = setup.tight.lengths
    found = {name: trail.measure(setup.world(f"tight_{name}"), lengths, 18.0, 700, 0) for name in ("fcfs", "trail")}
    latency, ttft, _, preemptions = zip(*found.values(), strict=True)
    assert latency[0] > 1.2 * latency[1]
    assert ttft[0] > 1.5 * ttft[1]
    assert preemptions[1] > preemptions[0] > 0


def test_trail_is_fcfs_while_there_is_a_place_for_all_and_faster_beyond():
    setup = setup_of("trail")
    assert isinstance(setup, trail.TrailSetup)

    def measured(rate):
        return [trail.measure(setup.world(name), setup.lengths, rate, 800, 0) for name in ("fcfs", "trail")]

    few, many = measured(20.0), measured(60.0)
    assert few[0] == few[1]
    assert many[0][0] > 1.1 * many[1][0]
    assert many[0][1] > 1.76 * many[1][1]
