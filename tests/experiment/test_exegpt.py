"""ExeGPT's search: branch and bound finds what trying everything finds, and the simulation what the search expects."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.registry import ROUTERS
from simulator.core import Streams
from simulator.cost.published_fit import AffineFit
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.experiment.exegpt import (
    Estimate,
    Group,
    LengthStatistics,
    branch_and_bound,
    decoding,
    request_level,
    round_robin,
    search,
    workload_aware,
)
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.table import ClosedLoop, Workload


def group(gpus: int = 1, kv_tokens: int = 50_000, speed: float = 1.0) -> Group:
    fit = AffineFit.model_validate(
        {
            "kind": "affine",
            "source": "made up",
            "prefill": {"base": f"{10 / speed}ms", "token": f"{0.1 / speed}ms"},
            "decode": [{"base": f"{10 / speed}ms", "context": f"{1e-3 / speed}ms", "request": f"{0.1 / speed}ms"}],
        }
    )
    return Group(gpus, fit.cost_model(), kv_tokens)


LENGTHS = LengthStatistics(prompt=100.0, output=41.0, context=120.5, long=81, longest=101, prompt_long=200)


def test_statistics_by_hand():
    found = LengthStatistics.of(np.array([10, 20]), np.array([3, 5]))
    # Contexts 11 and 12 of the one, 21 to 24 of the other.
    assert found == LengthStatistics(15.0, 4.0, (23 + 90) / 6, 4, 5, 20)


def test_round_robin_by_hand():
    found = round_robin(group(), 2, LENGTHS, encode=8, iterations=20)
    batch = 8 * 40 / 20
    assert decoding(LENGTHS, 8, 20) == batch
    encode, decode = 0.010 + 0.1e-3 * 800, 0.010 + 0.1e-3 * batch + 1e-6 * 120.5 * batch
    assert found.throughput == pytest.approx(2 * 8 / (encode + 20 * decode), rel=1e-4)
    # 80 tokens after the first: four turns.
    assert found.latency == pytest.approx(4 * encode + 80 * decode, rel=1e-4)


def test_workload_aware_goes_at_the_slower_pace():
    encode, decode = 0.010 + 0.1e-3 * 400, 0.010 + 0.1e-3 * 32 + 1e-6 * 120.5 * 32
    paces = 1 * 4 / encode, 3 * 32 / (40 * decode)
    found = workload_aware(group(), 1, 3, LENGTHS, encode=4, batch=32)
    assert found.throughput == pytest.approx(min(paces), rel=1e-4)
    assert found.latency == pytest.approx(encode + 80 * decode, rel=1e-4)


def test_memory_bounds_all_of_them():
    small = group(kv_tokens=2000)
    assert round_robin(small, 1, LENGTHS, encode=16, iterations=20).latency == inf
    assert workload_aware(small, 1, 1, LENGTHS, encode=1, batch=32).latency == inf
    # For the longest prompts and outputs: 301 tokens each.
    assert request_level(small, 1, LENGTHS, 6).latency < inf
    assert request_level(small, 1, LENGTHS, 7).latency == inf


_STEPS = st.lists(st.integers(0, 3), min_size=1, max_size=9)


@given(_STEPS, _STEPS, _STEPS, _STEPS, st.integers(0, 60), st.integers(0, 60))
def test_branch_and_bound_finds_the_best_of_all(gain_x, gain_y, cost_x, cost_y, bound, memory):
    """Both figures are sums of anything that rises with each knob."""
    size = min(len(gain_x), len(cost_x)), min(len(gain_y), len(cost_y))
    rises = [np.cumsum(steps).tolist() for steps in (gain_x, gain_y, cost_x, cost_y)]

    def estimate(x: int, y: int) -> Estimate:
        throughput, latency = rises[0][x - 1] + rises[1][y - 1], rises[2][x - 1] + rises[3][y - 1]
        return Estimate(float(throughput), latency if latency <= memory else inf)

    every = [estimate(x, y) for x in range(1, size[0] + 1) for y in range(1, size[1] + 1)]
    allowed = [each.throughput for each in every if each.latency <= bound]
    found = branch_and_bound(estimate, size, float(bound))
    if not allowed:
        assert found is None
    else:
        assert estimate(*found).latency <= bound
        assert estimate(*found).throughput == max(allowed)


def test_no_schedule_keeps_an_impossible_bound():
    assert search([group()], 4, LENGTHS, 0.1) is None
    assert search([group(gpus=8)], 4, LENGTHS, inf) is None


def test_a_looser_bound_never_costs_throughput():
    groups = [group(), group(2, 120_000, 1.7), group(4, 260_000, 2.9)]
    found = [search(groups, 4, LENGTHS, bound) for bound in (1.2, 2.0, 4.0, inf)]
    rates = [schedule.expected.throughput for schedule in found]
    assert rates == sorted(rates)
    assert all(schedule.expected.latency <= bound for schedule, bound in zip(found, (1.2, 2.0, 4.0, inf), strict=True))
    assert rates[0] < rates[-1]


def test_the_simulated_steady_state_is_the_expected_one():
    rng = np.random.default_rng(0)
    prompt, output = rng.integers(50, 150, 3000), rng.integers(2, 120, 3000)
    lengths, one = LengthStatistics.of(prompt, output), group()
    encode, iterations = 6, 12
    expected = round_robin(one, 1, lengths, encode, iterations)
    batch = round(decoding(lengths, encode, iterations)) + encode
    scheduler = SCHEDULERS.make(
        "exegpt", {"encode_batch": encode, "decode_iterations": iterations, "max_num_seqs": batch}
    )
    core = EngineCore(CountingPool(one.kv_tokens // 16, 16, reuse=False), scheduler, Ledger(), 1000)
    workload = Workload("made up", "a test", np.zeros(3000, np.int64), prompt, output)
    workload = replace(workload, closed_loop=ClosedLoop(batch, 0))
    cluster = Cluster([Server(core, one.cost)], ROUTERS.make("round_robin", {}), workload, Streams(0).get("router"))
    cluster.run()
    assert 3000 / cluster.now_s == pytest.approx(expected.throughput, rel=0.05)
