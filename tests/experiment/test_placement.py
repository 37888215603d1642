"""DistServe's placement search: the best kind of instance for each phase, and how many."""

from pathlib import Path

import numpy as np
import pytest
from support.worlds import table

from simulator.cluster.cluster import Server
from simulator.cluster.handover import Handover, KVShape
from simulator.cluster.topology import Place, Topology
from simulator.core import InputError
from simulator.cost.base import FixedCost
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.experiment.load import load_mapping
from simulator.experiment.placement import (
    Parallel,
    PhaseSearch,
    high_affinity,
    low_affinity,
    parallelisms,
    servers_of,
)
from simulator.scheduling.registry import SCHEDULERS

ONE, TWO, FOUR = Parallel(1, 1), Parallel(2, 1), Parallel(4, 1)


def test_each_phase_gets_what_serves_most_per_gpu_and_as_many_as_the_rate_needs():
    prefill = {ONE: 0.0, TWO: 3.0, FOUR: 5.0}  # 1.5 and 1.25 a GPU
    decode = {ONE: 0.5, TWO: 2.0, FOUR: 10.0}
    found = high_affinity([ONE, TWO, FOUR], prefill.__getitem__, decode.__getitem__, 11.0)
    assert (found.prefill.parallel, found.prefill.instances) == (TWO, 4)
    assert (found.decode.parallel, found.decode.instances) == (FOUR, 2)
    assert found.gpus == 4 * 2 + 2 * 4
    assert found.goodput_per_gpu == pytest.approx(1 / (2 / 3 + 4 / 10))


def test_limits_that_nothing_keeps_are_an_error_that_names_the_phase():
    with pytest.raises(InputError, match="decode limit"):
        high_affinity([ONE], lambda parallel: 1.0, lambda parallel: 0.0, 1.0)


def test_within_a_node_pairs_share_its_gpus_and_have_the_same_stages():
    asked = []

    def joint(prefill, decode):
        asked.append((prefill, decode))
        return float(prefill.tensor * decode.tensor)

    found = low_affinity([ONE, TWO, FOUR, Parallel(1, 2)], 4, joint, 9.0)
    assert all(p.pipeline == d.pipeline and p.tensor + d.tensor <= 4 for p, d in asked)
    assert (found.prefill.parallel, found.decode.parallel) == (TWO, TWO)
    assert found.prefill.instances == found.decode.instances == 3


def test_parallelisms_fill_nodes():
    assert parallelisms(2) == [Parallel(1, 1), Parallel(1, 2), Parallel(2, 1)]
    assert max(kind.gpus for kind in parallelisms(4, nodes=2)) == 8


def server(parallel):
    """Iterations of 100 ms over the tensor parallelism; a prompt runs alone in one of them."""
    if parallel.tensor == 4:
        return None  # as if it did not fit
    scheduler = SCHEDULERS.make("vllm", {"max_num_batched_tokens": 10, "max_num_seqs": 4})
    core = EngineCore(CountingPool(10**6, 1, reuse=False), scheduler, Ledger(), 10**6)
    return Server(core, FixedCost(10**11 // parallel.tensor))


def search(ttft_s=0.25, tpot_s=0.15):
    # Every 100 ms a prompt that fills an iteration, and five tokens.
    workload = table([(n * 10**11, 10, 5) for n in range(200)])
    return PhaseSearch(server, workload, ttft_s, tpot_s)


def test_goodputs_are_those_of_queues_that_can_be_reckoned():
    # One prompt an iteration: 10 a second, before the queue grows by enough that one in ten waits too long.
    assert 9.5 < search().prefill(ONE) < 12
    assert 19 < search().prefill(TWO) < 24
    # Four slots of five tokens (four iterations, with the first one from prefill): 4 / 0.4 s.
    assert 8 < search().decode(ONE) < 13
    assert search().decode(FOUR) == 0.0, "the model does not fit"
    assert search(tpot_s=0.09).decode(ONE) == 0.0
    assert search(tpot_s=0.09).decode(TWO) > 0


def test_a_pair_is_no_better_than_its_worse_half():
    def handover():
        return Handover(Topology([Place(1, 1e9, 1e9)] * 2), KVShape(1.0, 1))

    pair = search().joint(ONE, TWO, handover)
    assert pair <= 1.1 * min(search().prefill(ONE), search().decode(TWO))
    assert pair > 5


def test_an_experiments_instances_are_spread_as_asked_where_they_fit():
    loaded = load_mapping(
        {
            "name": "x",
            "workload": {
                "arrivals": {"process": "poisson", "rate": "1/s"},
                "prompt": {"distribution": "fixed", "tokens": 100},
                "output": {"distribution": "fixed", "tokens": 10},
                "requests": 5,
            },
            "model": "llama-3.1-70b",
            "cluster": {"instances": [{"hardware": "h100_sxm", "tensor_parallel": 4}]},
        },
        Path(),
    )
    make = servers_of(loaded.runs[0].config)
    assert make(Parallel(1, 1)) is None, "140 GB of weights"
    four, eight = make(Parallel(4, 1)), make(Parallel(8, 1))
    assert four.core.kv.total < eight.core.kv.total
    assert np.isfinite(four.core.most_tokens)
