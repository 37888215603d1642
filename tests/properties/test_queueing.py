"""Where queueing theory has a closed form, the simulator agrees with it within its confidence band.

Service times are whole tokens of one fixed duration each, so the laws are discrete: the M/G/1 formulas are used with
the exact moments of what is simulated (Kleinrock, Queueing Systems I and II; Reiser and Lavenberg for closed loops).
"""

import numpy as np
import pytest
from support.costs import SharingCost
from support.queueing import SEEDS, TOKEN_PS, assert_mean, closed, poisson, serve, settled

from simulator.cost.base import FixedCost

REQUESTS = 3000
MEAN_TOKENS = 100


def geometric(rng):
    """Return output lengths whose law is nearly exponential: M/M/1 in whole tokens."""
    return rng.geometric(1 / MEAN_TOKENS, REQUESTS)


def fixed(rng):
    """Return equal output lengths: M/D/1."""
    return np.full(REQUESTS, MEAN_TOKENS)


def two_sizes(rng):
    """Return lengths of a high variance: many short ones, some long ones, 100 in the mean."""
    return np.where(rng.random(REQUESTS) < 0.9, 50, 550)


SECOND_MOMENT = {
    geometric: (2 - 1 / MEAN_TOKENS) * MEAN_TOKENS**2,
    fixed: MEAN_TOKENS**2,
    two_sizes: 0.9 * 50**2 + 0.1 * 550**2,
}


@pytest.mark.parametrize(
    ("law", "load", "within"),
    [(geometric, 0.5, 0.07), (geometric, 0.7, 0.1), (fixed, 0.5, 0.07), (two_sizes, 0.5, 0.07)],
    ids=["M/M/1", "M/M/1 under load", "M/D/1", "M/G/1"],
)
def test_waiting_in_a_one_slot_queue_is_pollaczek_khinchine(law, load, within):
    rate = load / MEAN_TOKENS
    waits, sojourns = [], []
    for seed in SEEDS:
        requests = settled(serve(poisson(seed, rate, law), FixedCost(TOKEN_PS), slots=1)[0])
        waits.append(np.mean([r.admitted_at - r.arrival for r in requests]) / TOKEN_PS)
        sojourns.append(np.mean([r.finished_at - r.arrival for r in requests]) / TOKEN_PS)
    waiting = rate * SECOND_MOMENT[law] / (2 * (1 - load))
    assert_mean(waits, waiting, within=within)
    assert_mean(sojourns, waiting + MEAN_TOKENS, within=within)


@pytest.mark.parametrize("law", [geometric, fixed, two_sizes], ids=["M/M/1-PS", "M/D/1-PS", "M/G/1-PS"])
def test_processor_sharing_depends_on_the_mean_service_alone(law):
    load = 0.5
    sojourns = []
    for seed in SEEDS:
        requests = settled(serve(poisson(seed, load / MEAN_TOKENS, law), SharingCost(TOKEN_PS), slots=10**4)[0])
        sojourns.append(np.mean([r.finished_at - r.admitted_at for r in requests]) / TOKEN_PS)
    assert_mean(sojourns, MEAN_TOKENS / (1 - load), within=0.06)


def test_processor_sharing_slows_short_and_long_alike():
    load = 0.5
    slowdowns = {50: [], 550: []}
    for seed in SEEDS:
        requests = settled(serve(poisson(seed, load / MEAN_TOKENS, two_sizes), SharingCost(TOKEN_PS), slots=10**4)[0])
        for size, means in slowdowns.items():
            times = [r.finished_at - r.admitted_at for r in requests if r.output_tokens == size]
            means.append(np.mean(times) / size / TOKEN_PS)
    for means in slowdowns.values():
        assert_mean(means, 1 / (1 - load), within=0.06)


def test_a_batch_obeys_littles_law_exactly():
    # Nothing is preempted, so a request runs in every iteration from its admission to its end.
    workload = poisson(1, 0.02, geometric)
    requests, ledger = serve(workload, SharingCost(TOKEN_PS), slots=3)
    runs = ledger.runs()
    spent = runs[:, 3] * runs[:, 1] + runs[:, 2] * (runs[:, 3] * (runs[:, 3] - 1) // 2)
    in_service = int(((runs[:, 4] + runs[:, 5]) * spent).sum())
    assert in_service == sum(r.finished_at - r.admitted_at for r in requests)
    assert max(runs[:, 4] + runs[:, 5]) == 3
    assert any(r.admitted_at > r.arrival + TOKEN_PS * 3 for r in requests), "some had to queue"


@pytest.mark.parametrize(
    ("clients", "think", "expected"),
    [
        (1, 0, 1 / 10),
        (1, 30, 1 / 40),
        (3, 30, 3 / 40),
        (4, 30, 4 / 40),
        (5, 30, 1 / 10),
        (50, 30, 1 / 10),
        (50, 0, 1 / 10),
    ],
)
def test_a_closed_loop_on_one_slot_is_limited_by_clients_or_by_the_server(clients, think, expected):
    # Everything is fixed: throughput is min(1 / S, N / (S + Z)) per token time, exactly, once the start is over.
    requests, _ = serve(closed(np.full(600, 10), clients, think * TOKEN_PS), FixedCost(TOKEN_PS), slots=1)
    ends = sorted(r.finished_at for r in requests)
    steady = ends[200:500]
    per_cycle = len(steady) - 1
    assert per_cycle / ((steady[-1] - steady[0]) / TOKEN_PS) == pytest.approx(expected, rel=0.01)
    if clients * 10 >= 10 + think:
        assert steady[-1] - steady[0] == per_cycle * 10 * TOKEN_PS


@pytest.mark.parametrize("clients", [1, 8, 32])
def test_clients_that_never_think_keep_every_slot_busy(clients):
    requests, ledger = serve(closed(np.full(640, 25), clients, 0), FixedCost(TOKEN_PS), slots=64)
    assert max(r.finished_at for r in requests) == 640 // clients * 25 * TOKEN_PS
    assert set((ledger.runs()[:, 4] + ledger.runs()[:, 5]).tolist()) == {clients}


def test_clients_that_think_are_a_machine_repair_queue():
    # M/M/1//N with N = 5: the probability of an idle server is 1 / sum N! / (N - k)! (S / Z)^k; any law of Z will do.
    clients, think = 5, 4 * MEAN_TOKENS
    ratio, weights = MEAN_TOKENS / think, [1.0]
    for k in range(1, clients + 1):
        weights.append(weights[-1] * (clients - k + 1) * ratio)
    expected = (1 - 1 / sum(weights)) / MEAN_TOKENS
    throughputs, in_system = [], []
    for seed in SEEDS:
        outputs = geometric(np.random.default_rng(seed))
        requests, _ = serve(closed(outputs, clients, think * TOKEN_PS), FixedCost(TOKEN_PS), slots=1)
        ends = sorted(r.finished_at / TOKEN_PS for r in requests)[300:-10]
        throughputs.append((len(ends) - 1) / (ends[-1] - ends[0]))
        in_system.append(np.mean([r.finished_at - r.arrival for r in requests[300:-10]]) / TOKEN_PS)
    # Geometric lengths vary 0.5 % less than exponential ones; the band leaves room for that.
    assert_mean(throughputs, expected, within=0.03)
    # Little: N = X (R + Z).
    assert_mean(in_system, clients / expected - think, within=0.06)
